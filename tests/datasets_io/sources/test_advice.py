"""Does an error say what is wrong with an archive and what mends it: packed, private, other capitals, backslashes?"""

import os
import re
import shutil
from functools import partial
from pathlib import Path

import pytest

from datasets_io.build.checks import check_archive
from datasets_io.build.spec import BuildSpec
from datasets_io.schema import ArchiveError, NoImages
from datasets_io.sources.mimic_cxr import MimicOptions
from datasets_io.sources.reading.elsewhere import folders_with, moved_text, other_depth, other_spelling, packed_in
from datasets_io.sources.registry import get_source
from tests.datasets_io.sources.made_up import plus_row, write_plus
from tests.datasets_io.sources.made_up_boxed import MADE_UP

PLUS = [f"train/patient{number:05d}/study1/view1_frontal" for number in range(1, 5)]


def read(name: str, raw: Path) -> list:
    source = get_source(name)
    return list(source.read_records(raw, source.options()))


def notes(name: str, raw: Path) -> str:
    source = get_source(name)
    return "\n".join(source.notes(raw, source.options()))


def plus(raw: Path) -> Path:
    write_plus(raw, [plus_row(image) for image in PLUS], {image: {"Edema": 1.0} for image in PLUS})
    return raw


def made_up(layout: str, raw: Path) -> Path:
    MADE_UP[layout][1](raw, "whole")
    return raw


def replace(path: Path, pattern: str, by: str) -> None:
    text = path.read_text()
    assert re.search(pattern, text)
    path.write_text(re.sub(pattern, by, text))


@pytest.fixture
def close(monkeypatch):
    """close(folder): as if one without the right had called: root may look into every folder."""

    scandir = os.scandir

    def guarded(call, folder: Path, path=".", *more, **named):
        inside = not isinstance(path, int) and folder in (Path(path), *Path(path).parents)
        if inside and (call is scandir or Path(path) != folder):
            raise PermissionError(13, "Permission denied", str(path))
        return call(path, *more, **named)

    def close_folder(folder: Path) -> None:
        for name in ("stat", "scandir"):
            monkeypatch.setattr(os, name, partial(guarded, getattr(os, name), folder))

    return close_folder


# -- private folders -------------------------------------------------------------------------------------------


def test_a_private_folder_beside_the_one_that_is_given_does_not_hide_what_is_wrong_with_it(tmp_path, close):
    for name in ("CheXpert", "mine", "other"):
        (tmp_path / name).mkdir()
    close(tmp_path / "CheXpert")
    with pytest.raises(
        ArchiveError, match=r"mine has no CheXpert/test_labels.csv .*: is the archive copied in full\?$"
    ):
        get_source("chexlocalize").index_files(tmp_path / "mine", get_source("chexlocalize").options())


def test_no_look_for_an_archive_ends_in_a_folder_that_may_not_be_read(tmp_path, close):
    (tmp_path / "closed").mkdir()
    (tmp_path / "open").mkdir()
    close(tmp_path / "closed")
    assert folders_with(tmp_path, ["closed/a.csv"]) == folders_with(tmp_path / "open", ["closed/a.csv"]) == []
    assert moved_text(tmp_path, ["closed/a"]) == "" and packed_in(tmp_path, "closed/0.png") == []
    for look in (other_depth, other_spelling):
        assert look(tmp_path, "closed/0.png") is None and look(tmp_path, "open/closed/0.png") is None


def test_a_folder_of_siim_that_may_not_be_read_is_named(tmp_path, close):
    raw = made_up("siim_pneumothorax", tmp_path)
    close(raw / "dicom-images-train" / "study3")
    with pytest.raises(ArchiveError, match=r"dicom-images-train/study3 cannot be listed \(Permission denied\)"):
        read("siim_pneumothorax", raw)


# -- packed ----------------------------------------------------------------------------------------------------


def test_packed_images_of_siim_are_named(tmp_path):
    raw = made_up("siim_pneumothorax", tmp_path)
    for name in ("dicom-images-train", "dicom-images-test"):
        shutil.rmtree(raw / name)
    (raw / "dicom-images-train.zip").touch()
    with pytest.raises(NoImages, match=r"stage_2_images/: dicom-images-train\.zip is there: unpack it$"):
        read("siim_pneumothorax", raw)


def test_packed_images_in_the_folder_where_they_belong_are_named(tmp_path):
    raw = made_up("chexlocalize", tmp_path)
    for split in ("val", "test"):
        shutil.rmtree(raw / "CheXpert" / split)
        (raw / "CheXpert" / f"{split}.zip").touch()
    with pytest.raises(ArchiveError, match=r": CheXpert/test\.zip and 1 more packed files are there: unpack them, or"):
        check_archive(BuildSpec("chexlocalize"), raw)
    (raw / "all.zip").touch()
    assert packed_in(raw, "CheXpert/val/a.jpg") == ["CheXpert/test.zip", "CheXpert/val.zip"]
    assert packed_in(raw) == packed_in(raw, "CheXlocalize/0.json") == ["all.zip"]


def test_packed_labels_of_chexpert_plus_are_named(tmp_path):
    raw = plus(tmp_path)
    labels = raw / "chexbert_labels" / "impression_fixed.json"
    labels.unlink()
    (raw / "chexbert_labels.zip").touch()
    mend = "unpack chexbert_labels.zip"
    assert f"impression_fixed.json is missing: all labels are blank; {mend}" in notes("chexpert_plus", raw)


# -- other capitals, backslashes -------------------------------------------------------------------------------


def test_images_whose_endings_have_capitals_are_named(tmp_path):
    siim, chexpert_plus = made_up("siim_pneumothorax", tmp_path / "siim"), plus(tmp_path / "plus")
    for path in (*siim.rglob("*.dcm"), *chexpert_plus.rglob("*.png")):
        path.rename(path.with_suffix(path.suffix.upper()))
    mend = "write the endings in small letters$"
    with pytest.raises(ArchiveError, match=rf"no file \*\.dcm, but dicom-images-train/study0/.*\.DCM: {mend}"):
        read("siim_pneumothorax", siim)
    with pytest.raises(NoImages, match=rf"no image such as .*: PNG/train/patient\d+/.*\.PNG is there: {mend}"):
        read("chexpert_plus", chexpert_plus)


@pytest.mark.parametrize(
    ("source", "write", "table", "pattern", "column"),
    [
        ("chexpert_plus", plus, "df_chexpert_plus_240401.csv", "train/(patient00002)/study1/", "path_to_image"),
        (
            "chexpert_plus",
            plus,
            "chexbert_labels/impression_fixed.json",
            "train/(patient00002)/study1/",
            "path_to_image",
        ),
        (
            "chexlocalize",
            partial(made_up, "chexlocalize"),
            "CheXpert/test_labels.csv",
            "test/(patient64742)/study1/",
            "the column Path",
        ),
    ],
)
def test_backslashes_are_named_with_what_to_write(source, write, table, pattern, column, tmp_path):
    raw = write(tmp_path)
    slash = r"\\\\" if table.endswith("json") else r"\\"
    replace(raw / table, pattern, rf"train{slash}\1{slash}study1{slash}")
    mend = f", with slashes: write / for each \\ of {column}"
    with pytest.raises(ArchiveError, match=rf"line \d+: .* is not like .*{re.escape(mend)}$"):
        read(source, raw)


# -- columns and options ---------------------------------------------------------------------------------------


def test_a_missing_column_of_readers_is_named(tmp_path):
    raw = made_up("vindr_cxr", tmp_path)
    replace(raw / "annotations" / "image_labels_train.csv", r"(?m)^([^,]*),(rad_id|R\d+),", r"\1,")
    with pytest.raises(
        ArchiveError, match=r"line 3: image \w+ has two rows and no column rad_id tells of which reader"
    ):
        read("vindr_cxr", raw)
    raw = made_up("vindr_cxr", tmp_path)
    table = raw / "annotations" / "image_labels_test.csv"
    table.write_text(table.read_text() + table.read_text().splitlines()[1] + "\n")
    with pytest.raises(ArchiveError, match="two rows of one reader: keep one"):
        read("vindr_cxr", raw)


def test_a_finding_of_chexlocalize_under_both_of_its_names_is_refused(tmp_path):
    raw = made_up("chexlocalize", tmp_path)
    replace(raw / "CheXpert" / "test_labels.csv", "Lung Lesion", "Airspace Opacity")
    message = "test_labels.csv has columns 'Lung Opacity' and 'Airspace Opacity', both lung_opacity: keep one of them"
    with pytest.raises(ArchiveError, match=message):
        read("chexlocalize", raw)


@pytest.mark.parametrize(
    ("name", "given", "meant"), [("test_labels", "radiologist", "radiologists"), ("images", "dcn", "dcm")]
)
def test_an_option_of_mimic_that_differs_little_is_told(name, given, meant):
    with pytest.raises(ValueError, match=rf"{name} is '{given}'; allowed: .*did you mean '{meant}'\?"):
        MimicOptions(**{name: given})
