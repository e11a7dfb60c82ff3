"""The exact integer shrink against Pillow's filter, over sizes, depths, signs and polarities."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datasets_io.pixels import shrink
from datasets_io.pixels.decode import decode_file
from datasets_io.pixels.dicom import _mapped
from datasets_io.pixels.grey import PixelSpec, to_bytes


def pillows(values: np.ndarray, size: int) -> np.ndarray:
    """Pillow's antialiased resize in float32 of values scaled to 0..255 in float64, before any rounding."""
    low, high = int(values.min()), int(values.max())
    scaled = (values.astype(np.float64) - low) / (high - low) * 255
    return np.asarray(Image.fromarray(scaled.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR))


def drawn(rows: int, columns: int, bits: int, seed: int, smooth: bool) -> np.ndarray:
    """A picture of unsigned values of so many bits that has its extremes somewhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:rows, 0:columns]
    wave = 0.5 + 0.5 * np.sin(y / 7 + seed) * np.cos(x / 5) if smooth else rng.random((rows, columns))
    picture = np.rint(wave * (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
    picture[rng.integers(rows), rng.integers(columns)] ^= 1
    return picture


pictures = st.builds(
    drawn, st.integers(8, 400), st.integers(8, 400), st.integers(2, 16), st.integers(0, 2**32 - 1), st.booleans()
)


@settings(max_examples=150, deadline=None)
@given(picture=pictures, size=st.integers(8, 96))
def test_every_picture_is_within_one_grey_level_of_pillows(picture, size):
    """Half a level of rounding and half a level of the weights' rounding: to one level against any rounded resize."""
    small = to_bytes(picture, PixelSpec(size))
    assert np.abs(small - pillows(picture, size)).max() <= 0.76
    assert np.abs(small.astype(int) - np.rint(pillows(picture, size))).max() <= 1


@settings(max_examples=100, deadline=None)
@given(picture=pictures, size=st.integers(8, 64), share=st.floats(0, 1))
def test_negatives_and_signed_values_give_equal_bytes(picture, size, share):
    spec, width = PixelSpec(size), 8 * picture.dtype.itemsize
    expected = to_bytes(picture, spec)
    assert np.array_equal(to_bytes(picture.dtype.type(2**width - 1) - picture, spec, inverted=True), expected)
    lowest, highest = -int(picture.min()) - 2 ** (width - 1), 2 ** (width - 1) - 1 - int(picture.max())
    signed = picture.astype(np.int32) + round(lowest + share * (highest - lowest))
    assert np.array_equal(to_bytes(signed.astype(f"i{width // 8}"), spec), expected)


@settings(max_examples=50, deadline=None)
@given(picture=pictures, dirt=st.integers(0, 2**16 - 1))
def test_bits_above_those_stored_do_not_count(picture, dirt):
    bits, size = int(picture.max()).bit_length(), 64
    dirty = picture | (np.full_like(picture, dirt & (2 ** (8 * picture.itemsize) - 1)) >> bits << bits)
    sums, low, high = shrink.shrink_sums(dirty, size, signed=False, bits=bits)
    assert np.array_equal(sums, shrink.shrink_sums(picture, size, signed=False, bits=bits)[0])
    assert (low, high) == (picture.min(), picture.max())


def test_the_largest_values_do_not_overflow():
    picture = np.full((300, 200), 65535, np.uint16)
    picture[0, 0] = 0
    sums, low, high = shrink.shrink_sums(picture, 16, signed=False, bits=16)
    assert (low, high) == (0, 65535) and sums[-1, -1] == 65535 << 32


def test_weights_sum_to_one_whatever_the_lengths():
    for length, size in [(3056, 224), (2544, 224), (224, 224), (100, 224), (9, 8), (504, 8), (4301, 512)]:
        first, count, weights = shrink.taps(length, size)
        assert (weights.sum(axis=1) == 2**16).all()
        assert first[0] == 0 and (first + count)[-1] == length and (np.diff(first) >= 0).all()
        assert (first[1:] <= (first + count)[:-1]).all(), "a source pixel is not seen: smallest and largest need all"


def test_taps_begin_and_end_where_pillows_do_and_are_filled_up_to_eights():
    """Pillow's int(centre - support + 0.5) and int(centre + support + 0.5), centres being (i + 1/2) x scale."""
    halved = shrink.taps(10, 5)  # scale and support 2, centres 1, 3, 5, 7, 9
    assert halved.first.tolist() == [0, 1, 3, 5, 7] and (halved.first + halved.counts).tolist() == [3, 5, 7, 9, 10]
    assert halved.weights.shape == (5, 8)
    # |place + 1/2 - centre| is 1.5, 0.5, 0.5, 1.5 of the four pixels: weights 1/8, 3/8, 3/8, 1/8 of 2^16.
    assert halved.weights[1].tolist() == [8192, 24576, 24576, 8192, 0, 0, 0, 0]
    for length, size in [(32, 8), (33, 8), (36, 8), (3056, 224), (100, 224)]:
        first, counts, weights = shrink.taps(length, size)
        assert weights.shape[1] % 8 == 0 and 0 <= weights.shape[1] - counts.max() < 8
        scale = length / size
        centre, support = (np.arange(size) + 0.5) * scale, max(scale, 1.0)
        assert first.tolist() == [max(0, int(c - support + 0.5)) for c in centre]
        assert (first + counts).tolist() == [min(length, int(c + support + 0.5)) for c in centre]
    assert shrink.taps(32, 8).counts.max() == 8 == shrink.taps(32, 8).weights.shape[1]


def test_a_picture_fits_up_to_63_times_the_size():
    """Twice 63 source pixels and two more are 128 taps."""
    for rows, columns in ((630, 5), (5, 630)):
        assert shrink.fits(rows, columns, 10)
    for rows, columns in ((631, 5), (5, 631)):
        assert not shrink.fits(rows, columns, 10)
    with pytest.raises(TypeError):
        shrink.shrink_sums(np.zeros((8, 8), np.uint8), 8, False, 8)


def test_thin_pictures_that_the_integers_do_not_reach_are_shrunk_too():
    strip = drawn(12, 9000, 12, 3, True)
    assert not shrink.fits(*strip.shape, 64)
    assert np.abs(to_bytes(strip, PixelSpec(64)) - pillows(strip, 64)).max() <= 0.51


@pytest.mark.parametrize(
    "elements", [{}, {"PhotometricInterpretation": "MONOCHROME1"}, {"BitsStored": 11, "HighBit": 10}]
)
@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.int16])
def test_a_mapped_file_gives_the_bytes_of_a_file_that_is_read(tmp_path, write_dicom, kind, elements):
    """Bytes after the pixels, legal padding, make the file one that is read as a whole and decoded by pydicom."""
    if kind in (np.uint8, np.int8) and "BitsStored" in elements:
        elements = {"BitsStored": 6, "HighBit": 5}
    picture = np.random.default_rng(1).integers(np.iinfo(kind).min, np.iinfo(kind).max, (90, 70), kind, endpoint=True)
    mapped = write_dicom(tmp_path / "a.dcm", picture, elements)
    read = write_dicom(tmp_path / "b.dcm", picture, {**elements, "DataSetTrailingPadding": bytes(8)})
    assert [is_mapped(mapped), is_mapped(read)] == [True, False]
    assert np.array_equal(decode_file(mapped, PixelSpec(16)).pixels, decode_file(read, PixelSpec(16)).pixels)


def is_mapped(path: Path) -> bool:
    with open(path, "rb") as stream:
        dataset = pydicom.dcmread(stream, stop_before_pixels=True)
        stream.seek(4, 1)
        return _mapped(stream, dataset, PixelSpec(16)) is not None


def test_without_a_folder_to_keep_it_in_the_kernel_is_compiled_all_the_same(tmp_path):
    """As in a read-only installation and for a user without a home."""
    code = "import numpy as np; from datasets_io.pixels.shrink import shrink_sums as s;"
    code += "print(s(np.eye(20, dtype=np.uint8), 10, signed=False, bits=8)[1:])"
    source = tmp_path / "datasets_io" / "pixels"
    source.mkdir(parents=True)
    shutil.copy(shrink.__file__, source)
    shutil.copy(Path(shrink.__file__).parents[1] / "compiled.py", source.parent)
    (source / "__pycache__").write_text("not a folder")
    environment = {"PYTHONPATH": str(tmp_path), "HOME": "/proc/none", "XDG_CACHE_HOME": "/proc/none"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "(0, 1)", done.stderr
