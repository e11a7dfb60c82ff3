"""No path that data names leads out of the raw folder, whichever source reads it."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.schema import ArchiveError
from datasets_io.sources import chexpert
from datasets_io.storage.files import Files

SPEC = BuildSpec("csv_images", image_size=16)


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    with open(path, "w", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20)).save(path)


def read_with(source: str, raw: Path, names: list[str]) -> dict[str, int]:
    """Reasons of rejects of an archive that has one good image, and lists some more names."""
    if source == "chexpert":
        picture(raw / "train/patient1/study1/a.jpg")
        header = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *chexpert.COLUMNS]
        names = ["CheXpert-v1.0/train/patient1/study1/a.jpg", *names]
        write_csv(raw / "train.csv", header, [[name, "Male", "5", "Frontal", "AP", *[""] * 14] for name in names])
        write_csv(raw / "valid.csv", header, [])
    elif source == "nih_cxr14":
        picture(raw / "images/a.png")
        (raw / "train_val_list.txt").write_text("\n".join(["a.png", *[name.rpartition("/")[2] for name in names]]))
        (raw / "test_list.txt").write_text("")
        header = ["Image Index", "Finding Labels", "Patient ID"]
        write_csv(raw / "Data_Entry_2017.csv", header, [[name, "No Finding", "1"] for name in ["a.png", *names]])
    else:
        picture(raw / "a.png")
        write_csv(raw / "images.csv", ["path", "patient_id"], [[name, "p1"] for name in ["a.png", *names]])
    spec = BuildSpec(source, 16)
    files = Files(str(raw.parent / "storage"))
    manifest = build(spec, raw, files, max_rejects=0.9)
    assert manifest.counts["images"] == 1 and data_folder(spec, raw)
    return manifest.reject_reasons


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "x/../../secret.png", "..\\secret.png", "a\0.png"])
def test_no_path_of_a_set_of_ones_own_leaves(name, tmp_path):
    picture(tmp_path / "secret.png")
    (tmp_path / "raw").mkdir()
    assert read_with("csv_images", tmp_path / "raw", [name]) == {"index: the path leaves the raw folder": 1}


def test_no_path_of_chexpert_leaves(tmp_path):
    picture(tmp_path / "study1" / "secret.jpg")
    (tmp_path / "raw").mkdir()
    names = ["CheXpert-v1.0/../patient1/study1/secret.jpg", "CheXpert-v1.0/train/patient1/../secret.jpg"]
    reasons = read_with("chexpert", tmp_path / "raw", names)
    assert reasons == {"index: the path leaves the raw folder": 2}


def test_no_path_of_nih_leaves(tmp_path):
    picture(tmp_path / "secret.png")
    (tmp_path / "raw").mkdir()
    with pytest.raises(ArchiveError, match="in none of"):  # lists hold bare names
        read_with("nih_cxr14", tmp_path / "raw", ["../../secret.png"])


def test_no_link_leads_out(make_csv_archive, tmp_path):
    raw, secret = make_csv_archive(40), tmp_path / "secret.png"
    picture(secret)
    for number in (3, 4):
        (raw / "images" / f"{number:04d}.png").unlink()
    (raw / "images" / "0003.png").symlink_to(secret)
    (raw / "images" / "0004.png").symlink_to(raw / "images" / "0005.png")
    files = Files(str(tmp_path / "storage"))
    with pytest.raises(ArchiveError, match=r"a link leads from images/0003\.png out of"):
        build(SPEC, raw, files)
    manifest = build(SPEC, raw, files, max_rejects=0.1)
    assert manifest.reject_reasons == {"index: the path leaves the raw folder": 1} and manifest.counts["images"] == 39


def test_no_linked_folder_leads_out(make_csv_archive, tmp_path):
    raw = make_csv_archive(40)
    (raw / "images").rename(tmp_path / "elsewhere")
    (raw / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArchiveError, match=r"40 of 40 listed images: nothing outside of --raw is read"):
        build(SPEC, raw, Files(str(tmp_path / "storage")))
    assert build(SPEC, tmp_path / "raw", Files(str(tmp_path / "storage")), max_rejects=1).counts["images"] == 0
