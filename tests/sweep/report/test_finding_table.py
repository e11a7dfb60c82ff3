"""Do Tables 2 to 7 say what the cells say: golden rows, the best of what is shown, published values beside ours."""

import csv
import io
from dataclasses import replace

import pytest

from sweep.report.tables.finding_table import finding_tables, narrowed, paper_columns
from sweep.statistics.summaries import make_summaries
from sweep.store.records import CellResult
from sweep.studies.layout import TableLayout
from trainables.evaluation.metrics import FindingAuroc

ROWS = (
    ("imagenet", "ImageNet Init.", "baseline"),
    ("clip", "CLIP", "image-text"),
    ("vicreg", "VICReg", "image-image"),
    ("simclr", "SimCLR", "image-image"),
    ("clip+simclr", "SimCLR-CLIP", "joint"),
)
LAYOUT = TableLayout(
    rows=ROWS,
    datasets=(("chexpert", "CheXpert"), ("own", "My set")),
    columns=(("LP", 100), ("FT", 1), ("FT", 100)),
    seeds=(0, 1, 2),
    study="paper",
)
SPREAD = (-0.01, 0.0, 0.01)


def tables_of(results, layout, published=False):
    return finding_tables(make_summaries(layout, results), published)


def cells(n_pos=(30, 30, 30)):
    results = []
    for dataset, _ in LAYOUT.datasets:
        for i, (row, display, _) in enumerate(ROWS):
            for protocol, percent in LAYOUT.columns:
                for seed in LAYOUT.seeds:
                    value = 0.7 + 0.03 * (i if row != "vicreg" else 6) + SPREAD[seed]
                    findings = (
                        FindingAuroc("lung_lesion", value, n_pos[seed], 70),
                        FindingAuroc("edema", 0.9, 4, 96),
                        FindingAuroc("fracture", None, 0, 100),
                    )
                    key = f"{row}-{dataset}-{protocol}{percent}-s{seed}"
                    results.append(
                        CellResult(
                            row, display, dataset, protocol, percent, 0, seed, "done", key, findings, (value + 0.9) / 2
                        )
                    )
    return results


def test_tables_are_numbered_as_the_papers_and_others_by_their_dataset():
    stems = [(table.number, table.file_stem) for table in tables_of(cells(), LAYOUT)]
    assert stems == [(2, "table2"), (None, "findings_own_FT100"), (6, "table6"), (None, "findings_own_FT1")]


def test_golden_rows():
    text = narrowed(tables_of(cells(), LAYOUT)[0], paper_columns(LAYOUT)).markdown()
    for line in (
        "| Finding | Prevalence | n_pos | ImageNet Init. | CLIP | SimCLR | SimCLR-CLIP |",
        "| Lung lesion | 30.00 | 30 | 70.00 ± 2.48 | 73.00 ± 2.48 | 79.00 ± 2.48 | **82.00 ± 2.48** |",
        "| Edema | 4.00 | 4 | **90.00 ± -** | **90.00 ± -** | **90.00 ± -** | **90.00 ± -** |",
        "| Fracture | 0.00 | 0 | - [a] | - [a] | - [a] | - [a] |",
        "| Mean of defined findings |  |  | 80.00 ± 1.24 | 81.50 ± 1.24 | 84.50 ± 1.24 | **86.00 ± 1.24** |",
        "- [a] undefined, one class only in the test images: seeds 0, 1, 2",
        "- Fewer than 10 positive test images, so single images decide: Edema, Fracture.",
    ):
        assert line in text.splitlines()


def test_the_best_is_the_best_of_the_methods_that_are_shown():
    whole = tables_of(cells(), LAYOUT)[0]
    best = {name for (name, _), entry in zip(whole.methods, whole.rows[0].entries, strict=True) if entry.best}
    assert best == {"vicreg"}
    some = narrowed(whole, ("imagenet", "clip"))
    assert [entry.best for entry in some.rows[0].entries] == [False, True]


def test_a_row_that_the_paper_does_not_have_is_shown_too():
    layout = replace(LAYOUT, rows=(*ROWS, ("mine", "Mine", "own")))
    assert paper_columns(layout) == ("imagenet", "clip", "simclr", "clip+simclr", "mine")
    assert paper_columns(replace(LAYOUT, rows=ROWS[1:3])) == ("clip", "vicreg")


def test_published_values_stand_below_ours_with_the_difference():
    table = narrowed(tables_of(cells(), LAYOUT, published=True)[0], paper_columns(LAYOUT))
    lines = table.markdown().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("| Lung lesion |"))
    assert lines[place + 1] == "| &nbsp;&nbsp;published | 3.53 |  | 32.80 | 66.66 | 86.06 | 96.01 |"
    assert lines[place + 2] == "| &nbsp;&nbsp;difference |  |  | +37.20 | +6.34 | -7.06 | -14.01 |"
    row = next(
        r for r in csv.DictReader(io.StringIO(table.csv())) if (r["finding"], r["method"]) == ("lung_lesion", "clip")
    )
    assert (row["published"], float(row["difference"])) == ("66.66", pytest.approx(6.34))
    assert "published" not in tables_of(cells(), LAYOUT, published=True)[1].markdown().lower()


def test_published_values_are_of_batch_256_only():
    layout = replace(LAYOUT, paper_rows=(("clip", "clip", 1024),))
    table = tables_of(cells(), layout, published=True)[0]
    assert [entry.published is None for entry in table.rows[0].entries] == [False, True, True, False, False]


def test_where_test_labels_differ_between_cells_there_is_no_one_prevalence():
    table = tables_of(cells(n_pos=(30, 31, 30)), LAYOUT)[0]
    assert "| Lung lesion | - | 30 to 31 |" in table.markdown()
    assert "Test labels differ between cells, so there is no one prevalence: Lung lesion." in table.footnotes
