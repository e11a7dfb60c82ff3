"""DICOM of which a part was never copied, padding, and headers of zeros."""

import io
import struct
import zlib
from itertools import pairwise

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from datasets_io.pixels import header
from datasets_io.pixels.codestream import check_codestream
from datasets_io.pixels.decode import decode_file
from datasets_io.pixels.grey import PixelError, PixelSpec
from datasets_io.pixels.uncopied import check_segments, lacks_a_part

SPEC = PixelSpec(16)
RNG = np.random.default_rng(0)
TISSUE = (1000 + 600 * np.sin(np.mgrid[0:90, 0:80][0] / 9) + RNG.integers(0, 200, (90, 80))).astype(np.uint16)


def refused(path, reason: str, spec: PixelSpec = SPEC) -> None:
    with pytest.raises(PixelError, match=reason):
        decode_file(path, spec)


# -- plain pixels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("intensity", ["minmax", "voi", "jpg"])
def test_plain_pixels_that_stop_in_the_middle_of_a_row_are_counted_and_taken(tmp_path, write_dicom, syntax, intensity):
    for start, stop in ((20 * 80 + 33, None), (20 * 80 + 33, 50 * 80 + 17), (89 * 80 + 40, None)):
        picture = TISSUE.copy()
        picture.ravel()[start:stop] = 0
        assert decode_file(write_dicom(tmp_path / "a.dcm", picture, syntax=syntax), PixelSpec(16, intensity)).uncopied
    whole = write_dicom(tmp_path / "b.dcm", TISSUE, syntax=syntax)
    assert decode_file(whole, PixelSpec(16, intensity)).pixels.shape == (16, 16)


@pytest.mark.parametrize("syntax", [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian])
@pytest.mark.parametrize("intensity", ["minmax", "voi", "jpg"])
@pytest.mark.parametrize("frames", [None, 1])
def test_pixels_of_another_frame_that_the_header_does_not_name_are_refused(
    tmp_path, write_dicom, syntax, intensity, frames
):
    spec, size = PixelSpec(16, intensity), TISSUE.nbytes
    whole = decode_file(write_dicom(tmp_path / "a.dcm", TISSUE, syntax=syntax), spec)
    stored = TISSUE.tobytes() if syntax.is_little_endian else TISSUE.byteswap().tobytes()
    for more in (2, 512, size - 2, size, size + 2, 3 * size):
        elements = {"NumberOfFrames": frames, "PixelData": stored + stored[::-1][:more].ljust(more, b"\1")}
        path = write_dicom(tmp_path / "b.dcm", TISSUE, elements, syntax)
        if more < size:  # padding, of which files have more than the one byte that makes a length even
            assert np.array_equal(decode_file(path, spec).pixels, whole.pixels)
        else:
            refused(path, "does not have the rows and columns of the header", spec)


def test_the_byte_that_makes_a_length_even_is_no_frame(tmp_path, write_dicom):
    odd = (TISSUE[:89, :79] >> 3).astype(np.uint8)
    for spec in (PixelSpec(16, intensity) for intensity in ("minmax", "voi", "jpg")):
        zero, one = (
            decode_file(write_dicom(tmp_path / "a.dcm", odd, {"PixelData": odd.tobytes() + byte}), spec)
            for byte in (b"\0", b"\xff")
        )
        assert zero.rows == 89 and np.array_equal(zero.pixels, one.pixels)


def test_borders_and_drawings_are_no_missing_part():
    for rows, columns in ((slice(60, None), slice(None)), (slice(0, 20), slice(None)), (slice(30, 40), slice(None))):
        picture = TISSUE.copy()
        picture[rows, columns] = 0
        assert not lacks_a_part(picture), "rows that are black as a whole"
    collimated = np.zeros_like(TISSUE)
    collimated[10:70, 10:60] = TISSUE[10:70, 10:60]
    label = TISSUE.copy()
    label[70:, 40:] = 0
    y, x = np.mgrid[0:90, 0:80]
    turned = np.where(np.abs(x - 40) + np.abs(y - 45) < 50, TISSUE, 0)
    slanted = np.where(y * 80 + x * 3 < 60 * 80, TISSUE, 0)
    dark = TISSUE.copy()
    dark[-1, -3:] = 0  # of a small picture, as made-up archives have
    for picture in (TISSUE, collimated, label, turned, slanted, dark, TISSUE[:60], np.zeros_like(TISSUE)):
        assert not lacks_a_part(picture)
    drawn = np.full((90, 80), 255, np.uint8)
    drawn.ravel()[60 * 80 + 20 :] = 0
    assert not lacks_a_part(drawn)
    drawn[:] = RNG.integers(1, 256, drawn.shape)
    drawn.ravel()[60 * 80 + 20 :] = 0
    assert lacks_a_part(drawn)


def test_a_deflated_file_must_be_its_elements_and_no_more(tmp_path, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", TISSUE, syntax=uid.DeflatedExplicitVRLittleEndian)
    picture = decode_file(path, SPEC).pixels
    padded = {"DataSetTrailingPadding": bytes(70000)}
    other = write_dicom(tmp_path / "b.dcm", TISSUE, padded, syntax=uid.DeflatedExplicitVRLittleEndian)
    assert np.array_equal(decode_file(other, SPEC).pixels, picture)
    data = path.read_bytes()
    path.write_bytes(data + b"\0")
    assert np.array_equal(decode_file(path, SPEC).pixels, picture)
    for start in range(len(data) // 4, len(data) - 200, len(data) // 20):
        path.write_bytes(data[:start] + bytes(150) + data[start + 150 :])
        refused(path, "damaged|cannot be read|cut short|not readable|whole number")


# -- encapsulated frames -----------------------------------------------------------------------------------------

STREAMS = {
    "jpeg": (uid.JPEGBaseline8Bit, 8, lambda v: imagecodecs.jpeg8_encode(v, level=95)),
    "jpeg 12": (uid.JPEGExtended12Bit, 12, lambda v: imagecodecs.jpeg8_encode(v, level=95, bitspersample=12)),
    "lossless": (uid.JPEGLosslessSV1, 12, lambda v: imagecodecs.ljpeg_encode(v, bitspersample=12)),
    "jpeg-ls": (uid.JPEGLSLossless, 12, imagecodecs.jpegls_encode),
    "jpeg 2000": (
        uid.JPEG2000Lossless,
        12,
        lambda v: imagecodecs.jpeg2k_encode(v, level=0, codecformat="j2k", bitspersample=12),
    ),
    "jpeg 2000, lossy": (
        uid.JPEG2000,
        12,
        lambda v: imagecodecs.jpeg2k_encode(v, level=45, codecformat="j2k", bitspersample=12),
    ),
}


def encapsulated(write_dicom, path, stream: bytes, syntax: uid.UID, bits: int, fragments=1, picture=TISSUE):
    values = picture if bits == 12 else (picture >> 4).astype(np.uint8)
    write_dicom(path, values, {"BitsStored": bits, "HighBit": bits - 1})
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([stream], fragments_per_frame=fragments)
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("name", STREAMS)
def test_a_frame_without_its_end_or_with_zeros_in_it_is_refused(tmp_path, write_dicom, name):
    syntax, bits, encode = STREAMS[name]
    stream = encode(TISSUE if bits == 12 else (TISSUE >> 4).astype(np.uint8))
    for fragments in (1, 3):
        decode_file(encapsulated(write_dicom, tmp_path / "a.dcm", stream, syntax, bits, fragments), SPEC)
    start = stream.index(b"\xff\x93" if "2000" in name else b"\xff\xda") + 20
    for place in (start, len(stream) // 2, len(stream) - 2):
        for cut in (stream[:place], stream[:place] + bytes(len(stream) - place)):
            refused(encapsulated(write_dicom, tmp_path / "a.dcm", cut, syntax, bits), "cut short|is damaged")
    for place in range(start, len(stream) - 150, max(1, len(stream) // 12)):
        holed = stream[:place] + bytes(100) + stream[place + 100 :]
        refused(encapsulated(write_dicom, tmp_path / "a.dcm", holed, syntax, bits), "cut short|is damaged")


def test_a_jpeg_2000_stream_that_skips_a_part_is_refused():
    stream = STREAMS["jpeg 2000"][2](TISSUE)
    check_codestream(stream, False)
    check_codestream(stream + bytes(10), False)
    tile = stream.index(b"\xff\x90")
    for wrong, reason in (
        (stream[:-2], "cut short"),
        (stream[: tile + 6] + struct.pack(">I", 5) + stream[tile + 10 :], "damaged"),
        (stream[: tile + 6] + struct.pack(">I", 1 << 30) + stream[tile + 10 :], "cut short"),
        (stream[: tile + 6] + struct.pack(">I", 200) + stream[tile + 10 :], "damaged"),
        (b"no stream", "no JPEG 2000"),
    ):
        with pytest.raises(PixelError, match=reason):
            check_codestream(wrong, False)
    to_end = stream[: tile + 6] + bytes(4) + stream[tile + 10 :]  # a length of 0: up to the end marker
    check_codestream(to_end + bytes(3), False)
    with pytest.raises(PixelError, match="cut short"):
        check_codestream(to_end[:-2], False)


def test_empty_packets_of_jpeg_2000_are_no_missing_part(tmp_path, write_dicom):
    """A picture that is black but for a corner, in tiles: each tile without detail is a row of empty packets."""
    dark = np.zeros((256, 256), np.uint16)
    dark[:16, :16] = TISSUE[:16, :16]
    sink = io.BytesIO()
    Image.fromarray(dark).save(sink, "JPEG2000", no_jp2=True, tile_size=(32, 32), num_resolutions=4)
    assert sink.getvalue().count(b"\xff\x90") == 64, "a part for each tile"
    check_codestream(sink.getvalue(), False)
    path = encapsulated(
        write_dicom, tmp_path / "a.dcm", STREAMS["jpeg 2000"][2](dark), uid.JPEG2000Lossless, 12, 1, dark
    )
    assert decode_file(path, SPEC).pixels[5:, 5:].max() == 0


def test_each_rle_segment_must_have_a_byte_for_each_sample(tmp_path, write_dicom):
    path = write_dicom(tmp_path / "a.dcm", TISSUE)
    dataset = pydicom.dcmread(path)
    dataset.compress(uid.RLELossless)
    dataset.save_as(path)
    decode_file(path, SPEC)
    frame = pydicom.encaps.get_frame(dataset.PixelData, 0, number_of_frames=1)
    number, *offsets = struct.unpack_from("<16L", frame)
    starts = [*offsets[:number], len(frame)]
    check_segments(frame, starts, TISSUE.size)
    for samples in (TISSUE.size - 1, TISSUE.size + 1):
        with pytest.raises(PixelError, match="more or fewer"):
            check_segments(frame, starts, samples)
    for start, stop in pairwise(starts):
        for hole in (200, stop - start - 60):
            holed = frame[: start + 30] + bytes(hole) + frame[start + 30 + hole :]
            dataset.PixelData = encapsulate([holed])
            dataset.save_as(path)
            refused(path, "more or fewer|damaged")
    run = bytes([0x81, 7, 0x80])  # a value 128 times, then a byte that says nothing
    check_segments(run[:2], [0, 2], 128)
    check_segments(run, [0, 3], 128)
    with pytest.raises(PixelError):
        check_segments(run + b"\0\0", [0, 5], 128)


# -- padding -----------------------------------------------------------------------------------------------------


def padded(value: int, kind: type = np.uint16) -> np.ndarray:
    picture = TISSUE.astype(kind)
    picture[:, :12] = value
    picture[:, -12:] = value
    return picture


@pytest.mark.parametrize("read", ["mapped", "as a whole", "voi"])
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize(("value", "kind"), [(65535, np.uint16), (0, np.uint16), (-32768, np.int16), (32767, np.int16)])
def test_padding_is_left_out_of_the_range_and_shown_dark(tmp_path, write_dicom, value, kind, inverted, read):
    """As if the darkest value of the picture stood in its place (PS3.3 C.7.5.1.1.2)."""
    spec = PixelSpec(16, "voi" if read == "voi" else "minmax")
    more = {"DataSetTrailingPadding": bytes(8)} if read == "as a whole" else {}
    more |= {"PhotometricInterpretation": "MONOCHROME1"} if inverted else {}
    inside = TISSUE[:, 12:-12]
    dark = inside.max() if inverted else inside.min()
    expected = decode_file(write_dicom(tmp_path / "b.dcm", padded(dark, kind), more), spec)
    found = decode_file(
        write_dicom(tmp_path / "a.dcm", padded(value, kind), {**more, "PixelPaddingValue": value}), spec
    )
    assert np.array_equal(found.pixels, expected.pixels)
    assert (found.padded, expected.padded) == (True, False)
    assert found.pixels[:, 0].max() == 0 and len(np.unique(found.pixels)) > 50


def test_padding_may_be_a_range_written_as_the_wrong_type_or_beyond_the_stored_bits(tmp_path, write_dicom):
    expected = decode_file(write_dicom(tmp_path / "b.dcm", padded(TISSUE[:, 12:-12].min())), SPEC).pixels
    picture = padded(60000)
    picture[:40, :12] = 60005
    limits = {"PixelPaddingValue": 60000, "PixelPaddingRangeLimit": 60010}
    assert np.array_equal(decode_file(write_dicom(tmp_path / "a.dcm", picture, limits), SPEC).pixels, expected)
    # -2,000 where 12 bits are stored, as US in the header of a signed file.
    path = write_dicom(tmp_path / "c.dcm", padded(-2000, np.int16), {"BitsStored": 12, "HighBit": 11})
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", 63536)
    dataset.save_as(path)
    assert np.array_equal(decode_file(path, SPEC).pixels, expected)
    twelve = {"BitsStored": 12, "HighBit": 11, "PixelPaddingValue": 4095}
    assert np.array_equal(decode_file(write_dicom(tmp_path / "d.dcm", padded(4095), twelve), SPEC).pixels, expected)


def test_padding_that_no_pixel_has_or_that_is_no_number_changes_nothing(tmp_path, write_dicom):
    plain = decode_file(write_dicom(tmp_path / "a.dcm", TISSUE), SPEC)
    named = decode_file(write_dicom(tmp_path / "b.dcm", TISSUE, {"PixelPaddingValue": 65535}), SPEC)
    assert np.array_equal(named.pixels, plain.pixels) and not named.padded
    limit = decode_file(write_dicom(tmp_path / "c.dcm", TISSUE, {"PixelPaddingRangeLimit": 1000}), SPEC)
    assert np.array_equal(limit.pixels, plain.pixels) and not limit.padded
    everywhere = write_dicom(tmp_path / "d.dcm", TISSUE, {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 65535})
    refused(everywhere, "all pixels are padding")


def test_the_recipe_of_mimic_cxr_jpg_scales_padding_like_anything_else(tmp_path, write_dicom):
    spec = PixelSpec(16, "jpg")
    named = decode_file(write_dicom(tmp_path / "a.dcm", padded(65535), {"PixelPaddingValue": 65535}), spec)
    assert np.array_equal(named.pixels, decode_file(write_dicom(tmp_path / "b.dcm", padded(65535)), spec).pixels)
    assert not named.padded


# -- headers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"", bytes(128) + b"DICM"])
def test_a_file_of_zeros_costs_no_time(tmp_path, monkeypatch, start):
    """Zeros are elements of 8 bytes: 255 MiB of them took a minute."""
    monkeypatch.setattr(header, "MAX_READS", 1000)
    path = tmp_path / "a.dcm"
    path.write_bytes(start + bytes(100_000))
    refused(path, "parts: it is damaged, or zeros")


def test_a_deflated_file_of_zeros_costs_no_time_either(tmp_path, monkeypatch, write_dicom):
    monkeypatch.setattr(header, "MAX_READS", 1000)
    path = write_dicom(tmp_path / "a.dcm", TISSUE, syntax=uid.DeflatedExplicitVRLittleEndian)
    data, dataset = path.read_bytes(), pydicom.dcmread(path)
    packer = zlib.compressobj(wbits=-15)
    zeros = packer.compress(bytes(1 << 20)) + packer.flush()
    path.write_bytes(data[: 144 + dataset.file_meta.FileMetaInformationGroupLength] + zeros)
    refused(path, "parts: it is damaged, or zeros")
