"""Are boxes and masks kept for the images of a corpus: as shares, cut off at the border, each one accounted for?"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.build.regions import REGIONS, UNTOLD, read_regions
from datasets_io.build.verify import verify
from datasets_io.corpus.manifest import MANIFEST
from datasets_io.sources import registry
from datasets_io.sources.regions import Region, mask_of, mask_region
from datasets_io.storage.files import Files

SPEC = BuildSpec("csv_images", 16)
MASK = np.zeros((20, 24), bool)
MASK[3:5, 7:12] = True


@pytest.fixture
def with_regions(monkeypatch):
    """Gives csv_images, whose images have 20 rows and 24 columns, the regions of a list."""

    def set_regions(*regions: Region) -> None:
        source = dataclasses.replace(registry.SOURCES["csv_images"], read_regions=lambda raw, options: iter(regions))
        monkeypatch.setitem(registry.SOURCES, "csv_images", source)

    return set_regions


def box(image: str, *sides: float, in_pixels: bool = True) -> Region:
    return Region(f"images/{image}.png", "mass", "box", "R1", *sides, in_pixels=in_pixels)


def test_regions_are_shares_of_their_image_and_all_are_counted(make_csv_archive, with_regions, tmp_path):
    raw, files = make_csv_archive(12, broken=(3,)), Files(str(tmp_path / "storage"))
    with_regions(
        box("0000", 6, 5, 12, 10),
        box("0001", -6, 15, 12, 10),
        box("0002", 0.5, 0.5, 0.25, 0.25, in_pixels=False),
        box("0003", 1, 1, 1, 1),
        box("9999", 1, 1, 1, 1),
        box("0004", 24, 0, 5, 5),
        mask_region("images/0005.png", "left_lung", MASK),
        mask_region("images/0005.png", "left_lung", MASK[:10]),
    )
    manifest = build(SPEC, raw, files, max_rejects=0.2)
    folder = data_folder(SPEC, raw)
    counts = dict(manifest.counts["regions"])
    assert len(counts.pop("sha256")) == 64
    assert counts == {
        "listed": 8,
        "kept": 5,
        "left_out": {"its image is not in the corpus": 2, "it lies outside of its image": 1},
        "images": 4,
        "findings": {"mass": {"box": 3, "mask": 0}, "left_lung": {"box": 0, "mask": 2}},
        "resized_masks": 1,
    }
    assert any("5 boxes and masks of 4 images are in regions.parquet; 2 left out" in note for note in manifest.notes)
    first, second, third, mask, _ = read_regions(files, folder)
    assert first == box("0000", 0.25, 0.25, 0.5, 0.5, in_pixels=False)
    assert second == box("0001", 0.0, 0.75, 0.25, 0.25, in_pixels=False)
    assert (third.left, third.width) == (0.5, 0.25)
    np.testing.assert_array_equal(mask_of(mask), MASK)
    assert verify(files, folder, manifest) == []
    files.write(f"{folder}/{REGIONS}", files.read(f"{folder}/{REGIONS}")[:-1] + b"x")
    assert verify(files, folder, manifest) == [
        f"regions.parquet is damaged (another sha256): remove {folder} and build again"
    ]


def turn(path: Path, orientation: int = 3) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = Image.open(path)
    picture.load()
    picture.save(path, exif=exif)


def test_regions_of_turned_images_are_left_out_unless_their_own_file_was_turned(
    make_csv_archive, with_regions, tmp_path
):
    raw, files = make_csv_archive(6), Files(str(tmp_path / "storage"))
    turn(raw / "images/0001.png")
    turn(raw / "images/0002.png", 6)
    turn(raw / "images/0003.png")
    own = dataclasses.replace(mask_region("images/0003.png", "left_lung", MASK), upright=True)
    with_regions(
        box("0000", 6, 5, 12, 10),
        box("0001", 6, 5, 12, 10),
        mask_region("images/0002.png", "left_lung", MASK),
        own,
        mask_region("images/0003.png", "right_lung", MASK),
    )
    manifest, folder = build(SPEC, raw, files), data_folder(SPEC, raw)
    counts = manifest.counts["regions"]
    assert (counts["listed"], counts["kept"], counts["turned"], counts["resized_masks"]) == (5, 2, 1, 0)
    assert counts["left_out"] == {UNTOLD: 3}
    assert any(f"3 left out: {UNTOLD} (such as mass of images/0001.png)" in note for note in manifest.notes)
    found = read_regions(files, folder)
    assert [(region.image_id, region.finding) for region in found] == [
        ("images/0000.png", "mass"),
        ("images/0003.png", "left_lung"),
    ]
    assert verify(files, folder, manifest) == []
    # A corpus from before: its manifest does not count them, and its masks are all as they lie in their files.
    earlier = {name: value for name, value in counts.items() if name != "turned"}
    older = dataclasses.replace(manifest, counts=manifest.counts | {"regions": earlier})
    files.write(f"{folder}/{MANIFEST}", older.to_json().encode())
    assert [region.image_id for region in read_regions(files, folder)] == ["images/0000.png"]


def test_a_source_without_regions_writes_what_it_wrote_before(make_csv_archive, with_regions, tmp_path):
    raw = make_csv_archive(6)
    plain = build(SPEC, raw, Files(str(tmp_path / "one")))
    with_regions()
    empty = build(SPEC, raw, Files(str(tmp_path / "two")))
    assert plain == empty and "regions" not in plain.counts
    assert not list(tmp_path.rglob(REGIONS))
