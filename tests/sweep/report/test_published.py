"""Is the paper's data whole and as printed: spot values, shapes, and the repetitions the paper itself has."""

import pytest

from sweep.report.published import published_findings, published_mean
from sweep.report.published_values import COLUMNS, MEANS, PER_FINDING


@pytest.mark.parametrize(
    ("place", "mean", "ci95", "table"),
    [
        (("chexpert", "random", "LPFT", 100), 77.35, 0.61, 1),
        (("chexpert", "clip+simclr", "FT", 100), 84.33, 0.79, 1),
        (("chexpert", "convirt+mocov2", "FT", 10), 83.45, 1.79, 1),
        (("nih_cxr14", "clip", "LP", 100), 83.80, 0.16, 1),
        (("nih_cxr14", "convirt+vicreg", "FT", 100), 83.20, 0.25, 1),
        (("chexpert", "clip", "FT", 10, 1024), 79.75, 2.36, 8),
        (("nih_cxr14", "simclr", "FT", 100, 2048), 83.45, 0.40, 9),
    ],
)
def test_spot_values(place, mean, ci95, table):
    value = published_mean(*place)
    assert (value.mean, value.ci95, value.table) == (mean, ci95, table)


@pytest.mark.parametrize(
    "place",
    [
        ("chexpert", "barlow", "LP", 100),
        ("padchest", "clip", "LP", 100),
        ("chexpert", "clip", "LP", 10),
        ("chexpert", "clip", "LPFT", 100, 1024),
        ("chexpert", "vicreg", "LP", 100, 2048),
        ("chexpert", "clip", "LP", 100, 512),
    ],
)
def test_what_the_paper_does_not_have_is_none(place):
    assert published_mean(*place) is None


def test_table_1_has_13_rows_on_both_datasets_and_8_and_9_have_4():
    for table, rows in ((1, 13), (8, 4), (9, 4)):
        for dataset in ("chexpert", "nih_cxr14"):
            assert len(MEANS[table][dataset]) == rows
            assert all(len(values) == len(COLUMNS[table]) for values in MEANS[table][dataset].values())


def test_baselines_of_tables_8_and_9_repeat_table_1():
    for dataset in ("chexpert", "nih_cxr14"):
        for row in ("random", "imagenet"):
            assert MEANS[8][dataset][row] == MEANS[9][dataset][row] == MEANS[1][dataset][row][1:]


def test_per_finding_tables_have_13_rows_on_chexpert_and_14_on_nih():
    assert [len(PER_FINDING[table]) for table in range(2, 8)] == [13, 14, 13, 14, 13, 14]
    assert published_findings("chexpert", 50) == ()


def test_per_finding_values_and_names():
    rows = {row.finding: row for row in published_findings("chexpert", 1)}
    assert rows["enlarged_cardiomediastinum"].printed_name == "Enlarged Cardiomeastinum"
    assert rows["pleural_other"].auroc == {"imagenet": 78.11, "clip": 95.52, "simclr": 68.65, "clip+simclr": 95.52}
    assert rows["lung_lesion"].prevalence == 43.25
    assert published_findings("nih_cxr14", 10)[-1].auroc["clip"] == 81.90


def test_every_value_is_a_percentage():
    means = [m for table in MEANS.values() for rows in table.values() for values in rows.values() for m, _ in values]
    aurocs = [value for table in PER_FINDING.values() for values, _ in table.values() for value in values]
    assert (len(means), len(aurocs)) == (2 * 13 * 5 + 4 * 4 * 4, 4 * (3 * 13 + 3 * 14))
    assert all(55 < value < 90 for value in means) and all(25 < value < 100 for value in aurocs)
