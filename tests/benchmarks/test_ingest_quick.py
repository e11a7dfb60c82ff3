"""Does the benchmark of the ingest run, and print what every benchmark prints?"""

import json

import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from benchmarks.ingest import apart, box_sums, least_work, main, one_channel_peers, plain_script, radiograph, write
from datasets_io.pixels.decode import decode_file
from datasets_io.pixels.grey import PixelSpec

FIELDS = {"benchmark", "figure", "unit", "ours", "peer", "peer_name", "speedup", "limit", "limit_name", "of_limit"}
ENCODINGS = ("jpeg_lossless", "jpeg_12_bit_lossy", "jpeg_ls", "jpeg_2000", "htj2k", "rle")


def test_quick(capsys):
    assert main(["--quick"]) == 0
    printed = capsys.readouterr()
    rows = {figure["figure"]: figure for figure in map(json.loads, printed.out.splitlines())}
    assert all(set(figure) == FIELDS and figure["benchmark"] == "ingest" for figure in rows.values())
    plain = rows["uncompressed_382x318"]
    assert plain["speedup"] == pytest.approx(plain["ours"] / plain["peer"])
    assert plain["of_limit"] == pytest.approx(min(1, plain["ours"] / plain["limit"]))
    assert rows["uncompressed_382x318_in_its_own_process"]["ours"] > 0
    assert 0 <= rows["uncompressed_382x318_from_reference"]["ours"] <= 1
    assert all(rows[f"{name}_382x318"]["limit"] > 0 for name in ENCODINGS)
    assert rows["jpeg_lossless_382x318"]["peer_name"].startswith("pydicom with ")
    for name in ("png_127x127", "jpg_382x318"):
        peers = {peer: rows[f"{name}_by_{peer.lower()}"] for peer in ("Pillow", "OpenCV", "torchvision")}
        assert all(line["peer"] > 0 and line["peer_name"] == f"{peer}, grey" for peer, line in peers.items())
        assert len({line["ours"] for line in peers.values()}) == 1, "one run of ours beside all"
    memory = rows["peak_memory_of_20_images"]
    assert 50 < memory["ours"] < 2048 and 50 < memory["peer"] < 2048
    assert len(printed.err.splitlines()) == len(rows) + 1


def test_the_sides_make_the_same_picture_or_what_they_say(tmp_path):
    picture = radiograph(448, 336)
    path = write(tmp_path / "a.dcm", picture, uid.ExplicitVRLittleEndian)
    ours = decode_file(path, PixelSpec(224)).pixels
    assert np.abs(ours.astype(int) - plain_script(path)).max() <= 2  # the script cuts the fractions off, twice
    boxes = least_work(path, 448, 336)()
    assert boxes.sum() == picture.sum() and boxes.shape == (224, 224)
    edges = np.arange(225) * 2
    square = picture[:448, :336].repeat(2, axis=1)[:, :448]
    assert np.array_equal(box_sums(square, edges, edges), square.reshape(224, 2, 224, 2).sum(axis=(1, 3)))


def test_peers_of_one_channel_show_the_same_picture(tmp_path):
    Image.fromarray((radiograph(448, 448) >> 4).astype(np.uint8)).save(tmp_path / "a.png")
    ours = decode_file(tmp_path / "a.png", PixelSpec(224)).pixels.astype(int)
    for name, read in one_channel_peers(tmp_path / "a.png").items():
        assert np.abs(np.asarray(read()).reshape(224, 224) - ours).mean() < 3, name


def test_a_picture_too_far_from_the_reference_fails_the_benchmark():
    picture = radiograph(300, 300)
    with pytest.raises(ArithmeticError, match="grey levels from the reference"):
        apart(picture, np.zeros((224, 224), np.uint8))
