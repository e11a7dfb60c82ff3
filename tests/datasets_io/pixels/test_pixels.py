"""DICOM, PNG and JPEG files to grey bytes."""

import io

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from datasets_io.pixels.decode import decode_file
from datasets_io.pixels.grey import PixelError, PixelSpec, equalise, resize

SPEC = PixelSpec(16)


@pytest.fixture
def radiograph() -> np.ndarray:
    """A smooth 12-bit picture, (60, 48) uint16."""
    rows, columns = np.mgrid[0:60, 0:48]
    return (2000 + 1500 * np.sin(rows / 9) * np.cos(columns / 7) + rows * 5).astype(np.uint16)


def area_mean(picture: np.ndarray, size: int) -> np.ndarray:
    """Triangle-filter antialiased resize written out with matrices, float64: the reference."""

    def weights(length: int) -> np.ndarray:
        scale = length / size
        centre = (np.arange(size)[:, None] + 0.5) * scale
        distance = np.abs(np.arange(length)[None] + 0.5 - centre) / max(scale, 1)
        triangle = np.clip(1 - distance, 0, None)
        return triangle / triangle.sum(1, keepdims=True)

    return weights(picture.shape[0]) @ picture.astype(np.float64) @ weights(picture.shape[1]).T


def test_a_dicom_is_the_antialiased_resize_of_its_min_max_scaled_picture(tmp_path, write_dicom, radiograph):
    decoded = decode_file(write_dicom(tmp_path / "a.dcm", radiograph), SPEC)
    low, high = float(radiograph.min()), float(radiograph.max())
    expected = area_mean((radiograph - low) / (high - low) * 255, 16)
    assert decoded.pixels.dtype == np.uint8 and decoded.pixels.shape == (16, 16)
    assert np.abs(decoded.pixels - expected).max() <= 0.51
    assert (decoded.rows, decoded.columns) == radiograph.shape


@pytest.mark.parametrize("intensity", ["minmax", "jpg"])
def test_monochrome1_and_monochrome2_of_one_picture_give_equal_bytes(tmp_path, write_dicom, radiograph, intensity):
    spec = PixelSpec(16, intensity)
    plain = decode_file(write_dicom(tmp_path / "2.dcm", radiograph), spec)
    negative = (4095 - radiograph).astype(np.uint16)
    elements = {"PhotometricInterpretation": "MONOCHROME1", "BitsStored": 12, "HighBit": 11}
    inverted = decode_file(write_dicom(tmp_path / "1.dcm", negative, elements), spec)
    assert np.array_equal(plain.pixels, inverted.pixels)


def test_signed_rescaled_and_eight_bit_files_show_the_same_picture(tmp_path, write_dicom, radiograph):
    plain = decode_file(write_dicom(tmp_path / "u.dcm", radiograph), SPEC).pixels
    signed = write_dicom(tmp_path / "s.dcm", radiograph.astype(np.int16) - np.int16(3000))
    rescaled = write_dicom(tmp_path / "r.dcm", radiograph, {"RescaleSlope": "0.5", "RescaleIntercept": "-1024"})
    flipped = write_dicom(tmp_path / "f.dcm", radiograph, {"RescaleSlope": "-1", "RescaleIntercept": "4095"})
    eight = write_dicom(tmp_path / "8.dcm", (radiograph // 16).astype(np.uint8))
    assert np.array_equal(decode_file(signed, SPEC).pixels, plain)
    assert np.abs(decode_file(rescaled, SPEC).pixels.astype(int) - plain).max() <= 1
    assert np.abs(decode_file(flipped, SPEC).pixels.astype(int) - (255 - plain)).max() <= 1
    assert np.abs(decode_file(eight, SPEC).pixels.astype(int) - plain).max() <= 2


@pytest.mark.parametrize("intensity", ["minmax", "jpg", "voi"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("signed", [False, True])
def test_bits_that_lie_elsewhere_in_their_cells_are_read_where_high_bit_says(
    tmp_path, write_dicom, radiograph, intensity, syntax, signed
):
    spec, cell = PixelSpec(16, intensity), np.int16 if signed else np.uint16
    values = radiograph.astype(cell) // 4 - 512 * signed  # of ten bits
    window = {"WindowCenter": str(500 - 512 * signed), "WindowWidth": "300", "BitsStored": 10}

    def read(name: str, array: np.ndarray, high: int) -> np.ndarray:
        return decode_file(write_dicom(tmp_path / name, array, {**window, "HighBit": high}, syntax), spec).pixels

    usual = read("usual.dcm", values, 9)
    for high in (11, 15):
        assert np.array_equal(read("shifted.dcm", values << (high - 9), high), usual)
        assert np.array_equal(read("not_shifted.dcm", values, high), usual), "a HighBit that is wrong changes nothing"
    overlay = (values & 0x3FF) | cell(0x400)  # above the picture, as overlays were once stored
    assert np.array_equal(read("overlay.dcm", overlay, 9), usual)


def test_voi_window_clips_before_monochrome1_is_inverted(tmp_path, write_dicom, radiograph):
    window = {"WindowCenter": "2000", "WindowWidth": "400"}
    spec = PixelSpec(16, "voi")
    bright = decode_file(write_dicom(tmp_path / "2.dcm", radiograph, window), spec).pixels
    dark = decode_file(
        write_dicom(tmp_path / "1.dcm", radiograph, {**window, "PhotometricInterpretation": "MONOCHROME1"}), spec
    ).pixels
    clipped = area_mean(np.clip((radiograph - 1999.5) / 399 + 0.5, 0, 1) * 255, 16)
    assert np.abs(bright - clipped).max() <= 1
    assert np.abs(dark - (255 - clipped)).max() <= 1


def test_colours_become_luma_and_a_grey_rgb_equals_its_grey(tmp_path, write_dicom, radiograph):
    grey = (radiograph // 16).astype(np.uint8)
    rgb = np.stack([grey, grey, grey], axis=-1)
    elements = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    from_rgb = decode_file(write_dicom(tmp_path / "rgb.dcm", rgb, elements), SPEC).pixels
    from_grey = decode_file(write_dicom(tmp_path / "grey.dcm", grey), SPEC).pixels
    assert np.abs(from_rgb.astype(int) - from_grey).max() <= 1


def test_equalise_is_opencvs(radiograph):
    grey = (radiograph // 16).astype(np.uint8)
    assert np.array_equal(equalise(grey), cv2.equalizeHist(grey))


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "png"), ("L", "jpg"), ("RGB", "png"), ("RGBA", "png"), ("P", "png")]
)
def test_eight_bit_pictures_keep_their_greys(tmp_path, radiograph, mode, suffix):
    grey = Image.fromarray((radiograph // 16).astype(np.uint8))
    picture = grey.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE) if mode == "P" else grey.convert(mode)
    if mode == "RGBA":
        picture.putalpha(Image.new("L", picture.size, 3))  # transparency says nothing about the picture
    picture.save(tmp_path / f"a.{suffix}")
    decoded = decode_file(tmp_path / f"a.{suffix}", SPEC).pixels
    tolerance = 4 if suffix == "jpg" or mode == "P" else 1
    assert np.abs(decoded - area_mean(np.asarray(grey), 16)).max() <= tolerance


def test_sixteen_bit_png_is_scaled_as_a_dicom(tmp_path, write_dicom, radiograph):
    Image.fromarray(radiograph).save(tmp_path / "a.png")
    expected = decode_file(write_dicom(tmp_path / "a.dcm", radiograph), SPEC).pixels
    assert np.array_equal(decode_file(tmp_path / "a.png", SPEC).pixels, expected)


def test_resize_leaves_a_picture_of_the_right_size_alone():
    picture = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(resize(picture, 16), picture)


def test_only_the_view_position_leaves_the_header(tmp_path, write_dicom, radiograph):
    known = write_dicom(tmp_path / "a.dcm", radiograph, {"ViewPosition": "PA", "BurnedInAnnotation": "YES"})
    decoded = decode_file(known, SPEC)
    assert (decoded.view_position, decoded.burned_in) == ("PA", True)
    private = write_dicom(tmp_path / "b.dcm", radiograph, {"ViewPosition": "CANARY TOKEN"})
    assert decode_file(private, SPEC).view_position is None


REFUSED = {
    "constant": ("pixels", "same value", np.full((60, 48), 7, np.uint16), {}),
    "multi-frame": ("policy", "one frame", None, {"NumberOfFrames": 2, "Rows": 30}),
    "modality": ("policy", "modality", None, {"Modality": "CT"}),
    "too large": ("policy", "pixels are declared", None, {"Rows": 65535, "Columns": 65535}),
    "short": ("decode", "cut short", None, {"Rows": 61}),
    "no rows": ("header", "rows or columns", None, {"Rows": None}),
    "no pixels": ("header", "no pixel data", None, {"PixelData": None}),
    "no photometric": ("header", "photometric", None, {"PhotometricInterpretation": None}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_dicom_names_what_is_wrong(tmp_path, write_dicom, radiograph, name):
    stage, reason, array, elements = REFUSED[name]
    path = write_dicom(tmp_path / "a.dcm", radiograph if array is None else array, elements)
    with pytest.raises(PixelError, match=reason) as caught:
        decode_file(path, PixelSpec(16, modalities=("CR", "DX")))
    assert caught.value.stage == stage


def test_files_that_are_no_pictures_are_refused(tmp_path):
    cases = {"empty.png": b"", "text.png": b"hello", "cut.png": None, "gif.gif": b"GIF89a" + bytes(100)}
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(buffer, "PNG")
    cases["cut.png"] = buffer.getvalue()[:1000]
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PixelError):
            decode_file(tmp_path / name, SPEC)
    with pytest.raises(PixelError, match="absent"):
        decode_file(tmp_path / "nowhere.png", SPEC)


@pytest.mark.parametrize("arguments", [(4,), (16, "hist")])
def test_a_wrong_pixel_spec_is_refused(arguments):
    with pytest.raises(ValueError, match="allowed"):
        PixelSpec(*arguments)


@pytest.mark.parametrize("name", ["RLELossless", "JPEG2000Lossless"])
def test_lossless_codecs_give_the_bytes_of_the_uncompressed_file(tmp_path, write_dicom, radiograph, name):
    path = write_dicom(tmp_path / "a.dcm", radiograph)
    dataset = pydicom.dcmread(path)
    dataset.compress(getattr(pydicom.uid, name))
    dataset.save_as(tmp_path / "b.dcm")
    assert np.array_equal(decode_file(tmp_path / "b.dcm", SPEC).pixels, decode_file(path, SPEC).pixels)


@pytest.mark.parametrize("name", ["ImplicitVRLittleEndian", "ExplicitVRBigEndian", "DeflatedExplicitVRLittleEndian"])
def test_every_uncompressed_transfer_syntax_gives_the_same_bytes(tmp_path, write_dicom, radiograph, name):
    plain = write_dicom(tmp_path / "a.dcm", radiograph)
    other = write_dicom(tmp_path / "b.dcm", radiograph, syntax=getattr(pydicom.uid, name))
    assert np.array_equal(decode_file(other, SPEC).pixels, decode_file(plain, SPEC).pixels)
