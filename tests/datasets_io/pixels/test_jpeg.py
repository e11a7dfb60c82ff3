"""JPEG: Pillow's pixels of what is whole, and nothing of what is not."""

import io

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from datasets_io.pixels.grey import PixelError
from datasets_io.pixels.jpeg import check_scans, decode_jpeg
from datasets_io.pixels.jpeg_markers import read_markers
from datasets_io.pixels.jpeg_scan import holds_its_picture, zeros_are_flat

CUT, DAMAGED = "has no end: the file is cut short", "are not those of one picture"


def film(rows: int = 203, columns: int = 157) -> np.ndarray:
    """uint8: tissue with grain, black to the left and below; sides that are no multiples of 8."""
    y, x = np.mgrid[0:rows, 0:columns] / np.float32(rows)
    grey = 130 + 90 * np.sin(9 * x) * np.cos(7 * y) + 5 * np.random.default_rng(0).standard_normal(y.shape)
    grey[-rows // 3 :], grey[:, : columns // 5] = 0, 0
    return np.clip(grey, 0, 255).astype(np.uint8)


GREY = film()
COLOURS = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], -1)
OPTIONS = {
    "plain": {},
    "own tables": {"optimize": True},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_blocks": 7},
    "progressive, restart markers": {"progressive": True, "restart_marker_rows": 1},
    "not subsampled": {"subsampling": 0},
}


def jpeg(picture: np.ndarray | Image.Image = GREY, quality: int = 95, **options: object) -> bytes:
    sink = io.BytesIO()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(sink, "JPEG", quality=quality, **options)
    return sink.getvalue()


def reason(data: bytes) -> str:
    with pytest.raises(PixelError) as caught:
        decode_jpeg(data)
    assert caught.value.stage == "decode"
    return caught.value.reason


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_a_whole_jpeg_has_the_pixels_of_pillow(mode, options):
    for quality in (40, 75, 90, 95, 100):
        data = jpeg(Image.fromarray(COLOURS).convert(mode), quality, **options)
        expected = Image.open(io.BytesIO(data)).convert("L")
        assert np.array_equal(decode_jpeg(data)[0], np.asarray(expected)), quality


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_every_kind_of_scan_is_followed_to_its_last_bit(mode, options):
    """The whole picture is black too, where codes are zeros: an exact count takes it, and no byte more or less."""
    for picture in (COLOURS, np.zeros_like(COLOURS)):
        for quality in (75, 100):
            data = jpeg(Image.fromarray(picture).convert(mode), quality, **options)
            stream, coded = read_markers(data), np.frombuffer(data, np.uint8)
            assert holds_its_picture(stream.frame, stream.scans, coded, 0)
            last = stream.scans[-1].stop
            longer = data[:last] + b"\0\0" + data[last:]
            more = read_markers(longer)
            assert not holds_its_picture(more.frame, more.scans, np.frombuffer(longer, np.uint8), 0)
            assert holds_its_picture(more.frame, more.scans, np.frombuffer(longer, np.uint8), 2)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_lossless_and_12_bit_streams_are_followed_too(bits):
    picture = GREY if bits == 8 else GREY.astype(np.uint16) << bits - 8
    streams = [imagecodecs.ljpeg_encode(picture, bitspersample=bits)]
    streams += [imagecodecs.jpeg8_encode(picture, lossless=True, predictor=4, bitspersample=bits)]
    streams += [imagecodecs.jpeg8_encode(picture, level=90, bitspersample=12)] if bits == 12 else []
    for data in streams:
        stream, coded = read_markers(data), np.frombuffer(data, np.uint8)
        assert holds_its_picture(stream.frame, stream.scans, coded, 0)
        check_scans(stream, data)
        middle = (stream.scans[0].start + stream.scans[0].stop) // 2
        holed = data[:middle] + bytes(64) + data[middle + 64 :]
        with pytest.raises(PixelError, match=DAMAGED):
            check_scans(read_markers(holed), holed)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("quality", [75, 95, 100])
def test_what_is_cut_or_zeros_from_anywhere_is_refused(quality, options):
    data = jpeg(GREY, quality, **options)
    for place in [3, 30, *range(200, len(data) - 2, len(data) // 40)]:
        assert reason(data[:place])
        assert reason(data[:place] + bytes(len(data) - place))
    start = read_markers(data).scans[-1].start
    assert CUT in reason(data[: start + 50]) and CUT in reason(data[:-2])
    assert CUT in reason(data[: start + 50] + bytes(1000)) and CUT in reason(data[:-1] + b"\0")


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_zeros_in_the_middle_are_refused(options):
    for quality in (75, 95):
        data = jpeg(GREY, quality, **options)
        for start in range(100, len(data) - 700, len(data) // 23):
            assert reason(data[:start] + bytes(512) + data[start + 512 :])


@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}])
def test_a_scan_that_ends_early_is_refused_though_the_end_marker_is_there(options):
    """And one with more in it than the picture: libjpeg would fill up, or skip, and say nothing."""
    data = jpeg(COLOURS, 95, **options)
    scan = read_markers(data).scans[-1]
    length = scan.stop - scan.start
    for share in (0.1, 0.5, 0.9):
        place = scan.start + int(share * length)
        place += data[place - 1] == 0xFF  # between two codes of the stream, not in one
        assert DAMAGED in reason(data[:place] + data[scan.stop :])
        assert DAMAGED in reason(data[:place] + data[place - 100 : place] + data[place : scan.stop] + data[scan.stop :])


def test_a_few_bytes_behind_a_scan_and_anything_behind_the_end_are_no_damage():
    for options in ({}, {"progressive": True}):
        data = jpeg(GREY[:130, 40:], 100, **options)
        picture = decode_jpeg(data)[0]
        for odd in (data[:-2] + b"\0\0\xff\xd9", data[:-2] + b"\xff\xff\xff\xd9", data + bytes(5000), data + data):
            assert np.array_equal(decode_jpeg(odd)[0], picture)


def test_lost_restart_markers_are_refused():
    data = jpeg(GREY, 75, restart_marker_blocks=7)
    marks = read_markers(data).scans[0].restarts
    assert len(marks) > 9 and reason(data[: marks[1]] + data[marks[3] :])
    assert "lacks a restart marker" in reason(data[: marks[1]] + data[marks[2] :])


def test_black_areas_are_taken_whose_codes_are_zeros():
    """With code tables of its own, black is coded in zeros: as many as a part that was never copied has."""
    black = np.zeros((800, 800), np.uint8)
    black[:8] = np.random.default_rng(0).integers(0, 256, (8, 800), dtype=np.uint8)
    data = jpeg(np.stack([black] * 3, -1), 75, optimize=True, subsampling=0)
    stream = read_markers(data)
    zeros = data.find(bytes(64), stream.scans[0].start)
    assert zeros > 0 and zeros_are_flat(stream.frame, stream.scans)
    assert np.array_equal(np.asarray(decode_jpeg(data)[0])[200:], black[200:])
    assert DAMAGED in reason(data[: zeros + 10] + data[zeros + 20 :])


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def test_metadata_of_any_size_and_kind_costs_no_picture():
    data = jpeg(GREY, 90)
    picture, _ = decode_jpeg(data)
    profile = b"ICC_PROFILE\0"
    broken_exif = b"Exif\0\0MM\0*" + b"\xff" * 200
    for more in (
        segment(0xE2, profile + b"\1\7" + bytes(65000)) * 40,
        segment(0xE1, broken_exif),
        segment(0xE1, b"Exif\0\0" + bytes(65000)) * 3,
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"<x" * 30000),
        segment(0xFE, b"words" * 10000) * 100,
        segment(0xE2, b"MPF\0II*\0\x08\0\0\0" + bytes(range(256))),
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM" * 5000),
        segment(0xE1, b"Exif\0\0" + data[:60000]),  # a preview, with an end marker of its own
    ):
        assert np.array_equal(decode_jpeg(data[:2] + more + data[2:])[0], picture)
        assert CUT in reason((data[:2] + more + data[2:])[:-2])


def test_the_first_picture_of_several_is_the_one_that_viewers_show(tmp_path):
    sink = io.BytesIO()
    Image.fromarray(GREY).save(sink, "MPO", save_all=True, append_images=[Image.fromarray(255 - GREY)], quality=95)
    assert np.array_equal(decode_jpeg(sink.getvalue())[0], decode_jpeg(jpeg(GREY, 95))[0])


def test_what_is_no_jpeg_inside_is_refused():
    data = jpeg(GREY, 75)
    scan = read_markers(data).scans[0]
    assert "no picture" in reason(b"\xff\xd8\xff\xd9")
    assert "begin" in reason(b"\xff\xd9" + data[2:])
    frame = data.index(b"\xff\xc0")
    assert "two frames" in reason(data[:frame] + data[frame : frame + 13] + data[frame:])
    assert "scan that JPEG does not have" in reason(data[:frame] + data[frame + 13 :])
    components = scan.start - 5
    assert "colour that it lacks" in reason(data[:components] + b"\x09" + data[components + 1 :])
    with pytest.raises(PixelError, match="pixels are declared"):
        decode_jpeg(data[: frame + 5] + b"\xff\xff\xff\xff" + data[frame + 9 :])
