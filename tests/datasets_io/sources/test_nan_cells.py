"""nan and None, as pandas writes a blank: no report, no label and no id; archives that have none keep their keys."""

from pathlib import Path

import pytest

from datasets_io.build import BuildSpec, build, data_key
from datasets_io.build.inventory import take_inventory
from datasets_io.build.spec import _key
from datasets_io.schema import ArchiveError, Record
from datasets_io.sources.chexpert import COLUMNS
from datasets_io.sources.chexpert_plus import FINDINGS
from datasets_io.sources.reading.cells import NAN_NOTE
from datasets_io.sources.registry import get_source
from datasets_io.storage.files import Files
from tests.datasets_io.small_mimic import write_mimic
from tests.datasets_io.sources.made_up import (
    PADCHEST_COLUMNS,
    padchest_row,
    plus_row,
    write_padchest,
    write_plus,
    write_png,
    write_table,
)

WORDS = ("nan", "NaN", "None", "<NA>", "NaT")
PLUS = [f"train/patient0000{patient}/study1/view{view}_frontal" for patient in (1, 2) for view in (1, 2)]
KAGGLE = ["uid", "MeSH", "findings", "impression"]


def records_of(name: str, raw: Path) -> list[Record]:
    source = get_source(name)
    return list(source.read_records(raw, source.options()))


def moved(name: str, raw: Path) -> bool:
    """Whether the key is another one than before there were corrections."""
    spec = BuildSpec(name, 16)
    taken = take_inventory(spec, raw)
    return data_key(spec, raw) != _key(spec, taken.index, None, taken.absent)


def kaggle(raw: Path, **cells: str) -> None:
    write_table(raw / "indiana_reports.csv", KAGGLE, [{"uid": "7", "MeSH": "normal", "impression": "No.", **cells}])
    name = "7_IM-0009-1001.dcm.png"
    row = {"uid": "7", "filename": name, "projection": "Frontal"}
    write_table(raw / "indiana_projections.csv", list(row), [row])
    write_png(raw / "images" / "images_normalized" / name, 0)


@pytest.mark.parametrize("word", WORDS)
def test_nan_displaces_no_text_of_a_study_of_chexpert_plus(word, tmp_path):
    rows = [plus_row(image) for image in PLUS]
    rows[0] |= {"section_impression": word, "section_findings": f" {word}"}
    write_plus(tmp_path / "raw", rows, {PLUS[0]: {"Edema": 0.0}, PLUS[1]: {"Edema": 1.0}})
    records = records_of("chexpert_plus", tmp_path / "raw")
    assert {r.report_impression for r in records[:2]} == {"1. No change, patient00001."}
    assert {r.report_findings for r in records} == {None}
    assert {r.labels[FINDINGS.index("edema")] for r in records[:2]} == {1}, "labels are those of the text"
    assert moved("chexpert_plus", tmp_path / "raw")
    manifest = build(BuildSpec("chexpert_plus", 16), tmp_path / "raw", Files(str(tmp_path / "storage")))
    assert NAN_NOTE in manifest.notes
    rows[0] |= {"section_impression": "", "section_findings": "nanometre"}
    write_plus(tmp_path / "raw", rows, {PLUS[0]: dict.fromkeys(COLUMNS, 0.0)})
    assert not moved("chexpert_plus", tmp_path / "raw")


@pytest.mark.parametrize("word", WORDS)
def test_nan_is_no_report_and_no_list_of_labels_of_padchest(word, tmp_path):
    rows = [padchest_row(number) for number in range(4)]
    write_padchest(tmp_path, rows)
    assert not moved("padchest", tmp_path)
    rows[0] |= {"Report": word, "Labels": word}
    write_padchest(tmp_path, rows)
    first, second = records_of("padchest", tmp_path)[:2]
    assert (first.report_impression, set(first.labels)) == (None, {None}) and second.report_impression
    assert moved("padchest", tmp_path)
    source = get_source("padchest")
    assert NAN_NOTE in source.notes(tmp_path, source.options())


@pytest.mark.parametrize("column", ["ImageID", "StudyID", "PatientID"])
def test_nan_as_an_id_of_padchest_names_the_row(column, tmp_path):
    rows = [padchest_row(number) for number in range(4)]
    write_padchest(tmp_path, rows)
    rows[2][column] = "nan"
    write_table(next(tmp_path.glob("*.csv.gz")), PADCHEST_COLUMNS, rows)
    with pytest.raises(
        ArchiveError, match=r"PADCHEST_.* line 4 has an empty ImageID, PatientID or StudyID, or one that"
    ):
        records_of("padchest", tmp_path)


def test_nan_as_an_image_of_mimic_names_the_row(tmp_path):
    raw = write_mimic(tmp_path / "raw", 4)
    table = raw / "mimic-cxr-2.0.0-split.csv"
    table.write_text(table.read_text().replace("d1,", "nan,"))
    with pytest.raises(ArchiveError, match=r"split.csv line 3 has ids .*: not those of MIMIC-CXR"):
        records_of("mimic_cxr", raw)


@pytest.mark.parametrize("word", WORDS)
def test_nan_is_no_text_and_no_terms_of_open_i(word, tmp_path):
    kaggle(tmp_path, findings="nanometre")
    assert not moved("open_i", tmp_path)
    kaggle(tmp_path, MeSH=word, findings=word, impression=word)
    (record,) = records_of("open_i", tmp_path)
    assert (record.report_findings, record.report_impression, set(record.labels)) == (None, None, {None})
    assert moved("open_i", tmp_path)
    source = get_source("open_i")
    assert NAN_NOTE in source.notes(tmp_path, source.options())
