"""Archives as people have them: one folder off, still packed, unpacked already, reports elsewhere, smaller copies."""

import csv
import os
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_mimic import write_mimic, write_reports

from datasets_io.build.checks import check_archive
from datasets_io.build.spec import BuildSpec
from datasets_io.schema import ArchiveError, NoImages, Record
from datasets_io.sources import chexpert, mimic_cxr, nih_cxr14
from datasets_io.sources.mimic_cxr import MimicOptions
from datasets_io.sources.nih_cxr14 import NihOptions
from datasets_io.sources.parts.mimic_misplaced import misplaced_text
from datasets_io.sources.reading.elsewhere import MOST_FOLDERS, folders_with, other_depth, other_spelling, packed_text
from datasets_io.sources.registry import get_source
from tests.datasets_io.sources.made_up import padchest_row, plus_row, write_open_i, write_padchest, write_plus
from tests.datasets_io.sources.made_up_boxed import MADE_UP


def read(name: str, raw: Path, options=None) -> list[Record]:
    source = get_source(name)
    return list(source.read_records(raw, options or source.options()))


def impressions(raw: Path, reports_dir: Path | None = None) -> list[str]:
    options = MimicOptions(reports_dir=str(reports_dir) if reports_dir else None)
    return [r.report_impression for r in read("mimic_cxr", raw, options) if r.report_impression]


def notes(raw: Path, reports_dir: Path | None = None) -> list[str]:
    options = MimicOptions(reports_dir=str(reports_dir) if reports_dir else None)
    return [note for note in mimic_cxr.notes(raw, options) if "report" in note]


def write_nih(raw: Path, folder: str = "images", count: int = 8) -> Path:
    names = [f"{number:08d}_000.png" for number in range(count)]
    (raw / folder).mkdir(parents=True)
    for name in names:
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(raw / folder / name)
    with open(raw / "Data_Entry_2017.csv", "w", newline="") as stream:
        rows = [[name, "No Finding", str(number)] for number, name in enumerate(names)]
        csv.writer(stream).writerows([["Image Index", "Finding Labels", "Patient ID"], *rows])
    (raw / "train_val_list.txt").write_text("\n".join(names[:5]))
    (raw / "test_list.txt").write_text("\n".join(names[5:]))
    return raw


def write_chexpert(raw: Path) -> Path:
    raw.mkdir(parents=True)
    header = ",".join(["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *chexpert.COLUMNS])
    for kind in ("train", "valid"):
        (raw / f"{kind}.csv").write_text(header + "\n")
    return raw


# -- the folder that is meant ----------------------------------------------------------------------------------


@pytest.mark.parametrize("below", ["mimic-cxr-jpg", "physionet.org/files/mimic-cxr-jpg/2.1.0"])
def test_mimic_one_or_more_folders_too_high_or_one_too_low(below, tmp_path):
    raw = write_mimic(tmp_path / "up" / below, 4)
    for wrong in (tmp_path / "up", raw / "files"):
        with pytest.raises(ArchiveError, match=rf"neither cxr-record.*; did you mean --raw {raw}\?$"):
            get_source("mimic_cxr").index_files(wrong, MimicOptions())
    shutil.move(raw / "mimic-cxr-2.0.0-split.csv", raw / "cxr-record-list.csv.gz")
    with pytest.raises(ArchiveError, match=rf"did you mean --raw {raw}\?$"):
        get_source("mimic_cxr").index_files(tmp_path / "up", MimicOptions())


def test_both_trees_of_mimic_below_are_named(tmp_path):
    one, two = write_mimic(tmp_path / "mimic-cxr-jpg", 1), write_mimic(tmp_path / "again", 1)
    with pytest.raises(ArchiveError, match=rf"did you mean --raw {two} or --raw {one}\?"):
        read("mimic_cxr", tmp_path)


@pytest.mark.parametrize(("source", "write"), [("nih_cxr14", write_nih), ("chexpert", write_chexpert)])
def test_other_archives_one_folder_off(source, write, tmp_path):
    raw = write(tmp_path / "up" / "downloads" / "archive")
    for wrong in (tmp_path / "up", raw.parent, raw / "images"):
        wrong.mkdir(exist_ok=True)
        with pytest.raises(ArchiveError, match=rf"at its top; did you mean --raw {raw}\?$"):
            read(source, wrong)


WRITERS = {
    **{layout: (source, partial(write, state="whole")) for layout, (source, write, _) in MADE_UP.items()},
    "vindr_cxr beside its images": ("vindr_cxr", partial(MADE_UP["vindr_cxr"][1], state="defects")),
    "mimic_cxr": ("mimic_cxr", partial(write_mimic, count=4)),
    "nih_cxr14": ("nih_cxr14", write_nih),
    "chexpert": ("chexpert", write_chexpert),
    "padchest": ("padchest", lambda raw: write_padchest(raw, [padchest_row(number) for number in range(4)])),
    "open_i": ("open_i", lambda raw: write_open_i(raw, [1, 2])),
    "chexpert_plus": (
        "chexpert_plus",
        lambda raw: write_plus(raw, [plus_row("train/patient00001/study1/view1_frontal")], {}),
    ),
}


@pytest.mark.parametrize("layout", WRITERS)
def test_one_to_four_folders_too_high_or_too_low_the_error_names_the_archive_itself(layout, tmp_path):
    """And neither one of its folders nor one that the next error sends away from."""
    source, write = WRITERS[layout]
    raw = tmp_path / "physionet.org" / "files" / "name" / "1.0.0"
    write(raw)
    read(source, raw)
    below = [path for path in raw.rglob("*") if path.is_dir() and len(path.relative_to(raw).parts) <= 4]
    for wrong in (*raw.parents[:4], *below):
        with pytest.raises(ArchiveError, match=rf"did you mean --raw {raw}\?$"):
            read(source, wrong)


@pytest.mark.parametrize(
    ("layout", "lacking"),
    [
        ("vindr_cxr", "annotations/image_labels_test.csv"),
        ("chexlocalize", "CheXlocalize/gt_segmentations_test.json"),
        ("chexpert", "valid.csv"),
        ("nih_cxr14", "test_list.txt"),
    ],
)
def test_a_folder_without_all_that_a_build_begins_with_is_not_named(layout, lacking, tmp_path):
    source, write = WRITERS[layout]
    write(tmp_path / "raw")
    (tmp_path / "raw" / lacking).unlink()
    for wrong in (tmp_path, tmp_path / "raw"):
        with pytest.raises(ArchiveError, match=r"at its top: is the archive copied in full\?$"):
            read(source, wrong)


def test_of_two_archives_with_files_of_one_name_the_one_that_is_meant_is_named(tmp_path):
    """CheXpert and Kaggle's VinBigData both have a train.csv, the sets of the NLM the same folders."""
    for layout in ("chexpert", "vinbigdata", "shenzhen", "montgomery"):
        WRITERS[layout][1](tmp_path / layout)
    meant = {"chexpert": "chexpert", "vindr_cxr": "vinbigdata", "shenzhen": "shenzhen", "montgomery": "montgomery"}
    for source, layout in meant.items():
        with pytest.raises(ArchiveError, match=rf"did you mean --raw {tmp_path / layout}\?$"):
            read(source, tmp_path)


def test_the_tables_of_vindr_alone_are_its_folder_where_its_images_were_removed(tmp_path):
    WRITERS["vindr_cxr"][1](tmp_path / "raw")
    for part in ("train", "test"):
        shutil.rmtree(tmp_path / "raw" / part)
    assert len(read("vindr_cxr", tmp_path / "raw")) == 30
    assert len(read("vindr_cxr", tmp_path / "raw" / "annotations")) == 30, "nothing lies beside it"


def test_the_batches_of_chexpert_one_folder_too_high_or_too_low(tmp_path):
    raw = tmp_path / "chexpertchestxrays-u20210408"
    batches = [raw / "CheXpert-v1.0 batch 1 (validate & csv)", raw / "CheXpert-v1.0 batch 2 (train 1)"]
    write_chexpert(batches[0])
    batches[1].mkdir()
    assert read("chexpert", raw) == []
    with pytest.raises(ArchiveError, match=rf"did you mean --raw {raw}\?$"):
        read("chexpert", tmp_path)
    for batch in batches:
        with pytest.raises(ArchiveError, match=rf"one of the folders of CheXpert v1\.0; did you mean --raw {raw}\?$"):
            read("chexpert", batch)
    (batches[0] / "train").mkdir()
    assert read("chexpert", batches[0]) == [], "the others were merged into it"


def test_the_search_for_a_folder_ends_early(tmp_path):
    """An archive's own tree has 300,000 folders: none of them is looked into."""
    for name in ("files", "train", "a/b/c/d/e"):
        (tmp_path / name / "p10").mkdir(parents=True)
        (tmp_path / name / "p10" / "wanted.csv").touch()
    assert folders_with(tmp_path, ["wanted.csv"]) == []
    (tmp_path / "a" / "link").symlink_to(tmp_path / "files" / "p10")
    assert folders_with(tmp_path, ["wanted.csv"]) == []
    (tmp_path / "a" / "b" / "wanted.csv").touch()
    assert folders_with(tmp_path, ["wanted.csv"]) == [tmp_path / "a" / "b"]
    assert folders_with(tmp_path, ["b/wanted.csv"]) == [tmp_path / "a"]
    assert folders_with(tmp_path, ["link/wanted.csv"]) == []
    for number in range(MOST_FOLDERS):
        (tmp_path / "0" / str(number)).mkdir(parents=True)
    assert folders_with(tmp_path, ["wanted.csv"]) == []


@pytest.mark.parametrize(
    ("listed", "there"),
    [
        ("a/0.png", "a/0.PNG"),
        ("a/0.png", "A/0.png"),
        ("a/b/img_0.PNG", "A/b/IMG_0.png"),
        ("a/0.dicom", "a/0.dcm"),
        ("a/0", "a/0.png"),
        ("a/0.dcm", "a/0"),
    ],
)
def test_a_picture_under_a_name_that_differs_little_is_named(listed, there, tmp_path):
    (tmp_path / there).parent.mkdir(parents=True)
    for path in (tmp_path / there, (tmp_path / there).with_name("0.txt")):
        path.touch()
    (tmp_path / "images.csv").write_text(f"path,patient_id\n{listed},p0\n")
    match = (
        rf"1 of 1 listed images are not below .* \(e.g. {listed}\): {there} is there: name files as the archive lists"
    )
    with pytest.raises(ArchiveError, match=match):
        check_archive(BuildSpec("csv_images"), tmp_path)


@pytest.mark.parametrize(
    ("listed", "there"),
    [
        ("a/b/0.png", "x/a/b/0.png"),
        ("a/b/0.png", "a/a/b/0.png"),
        ("a/b/0.png", "a/x/b/0.png"),
        ("a/b/0.png", "a/b/b/0.png"),
        ("a/b/0.png", "b/0.png"),
        ("a/b/0.png", "a/0.png"),
        ("0.png", "images/0.png"),
        ("images/0.png", "0.png"),
    ],
)
def test_a_picture_that_lies_one_folder_deeper_or_less_deep_is_named(listed, there, tmp_path):
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).touch()
    assert other_depth(tmp_path, listed) == there


def test_a_build_says_at_which_depth_the_images_lie(tmp_path):
    WRITERS["rsna_pneumonia"][1](tmp_path)
    (tmp_path / "stage_2_train_images").rename(tmp_path / "away")
    (tmp_path / "stage_2_train_images").mkdir()
    (tmp_path / "away").rename(tmp_path / "stage_2_train_images" / "stage_2_train_images")
    match = (
        r"30 of 30 .*: (stage_2_train_images/){2}[0-9a-f-]+\.dcm is there: move files to the folders that the archive"
    )
    with pytest.raises(ArchiveError, match=match):
        check_archive(BuildSpec("rsna_pneumonia"), tmp_path)


def test_what_lies_elsewhere_or_is_no_picture_is_not_taken_for_one_under_another_name(tmp_path):
    (tmp_path / "a" / "0.png").mkdir(parents=True)
    for name in ("0.txt", "00.png"):
        (tmp_path / "a" / name).touch()
    for listed in ("a/0.png", "b/0.png", "0.png", "a/0.png/0.png", "a/1.png"):
        assert other_spelling(tmp_path, listed) is None
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "b" / "link").symlink_to(tmp_path / "a")
    for listed in ("a/0.png", "b/1.png", "b/0.txt", "c/d/e/00.png", "0.png/0.txt/x"):
        assert other_depth(tmp_path, listed) is None


# -- packed, or unpacked already -------------------------------------------------------------------------------


def test_what_is_still_packed_is_named(tmp_path):
    assert packed_text([]) == "" and packed_text(["a.zip"]) == "a.zip is there: unpack it"
    (tmp_path / "CheXpert-v1.0-small.zip").touch()
    with pytest.raises(ArchiveError, match=r"no train\.csv.*: CheXpert-v1\.0-small\.zip is there: unpack it, and give"):
        read("chexpert", tmp_path)
    raw = write_nih(tmp_path / "nih", "away")
    for number in range(1, 13):
        (raw / f"images_{number:03d}.tar.gz").touch()
    with pytest.raises(ArchiveError, match=r"images/: images_001\.tar\.gz and 11 more packed files are there: unpack"):
        read("nih_cxr14", raw)
    (raw / "away").rename(raw / "images_001")
    (raw / "images_001" / "00000003_000.png").unlink()
    with pytest.raises(ArchiveError, match=r"1 of 8 listed images are not below .*images_001\.tar\.gz and 11 more"):
        check_archive(BuildSpec("nih_cxr14"), raw)
    raw = write_mimic(tmp_path / "mimic", 4)
    shutil.rmtree(raw / "files")
    (raw / "files.TAR").touch()
    with pytest.raises(ArchiveError, match=r"none of the 4 images .*: files\.TAR is there: unpack it"):
        read("mimic_cxr", raw)


@pytest.mark.parametrize(
    ("layout", "folders"),
    [
        ("siim_pneumothorax", ["dicom-images-train", "dicom-images-test"]),
        ("shenzhen", ["CXR_png"]),
        ("nih_cxr14", ["images"]),
        ("chexpert_plus", ["PNG/train"]),
    ],
)
def test_folders_of_images_that_were_unpacked_deeper_are_named(layout, folders, tmp_path):
    source, write = WRITERS[layout]
    write(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    for folder in folders:
        shutil.move(tmp_path / folder, tmp_path / "a" / "b")
    match = f"{Path(folders[0]).name}/ lies in a/b/: move it from there"
    if layout == "nih_cxr14":
        match = "images lie in a/b/images/: move them to images/"
    with pytest.raises(NoImages, match=match):
        read(source, tmp_path)


def test_a_side_table_that_was_unpacked_and_kept_its_name_is_read(tmp_path):
    raw = write_mimic(tmp_path / "raw", 8)
    table = raw / "mimic-cxr-2.0.0-split.csv"
    records = read("mimic_cxr", raw)
    table.rename(raw / "mimic-cxr-2.0.0-split.csv.gz")
    assert read("mimic_cxr", raw) == records
    # A program that unpacks into a folder of the file's own name.
    (raw / "mimic-cxr-2.0.0-split.csv.gz").rename(tmp_path / "table")
    table.mkdir()
    (tmp_path / "table").rename(table / table.name)
    assert read("mimic_cxr", raw) == records
    assert get_source("mimic_cxr").index_files(raw, MimicOptions()) == [table / table.name]


# -- reports ---------------------------------------------------------------------------------------------------


def test_reports_in_one_folder_below_are_read(tmp_path):
    raw = write_mimic(tmp_path / "raw", 8, reports=False)
    write_reports(raw, raw / "mimic-cxr-reports")
    assert len(impressions(raw)) == 8 and notes(raw) == ["reports are those of mimic-cxr-reports/files"]
    write_reports(raw, raw / "old")
    with pytest.raises(ArchiveError, match=r"reports lie in mimic-cxr-reports and in old below .* reports_dir=/"):
        read("mimic_cxr", raw)
    assert len(impressions(raw, raw / "old")) == 8
    write_reports(raw, raw)
    assert len(impressions(raw)) == 8 and notes(raw) == [], "those beside the images come first"


def test_a_folder_of_reports_that_is_one_off(tmp_path):
    raw, reports = write_mimic(tmp_path / "raw", 8, reports=False), tmp_path / "reports"
    write_reports(raw, reports / "mimic-cxr-reports")
    for given in (reports, reports / "mimic-cxr-reports", reports / "mimic-cxr-reports" / "files"):
        assert len(impressions(raw, given)) == 8 and notes(raw, given) == []
    (tmp_path / "zipped").mkdir()
    (tmp_path / "zipped" / "mimic-cxr-reports.zip").touch()
    with pytest.raises(ArchiveError, match=r"zipped has no folder files/: mimic-cxr-reports\.zip is there: unpack it"):
        impressions(raw, tmp_path / "zipped")


def test_a_folder_of_reports_that_is_a_link_out_is_not_taken(tmp_path):
    raw = write_mimic(tmp_path / "raw", 8, reports=False)
    write_reports(raw, tmp_path / "outside")
    (raw / "reports").symlink_to(tmp_path / "outside")
    assert impressions(raw) == [] and "no report is there" in notes(raw)[0]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mimic-cxr-reports.zip", r"mimic-cxr-reports\.zip is there: unpack it, then build again"),
        ("mimic-cxr-reports.tar.gz", r"mimic-cxr-reports\.tar\.gz is there: unpack it"),
        ("mimic_cxr_sectioned.csv", r"mimic_cxr_sectioned\.csv is there, which is not read: unpack mimic-cxr-reports"),
        ("reports.csv.gz", r"reports\.csv\.gz is there, which is not read"),
        ("notes.txt", r"they come with MIMIC-CXR, as mimic-cxr-reports\.zip: unpack it, or name its folder"),
    ],
)
def test_where_no_report_is_there_a_note_says_what_is(name, text, tmp_path):
    raw = write_mimic(tmp_path / "raw", 8, reports=False)
    (raw / name).touch()
    (note,) = notes(raw)
    assert note.startswith("no report is there (files/p10/p10000032/s50414267.txt): every impression is blank; ")
    assert re.search(text, note)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (
            "{patient}/{study}/{study}.txt",
            r"{place} is there, which is not read: .* beside .* as {patient}/{study}\.txt",
        ),
        ("{patient}/{study}.TXT", r"{place} is there, which is not read: .* as {patient}/{study}\.txt; move or rename"),
        ("{patient}/{study}/{study}.Txt", r"{place} is there, which is not read"),
        ("a/b/{patient}/{study}.txt", r"reports lie in a/b/files, deeper than is looked: move a/b up, or name it re"),
        ("a/{patient}/{study}.TXT", r"{place} is there, which is not read"),
        ("a/b/{patient}/{study}/{study}.txt", r"{place} is there, which is not read"),
        ("reports/{below}/{study}.txt", r"{place} is there, which is not read: .* as {patient}/{study}\.txt"),
        ("reports/{study}.txt", r"{place} is there, which is not read"),
        ("{study}.TXT", r"{place} is there, which is not read"),
        ("reports\x1b[2J/{study}.txt", r"reports\\x1b\[2J/{study}\.txt is there"),
        ("files/{study}.txt", r"{place} is there, which is not read"),
        ("a/b/c/d/e/{study}.txt", "they come with MIMIC-CXR"),
    ],
)
def test_reports_that_lie_where_they_are_not_read_are_named_with_the_place_they_need(place, said, tmp_path):
    raw = write_mimic(tmp_path / "raw", 8, reports=False)
    for number in range(8):
        patient, study = f"files/p10/p{10_000_032 + number}", f"s{50_414_267 + number}"
        path = raw / place.format(patient=patient, study=study, below=patient.removeprefix("files/"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("IMPRESSION: normal.")
    (raw / "mimic-cxr-reports.zip").touch() if "come with" not in said else None
    patient, study = "files/p10/p10000032", "s50414267"
    place = place.format(patient=patient, study=study, below=patient.removeprefix("files/"))
    (note,) = notes(raw)
    assert note.startswith("no report is there (") and note.isprintable()
    assert re.search(said.format(place=re.escape(place), patient=patient, study=study), note)
    assert impressions(raw) == [], "what is built is as it was"


def test_of_a_tree_without_reports_few_files_are_looked_for(tmp_path, monkeypatch):
    raw = write_mimic(tmp_path / "raw", 300, reports=False)
    looks = []
    for name in ("scandir", "stat"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, real=real, **named: looks.append(given) or real(*given, **named))
    names = [path.relative_to(raw).as_posix() + ".txt" for path in sorted(raw.glob("files/p10/p*/s*"))]
    looks.clear()
    assert misplaced_text(raw, names) == "" and len(looks) < 100


def test_named_reports_that_lie_deeper_are_found(tmp_path):
    raw, reports = write_mimic(tmp_path / "raw", 8, reports=False), tmp_path / "reports"
    write_reports(raw, reports / "a" / "b")
    with pytest.raises(
        ArchiveError, match=r"no folder files/: reports lie in a/b/files, deeper .* or name it reports_dir"
    ):
        impressions(raw, reports)


# -- copies of ChestX-ray14 ------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["images-224/images-224", "images-224", "images_001", "images/images"])
def test_the_folders_of_copies_of_chestxray14_are_read(folder, tmp_path):
    raw = write_nih(tmp_path / "raw", folder)
    (raw / "train_val_list.txt").rename(raw / "train_val_list_NIH.txt")
    (raw / "test_list.txt").rename(raw / "test_list_NIH.txt")
    records = read("nih_cxr14", raw)
    assert len(records) == 8 and all((raw / r.path).is_file() and r.path.startswith(folder) for r in records)
    assert [r.split for r in records][5:] == ["test"] * 3
    said = nih_cxr14.notes(raw, NihOptions())
    assert said == ([f"images are those of {folder}/"] if folder.startswith("images-") else [])


def test_several_copies_of_chestxray14_are_not_guessed_between(tmp_path):
    raw = write_nih(tmp_path / "raw", "images-224/images-224")
    write_nih(tmp_path / "other", "images-512")
    shutil.move(tmp_path / "other" / "images-512", raw)
    with pytest.raises(
        ArchiveError, match=r"images of .* are in images-224/images-224 and in images-512: give a folder"
    ):
        read("nih_cxr14", raw)
    write_nih(tmp_path / "own", "images")
    shutil.move(tmp_path / "own" / "images", raw)
    assert {r.path.split("/")[0] for r in read("nih_cxr14", raw)} == {"images"}, "the archive's own come first"
    assert nih_cxr14.notes(raw, NihOptions()) == []


@pytest.mark.parametrize("content", [b"", b" \n", bytes(300), "x\n IMPRESSION: normal.\n".encode("utf-16")])
def test_reports_that_are_there_without_a_text_are_not_studies_without_an_impression(content, tmp_path):
    """As a copy that stopped leaves them; in UTF-16 no heading is found. One of a hundred may be so."""
    raw = write_mimic(tmp_path / "raw", 100)
    reports = sorted(raw.rglob("s*.txt"))
    reports[0].write_bytes(content)
    assert len(impressions(raw)) == 99
    reports[1].write_bytes(content)
    with pytest.raises(
        ArchiveError, match=r"2 of 100 reports below .* are empty or have zero bytes \(e\.g\. files/p10"
    ):
        impressions(raw)
    for report in reports:
        report.write_bytes(content)
    with pytest.raises(ArchiveError, match="100 of 100 reports"):
        impressions(raw)
