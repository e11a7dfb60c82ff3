"""Masks: those of earlier versions where a mask is whole and white on black, else a reason, whatever the file has."""

import io
import time
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from datasets_io.pixels.grey import PixelError
from datasets_io.pixels.mask import MAX_RUNS, check_mask_file, decode_mask
from datasets_io.sources.regions import mask_region
from tests.datasets_io.pixels.test_png import GREY, SIGNATURE, chunk, png

LUNG = np.zeros((60, 50), bool)
LUNG[10:40, 5:20] = True
LUNG[25:50, 12:30] = True


def saved(picture: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    sink = io.BytesIO()
    (Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture).save(sink, kind, **options)
    return sink.getvalue()


def reason(data: bytes) -> str:
    with pytest.raises(PixelError) as caught:
        decode_mask(data)
    return caught.value.reason


def earlier(data: bytes) -> np.ndarray:
    """As all versions before this one read a mask."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("L")) > 127


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_a_whole_mask_is_that_of_earlier_versions(mode):
    grey = Image.fromarray(LUNG.astype(np.uint8) * 255)
    soft = grey.resize((100, 130), Image.Resampling.BILINEAR)  # a border of greys, as drawing programs leave it
    for picture in (grey, soft, Image.new("L", (9, 9), 0), Image.new("L", (9, 9), 255)):
        values = np.asarray(picture)
        data = saved(values.astype(np.uint16) * 257 if mode == "I;16" else picture.convert(mode))
        np.testing.assert_array_equal(decode_mask(data), earlier(data))
    low = saved(np.asarray(grey).astype(np.uint16))  # 0 and 255 in 16 bits
    np.testing.assert_array_equal(decode_mask(low), LUNG)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_turned_as_its_own_exif_says_like_a_picture(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(LUNG.astype(np.uint8) * 255, exif=exif)
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(decode_mask(data), np.asarray(shown) > 127)
    assert check_mask_file(data) == orientation


def test_what_says_nothing_of_the_pixels_is_passed_over():
    profile = saved(LUNG.astype(np.uint8) * 255, icc_profile=b"\0" * ((1 << 20) + 64))
    np.testing.assert_array_equal(decode_mask(profile), LUNG)


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_no_damaged_mask_is_taken(level):
    y, x = np.mgrid[0:200, 0:200]
    mask = ((x - 70) / 40) ** 2 + ((y - 100) / 70) ** 2 < 1 + 0.1 * np.sin(y / 7)
    whole = saved(mask.astype(np.uint8) * 255, compress_level=level)
    np.testing.assert_array_equal(decode_mask(whole), mask)
    for place in np.linspace(0, len(whole) - 13, 40).astype(int):
        flipped = bytearray(whole)
        flipped[place] ^= 0x10
        for bad in (whole[:place], whole[:place] + bytes(len(whole) - place), bytes(flipped)):
            assert reason(bad)
            with pytest.raises(PixelError):
                check_mask_file(bad)  # and without unpacking a pixel


@pytest.mark.parametrize("kind", ["TIFF", "BMP", "GIF", "JPEG", "PPM", "EPS"])
def test_a_mask_in_another_format_reaches_no_decoder(kind):
    assert reason(saved(LUNG.astype(np.uint8) * 255, kind)) == "the file is no PNG"


def test_a_mask_whose_values_are_labels_is_refused_with_its_values():
    assert reason(saved(LUNG.astype(np.uint8))).startswith("its greys are 0, 1 of 255")
    labels = np.arange(100, dtype=np.uint8).reshape(10, 10)
    assert reason(saved(labels)).startswith("its greys are 0, 1, 2, 3, 4, ... of 255")
    red = Image.fromarray(LUNG.astype(np.uint8)).convert("P")
    red.putpalette([0, 0, 0, 255, 0, 0] + [0] * 762)
    assert reason(saved(red)).startswith("its greys are 0, 76 of 255")


@pytest.mark.parametrize("colour", [0, 255])
def test_a_mask_in_the_transparency_is_no_picture_that_is_all_inside(colour):
    values = np.full((*LUNG.shape, 4), colour, np.uint8)
    values[:, :, 3] = LUNG * 255
    assert reason(saved(values)).startswith("it is drawn in its transparency")
    values[:, :, 3] = 255
    assert decode_mask(saved(values)).all() == (colour == 255)


def test_a_checkerboard_and_a_huge_mask_are_refused_at_once():
    board = np.add.outer(np.arange(800, dtype=np.uint8), np.arange(800, dtype=np.uint8)) % 2 * np.uint8(255)
    for runs in (board, np.tile(np.array([[0, 255]], np.uint8), 320_000)):  # the second is one row
        assert reason(saved(runs)) == f"it has more than {MAX_RUNS:,} runs: it is no place that somebody drew"
    header = b"\0\0\x32\xc8\0\0\x32\xc8\x01\0\0\0\0"  # 13,000 x 13,000, of which no pixel is unpacked
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start = time.process_time()
        huge = SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        assert reason(huge) == "more than 36,000,000 pixels are declared"
        assert time.process_time() - start < 1


def test_a_mask_with_too_few_pixels_is_refused():
    assert "too few" in reason(png(np.zeros((9, 9, 1), np.uint8), GREY, packed=zlib.compress(bytes(50))))


def test_as_many_runs_as_are_taken_become_text_in_a_moment():
    stripes = np.zeros((1024, 512), bool)
    stripes[::4] = True  # 262,144 runs
    start = time.process_time()
    region = mask_region("a", "lungs", decode_mask(saved(stripes.astype(np.uint8) * 255)))
    assert region is not None and time.process_time() - start < 5
