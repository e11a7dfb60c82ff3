"""Is each mean of a study that of the right cells: place by place, value by value, encoder by encoder?"""

from dataclasses import replace

import pytest
from made_up_study import plan_of, results_of, small, without

from sweep.statistics.summaries import ALSO_TEST, Summaries, auroc_of, make_summaries, study_summaries
from sweep.statistics.summary import DOWNSTREAM, MACROS, STUDY_MACROS
from sweep.store.records import CellResult
from sweep.studies.layout import TableLayout, layout_of
from trainables.evaluation.metrics import FindingAuroc

COLUMN, OTHER = ("FT", 10), ("LP", 100)
LAYOUT = TableLayout(
    (("clip", "CLIP", "ours"), ("simclr", "SimCLR", "ours")), (("nih", "NIH"),), (COLUMN, OTHER), (3, 5)
)


def aurocs(*values: float | None, n_pos: int = 20) -> tuple[FindingAuroc, ...]:
    return tuple(FindingAuroc(f"f{i}", value, n_pos, 50) for i, value in enumerate(values))


def cell(row: str, seed: int, value: float | None, column=COLUMN, p: int = 0, **changes) -> CellResult:
    made = CellResult(row, row, "nih", *column, p, seed, "done", f"{row}{p}{seed}{column}", aurocs(value), value)
    return replace(made, **changes)


FAILED = cell("simclr", 3, None, status="failed", findings=())
CELLS = [cell("clip", 3, 0.7), cell("clip", 5, 0.9), FAILED, cell("simclr", 5, 0.6), cell("clip", 3, 0.5, OTHER)]
SUMMARIES = make_summaries(LAYOUT, CELLS)


def test_a_place_has_its_own_cells_and_a_column_its_finished_ones():
    assert SUMMARIES.cells("clip", "nih", COLUMN) == CELLS[:2] and SUMMARIES.cells("clip", "chexpert", COLUMN) == ()
    assert SUMMARIES.finished("nih", COLUMN) == [CELLS[0], CELLS[1], CELLS[3]]
    assert SUMMARIES.finished("nih", OTHER) == [CELLS[4]]
    assert SUMMARIES.findings("nih", OTHER) == aurocs(0.5) and SUMMARIES.findings("chexpert", OTHER) == ()


def test_a_mean_is_over_the_layouts_seeds_and_by_its_interval():
    clip, simclr = (SUMMARIES.of(row, "nih", COLUMN) for row in ("clip", "simclr"))
    assert (clip.mean, clip.n, clip.complete) == (pytest.approx(0.8), 2, True)
    assert clip.ci95 == pytest.approx(12.7062047 * 0.1, rel=1e-8), "one degree of freedom, sd 0.1 sqrt(2) over sqrt(2)"
    assert (simclr.mean, simclr.n, simclr.failed) == (0.6, 1, ("3",))
    z = make_summaries(replace(LAYOUT, interval="z"), CELLS).of("clip", "nih", COLUMN)
    assert (z.interval, z.ci95) == ("z", pytest.approx(0.1959964, rel=1e-6))
    assert make_summaries(replace(LAYOUT, seeds=(3, 5, 8)), CELLS).of("clip", "nih", COLUMN).missing == ("8",)
    assert make_summaries(replace(LAYOUT, pretrain_seeds=(0, 1)), CELLS).of("clip", "nih", COLUMN).missing == (
        "p1/s3",
        "p1/s5",
    )


def test_a_mean_is_made_once_for_each_place_and_value():
    assert SUMMARIES.of("clip", "nih", COLUMN) is SUMMARIES.of("clip", "nih", COLUMN)
    assert SUMMARIES.of("clip", "nih", COLUMN, "f1").n == 0 != SUMMARIES.of("clip", "nih", COLUMN, "f0").n
    assert SUMMARIES.of("clip", "nih", OTHER).mean == 0.5
    kept = {**Summaries(LAYOUT, ())._made}
    assert kept == {}, "another study's means are its own"


def test_what_was_asked_for_before_is_no_part_of_the_value():
    asked, fresh = make_summaries(LAYOUT, CELLS), make_summaries(LAYOUT, CELLS)
    asked.of("clip", "nih", COLUMN)
    assert asked == fresh and "_made" not in repr(asked)


def test_only_rows_with_every_seed_are_complete():
    assert SUMMARIES.complete("nih", COLUMN) == {"clip": pytest.approx(0.8)}
    assert SUMMARIES.complete("nih", OTHER) == {} == SUMMARIES.complete("nih", COLUMN, "f1")
    assert make_summaries(replace(LAYOUT, seeds=(5,)), CELLS).complete("nih", COLUMN) == {"clip": 0.9, "simclr": 0.6}
    assert make_summaries(replace(LAYOUT, seeds=()), CELLS).complete("nih", COLUMN) == {}


def test_any_value_of_a_cell_can_be_taken_over_seeds():
    found = SUMMARIES.over_seeds("clip", "nih", COLUMN, lambda cell: cell.seed / 10)
    assert (found.mean, found.n) == (pytest.approx(0.4), 2)


def test_one_encoder_has_its_own_pretraining_seed_and_the_downstream_seeds_of_its_network():
    layout = replace(LAYOUT, pretrain_seeds=(0, 1))
    cells = [cell(row, s, 0.5 + 0.1 * p + 0.02 * s, p=p) for row in ("clip", "simclr") for p in (0, 1) for s in (3, 5)]
    whole = make_summaries(layout, cells)
    one = whole.of_encoder("clip", 1)
    assert one.results == tuple(cells[2:4]) and one.layout == replace(layout, pretrain_seeds=(1,))
    found = one.of("clip", "nih", COLUMN)
    assert (found.varies, found.n, found.mean) == (DOWNSTREAM, 2, pytest.approx(0.68))
    drawn = whole.of_encoder("clip", 1, network_seed=5)
    assert drawn.results == (cells[3],) and drawn.layout.seeds == (5,)
    assert whole.of_encoder("clip", 0, network_seed=0).layout.seeds == (0,), "seed 0 is a seed"


def test_results_that_are_no_numbers_are_failed_ones():
    found = make_summaries(LAYOUT, [cell("clip", 3, float("nan")), cell("clip", 5, 0.9)])
    assert found.of("clip", "nih", COLUMN).failed == ("3",) and found.of("clip", "nih", COLUMN).mean == 0.9


def test_the_summaries_of_a_study_have_its_layout():
    study = small()
    plan = plan_of(study)
    results = [r if r.encoder != "clip" else without(r) for r in results_of(study, plan)]
    found = study_summaries(study, plan, results)
    assert found.layout == layout_of(study, plan) and found.results == tuple(results)


# -- what is summarised ----------------------------------------------------------------------------


def test_each_value_is_read_or_computed_from_its_own_findings():
    names = ("atelectasis", "cardiomegaly", "consolidation", "edema", "pleural_effusion")
    five = tuple(FindingAuroc(name, 0.5 + 0.1 * i, 30, 70) for i, name in enumerate(names))
    rare, none = FindingAuroc("hernia", 0.2, 9, 91), FindingAuroc("mass", None, 0, 100)
    one = cell(
        "clip", 3, 0.123, findings=(*five, rare, none),
        studies=(("max", aurocs(0.61, 0.63)), ("mean", aurocs(0.65, None))), also_test=(("val", aurocs(0.41, 0.45)),),
    )  # fmt: skip
    assert [auroc_of(one, kind) for kind in MACROS] == [0.123, pytest.approx(0.7), pytest.approx(0.7)], "as stored"
    assert [auroc_of(one, name) for name in ("edema", "hernia", "mass", "nodule")] == [
        pytest.approx(0.8),
        0.2,
        None,
        None,
    ]
    assert {how: auroc_of(one, macro) for macro, how in STUDY_MACROS.items()} == {
        "max": pytest.approx(0.62),
        "mean": 0.65,
    }
    assert auroc_of(one, f"{ALSO_TEST}val") == pytest.approx(0.43) and auroc_of(one, f"{ALSO_TEST}test") is None
    assert auroc_of(cell("clip", 3, 0.8), "macro_study_max") is None


# -- the digest ------------------------------------------------------------------------------------

CHANGES = {
    "key": {"key": "another"},
    "status": {"status": "failed"},
    "macro": {"macro_auroc": 0.71},
    "finding": {"findings": (FindingAuroc("g", 0.7, 20, 50),)},
    "auroc": {"findings": aurocs(0.71)},
    "positives": {"findings": aurocs(0.7, n_pos=21)},
    "negatives": {"findings": (FindingAuroc("f0", 0.7, 20, 51),)},
    "studies": {"studies": (("max", aurocs(0.7)),)},
    "study's aggregate": {"studies": (("mean", aurocs(0.7)),)},
    "second split": {"also_test": (("val", aurocs(0.7)),)},
    "second split's name": {"also_test": (("test", aurocs(0.7)),)},
    "second split's auroc": {"also_test": (("test", aurocs(0.8)),)},
}


def test_whatever_a_mean_is_made_from_is_in_the_digest_and_nothing_else():
    digests = {"": SUMMARIES.digest, "layout": make_summaries(replace(LAYOUT, interval="z"), CELLS).digest}
    for name, changes in CHANGES.items():
        digests[name] = make_summaries(LAYOUT, [replace(CELLS[0], **changes), *CELLS[1:]]).digest
    assert len(set(digests.values())) == len(digests), digests
    assert make_summaries(LAYOUT, [replace(CELLS[0], precision="bfloat16"), *CELLS[1:]]).digest == SUMMARIES.digest
    assert make_summaries(LAYOUT, CELLS).digest == SUMMARIES.digest and len(SUMMARIES.digest) == 64
