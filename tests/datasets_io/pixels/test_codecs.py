"""Compressed DICOM: the first codec against the others and against what was encoded."""

import csv
import struct

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from datasets_io.pixels.codecs import NAME, SYNTAXES, stored_values
from datasets_io.pixels.decode import decode_file
from datasets_io.pixels.grey import PixelError, PixelSpec
from datasets_io.pixels.worker import DecodeWorker

SPEC = PixelSpec(16)


def radiograph(bits: int) -> np.ndarray:
    """(60, 48) with every value of its range possible: a wave and noise."""
    rng = np.random.default_rng(bits)
    y, x = np.mgrid[0:60, 0:48]
    wave = 0.5 + 0.4 * np.sin(y / 9) * np.cos(x / 7) + 0.02 * rng.standard_normal((60, 48))
    return np.clip(np.rint(wave * (2**bits - 1)), 0, 2**bits - 1).astype(np.uint8 if bits <= 8 else np.uint16)


LOSSLESS = {
    "jpeg by liblj92": (uid.JPEGLosslessSV1, lambda p, bits: imagecodecs.ljpeg_encode(p, bitspersample=bits)),
    "jpeg by libjpeg-turbo": (
        uid.JPEGLossless,
        lambda p, bits: imagecodecs.jpeg8_encode(p, lossless=True, predictor=4, bitspersample=bits),
    ),
    "jpeg-ls": (uid.JPEGLSLossless, lambda p, bits: imagecodecs.jpegls_encode(p)),
    "jpeg 2000": (
        uid.JPEG2000Lossless,
        lambda p, bits: imagecodecs.jpeg2k_encode(p, level=0, codecformat="j2k", bitspersample=bits),
    ),
    "htj2k": (uid.HTJ2KLossless, lambda p, bits: imagecodecs.htj2k_encode(p)),
}


def compressed(write_dicom, path, picture, bits, syntax, data, elements=None):
    """A DICOM file whose pixels are the codestream `data`."""
    write_dicom(path, picture, {"BitsStored": bits, "HighBit": bits - 1, **(elements or {})})
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([data])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(path)
    return path


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("name", LOSSLESS)
def test_what_was_encoded_without_loss_is_decoded_without_loss(tmp_path, write_dicom, name, bits):
    syntax, encode = LOSSLESS[name]
    picture = radiograph(bits)
    path = compressed(write_dicom, tmp_path / "a.dcm", picture, bits, syntax, encode(picture, bits))
    dataset = pydicom.dcmread(path)
    assert np.array_equal(get_decoder_array(dataset, NAME), picture), "the first codec does not decode it itself"
    plain = write_dicom(tmp_path / "b.dcm", picture, {"BitsStored": bits, "HighBit": bits - 1})
    assert np.array_equal(decode_file(path, SPEC).pixels, decode_file(plain, SPEC).pixels)


def get_decoder_array(dataset: pydicom.Dataset, name: str) -> np.ndarray:
    """The pixel array by one codec. stored_values has given pydicom ours."""
    stored_values(dataset)
    return get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(dataset, decoding_plugin=name)[0]


def test_signed_values_keep_their_signs(tmp_path, write_dicom):
    picture = (radiograph(12).astype(np.int16) - 2000) & 0xFFF  # twelve bits in two's complement
    data = imagecodecs.ljpeg_encode(picture.astype(np.uint16), bitspersample=12)
    signed = {"PixelRepresentation": 1}
    path = compressed(write_dicom, tmp_path / "a.dcm", picture.astype(np.uint16), 12, uid.JPEGLosslessSV1, data, signed)
    assert np.array_equal(stored_values(pydicom.dcmread(path)), radiograph(12).astype(np.int16) - 2000)


def test_twelve_bit_jpeg_with_loss_is_near_what_was_encoded(tmp_path, write_dicom):
    picture = radiograph(12)
    data = imagecodecs.jpeg8_encode(picture, level=98, bitspersample=12)
    path = compressed(write_dicom, tmp_path / "a.dcm", picture, 12, uid.JPEGExtended12Bit, data)
    apart = np.abs(stored_values(pydicom.dcmread(path)).astype(int) - picture)
    assert apart.max() <= 40 and apart.mean() < 10  # of 4,095


@pytest.mark.parametrize("name", [*LOSSLESS, "jpeg 8 bits with loss"])
def test_a_codestream_cut_short_is_refused_and_never_filled_up(tmp_path, write_dicom, name):
    picture = radiograph(8)
    syntax, encode = LOSSLESS.get(name, (uid.JPEGBaseline8Bit, lambda p, bits: imagecodecs.jpeg8_encode(p, level=95)))
    data = encode(picture, 8)
    assert compressed(write_dicom, tmp_path / "whole.dcm", picture, 8, syntax, data)
    decode_file(tmp_path / "whole.dcm", SPEC)
    for share in (0.3, 0.6, 0.9):
        path = compressed(write_dicom, tmp_path / "cut.dcm", picture, 8, syntax, data[: int(len(data) * share)])
        with pytest.raises(PixelError, match=r"cut short|the pixel data is damaged"):
            decode_file(path, SPEC)


def test_a_codestream_of_another_size_than_the_header_says_is_refused(tmp_path, write_dicom):
    for name, (syntax, encode) in LOSSLESS.items():
        data = encode(radiograph(8)[:30], 8)
        path = compressed(write_dicom, tmp_path / "a.dcm", radiograph(8), 8, syntax, data)
        with pytest.raises(PixelError) as caught:
            decode_file(path, SPEC)
        assert caught.value.stage == "decode", name


@pytest.mark.parametrize("offsets", [(64, 0xFF000068), (64, 64), (64, 40), (0, 900), (0xFFFFFFFF, 70)])
def test_rle_segments_that_lie_outside_of_their_stream_cost_one_reject_and_no_process(tmp_path, write_dicom, offsets):
    """imagecodecs alone ends the process."""
    path = write_dicom(tmp_path / "a.dcm", radiograph(12))
    dataset = pydicom.dcmread(path)
    dataset.compress(uid.RLELossless)
    dataset.save_as(path)
    with DecodeWorker(SPEC) as worker:
        assert worker.decode(path).pixels.shape == (16, 16)
        frame = dataset.PixelData.index(b"\x02\0\0\0\x40\0\0\0")  # two segments, the first at 64
        data = bytearray(dataset.PixelData)
        data[frame + 4 : frame + 12] = struct.pack("<2L", *offsets)
        dataset.PixelData = bytes(data)
        dataset.save_as(path)
        with pytest.raises(PixelError, match="the pixel data is damaged: it is no RLE Lossless"):
            worker.decode(path)


def test_all_codecs_that_read_a_real_file_agree(shared_data):
    """Lossless and lossy files of several makers: our codec against gdcm, Pillow and pydicom's RLE."""
    root = shared_data / "dicom_torture"
    with open(root / "manifest.csv", newline="") as stream:
        names = [row["file"] for row in csv.DictReader(stream) if row["decode_codecs"].startswith("OK")]
    read, compared = 0, 0
    for name in names:
        dataset = pydicom.dcmread(root / name, force=True)
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax not in SYNTAXES:
            continue
        values, read = stored_values(dataset), read + 1
        decoder = get_decoder(syntax)
        for codec in set(decoder.available_plugins) & {"gdcm", "pillow", "pydicom"}:
            try:
                other = decoder.as_array(dataset, decoding_plugin=codec)[0]
            except Exception:  # none of them reads all; error types are the codecs' own
                continue
            compared += 1
            allowed = 1 if syntax in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit) else 0  # cosines are rounded
            assert other.shape == values.shape, (name, codec)
            assert np.abs(other.astype(np.int64) - values).max() <= allowed, (name, codec)
    assert read >= 50 and compared >= 50
