"""Does Table 1 say what the cells say: a golden table, marks for what is absent, and LaTeX that is well formed."""

import csv
import io
import re
from dataclasses import replace

import pytest

from sweep.report.live import live_table
from sweep.report.tables.main_table import table1
from sweep.statistics.summaries import make_summaries
from sweep.store.records import CellResult
from sweep.studies.layout import TableLayout
from trainables.evaluation.metrics import FindingAuroc

ROWS = (
    ("random", "Random Init.", "baseline"),
    ("clip", "CLIP", "image-text"),
    ("simclr", "SimCLR", "image-image"),
    ("clip+simclr", "SimCLR-CLIP", "joint"),
)
LAYOUT = TableLayout(
    rows=ROWS,
    datasets=(("chexpert", "CheXpert"), ("nih_cxr14", "NIH-ChestX-Ray14")),
    columns=(("LPFT", 100), ("LP", 100), ("FT", 1), ("FT", 10), ("FT", 100)),
    seeds=(0, 1, 2),
    study="paper",
)
SPREAD = (-0.01, 0.0, 0.01)


def table_of(results, layout, **options):
    return table1(make_summaries(layout, results), **options)


def cell(row, display, dataset, protocol, percent, seed, value, status="done"):
    findings = (FindingAuroc("edema", value, 20, 30), FindingAuroc("hernia", None, 0, 50)) if status == "done" else ()
    number = value if status == "done" else None
    key = f"{row}-{dataset}-{protocol}{percent}-s{seed}"
    return CellResult(row, display, dataset, protocol, percent, 0, seed, status, key, findings, number)


def all_cells():
    return [
        cell(row, display, dataset, protocol, percent, seed, 0.7 + 0.03 * i + 0.01 * j + SPREAD[seed])
        for dataset, _ in LAYOUT.datasets
        for i, (row, display, _) in enumerate(ROWS)
        for j, (protocol, percent) in enumerate(LAYOUT.columns)
        for seed in LAYOUT.seeds
    ]


def change(results, status, row, protocol, percent, seed):
    return [
        replace(r, status=status, findings=(), macro_auroc=None)
        if (r.encoder, r.protocol, r.label_percent, r.seed) == (row, protocol, percent, seed)
        else r
        for r in results
    ]


GOLDEN = """\
### CheXpert (AUROC)

| Methods | LPFT | LP | FT (1%) | FT (10%) | FT (100%) |
| :-- | --: | --: | --: | --: | --: |
| *Baselines* |  |  |  |  |  |
| Random Init. | 70.00 ± 2.48 | 71.00 ± 2.48 | 72.00 ± 2.48 | 73.00 ± 2.48 | 74.00 ± 2.48 |
| *Multi-modal* |  |  |  |  |  |
| CLIP | 73.00 ± 2.48 | 74.00 ± 2.48 | 75.00 ± 2.48 | 76.00 ± 2.48 | 77.00 ± 2.48 |
| *Self-supervised* |  |  |  |  |  |
| SimCLR | 76.00 ± 2.48 | 77.00 ± 2.48 | 78.00 ± 2.48 | 79.00 ± 2.48 | 80.00 ± 2.48 |
| *Joint* |  |  |  |  |  |
| SimCLR-CLIP | **79.00 ± 2.48** | **80.00 ± 2.48** | **81.00 ± 2.48** | **82.00 ± 2.48** | **83.00 ± 2.48** |
"""


def test_golden_table():
    text = table_of(all_cells(), LAYOUT).markdown()
    assert GOLDEN in text
    assert GOLDEN.replace("CheXpert", "NIH-ChestX-Ray14") in text
    assert "[" not in text.replace("95%", "")


def test_the_caption_says_what_varies_over_how_many_findings_and_how_the_interval_is_made():
    caption = table_of(all_cells(), LAYOUT).caption
    for part in (
        "Study paper",
        "95% t-interval",
        "n = 3 downstream seeds (0, 1, 2)",
        "pretrained once (seed 0)",
        "do not cover the variance of pretraining",
        "CheXpert 1 of 2",
        "NIH-ChestX-Ray14 1 of 2",
    ):
        assert part in caption
    several = table_of(all_cells(), replace(LAYOUT, pretrain_seeds=(0, 1), interval="z")).caption
    assert "n = 2 pretraining seeds (0, 1), each the mean over 3 downstream seeds" in several
    assert "95% z-interval" in several


def test_missing_and_failed_seeds_are_marked_and_do_not_win():
    results = change(all_cells(), "failed", "clip+simclr", "LP", 100, 1)
    results = [r for r in results if (r.encoder, r.protocol, r.label_percent) != ("simclr", "FT", 1) or r.seed == 0]
    text = table_of(results, LAYOUT, notes=("A deviation.",)).markdown()
    assert "80.00 ± 12.71 [b]" in text and "**80.00 ± 12.71" not in text
    assert "| **77.00 ± 2.48** |" in text
    assert "77.00 ± - [a]" in text
    assert "- [b] failed: seed 1; mean of the other n = 2\n" in text
    assert "- [a] missing: seeds 1, 2; mean of the other n = 1\n" in text
    assert text.endswith("- A deviation.\n")


def test_where_all_miss_the_same_seeds_the_best_is_still_shown():
    text = table_of([r for r in all_cells() if r.seed < 2], LAYOUT).markdown()
    assert "**78.50 ± 6.35** [a]" in text


def test_an_empty_sweep_gives_a_table_without_numbers():
    text = table_of([], LAYOUT).markdown()
    assert "| CLIP | - [a] |" in text and "none yet" in text
    assert not re.search(r"\d\d\.\d\d", text)
    assert "- [a] missing: seeds 0, 1, 2\n" in text


def test_published_values_stand_below_ours_with_the_difference():
    text = table_of(all_cells(), LAYOUT, published=True).markdown()
    assert "| &nbsp;&nbsp;published | 85.06 ± 0.85 | 78.17 ± 0.23 | 78.19 ± 1.80 | 82.90 ± 1.46 | 84.36 ± 3.07" in text
    assert "| &nbsp;&nbsp;difference | -12.06 | -4.17 | -3.19 | -6.90 | -7.36 |" in text
    assert "published" not in table_of(all_cells(), LAYOUT).markdown()


def test_a_row_that_the_paper_lacks_has_no_published_line():
    layout = replace(LAYOUT, rows=(("barlow", "Barlow", "image-image"),))
    assert "published |" not in table_of([], layout, published=True).markdown()


def test_the_csv_holds_full_precision_sd_and_n():
    results = change(all_cells(), "failed", "clip", "FT", 10, 2)
    rows = list(csv.DictReader(io.StringIO(table_of(results, LAYOUT, published=True).csv())))
    assert len(rows) == 8
    row = next(r for r in rows if (r["dataset"], r["method"]) == ("chexpert", "clip"))
    assert float(row["FT (1%) sd"]) == pytest.approx(1.0, abs=1e-9)
    assert float(row["FT (1%) mean"]) == pytest.approx(75.0, abs=1e-9)
    assert (row["FT (1%) n"], row["FT (10%) n"], row["FT (10%) failed"]) == ("3", "2", "2")
    assert float(row["LPFT published_mean"]) == 85.06


def test_the_display_name_comes_from_the_layout():
    rows = (("imagenet", "Stand-in Init. (rendered textures, not ImageNet)", "baseline"),)
    text = table_of([], replace(LAYOUT, rows=rows)).latex()
    assert "Stand-in Init. &" in text and "Stand-in Init.: rendered textures, not ImageNet." in text


def check_latex(text, parts=1):
    """Braces and environments balance, every row of the tabulars has the columns that its header declares."""
    body = re.sub(r"\\[\\{}&%$#_]", lambda m: "\\\\" if m[0] == "\\\\" else "", re.sub(r"(?m)^%.*$", "", text))
    assert body.count("{") == body.count("}")
    assert body.count("$") % 2 == 0
    begun = re.findall(r"\\begin\{(\w+)\}", text)
    assert begun == ["table", "tabular"] * parts
    assert re.findall(r"\\end\{(\w+)\}", text) == ["tabular", "table"] * parts
    assert "%" not in body and "#" not in body and not re.search(r"[^\x00-\x7f]", text)
    width = len(re.search(r"\\begin\{tabular\}\{@\{\}(l+c*)@\{\}\}", text)[1])
    inside = "".join(re.findall(r"\\toprule\n(.*?)\\bottomrule", body, re.DOTALL))
    for line in inside.strip().splitlines():
        if line.endswith("\\\\"):
            spans = [int(n) - 1 for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
            assert line.count("&") + 1 + sum(spans) == width, line
        else:
            assert re.fullmatch(r"\\midrule|\\cmidrule\(l\)\{2-\d+\}|\\addlinespace\[2pt\]", line), line


@pytest.mark.parametrize("published", [False, True])
def test_latex_is_well_formed_with_hostile_names(published):
    rows = (*ROWS, ("x", r"[R&D]_50% #1 {$a$} ~^\ ± <b>", "mine_own"))
    results = change(all_cells(), "failed", "clip", "FT", 10, 2)
    text = table_of(results, replace(LAYOUT, rows=rows), published=published, notes=("50% & [more]_",)).latex()
    parts = 2 if published else 1  # with the published values the sets stand on a page each
    check_latex(text, parts)
    assert r"\textbf{79.00 $\pm$ 2.48}" in text
    assert "75.50 $\\pm$ 6.35$^{a}$" in text
    assert text.count(r"\midrule") == 5 * 2 + (parts == 1)


def test_the_latex_checker_sees_a_missing_column():
    broken = table_of(all_cells(), LAYOUT).latex().replace("CLIP & ", "CLIP ", 1)
    with pytest.raises(AssertionError):
        check_latex(broken)


def test_markdown_rows_all_have_the_headers_columns_even_with_a_bar_in_a_name():
    layout = replace(LAYOUT, rows=(*ROWS, ("x", "a|b", "own")))
    for line in table_of([], layout).markdown().splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 7


def test_the_live_table_counts_seeds_until_all_are_there():
    results = change(all_cells(), "failed", "clip", "FT", 10, 2)
    results = change(results, "missing", "random", "LP", 100, 0)
    results = [r for r in results if (r.encoder, r.protocol, r.label_percent) != ("simclr", "FT", 1)]
    header, rows = live_table(make_summaries(LAYOUT, results), "chexpert")
    assert header == ("Methods", "LPFT", "LP", "FT (1%)", "FT (10%)", "FT (100%)")
    assert rows[0] == ("Random Init.", "70.00 ± 2.48", "71.50 (2/3)", "72.00 ± 2.48", "73.00 ± 2.48", "74.00 ± 2.48")
    assert rows[1][4] == "75.50 (2/3) 1 failed"
    assert rows[2][3] == ""


def test_a_column_keeps_its_title_when_it_is_alone():
    assert replace(LAYOUT, columns=(("FT", 100), ("LP", 100))).column_titles == ("FT (100%)", "LP")


def test_more_than_26_reasons_have_distinct_marks():
    layout = replace(LAYOUT, seeds=tuple(range(40)))
    results = [
        cell("clip", "CLIP", dataset, protocol, percent, 5 * d + j, 0.8)
        for d, (dataset, _) in enumerate(LAYOUT.datasets)
        for j, (protocol, percent) in enumerate(LAYOUT.columns)
    ]
    layout = replace(layout, rows=(ROWS[1], *((f"r{i}", f"R{i}", "own") for i in range(3))))
    results += [
        cell(f"r{i}", f"R{i}", "chexpert", p, n, 12 + 5 * i + j, 0.8)
        for i in range(3)
        for j, (p, n) in enumerate(LAYOUT.columns)
    ]
    results += [
        cell(f"r{i}", f"R{i}", "nih_cxr14", p, n, 27 + 5 * i - j, 0.8)
        for i in range(3)
        for j, (p, n) in enumerate(LAYOUT.columns)
    ]
    table = table_of(results, layout)
    marks = [note.split("]")[0] for note in table.footnotes]
    assert len(marks) == len(set(marks)) > 26
