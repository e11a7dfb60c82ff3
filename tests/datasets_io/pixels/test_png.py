"""PNG: the pixels of Pillow where it keeps them, and every checksum compared."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from datasets_io.pixels.decode import decode_file
from datasets_io.pixels.exif import orientation_of, upright
from datasets_io.pixels.grey import PixelError, PixelSpec
from datasets_io.pixels.png import SIGNATURE, decode_png, luma

SPEC = PixelSpec(16)
RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (50, 43, 3), dtype=np.uint8)
# Colour type of PNG -> samples of a pixel.
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    values: np.ndarray, colour: int, interlaced: bool = False, packed: bytes | None = None, more: bytes = b""
) -> bytes:
    """(rows, columns, samples) uint8 or uint16 as a PNG without filters. packed: other pixels; more: chunks."""
    big = values.astype(f">u{values.itemsize}")
    areas = PASSES if interlaced else ((0, 0, 1, 1),)
    lines = [line for r, c, down, across in areas for line in big[r::down, c::across] if line.size]
    rows, columns, _ = values.shape
    header = struct.pack(">IIBBBBB", columns, rows, 8 * values.itemsize, colour, 0, 0, interlaced)
    data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines)) if packed is None else packed
    return SIGNATURE + chunk(b"IHDR", header) + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def pillows(data: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(data))
    return np.asarray(image.convert("RGB").convert("L") if image.mode == "P" else image.convert("L"))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_eight_bits_are_decoded_as_by_pillow(mode):
    sink = io.BytesIO()
    Image.fromarray(COLOURS).convert(mode).save(sink, "PNG")
    assert np.array_equal(decode_png(sink.getvalue())[0], pillows(sink.getvalue()))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_and_palettes_are_spread_as_by_pillow(bits):
    sink = io.BytesIO()
    Image.fromarray(COLOURS).quantize(2**bits).save(sink, "PNG", bits=bits)
    assert np.array_equal(decode_png(sink.getvalue())[0], pillows(sink.getvalue()))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 30, bits, GREY, 0, 0, 0))
    lines = [b"\0" + RNG.integers(0, 256, 5 * bits, dtype=np.uint8).tobytes() for _ in range(30)]
    data = SIGNATURE + header + chunk(b"IDAT", zlib.compress(b"".join(lines))) + chunk(b"IEND", b"")
    assert np.array_equal(decode_png(data)[0], pillows(data))


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("colour", [GREY, RGB, GREY_ALPHA, RGBA])
def test_sixteen_bits_are_kept_whatever_the_colours(tmp_path, colour, interlaced):
    """Twelve bits in 16: by their upper bytes alone, as Pillow reads colours, they would be nearly black."""
    rows, columns = np.mgrid[0:61, 0:47]
    grey = (2000 + 1500 * np.sin(rows / 9) * np.cos(columns / 7)).astype(np.uint16)
    samples = [grey] * (3 if colour in (RGB, RGBA) else 1)
    if colour in (GREY_ALPHA, RGBA):
        samples.append(np.full_like(grey, 7))  # transparency says nothing about the picture
    values, _ = decode_png(png(np.stack(samples, -1), colour, interlaced))
    assert values.dtype == np.uint16 and np.array_equal(values, grey)
    (tmp_path / "a.png").write_bytes(png(np.stack(samples, -1), colour, interlaced))
    Image.fromarray(grey).save(tmp_path / "b.png")
    assert np.array_equal(decode_file(tmp_path / "a.png", SPEC).pixels, decode_file(tmp_path / "b.png", SPEC).pixels)


def test_sixteen_bit_colours_become_luma_to_the_nearest():
    colours = np.array([[[65535, 0, 0], [0, 65535, 0], [0, 0, 65535], [65535, 65535, 65535]]], np.uint16)
    expected = np.rint(colours[0] @ np.array([0.299, 0.587, 0.114]))
    assert np.abs(luma(colours)[0].astype(int) - expected).max() <= 1 and luma(colours)[0, 3] == 65535


def test_eight_bit_interlaced_is_decoded_as_by_pillow():
    data = png(COLOURS, RGB, interlaced=True)
    assert np.array_equal(decode_png(data)[0], pillows(data))


def sound() -> bytes:
    return png(COLOURS[:, :, :1], GREY, more=chunk(b"tEXt", b"Comment\0words"))


def reason(data: bytes) -> str:
    with pytest.raises(PixelError) as caught:
        decode_png(data)
    assert caught.value.stage == "decode"
    return caught.value.reason


def test_each_byte_counts():
    data = sound()
    assert decode_png(data)[0].shape == (50, 43)
    for place in range(len(SIGNATURE), len(data)):
        changed = bytearray(data)
        changed[place] ^= 0x20
        reason(bytes(changed))


def test_a_png_that_is_cut_or_zeros_from_anywhere_is_refused():
    data = sound()
    for place in range(len(SIGNATURE), len(data), 7):
        reason(data[:place])
        reason(data[:place] + bytes(len(data) - place))
    assert "no end (IEND)" in reason(data[:-12])
    assert "checksum (CRC)" in reason(data[:-12] + bytes(12)), "a chunk without a name has a checksum too"


def test_pixels_with_the_right_crc_and_another_adler_32_or_too_few_are_refused():
    raw = b"".join(b"\0" + line.tobytes() for line in COLOURS[:, :, 0])
    packed = zlib.compress(raw)
    for wrong in (packed[:-4] + b"\0\0\0\0", packed[:-9], zlib.compress(raw[:-1]), zlib.compress(b""), b""):
        assert "too few, or have another checksum" in reason(png(COLOURS[:, :, :1], GREY, packed=wrong))
    decode_png(png(COLOURS[:, :, :1], GREY, packed=zlib.compress(raw + b"careless")))


def test_a_header_that_png_does_not_have_is_refused():
    for bits, colour, packing, filtering, interlaced in (
        (3, 0, 0, 0, 0),
        (8, 1, 0, 0, 0),
        (8, 0, 0, 0, 2),
        (8, 0, 1, 0, 0),
    ):
        header = struct.pack(">IIBBBBB", 4, 4, bits, colour, packing, filtering, interlaced)
        assert "header" in reason(SIGNATURE + chunk(b"IHDR", header) + chunk(b"IEND", b""))
    assert "(IHDR)" in reason(SIGNATURE + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(PixelError, match="pixels are declared"):
        decode_png(SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 65535, 65535, 8, 0, 0, 0, 0)))


def test_metadata_of_any_size_is_not_unpacked_and_costs_no_picture():
    bomb = zlib.compress(bytes(16 << 20), 9)
    for more in (
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(RNG.bytes(3 << 20), 0)),
        chunk(b"iCCP", b"profile\0\0" + bomb),
        chunk(b"zTXt", b"Comment\0\0" + bomb),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb),
        chunk(b"tEXt", b"Comment\0" + bytes(2 << 20)),
        b"".join(chunk(b"tEXt", b"Comment\0%d" % number) for number in range(3000)),
        chunk(b"eXIf", b"II*\0" + bytes(1 << 20)),
        chunk(b"acTL", struct.pack(">II", 1, 0)),
    ):
        assert np.array_equal(decode_png(png(COLOURS[:, :, :1], GREY, more=more))[0], COLOURS[:, :, 0])


def test_a_png_of_several_frames_is_refused():
    with pytest.raises(PixelError, match="policy: more than one frame"):
        decode_png(png(COLOURS[:, :, :1], GREY, more=chunk(b"acTL", struct.pack(">II", 2, 0))))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_turned_as_its_exif_says(tmp_path, kind, orientation):
    """The pixels of a picture that lies upright: stored as each orientation has it, all eight show the same."""
    shown = np.kron(RNG.integers(0, 256, (4, 6), dtype=np.uint8), np.ones((8, 8), np.uint8))
    # TIFF 6.0: which edges of what is shown row 0 and column 0 of the file are.
    stored = {
        1: shown,
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.T,
        6: shown.T[::-1],
        7: shown.T[::-1, ::-1],
        8: shown.T[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(
        tmp_path / "a", kind, exif=exif, **({"quality": 100} if kind == "JPEG" else {})
    )
    decoded = decode_file(tmp_path / "a", PixelSpec(32, shape="aspect"))
    assert (decoded.rows, decoded.columns, decoded.turned) == (32, 48, orientation != 1)
    assert np.abs(decoded.pixels.astype(int) - shown).max() <= (4 if kind == "JPEG" else 0)


def test_exif_that_is_none_turns_nothing():
    entry = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    tiff = b"II*\0" + struct.pack("<IH", 8, 1) + entry
    assert orientation_of(tiff) == 6
    big = b"MM\0*" + struct.pack(">IH", 8, 1) + struct.pack(">HHIHH", 0x0112, 3, 1, 8, 0)
    assert orientation_of(big) == 8
    for damaged in (b"", tiff[:9], tiff[:-6], b"XX" + tiff[2:], tiff[:4] + b"\xff\xff\xff\xff" + tiff[8:]):
        assert orientation_of(damaged) == 1
    for value, kind, count in ((0, 3, 1), (9, 3, 1), (6, 4, 1), (6, 3, 2)):
        other = struct.pack("<HHIHH", 0x0112, kind, count, value, 0)
        assert orientation_of(tiff[:10] + other) == 1
    picture = np.arange(6).reshape(2, 3)
    assert upright(picture, 1) is picture and upright(picture, 6).flags.c_contiguous
