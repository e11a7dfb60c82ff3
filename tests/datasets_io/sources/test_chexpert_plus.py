"""CheXpert Plus: one text a study, labels as JSON lines, PNGs named as JPGs; with its defects, and half copied."""

import json
import shutil

import numpy as np
import pytest

from datasets_io.build import BuildSpec, build, identity_of
from datasets_io.build.verify import verify
from datasets_io.schema import ArchiveError
from datasets_io.sources import chexpert
from datasets_io.sources.chexpert_plus import FINDINGS, ChexpertPlusOptions, index_files, notes, read_records
from datasets_io.sources.registry import SOURCES
from datasets_io.storage.files import Files
from tests.datasets_io.sources.made_up import cut, plus_row, write_plus

IMAGES = [
    f"{split}/patient{patient:05d}/study{study}/view{view}_{kind}"
    for split, patients in (("train", range(1, 6)), ("valid", (64541, 64542)))
    for patient in patients
    for study in (1, 2)
    for view, kind in ((1, "frontal"), (2, "lateral"))
]


@pytest.fixture
def raw(tmp_path):
    write_plus(tmp_path / "raw", [plus_row(image) for image in IMAGES], {IMAGES[0]: {"Edema": 1.0, "Fracture": -1.0}})
    return tmp_path / "raw"


def test_records_have_the_ids_of_chexpert_and_its_findings(raw):
    records = list(read_records(raw, ChexpertPlusOptions()))
    assert [record.image_id for record in records] == IMAGES and FINDINGS == chexpert.FINDINGS
    first, second = records[:2]
    assert (first.patient_id, first.study_id) == ("patient00001", "patient00001/study1")
    assert first.path == "PNG/train/patient00001/study1/view1_frontal.png" and (raw / first.path).is_file()
    assert (first.split, records[-1].split) == ("train", "val")
    assert (first.view_position, second.view_position, first.age, first.sex) == ("AP", "LATERAL", 64, "M")
    assert (first.report_findings, first.report_impression) == (None, "1. No change, patient00001.")
    codes = dict(zip(FINDINGS, first.labels, strict=True))
    assert (codes["edema"], codes["fracture"], codes["pneumonia"]) == (1, -1, None)
    assert second.labels == first.labels, "the labels of a study are those of the text that was chosen"
    assert SOURCES["chexpert_plus"].shares_ids_with == ("chexpert",)


def test_the_labels_of_other_sections_are_an_option_and_missing_ones_are_said(raw):
    options = ChexpertPlusOptions(labels="report")
    assert "report_fixed.json is missing: all labels are blank" in notes(raw, options)
    assert all(set(record.labels) == {None} for record in read_records(raw, options))
    line = {"path_to_image": f"{IMAGES[0]}.jpg", **dict.fromkeys(chexpert.COLUMNS, 0.0), "Edema": float("nan")}
    (raw / "report_fixed.json").write_text(json.dumps(line) + "\n\n")
    assert len(index_files(raw, options)) == 2
    labels = next(read_records(raw, options)).labels
    assert labels[FINDINGS.index("edema")] is None and labels.count(0) == 13
    with pytest.raises(ValueError, match="labels is 'reports'; allowed: impression, report, findings"):
        ChexpertPlusOptions(labels="reports")


def test_labels_that_were_cut_between_lines_are_counted_and_those_of_other_paths_refused(raw):
    path = raw / "chexbert_labels" / "impression_fixed.json"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:8]) + "\n")  # four studies of two images each
    assert "impression_fixed.json: 10 of 14 studies have no line, so no labels" in notes(raw, ChexpertPlusOptions())
    assert len(list(read_records(raw, ChexpertPlusOptions()))) == len(IMAGES)
    for text in ("", "\n".join(lines).replace("patient", "PNG/patient")):
        path.write_text(text)
        with pytest.raises(ArchiveError, match=r"has a line of none of the 14 images .*e.g. train/patient00001/study1"):
            list(read_records(raw, ChexpertPlusOptions()))


@pytest.mark.parametrize("line", ['{"path_to_image": "x"}', "[1]", "{", "null"])
def test_a_line_that_is_no_label_is_named(line, raw):
    path = raw / "chexbert_labels" / "impression_fixed.json"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ArchiveError, match=f"impression_fixed.json line {len(IMAGES) + 1} has not path_to_image"):
        list(read_records(raw, ChexpertPlusOptions()))


def test_texts_that_differ_within_a_study_give_one_and_are_counted(tmp_path):
    rows = [plus_row(image) for image in IMAGES[:6]]
    rows[0]["section_impression"] = ""
    rows[0]["section_findings"] = "Only findings."
    rows[3]["section_impression"] = "Anonymised\n  otherwise."
    write_plus(tmp_path, rows, {IMAGES[1]: {"Edema": 1.0}, IMAGES[0]: {"Edema": 0.0}})
    records = list(read_records(tmp_path, ChexpertPlusOptions()))
    # Of the first study the first image has no impression: text and labels are those of the second.
    assert {(r.report_findings, r.report_impression) for r in records[:2]} == {(None, "1. No change, patient00001.")}
    assert {r.labels[FINDINGS.index("edema")] for r in records[:2]} == {1}
    assert {r.report_impression for r in records[2:4]} == {"1. No change, patient00001."}
    assert notes(tmp_path, ChexpertPlusOptions())[0].startswith("2 of 3 studies have images with differing texts")


def test_rows_that_name_no_view_are_counted(tmp_path):
    rows = [plus_row(image) for image in IMAGES[:6]]
    rows[2] |= {"frontal_lateral": "", "ap_pa": ""}
    rows[3] |= {"frontal_lateral": "nan", "ap_pa": "nan"}
    rows[4] |= {"frontal_lateral": "", "ap_pa": "PA"}
    write_plus(tmp_path, rows, {})
    views = [record.view_position for record in read_records(tmp_path, ChexpertPlusOptions())]
    assert views == ["AP", "LATERAL", "FRONTAL", "FRONTAL", "PA", "LATERAL"]
    text = "2 rows say neither Frontal nor Lateral nor AP nor PA (first in line 7): they count as frontal"
    assert text in notes(tmp_path, ChexpertPlusOptions())


@pytest.mark.parametrize(
    "root",
    [
        "PNG",
        "PNG/PNG",
        ".",
        "PNG/png_chexpert_plus_chunk_0/PNG",
        "png_chexpert_plus_chunk_3/PNG",
        "PNG/png_chexpert_plus_chunk_1",
    ],
)
def test_images_are_found_wherever_the_chunks_were_unpacked(root, tmp_path):
    paths = write_plus(tmp_path, [plus_row(image) for image in IMAGES], {}, root)
    assert [tmp_path / record.path for record in read_records(tmp_path, ChexpertPlusOptions())] == paths


def test_chunks_that_share_a_patient_and_dicom_beside_png(tmp_path, write_dicom):
    paths = write_plus(tmp_path, [plus_row(image) for image in IMAGES], {}, "PNG/png_chexpert_plus_chunk_0/PNG")
    moved = tmp_path / "PNG" / "png_chexpert_plus_chunk_1" / "PNG" / f"{IMAGES[2]}.png"
    moved.parent.mkdir(parents=True)
    paths[2].rename(moved)
    assert list(read_records(tmp_path, ChexpertPlusOptions()))[2].path == moved.relative_to(tmp_path).as_posix()
    write_dicom(tmp_path / "DICOM" / "Compressed" / f"{IMAGES[0]}.dcm", np.zeros((64, 64), np.uint16))
    (tmp_path / "DICOM" / "Compressed" / IMAGES[0]).with_name(".azDownload-view1").touch()
    assert next(read_records(tmp_path, ChexpertPlusOptions())).path.endswith(".png"), "PNG before DICOM"
    dicom = next(read_records(tmp_path, ChexpertPlusOptions(images="dcm")))
    assert dicom.path == f"DICOM/Compressed/{IMAGES[0]}.dcm"
    with pytest.raises(ArchiveError, match="has no JPG file such as"):
        list(read_records(tmp_path, ChexpertPlusOptions(images="jpg")))


@pytest.mark.parametrize(
    ("cells", "match"),
    [
        ({"path_to_image": "train/../study1/view1.jpg"}, "is not like train/patient00001"),
        ({"split": "fold 3"}, "split is 'fold 3'; allowed: train, valid"),
    ],
)
def test_paths_and_splits_of_another_form_are_refused(cells, match, raw):
    write_plus(raw, [{**plus_row(IMAGES[0]), **cells}], {}, "other")
    with pytest.raises(ArchiveError, match=match):
        list(read_records(raw, ChexpertPlusOptions()))


def test_a_whole_archive_is_taken_whole_in_the_order_of_a_corpus(raw, tmp_path):
    files, spec = Files(str(tmp_path / "storage")), BuildSpec("chexpert_plus", 32)
    assert identity_of(spec)["order"] == "hash"
    manifest = build(spec, raw, files)
    counts = manifest.counts
    assert (counts["records"], counts["images"], counts["rejects"]) == (28, 28, 0)
    assert {split: part["images"] for split, part in counts["splits"].items()} == {"train": 20, "val": 8, "test": 0}
    assert counts["reports"]["studies_with_impression"] == 14 and "batches" in counts
    assert verify(files, f"data/chexpert_plus-{manifest.key}", manifest) == []


def test_its_known_defects_are_counted(tmp_path):
    rows = [plus_row(image) for image in IMAGES]
    rows[0] |= {"ap_pa": "LL"}  # 17 frontal rows are LL or RL
    rows[4] |= {"sex": "Unknown", "age": "", "section_impression": ""}
    rows[5] |= {"section_impression": ""}
    rows.append(rows[1])
    paths = write_plus(tmp_path / "raw", rows, {})
    cut(paths[6])
    (paths[7].parent / ".azDownload-abc-view1_frontal.png").touch()
    files = Files(str(tmp_path / "storage"))
    counts = build(BuildSpec("chexpert_plus", 32), tmp_path / "raw", files, max_rejects=0.2).counts
    assert (counts["records"], counts["images"], counts["rejects"]) == (29, 27, 2)
    records = list(read_records(tmp_path / "raw", ChexpertPlusOptions()))
    assert records[0].view_position == "FRONTAL" and (records[4].sex, records[4].age) == (None, None)
    assert records[4].report_impression is None


def test_half_a_copy_ends_before_an_image_is_read(raw, tmp_path):
    for patient in ("patient00003", "patient00004", "patient00005"):
        shutil.rmtree(raw / "PNG" / "train" / patient)
    files = Files(str(tmp_path / "storage"))
    with pytest.raises(ArchiveError, match=r"12 of 28 listed images are not below .* in PNG/train"):
        build(BuildSpec("chexpert_plus", 32), raw, files)
    counts = build(BuildSpec("chexpert_plus", 32), raw, files, max_rejects=0.5).counts
    assert (counts["records"], counts["images"], counts["rejects"]) == (28, 16, 12)
    shutil.rmtree(raw / "PNG")
    (raw / "PNG").mkdir()
    (raw / "PNG" / "png_chexpert_plus_chunk_0.zip").touch()
    with pytest.raises(ArchiveError, match=r"unpack PNG/png_chexpert_plus_chunk_0.zip and the other chunks"):
        list(read_records(raw, ChexpertPlusOptions()))
