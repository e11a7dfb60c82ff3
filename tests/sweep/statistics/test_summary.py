"""Do cells add up: rows in one order, numbers that read back, and means that say what is not in them."""

import csv
import io
import random
import statistics

import pytest

from sweep.statistics.summary import defined_findings, findings_of_macro, macro_auroc, summarise
from sweep.store import csv_files
from sweep.store.csv_files import findings_csv, results_csv
from sweep.store.records import CellResult
from trainables.evaluation.metrics import FindingAuroc


def cell(seed, value=0.8, status="done", encoder="clip", pretrain_seed=0, **changes):
    done = status == "done"
    findings = (FindingAuroc("edema", value, 20, 30), FindingAuroc("hernia", None, 0, 50)) if done else ()
    fields = {
        "encoder": encoder,
        "method": encoder.upper(),
        "dataset": "chexpert",
        "protocol": "FT",
        "label_percent": 10,
        "pretrain_seed": pretrain_seed,
        "seed": seed,
        "status": status,
        "key": f"{encoder}{pretrain_seed}{seed}",
        "findings": findings,
        "macro_auroc": value if done else None,
        **changes,
    }
    return CellResult(**fields)


def read(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_results_have_a_row_for_each_cell_whatever_became_of_it():
    rows = read(results_csv([cell(0, 0.1 + 0.2), cell(1, status="failed"), cell(2, status="missing"), cell(3, None)]))
    assert [row["status"] for row in rows] == ["done", "failed", "missing", "done"]
    assert float(rows[0]["macro_auroc"]) == 0.1 + 0.2
    assert [row["macro_auroc"] for row in rows[1:]] == ["", "", ""]
    assert [row["num_defined_findings"] for row in rows] == ["1", "", "", "0"]
    assert list(rows[0])[:8] == [
        "method",
        "dataset",
        "protocol",
        "label_percent",
        "seed",
        "macro_auroc",
        "status",
        "key",
    ]
    assert rows[0]["method"] == "clip" and rows[0]["display_name"] == "CLIP"


def test_findings_keep_undefined_ones_under_their_name():
    rows = read(findings_csv([cell(0, 0.75), cell(1, status="failed")]))
    assert list(rows[0])[:10] == [
        "method",
        "dataset",
        "protocol",
        "label_percent",
        "seed",
        "finding",
        "auroc",
        "n_pos",
        "n_neg",
        "key",
    ]
    assert [(row["finding"], row["auroc"], row["n_pos"], row["n_neg"]) for row in rows] == [
        ("edema", "0.75", "20", "30"),
        ("hernia", "", "0", "50"),
    ]


def test_files_do_not_depend_on_the_order_of_completion():
    cells = [
        cell(s, s / 7, encoder=e, protocol=p, label_percent=n)
        for s in range(5)
        for e in ("clip", "random")
        for p, n in (("LP", 100), ("FT", 1), ("FT", 10))
    ]
    shuffled = random.Random(3).sample(cells, len(cells))
    assert results_csv(shuffled) == results_csv(cells)
    assert findings_csv(shuffled) == findings_csv(cells)


def test_rows_in_the_order_of_completion_are_noticed(monkeypatch):
    monkeypatch.setattr(csv_files, "_in_order", list)
    with pytest.raises(AssertionError):
        test_files_do_not_depend_on_the_order_of_completion()


def test_a_display_name_with_a_comma_stays_one_column():
    assert read(results_csv([cell(0, method='Stand-in, "rendered"')]))[0]["display_name"] == 'Stand-in, "rendered"'


def test_a_complete_place_is_the_mean_over_its_seeds():
    values = [0.80, 0.82, 0.81, 0.84, 0.79]
    summary = summarise([cell(s, v) for s, v in enumerate(values)], range(5))
    assert summary.mean == pytest.approx(statistics.mean(values), abs=1e-15)
    assert summary.sd == pytest.approx(statistics.stdev(values), abs=1e-15)
    assert summary.ci95 == pytest.approx(2.7764451 * statistics.stdev(values) / 5**0.5, rel=1e-6)
    assert summary.n == 5 and summary.complete


def test_what_is_not_in_a_mean_is_named():
    cells = [cell(0, 0.8), cell(1, status="failed"), cell(2, status="missing"), cell(3, None), cell(4, 0.9)]
    summary = summarise(cells, range(6))
    assert summary.mean == pytest.approx(0.85) and summary.n == 2
    assert (summary.failed, summary.missing, summary.undefined) == (("1",), ("2", "5"), ("3",))
    assert not summary.complete


def test_one_seed_has_a_mean_and_no_interval():
    summary = summarise([cell(0, 0.8)], (0,))
    assert (summary.mean, summary.sd, summary.ci95, summary.n) == (0.8, None, None, 1)


def test_nothing_gives_no_number():
    summary = summarise([], (0, 1))
    assert (summary.mean, summary.n, summary.missing) == (None, 0, ("0", "1"))


def test_with_several_pretraining_seeds_they_are_what_varies():
    cells = [cell(s, 0.8 + 0.05 * p + 0.01 * s, pretrain_seed=p) for p in range(3) for s in range(2)]
    summary = summarise(cells, (0, 1), (0, 1, 2))
    assert summary.n == 3
    assert summary.mean == pytest.approx(0.855)
    assert summary.sd == pytest.approx(0.05)
    partial = summarise(cells[:-1], (0, 1), (0, 1, 2))
    assert partial.missing == ("p2/s1",)


def test_counts_of_defined_findings_show_when_they_vary():
    cells = [cell(0), cell(1, None), cell(2, status="failed"), cell(0, dataset="nih_cxr14")]
    assert defined_findings(cells) == {"chexpert": (0, 1, 2), "nih_cxr14": (1, 1, 2)}


def test_values_that_are_all_equal_have_no_interval_of_zero():
    summary = summarise([cell(s, 0.8) for s in range(5)], range(5))
    assert (summary.mean, summary.sd, summary.n, summary.ci95) == (0.8, 0.0, 5, None)
    assert summary.varies == "nothing"


def test_a_row_that_no_pretraining_seed_changes_is_taken_over_its_downstream_seeds():
    fixed = [cell(s, 0.8 + 0.01 * s, pretrain_seed=p) for p in range(3) for s in range(4)]
    summary, alone = summarise(fixed, range(4), range(3)), summarise(fixed[:4], range(4))
    assert (summary.n, summary.varies) == (4, "downstream seeds")
    assert summary.ci95 == alone.ci95 > 0


def test_the_interval_over_both_kinds_of_seed_is_there_where_every_value_is():
    cells = [cell(s, 0.8 + 0.05 * p + 0.01 * s * p, pretrain_seed=p) for p in range(3) for s in range(2)]
    summary = summarise(cells, (0, 1), (0, 1, 2))
    assert summary.varies == "pretraining seeds" and summary.both_seeds.ci95 > 0
    assert summary.both_seeds.mean == pytest.approx(summary.mean)
    assert summarise(cells[:-1], (0, 1), (0, 1, 2)).both_seeds is None
    crossed = [c for c in cells if (c.pretrain_seed + c.seed) % 2 == 0]
    assert summarise(crossed, (0, 1), (0, 1, 2)).both_seeds is None


def test_the_variance_of_the_mean_over_pretrainings_is_that_of_their_means():
    """Five pretrainings with sd 1, four seeds each with sd 1: the mean has variance 1/5 + 1/20."""
    rng, covered, repeats = random.Random(5), 0, 1500
    for _ in range(repeats):
        pretraining = [rng.gauss(0, 1) for _ in range(5)]
        cells = [cell(s, pretraining[p] + rng.gauss(0, 1), pretrain_seed=p) for p in range(5) for s in range(4)]
        summary = summarise(cells, range(4), range(5))
        covered += abs(summary.mean) <= summary.ci95
    assert 0.93 <= covered / repeats <= 0.97


def test_another_value_can_be_summarised():
    cells = [cell(0, 0.7), cell(1, 0.9), cell(2, status="failed")]
    summary = summarise(cells, range(3), value=lambda c: c.findings[0].auroc)
    assert summary.mean == pytest.approx(0.8) and summary.failed == ("2",)
    assert summarise(cells, range(3), value=lambda c: c.findings[1].auroc).undefined == ("0", "1")


NAMES = ("atelectasis", "cardiomegaly", "consolidation", "edema", "pleural_effusion", "hernia", "mass")


def findings(**changes):
    """AUROC 0.1 for the first finding, 0.2 for the second, ...; 50 positives each."""
    values = {name: (0.1 * (i + 1), 50) for i, name in enumerate(NAMES)} | changes
    return [FindingAuroc(name, value, n_pos, 100) for name, (value, n_pos) in values.items()]


def test_three_macros_by_hand():
    rare = findings(hernia=(0.9, 9), mass=(None, 0))
    assert macro_auroc("macro_defined", rare) == pytest.approx((0.1 + 0.2 + 0.3 + 0.4 + 0.5 + 0.9) / 6)
    assert macro_auroc("macro_10_positives", rare) == pytest.approx(0.3)
    assert macro_auroc("macro_competition", rare) == pytest.approx(0.3)
    assert findings_of_macro("macro_10_positives", findings(hernia=(0.9, 10)))[-2:] == ("hernia", "mass")
    assert macro_auroc("macro_10_positives", findings(**{name: (0.5, 3) for name in NAMES})) is None
    with pytest.raises(ValueError, match="known: macro_defined"):
        macro_auroc("macro", rare)


def test_the_competition_macro_needs_all_five_and_knows_nih_s_name():
    assert macro_auroc("macro_competition", findings(edema=(None, 0))) is None
    assert macro_auroc("macro_competition", [f for f in findings() if f.finding != "edema"]) is None
    nih = [
        FindingAuroc("effusion", f.auroc, f.n_pos, f.n_neg) if f.finding == "pleural_effusion" else f
        for f in findings()
    ]
    assert macro_auroc("macro_competition", nih) == pytest.approx(0.3)
    both = [*findings(), FindingAuroc("effusion", 0.9, 50, 100)]  # a dataset with that finding under both names
    assert findings_of_macro("macro_competition", both) == NAMES[:5]
    assert macro_auroc("macro_competition", [f for f in nih if f.finding != "edema"]) is None


def test_fixed_weights_whose_numbers_differ_by_rounding_do_not_vary():
    """A mean over findings summed in another order differs in its last bits: that is no spread, and no pretraining."""
    found = summarise([cell(s, 0.8 + s * 1.1e-16) for s in range(5)], range(5))
    assert (found.varies, found.ci95, found.n) == ("nothing", None, 5)
    moved = summarise([cell(s, 0.8 + s * 1e-9) for s in range(5)], range(5))
    assert moved.varies == "downstream seeds" and 0 < moved.ci95 < 1e-8
    twice = [cell(s, 0.8 + 0.01 * s + p * 1.1e-16, pretrain_seed=p) for p in range(2) for s in range(3)]
    assert summarise(twice, range(3), range(2)).varies == "downstream seeds"
