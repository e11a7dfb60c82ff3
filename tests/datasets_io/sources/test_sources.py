"""Every source: archives as they were downloaded, half copied, or wrong."""

import csv
import gzip
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_io.schema import ArchiveError, Record
from datasets_io.sources import chexpert, csv_images, mimic_cxr, nih_cxr14
from datasets_io.sources.registry import SOURCES, get_source

LAYOUTS = {"mimic_cxr": "MIMIC-CXR", "chexpert": "CheXpert-v1.0-small", "nih_cxr14": "NIH-ChestX-ray14"}


def read(name: str, raw: Path, options=None) -> list[Record]:
    source = get_source(name)
    return list(source.read_records(raw, options or source.options()))


def rows_of(path: Path) -> list[dict[str, str]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as stream:
        return list(csv.DictReader(stream))


def write_rows(path: Path, rows: list[dict], compress: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt") if compress else open(path, "w") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_an_unknown_source_lists_the_known_ones():
    with pytest.raises(ValueError, match=f"'brax'; known: {', '.join(sorted(SOURCES))}"):
        get_source("brax")
    assert {"chexpert", "csv_images", "mimic_cxr", "nih_cxr14"} <= SOURCES.keys()


@pytest.mark.parametrize("name", SOURCES)
def test_a_missing_folder_or_an_empty_one_is_an_archive_error(name, tmp_path):
    source = get_source(name)
    for raw in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ArchiveError, match=str(tmp_path)):
            source.index_files(raw, source.options())


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_above_the_archive_is_hinted_at(name, shared_data):
    source = get_source(name)
    with pytest.raises(ArchiveError, match=r"did you mean --raw .*real_cxr"):
        source.index_files(shared_data / "real_cxr", source.options())


@pytest.mark.parametrize("name", LAYOUTS)
def test_records_of_a_real_layout_have_as_many_labels_as_findings_and_files_that_exist(name, shared_data):
    raw = shared_data / "real_cxr" / LAYOUTS[name]
    records = read(name, raw)
    assert records == read(name, raw), "the order must be the same every time"
    assert len({record.image_id for record in records}) == len(records)
    for record in records:
        assert len(record.labels) == len(get_source(name).findings)
        assert (raw / record.path).is_file()
        assert record.split in ("train", "val", "test")


def test_chexpert_records_equal_its_csv_rows(shared_data):
    raw = shared_data / "real_cxr" / "CheXpert-v1.0-small"
    records = read("chexpert", raw)
    rows = rows_of(raw / "train.csv") + rows_of(raw / "valid.csv")
    assert [f"CheXpert-v1.0-small/{record.path}" for record in records] == [row["Path"] for row in rows]
    assert Counter(record.split for record in records) == {"train": 676, "val": 107}
    for record, row in zip(records, rows, strict=True):
        expected = tuple(int(float(row[column])) if row[column] else None for column in chexpert.COLUMNS)
        assert record.labels == expected
        assert record.view_position == row["AP/PA"]
        assert record.sex == {"Male": "M", "Female": "F", "Unknown": None}[row["Sex"]]


def chexpert_row(path: str, **cells: str) -> dict[str, str]:
    row = {"Path": path, "Sex": "Male", "Age": "54", "Frontal/Lateral": "Frontal", "AP/PA": "AP"}
    return {**row, **{column: "" for column in chexpert.COLUMNS}, **cells}


def test_chexpert_keeps_uncertain_codes_laterals_and_the_test_set(tmp_path):
    train = [
        chexpert_row("CheXpert-v1.0/train/patient00001/study1/view1_frontal.jpg", Edema="-1.0", Pneumonia="1.0"),
        chexpert_row(
            "CheXpert-v1.0/train/patient00001/study1/view2_lateral.jpg", **{"Frontal/Lateral": "Lateral", "AP/PA": ""}
        ),
        chexpert_row("CheXpert-v1.0/train/patient00002/study1/view1_frontal.jpg", **{"AP/PA": "XX"}),
    ]
    write_rows(tmp_path / "train.csv", train)
    write_rows(tmp_path / "valid.csv", [chexpert_row("CheXpert-v1.0/valid/patient1/study1/view1_frontal.jpg")])
    groundtruth = {column: "0" for column in chexpert.COLUMNS[1:]}
    write_rows(tmp_path / "groundtruth.csv", [{"Study": "CheXpert-v1.0/test/patient9/study1", **groundtruth}])
    for name in ("view1_frontal.jpg", "view2_lateral.jpg"):
        path = tmp_path / "test/patient9/study1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    records = read("chexpert", tmp_path)
    assert [record.view_position for record in records] == ["AP", "LATERAL", "FRONTAL", "AP", "FRONTAL", "LATERAL"]
    assert [record.split for record in records] == ["train"] * 3 + ["val"] + ["test"] * 2
    edema, pneumonia = chexpert.FINDINGS.index("edema"), chexpert.FINDINGS.index("pneumonia")
    assert (records[0].labels[edema], records[0].labels[pneumonia], records[1].labels[edema]) == (-1, 1, None)
    assert records[4].labels == (None,) + (0,) * 13, "the test csv has no column No Finding"
    write_rows(tmp_path / "valid.csv", [chexpert_row("CheXpert-v1.0/valid/p/s/v.jpg", Edema="maybe")])
    with pytest.raises(ArchiveError, match="is not like train/patient00001") as refused:
        read("chexpert", tmp_path)
    assert "slashes" not in str(refused.value)
    write_rows(tmp_path / "valid.csv", [chexpert_row("CheXpert-v1.0\\valid\\patient1\\study1\\view1_frontal.jpg")])
    with pytest.raises(ArchiveError, match=r"view1_frontal\.jpg, with slashes: write / for each \\ of the column Path"):
        read("chexpert", tmp_path)


@pytest.mark.parametrize("folder", ["NIH-ChestX-ray14", "NIH-ChestX-ray14-thumb64"])
def test_nih_official_lists_decide_the_test_split(folder, shared_data):
    raw = shared_data / "real_cxr" / folder
    records = read("nih_cxr14", raw)
    rows = rows_of(raw / "Data_Entry_2017.csv")
    assert [record.image_id for record in records] == [row["Image Index"] for row in rows]
    listed = set((raw / "test_list.txt").read_text().split())
    assert {record.image_id for record in records if record.split == "test"} == listed
    for record, row in zip(records, rows, strict=True):
        present = {nih_cxr14.FINDINGS[place] for place, code in enumerate(record.labels) if code}
        expected = set() if row["Finding Labels"] == "No Finding" else set(row["Finding Labels"].lower().split("|"))
        assert present == expected and set(record.labels) <= {0, 1}


@pytest.fixture
def nih_archive(tmp_path) -> Path:
    """40 patients with two images each, in images_001/images and images_002/images."""
    rows, names = [], []
    for patient in range(1, 41):
        for visit in range(2):
            name = f"{patient:08d}_{visit:03d}.png"
            folder = tmp_path / f"images_{1 + patient % 2:03d}" / "images"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
            names.append(name)
            rows.append(
                {
                    "Image Index": name,
                    "Finding Labels": "Edema|Pleural_Thickening" if visit else "No Finding",
                    "Patient ID": str(patient),
                    "Patient Age": "058Y",
                    "Patient Gender": "F",
                    "View Position": "AP",
                }
            )
    write_rows(tmp_path / "Data_Entry_2017_v2020.csv", rows)
    (tmp_path / "train_val_list.txt").write_text("\n".join(names[:60]))
    (tmp_path / "test_list.txt").write_text("\r\n".join(names[60:]) + "\r\n")
    return tmp_path


def test_nih_numbered_folders_the_2020_csv_and_all_three_splits(nih_archive):
    records = read("nih_cxr14", nih_archive)
    assert records[0].path == "images_002/images/00000001_000.png" and (nih_archive / records[0].path).is_file()
    assert (records[0].age, records[0].sex, records[0].view_position) == (58, "F", "AP")
    by_hash = read("nih_cxr14", nih_archive, nih_cxr14.NihOptions(split="patient_70_10_20"))
    for some in (records, by_hash):
        splits = {record.patient_id: set() for record in some}
        for record in some:
            splits[record.patient_id].add(record.split)
        assert all(len(split) == 1 for split in splits.values())
        assert {record.split for record in some} == {"train", "val", "test"}
    names = [record.image_id for record in records]
    lists = nih_archive / "lists"
    lists.mkdir()
    (lists / "train_list.txt").write_text("".join(f"{name} 0 1 0 0 0 0 0 0 0 0 0 0 0 0\n" for name in names[:40]))
    (lists / "val_list.txt").write_text("".join(f"images/{name}\n" for name in names[40:50]))
    (lists / "test_list.txt").write_text("".join(f"{name}\n" for name in names[50:]))
    options = nih_cxr14.NihOptions(split="lists", lists_dir=str(lists))
    assert [r.split for r in read("nih_cxr14", nih_archive, options)] == ["train"] * 40 + ["val"] * 10 + ["test"] * 30
    (lists / "test_list.txt").write_text("".join(f"{name}\n" for name in names[51:]))
    with pytest.raises(ArchiveError, match=rf"1 images .* in none of .*{names[50]}"):
        read("nih_cxr14", nih_archive, options)
    (lists / "test_list.txt").write_text("".join(f"{name}\n" for name in names[49:]))
    with pytest.raises(ArchiveError, match=f"{names[49]} is in the list of val"):
        read("nih_cxr14", nih_archive, options)


def test_nih_options_and_labels_are_checked(nih_archive):
    for wrong in ({"split": "random"}, {"split": "lists"}, {"lists_dir": "x"}):
        with pytest.raises(ValueError, match="split"):
            nih_cxr14.NihOptions(**wrong)
    rows = rows_of(nih_archive / "Data_Entry_2017_v2020.csv")
    rows[3]["Finding Labels"] = "Edema|Consolidated"
    write_rows(nih_archive / "Data_Entry_2017_v2020.csv", rows)
    with pytest.raises(ArchiveError, match=r"line 5: Finding Labels is 'Edema\|Consolidated'"):
        read("nih_cxr14", nih_archive)


def test_mimic_records_join_split_labels_views_and_reports(shared_data):
    raw = shared_data / "real_cxr" / "MIMIC-CXR"
    records = read("mimic_cxr", raw)
    assert [record.path for record in records] == [row["path"] for row in rows_of(raw / "cxr-record-list.csv.gz")]
    splits = {row["dicom_id"]: row["split"] for row in rows_of(raw / "mimic-cxr-2.0.0-split.csv.gz")}
    views = {row["dicom_id"]: row["ViewPosition"] for row in rows_of(raw / "mimic-cxr-2.0.0-metadata.csv.gz")}
    labels = {row["study_id"]: row for row in rows_of(raw / "mimic-cxr-2.0.0-chexpert.csv.gz")}
    for record in records:
        assert record.split == mimic_cxr.SPLITS[splits[record.image_id]]
        assert record.view_position == views[record.image_id]
        row = labels[record.study_id]
        assert record.labels == tuple(int(float(row[c])) if row[c] else None for c in mimic_cxr.COLUMNS)
        text = (raw / f"files/p19/p{record.patient_id}/s{record.study_id}.txt").read_text()
        assert bool(record.report_impression) == ("IMPRESSION:" in text)
    assert mimic_cxr.notes(raw, mimic_cxr.MimicOptions()) == []


@pytest.fixture
def mimic_copy(tmp_path, shared_data) -> Path:
    """The MIMIC-CXR layout with empty images, to take parts away from."""
    origin, copy = shared_data / "real_cxr" / "MIMIC-CXR", tmp_path / "MIMIC-CXR"
    for path in origin.rglob("*"):
        target = copy / path.relative_to(origin)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path.suffix == ".dcm":
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return copy


def test_mimic_without_the_jpg_csv_files_falls_back_and_says_so(mimic_copy):
    for path in mimic_copy.glob("mimic-cxr-*"):
        path.unlink()
    records = read("mimic_cxr", mimic_copy)
    assert len(records) == 112
    assert all(record.view_position is None and set(record.labels) == {None} for record in records)
    notes = mimic_cxr.notes(mimic_copy, mimic_cxr.MimicOptions())
    assert [note.split(".csv.gz")[0] for note in notes] == [
        f"mimic-cxr-2.0.0-{kind}" for kind in ("split", "metadata", "chexpert")
    ]


def csv_gz(path: Path) -> list[str]:
    with gzip.open(path, "rt") as stream:
        return stream.read().splitlines()


@pytest.mark.parametrize(
    ("kind", "what"),
    [("chexpert", "studies have no row, so no labels"), ("metadata", "images have no row, so no view")],
)
def test_mimic_side_tables_that_were_cut_between_rows_are_noted_and_those_of_other_ids_refused(mimic_copy, kind, what):
    path = mimic_copy / f"mimic-cxr-2.0.0-{kind}.csv.gz"
    header, *rows = csv_gz(path)
    path.write_text("\n".join([header, *rows[: len(rows) // 2]]))
    read("mimic_cxr", mimic_copy)
    (note,) = mimic_cxr.notes(mimic_copy, mimic_cxr.MimicOptions())
    absent = len(rows) - len(rows) // 2
    assert re.match(rf"mimic-cxr-2.0.0-{kind}.csv.gz: {absent} of {len(rows)} {what}", note)
    key = {"chexpert": "study_id", "metadata": "dicom_id"}[kind]
    place = header.split(",").index(key)
    for change in (lambda rows: [], lambda rows: [[*row[:place], f"s{row[place]}", *row[place + 1 :]] for row in rows]):
        lines = [",".join(row) for row in change([row.split(",") for row in rows])]
        path.write_text("\n".join([header, *lines]))
        with pytest.raises(
            ArchiveError, match=rf"{kind}.csv.gz has no row of any of the .* \(e.g. {key} [\w-]+\).*Copy it"
        ):
            read("mimic_cxr", mimic_copy)


def test_mimic_view_positions_that_are_not_known_are_counted(mimic_copy):
    path = mimic_copy / "mimic-cxr-2.0.0-metadata.csv.gz"
    rows = rows_of(path)
    rows[0]["ViewPosition"], rows[1]["ViewPosition"] = "", "oblique"
    write_rows(path, rows, compress=True)
    assert [record.view_position for record in read("mimic_cxr", mimic_copy)].count(None) == 2
    (note,) = mimic_cxr.notes(mimic_copy, mimic_cxr.MimicOptions())
    assert note.startswith("2 of 112 images have a ViewPosition that is blank or not known") and "frontal" in note


def test_mimic_jpg_tree_without_reports_or_with_reports_elsewhere(mimic_copy):
    reports = mimic_copy.parent / "reports"
    for path in list(mimic_copy.rglob("*.txt")):
        target = reports / path.relative_to(mimic_copy)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    for path in list(mimic_copy.rglob("*.dcm")):
        path.rename(path.with_suffix(".jpg"))
    for path in mimic_copy.glob("cxr-*"):
        path.unlink()
    records = read("mimic_cxr", mimic_copy)
    assert len(records) == 112 and all((mimic_copy / record.path).suffix == ".jpg" for record in records)
    assert not any(record.report_impression for record in records)
    with_reports = read("mimic_cxr", mimic_copy, mimic_cxr.MimicOptions(reports_dir=str(reports)))
    assert sum(bool(record.report_impression) for record in with_reports) == 95


def test_mimic_half_copied_reports_or_no_images_are_archive_errors(mimic_copy):
    reports = sorted(mimic_copy.rglob("*.txt"))
    for path in reports[:30]:
        path.unlink()
    with pytest.raises(ArchiveError, match="30 of 107 reports are missing"):
        read("mimic_cxr", mimic_copy)
    shutil.rmtree(mimic_copy / "files")
    with pytest.raises(ArchiveError, match="none of the 112 images"):
        read("mimic_cxr", mimic_copy)


def test_mimic_test_labels_of_radiologists_are_an_option(mimic_copy):
    options = mimic_cxr.MimicOptions(test_labels="radiologists")
    with pytest.raises(ArchiveError, match=r"has no mimic-cxr-2.1.0-test-set-labeled.csv"):
        mimic_cxr.index_files(mimic_copy, options)
    splits = mimic_copy / "mimic-cxr-2.0.0-split.csv.gz"  # the real images have no test split of their own
    rows = [{**row, "split": "test" if row["subject_id"][-1] in "13579" else "train"} for row in rows_of(splits)]
    write_rows(splits, rows, compress=True)
    before = read("mimic_cxr", mimic_copy)
    assert {record.split for record in before} == {"train", "test"}
    study = next(record.study_id for record in before if record.split == "test")
    columns = [
        {"Lung Opacity": "Airspace Opacity"}.get(name, name) for name in mimic_cxr.COLUMNS if name != "No Finding"
    ]
    row = {"study_id": study, **dict.fromkeys(columns, "0.0"), "Airspace Opacity": "1.0", "Edema": "-1.0"}
    table = mimic_copy / "mimic-cxr-2.1.0-test-set-labeled.csv"
    write_rows(table, [row])
    assert mimic_cxr.index_files(mimic_copy, options)[-1] == table
    assert mimic_cxr.index_files(mimic_copy, mimic_cxr.MimicOptions())[-1] != table, "and no key moves"
    for record, old in zip(read("mimic_cxr", mimic_copy, options), before, strict=True):
        codes = dict(zip(mimic_cxr.FINDINGS, record.labels, strict=True))
        if record.study_id == study:
            assert (codes["lung_opacity"], codes["edema"], codes["no_finding"], codes["fracture"]) == (1, -1, None, 0)
        else:
            assert record.labels == ((None,) * 14 if record.split == "test" else old.labels)
    said = " | ".join(mimic_cxr.notes(mimic_copy, options))
    assert "has labels of 1 studies that are listed" in said
    assert "set-labeled.csv has no column No Finding: blank in the test split" in said
    write_rows(table, [{"study_id": study, **dict.fromkeys(columns, "")}])
    assert any("has labels of 0 studies that are listed" in note for note in mimic_cxr.notes(mimic_copy, options))
    write_rows(table, [{**row, "study_id": "12345678"}])
    with pytest.raises(ArchiveError, match=r"has no row of any of the 107 studies that are listed .*Copy it again"):
        read("mimic_cxr", mimic_copy, options)
    write_rows(table, [{"study_id": study, "edema (1)": "1.0"}])
    with pytest.raises(ArchiveError, match=r"set-labeled.csv has no column of labels .*its header is"):
        read("mimic_cxr", mimic_copy, options)
    write_rows(table, [row, row])
    with pytest.raises(ArchiveError, match=r"line 3: study .* is no number or is there twice"):
        read("mimic_cxr", mimic_copy, options)


def test_mimic_ids_that_would_leave_the_folder_are_refused(mimic_copy):
    rows = rows_of(mimic_copy / "cxr-record-list.csv.gz")
    rows[1]["study_id"] = "../../etc"
    write_rows(mimic_copy / "cxr-record-list.csv.gz", rows, compress=True)
    with pytest.raises(ArchiveError, match="line 3 has ids"):
        read("mimic_cxr", mimic_copy)


def test_a_csv_cut_short_is_an_archive_error(mimic_copy, shared_data, tmp_path):
    path = mimic_copy / "mimic-cxr-2.0.0-metadata.csv.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ArchiveError, match=r"metadata.csv.gz cannot be read"):
        read("mimic_cxr", mimic_copy)
    raw = shared_data / "real_cxr" / "CheXpert-v1.0-small"
    shutil.copy(raw / "train.csv", tmp_path)
    text = (raw / "valid.csv").read_text()
    (tmp_path / "valid.csv").write_text(text[: text.rindex("valid/") + 20])
    with pytest.raises(ArchiveError, match=r"valid.csv line 108 does not have the header's fields"):
        read("chexpert", tmp_path)


def test_csv_images_take_labels_splits_and_reports_from_one_csv(tmp_path):
    (tmp_path / "my.csv").write_text(
        "\ufeffpath,patient_id,split,Pleural Effusion,mass,report,sex,age,view_position\n"
        'a/1.png,p1,train,1,0,"x\n FINDINGS: clear.\n IMPRESSION: normal.",female,61,pa\n'
        "a/2.png,p2,Validate,-1,,,M,,odd\n"
    )
    options = csv_images.CsvOptions(table="my.csv")
    assert csv_images.findings_in(tmp_path, options) == ("pleural_effusion", "mass")
    first, second = read("csv_images", tmp_path, options)
    assert first == Record("a/1.png", "a/1.png", "p1", "train", "a/1.png", (1, 0), "PA", "F", 61, "clear.", "normal.")
    assert (second.split, second.labels) == ("val", (-1, None))
    assert (second.view_position, second.report_impression) == (None, None)
    (tmp_path / "my.csv").write_text("path,patient_id,mass\n1.png,p1,yes\n")
    with pytest.raises(ArchiveError, match="line 2: label mass is 'yes'; allowed: 1, 0, -1"):
        read("csv_images", tmp_path, options)
    (tmp_path / "my.csv").write_text("path,mass\n1.png,1\n")
    with pytest.raises(ArchiveError, match="no column patient_id"):
        read("csv_images", tmp_path, options)


def test_csv_images_without_a_split_are_cut_by_patient(tmp_path):
    lines = ["path,patient_id,mass"] + [f"{number}.png,p{number // 3},1" for number in range(600)]
    (tmp_path / "images.csv").write_text("\n".join(lines))
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "0.png")
    counts = Counter(record.split for record in read("csv_images", tmp_path))
    assert set(counts) == {"train", "val", "test"} and counts["train"] > counts["test"] > counts["val"]
    assert "no column split" in csv_images.notes(tmp_path, csv_images.CsvOptions())[0]


def test_chexpert_batches_as_distributed_give_the_records_of_the_merged_tree(shared_data, tmp_path):
    """Four zip files side by side: patients lie at the top of a batch or in its train/, the csv files in batch 1."""
    raw = shared_data / "real_cxr" / "CheXpert-v1.0-small"
    merged = read("chexpert", raw)
    batches = [
        tmp_path / f"CheXpert-v1.0 batch {name}"
        for name in ("1 (validate & csv)", "2 (train 1)", "3 (train 2)", "4 (train 3)")
    ]
    for batch in batches:
        batch.mkdir()
    for name in ("train.csv", "valid.csv"):
        shutil.copy(raw / name, batches[0])
    patients = sorted({record.path.split("/")[1] for record in merged if record.split == "train"})
    for record in merged:
        folder, patient, *rest = record.path.split("/")
        place = batches[0] / "valid"
        if folder == "train":
            batch = 1 + 3 * patients.index(patient) // len(patients)
            place = batches[batch] / "train" if batch == 3 else batches[batch]
        target = place.joinpath(patient, *rest)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    apart = read("chexpert", tmp_path)
    assert all((tmp_path / record.path).is_file() for record in apart)
    assert len({record.path.split("/")[0] for record in apart}) == 4
    assert [replace(record, path="") for record in apart] == [replace(record, path="") for record in merged]
    assert len(get_source("chexpert").index_files(tmp_path, chexpert.ChexpertOptions())) == 2


def test_csv_images_ids_can_be_salted_hashes(tmp_path):
    lines = [
        "path,patient_id,study_id,mass",
        "mueller_1.png,mueller,visit 1,1",
        "mueller_2.png,mueller,visit 2,0",
        "a.png,smith,visit 1,",
    ]
    (tmp_path / "images.csv").write_text("\n".join(lines))
    salt = tmp_path / "salt"
    options = csv_images.CsvOptions(salt_file=str(salt))
    for data in (None, b"too short"):
        if data:
            salt.write_bytes(data)
        with pytest.raises(ArchiveError, match="16 random bytes or more"):
            read("csv_images", tmp_path, options)
    salt.write_bytes(b"0123456789abcdef")
    plain, hashed = read("csv_images", tmp_path), read("csv_images", tmp_path, options)
    ids = [(record.image_id, record.study_id, record.patient_id) for record in hashed]
    assert "mueller" not in str(ids) and all(len(text) == 16 for row in ids for text in row)
    assert ids[0][2] == ids[1][2] != ids[2][2] and ids[0][1] != ids[1][1]
    assert len({text for row in ids for text in row}) == 3 + 2 + 2, "one study id, visit 1, is shared"
    assert [(r.split, r.path, r.labels) for r in hashed] == [(r.split, r.path, r.labels) for r in plain]
    assert read("csv_images", tmp_path, options) == hashed
    salt.write_bytes(b"0123456789abcdeX")
    assert not {r.patient_id for r in read("csv_images", tmp_path, options)} & {r.patient_id for r in hashed}


def test_nih_lists_say_whether_they_are_those_of_the_paper(nih_archive):
    records = read("nih_cxr14", nih_archive)
    for split in ("train", "val", "test"):
        names = [record.image_id for record in records if record.split == split]
        (nih_archive / f"{split}_list.txt").write_text("\n".join(names))
    options = nih_cxr14.NihOptions(split="lists", lists_dir=str(nih_archive))
    (note,) = nih_cxr14.notes(nih_archive, options)
    assert "not as the lists of Huang et al. (78,468 / 11,219 / 22,433)" in note


def test_no_report_is_read_through_a_link_out_of_the_archive(mimic_copy, tmp_path):
    report = sorted(mimic_copy.rglob("*.txt"))[0]
    report.rename(tmp_path / "outside.txt")
    report.symlink_to(tmp_path / "outside.txt")
    with pytest.raises(ArchiveError, match="is a link out of"):
        read("mimic_cxr", mimic_copy)
