"""Table 1b: macros without the findings that hang on single images, and over studies; number formats that are mixed."""

import csv
import io
import math
from dataclasses import replace

import pytest

from sweep.report.page.tables import page_tables
from sweep.report.precision import mixed_precision, precision_lines
from sweep.report.tables.finding_table import MEAN_ROW, MEAN_ROW_10, finding_tables, narrowed
from sweep.report.tables.main_table import table1
from sweep.report.tables.second_table import second_table
from sweep.statistics.over_patients import OverPatients
from sweep.statistics.summaries import make_summaries
from sweep.store.csv_files import RESULTS_HEADER, results_csv
from sweep.store.records import CellResult, EncoderDetail, without_nan
from sweep.studies import demo
from sweep.studies.layout import TableLayout
from trainables.evaluation.metrics import FindingAuroc

LAYOUT = TableLayout(
    rows=(("imagenet", "ImageNet Init.", "baseline"), ("clip", "CLIP", "image-text")),
    datasets=(("chexpert", "CheXpert"), ("nih_cxr14", "NIH-ChestX-Ray14")),
    columns=(("LP", 100), ("FT", 100)),
    seeds=(0, 1),
    study="made",
)
RARE = FindingAuroc("fracture", 0.2, 1, 99)


def cell(row: str, dataset: str, protocol: str, seed: int, value: float) -> CellResult:
    """On CheXpert with a finding of one positive, and with studies of several images; NIH has neither."""
    findings = (FindingAuroc("edema", value, 30, 70), FindingAuroc("mass", value + 0.1, 12, 88))
    studies = ()
    if dataset == "chexpert":
        findings += (RARE,)
        studies = tuple(
            (how, (FindingAuroc("edema", value + more, 20, 50), FindingAuroc("mass", None, 0, 70)))
            for how, more in (("max", 0.01), ("mean", 0.02))
        )
    macro = math.fsum(f.auroc for f in findings) / len(findings)
    place = (row, row, dataset, protocol, 100, 0, seed, "done", f"{row}{dataset}{protocol}{seed}")
    return CellResult(*place, findings, macro, studies, "float32")


def results() -> list[CellResult]:
    return [
        cell(row, dataset, protocol, seed, 0.6 + 0.05 * i + 0.02 * seed)
        for i, (row, _, _) in enumerate(LAYOUT.rows)
        for dataset, _ in LAYOUT.datasets
        for protocol, _ in LAYOUT.columns
        for seed in LAYOUT.seeds
    ]


def test_the_macro_without_rare_findings_and_those_over_studies_stand_beside_the_macro():
    table = second_table(make_summaries(LAYOUT, results()))
    assert [section.display for section in table.sections] == [
        "CheXpert, the 2 of 3 findings with at least 10 positives",
        "CheXpert, per study: the maximum over its images",
        "CheXpert, per study: the mean over its images",
    ]
    # edema and mass at 0.65 and 0.75, with seeds at 0 and +0.02; over studies only edema is defined.
    means = [section.rows[1].entries[0].summary.mean for section in table.sections]
    assert means == pytest.approx([0.71, 0.67, 0.68])
    assert table.name == "1b" and "Table 1," in table.caption and "table1b" in table.latex()
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert {row["dataset"] for row in rows} == {
        f"chexpert/{value}" for value in ("macro_10_positives", "macro_study_max", "macro_study_mean")
    }


def test_the_macro_without_rare_findings_has_its_interval_and_the_others_none():
    """In Table 1b, and in the row of that mean in the table of findings: each mean its own."""
    place = ("clip", "chexpert", "FT", 100)
    reason = "fewer than 10 positive patients: fracture"
    patients = OverPatients({(place, "macro_10_positives"): (0.7, 0.8)}, {}, {(place, "macro_defined"): reason})
    means = make_summaries(LAYOUT, results())
    table = second_table(means, patients=patients)
    of_clip = [section.rows[1].entries for section in table.sections]
    assert [[entry.patients for entry in entries] for entries in of_clip] == [[None, (0.7, 0.8)]] + 2 * [[None, None]]
    assert "70.00 to 80.00" in table.markdown() and "over patients: 95% interval" in table.caption
    findings = finding_tables(means, patients=patients)[0]
    assert {row.display: row.entries[1].patients for row in findings.rows if row.entries[1].patients} == {
        MEAN_ROW_10: (0.7, 0.8)
    }


def test_tables_say_why_a_mean_has_no_interval_over_patients():
    reason = "fewer than 10 positive patients: fracture"
    places = [(row, "chexpert", protocol, 100) for row, _, _ in LAYOUT.rows for protocol, _ in LAYOUT.columns]
    patients = OverPatients({}, {}, {(place, "macro_defined"): reason for place in places})
    means = make_summaries(LAYOUT, results())
    assert table1(means, patients=patients).footnotes == (f"No interval over patients on CheXpert: {reason}.",)
    on_chexpert, on_nih = finding_tables(means, patients=patients)
    assert on_chexpert.footnotes[-1] == f"No interval over patients: {reason}."
    assert narrowed(on_chexpert, ["clip"]).footnotes[-1] == on_chexpert.footnotes[-1]
    assert not any("No interval" in note for note in on_nih.footnotes)
    assert f"- No interval over patients: {reason}." in on_chexpert.markdown()
    assert reason in table1(means, patients=patients).latex()


def test_the_second_table_says_why_its_mean_has_no_interval_over_patients():
    """Ten positive images may be of fewer than ten patients."""
    reason = "fewer than 10 positive patients: mass"
    patients = OverPatients({}, {}, {(("clip", "chexpert", "FT", 100), "macro_10_positives"): reason})
    assert second_table(make_summaries(LAYOUT, results()), patients=patients).footnotes == (
        f"No interval over patients on CheXpert, the 2 of 3 findings with at least 10 positives: {reason}.",
    )


def test_without_rare_findings_and_with_one_image_a_study_there_is_no_second_table():
    only_nih = replace(LAYOUT, datasets=LAYOUT.datasets[1:])
    assert second_table(make_summaries(only_nih, [r for r in results() if r.dataset == "nih_cxr14"])) is None
    assert second_table(make_summaries(LAYOUT, [])) is None


def test_the_page_shows_it_behind_table_1():
    means = make_summaries(LAYOUT, results())
    pages = page_tables((table1(means), second_table(means)), (), ())
    assert [page.tab for page in pages] == ["Table 1", "Table 1b"]
    assert pages[1].files == ("table1b.md", "table1b.csv", "table1b.tex")


def test_findings_have_a_second_mean_where_one_is_rare():
    tables = {table.dataset: table for table in finding_tables(make_summaries(LAYOUT, results()))}
    chexpert, nih = tables["chexpert"], tables["nih_cxr14"]
    assert [row.display for row in chexpert.rows][-2:] == [MEAN_ROW, MEAN_ROW_10]
    assert [row.display for row in nih.rows][-1] == MEAN_ROW
    assert chexpert.rows[-1].entries[0].summary.mean == pytest.approx(0.66)
    names = {row["finding"] for row in csv.DictReader(io.StringIO(chexpert.csv()))}
    assert names == {"edema", "mass", "fracture", "macro", "macro_10_positives"}


def test_a_nan_over_studies_is_a_failed_cell():
    first, *others = results()
    broken = replace(first, studies=(("max", (replace(RARE, auroc=math.nan),)),))
    kept, named = without_nan([broken, *others])
    assert [r.key for r in named] == [first.key] and kept[0].status == "failed" and kept[0].studies == ()


# -- number formats --------------------------------------------------------------------------------


def encoder(precision: str | None) -> EncoderDetail:
    return EncoderDetail("clip-p0", "k", "clip", "encoders/clip-p0-k", "done", precision=precision)


def test_one_number_format_is_named_and_is_no_note():
    encoders = [encoder("float32"), encoder(None)]  # weights that were not trained have none
    assert mixed_precision(demo(), results(), encoders) == []
    assert precision_lines(results(), encoders) == ["number formats: cells: 16 float32; pretrainings: 1 float32"]


def test_cells_of_two_number_formats_are_never_mixed_without_a_word():
    first, *others = results()
    mixed = [replace(first, precision="bfloat16"), *others]
    (note,) = mixed_precision(demo(), mixed, [])
    assert "cells: 1 bfloat16, 15 float32" in note and "imagenet, CheXpert, LP (100%)" in note
    columns = RESULTS_HEADER.index("precision")
    rows = list(csv.reader(io.StringIO(results_csv(mixed))))[1:]
    assert sorted(row[columns] for row in rows) == ["bfloat16"] + ["float32"] * 15
    # Seeds that agree, and cells of an earlier version, which do not say: nothing is mixed within a mean.
    by_row = [replace(r, precision="bfloat16" if r.encoder == "clip" else "float32") for r in others]
    assert "Means over seeds" not in mixed_precision(demo(), by_row, [])[0]
    assert mixed_precision(demo(), [replace(first, precision=None), *others], []) == []


def test_pretrainings_of_two_number_formats_are_told_too():
    (note,) = mixed_precision(demo(), results(), [encoder("bfloat16"), encoder("float32")])
    assert "pretrainings: 1 bfloat16, 1 float32" in note
