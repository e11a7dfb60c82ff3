"""Are images read, or named, that lie behind links, under other endings, or beside an empty folder?"""

import os
from pathlib import Path

import pytest

from datasets_io.build import BuildSpec
from datasets_io.build.checks import check_archive
from datasets_io.schema import ArchiveError
from datasets_io.sources import nih_cxr14
from datasets_io.sources.nih_cxr14 import NihOptions
from datasets_io.sources.registry import get_source
from tests.datasets_io.sources.made_up_boxed import MADE_UP, siim_id
from tests.datasets_io.sources.test_elsewhere import write_nih


def made_up(layout: str, raw: Path) -> Path:
    MADE_UP[layout][1](raw, "whole")
    return raw


def there(name: str, raw: Path) -> int:
    """Of the listed images those that are there; no link may lead out of the archive to one."""
    source = get_source(name)
    return sum((raw / record.path).is_file() for record in source.read_records(raw, source.options()))


# -- SIIM ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".DCM", ".png", ".Jpg", ".dicom"])
@pytest.mark.parametrize("first", [0, 6])
def test_images_of_siim_that_are_there_as_other_files_are_named(suffix, first, tmp_path):
    """Some of them, beside others that are as they should be; the first of the list may be one or be lost."""
    raw = made_up("siim_pneumothorax", tmp_path)
    images = sorted(raw.rglob("*.dcm"), key=lambda path: int(path.stem.split(".")[9]))
    assert images[0].stem == siim_id(0)
    for number, path in enumerate(images[first : first + 10]):
        path.unlink() if number == 0 else path.rename(path.with_suffix(suffix))
    kind = {".png": ", a PNG, which is not read in", ".Jpg": ", a JPEG, which is not read in"}
    said = rf"10 of 20 listed images .*\{suffix} is there{kind.get(suffix, ': name files as the archive lists them')}"
    with pytest.raises(ArchiveError, match=said):
        check_archive(BuildSpec("siim_pneumothorax"), raw)
    assert there("siim_pneumothorax", raw) == 10


def test_folders_of_siim_that_are_links_within_the_archive_are_read(tmp_path):
    raw = made_up("siim_pneumothorax", tmp_path / "raw")
    (raw / "moved").mkdir()
    for folder in sorted((raw / "dicom-images-train").iterdir()):
        folder.rename(raw / "moved" / folder.name)
        folder.symlink_to(raw / "moved" / folder.name)
    assert there("siim_pneumothorax", raw) == 20
    check_archive(BuildSpec("siim_pneumothorax"), raw)
    # A series alone, by a link that is relative.
    series = raw / "dicom-images-test" / "study16" / "series16"
    series.rename(raw / "moved" / "series16")
    series.symlink_to("../../moved/series16")
    check_archive(BuildSpec("siim_pneumothorax"), raw)


def test_links_of_siim_in_a_circle_or_to_what_is_walked_anyway_change_nothing(tmp_path):
    raw = made_up("siim_pneumothorax", tmp_path / "raw")
    source = get_source("siim_pneumothorax")
    before = list(source.read_records(raw, source.options()))
    train = raw / "dicom-images-train"
    for name, target in (("a", raw), ("b", train), ("c", train / "study3"), ("d", "."), ("e", raw / "none")):
        (train / name).symlink_to(target)
    (raw / "circle" / "inner").mkdir(parents=True)
    (raw / "circle" / "inner" / "up").symlink_to(raw / "circle")
    (train / "f").symlink_to(raw / "circle" / "inner")
    assert list(source.read_records(raw, source.options())) == before
    # One study by two links, of which one leads to the folder around it: one file, so no image is there twice.
    (train / "study3").rename(raw / "circle" / "study3")
    (train / "study3").symlink_to(raw / "circle" / "study3")
    assert there("siim_pneumothorax", raw) == 20


def test_folders_of_siim_that_are_links_out_of_the_archive_are_not_read(tmp_path):
    raw = made_up("siim_pneumothorax", tmp_path / "raw")
    study = raw / "dicom-images-train" / "study3"
    study.rename(tmp_path / "study3")
    study.symlink_to(tmp_path / "study3")
    assert there("siim_pneumothorax", raw) == 19


# -- an empty folder -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stray", [None, ".DS_Store"])
def test_images_of_chexlocalize_beside_an_empty_folder_are_found(stray, tmp_path):
    raw = made_up("chexlocalize", tmp_path)
    os.rename(raw / "CheXpert" / "val", raw / "CheXpert" / "valid")
    (raw / "CheXpert" / "val").mkdir()
    if stray:
        (raw / "CheXpert" / "val" / stray).touch()
    assert there("chexlocalize", raw) == 15
    check_archive(BuildSpec("chexlocalize"), raw)


def test_labels_of_chexlocalize_in_a_folder_of_their_name_have_their_images_beside_it(tmp_path):
    raw = made_up("chexlocalize", tmp_path)
    table = raw / "CheXpert" / "val_labels.csv"
    table.rename(raw / "table")
    table.mkdir()
    (raw / "table").rename(table / table.name)
    assert there("chexlocalize", raw) == 15


@pytest.mark.parametrize("stray", [None, "Thumbs.db"])
def test_a_copy_of_nihs_images_beside_an_empty_folder_is_read(stray, tmp_path):
    raw = write_nih(tmp_path / "raw", "images-224/images-224")
    (raw / "images").mkdir()
    if stray:
        (raw / "images" / stray).touch()
    assert there("nih_cxr14", raw) == 8
    assert nih_cxr14.notes(raw, NihOptions()) == ["images are those of images-224/images-224/"]
