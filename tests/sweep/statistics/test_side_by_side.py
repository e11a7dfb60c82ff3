"""Are two studies compared as written down: means of each, paired differences, the test over seeds and patients?"""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

from datasets_io.fingerprint import derive_seed
from sweep.statistics.side_by_side import Side, side_by_side
from sweep.statistics.summaries import study_summaries
from sweep.store.snapshot import Origin, Snapshot
from sweep.studies.plan import make_plan
from tests.sweep.saved_study import FINDINGS, Saved, make, save_all

SEEDS = (0, 1, 2, 3, 4)
METHODS = ("imagenet", "clip", "simclr")


def side(saved: Saved, results=None) -> Side:
    results = saved.results() if results is None else results
    data = Snapshot(saved.study, saved.plan, results, {}, saved.store, Origin("study.py", saved.store.uri))
    return Side(data, study_summaries(saved.study, saved.plan, results))


def scores(saved: Saved, cell, strength: float) -> np.ndarray:
    """(N, F) of another training: other noise, and so much signal."""
    noise = np.random.default_rng(derive_seed(cell.seed, f"other {cell}")).normal(size=saved.labels.shape)
    return np.round(1 / (1 + np.exp(-noise - strength * saved.labels)), 2).astype(np.float32)


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    """The same study in two storages; the other one's CLIP is better, its SimCLR the same to the last bit."""
    here = make(tmp_path_factory.mktemp("here"), METHODS, seeds=SEEDS, hernias=30)
    there = make(tmp_path_factory.mktemp("there"), METHODS, seeds=SEEDS, hernias=30)
    save_all(here)
    for cell in there.plan.cells:
        strength = {"clip": 1.9, "imagenet": 0.5}.get(cell.encoder.row)
        there.save(cell, None if strength is None else scores(there, cell, strength))
    return here, there


def row_of(both, method: str):
    return next(row for row in both.rows if row.method == method)


# -- by hand, from the predictions: no function of the project but the one that wrote them ------------------------


def probabilities(saved: Saved, cell) -> np.ndarray:
    table = saved.store.open(cell).read("predictions.parquet")
    import io

    import pyarrow.parquet as pq

    read = pq.read_table(io.BytesIO(table))
    return np.stack([read[f"probability_{finding}"].to_numpy() for finding in FINDINGS], axis=1).astype(np.float64)


def placements(saved: Saved, values: np.ndarray, f: int) -> tuple[float, np.ndarray] | None:
    """AUROC of a finding and what each of the patients moves it by; pair by pair."""
    known = saved.known[:, f]
    positive, negative = known & (saved.labels[:, f] == 1), known & (saved.labels[:, f] == 0)
    if not positive.any() or not negative.any():
        return None
    above = values[positive, f][:, None] - values[negative, f][None]
    wins = (above > 0) + 0.5 * (above == 0)
    auroc = wins.mean()
    moved = np.zeros(len(values))
    for member, own in ((positive, wins.mean(axis=1)), (negative, wins.mean(axis=0))):
        images = {p: np.sum(saved.patient_ids[member] == p) for p in set(saved.patient_ids[member])}
        effective = sum(images.values()) ** 2 / sum(k**2 for k in images.values())
        moved[member] = math.sqrt(effective / (effective - 1)) / member.sum() * (own - auroc)
    patients = sorted(set(saved.patient_ids))
    return auroc, np.array([moved[saved.patient_ids == patient].sum() for patient in patients])


def by_hand(here: Saved, there: Saved, method: str):
    """difference, half-width over seeds, over both, p over both of a method under LP."""
    differences, moved = [], []
    for seed in SEEDS:
        sides = []
        for saved in (here, there):
            values = probabilities(saved, saved.cell(method, seed))
            found = [placements(saved, values, f) for f in range(len(FINDINGS))]
            sides.append([one for one in found if one is not None])
        differences.append(np.mean([a for a, _ in sides[0]]) - np.mean([a for a, _ in sides[1]]))
        moved.append(np.mean([d for _, d in sides[0]], axis=0) - np.mean([d for _, d in sides[1]], axis=0))
    difference, se_seeds = np.mean(differences), np.std(differences, ddof=1) / math.sqrt(len(SEEDS))
    influence = np.mean(moved, axis=0)
    se_patients = math.sqrt((influence**2).sum())
    freedom = (influence**2).sum() ** 2 / (influence**4).sum() - 1

    def half(level_outside: float) -> float:
        quantiles = [scipy.stats.t.ppf(1 - level_outside / 2, df) for df in (len(SEEDS) - 1, freedom)]
        return math.hypot(quantiles[0] * se_seeds, quantiles[1] * se_patients)

    p = scipy.optimize.brentq(lambda log: half(math.exp(log)) - abs(difference), math.log(1e-12), -1e-9)
    return difference, scipy.stats.t.ppf(0.975, 4) * se_seeds, half(0.05), math.exp(p)


def test_differences_intervals_and_p_are_those_computed_by_hand(sides):
    both = side_by_side(*map(side, sides))
    found = {method: by_hand(*sides, method) for method in ("clip", "imagenet")}
    for method, (difference, over_seeds, over_both, p) in found.items():
        row = row_of(both, method)
        assert row.difference == pytest.approx(difference, rel=1e-9) and row.num_shared == len(SEEDS)
        assert row.ci95_seeds == pytest.approx(over_seeds, rel=1e-9)
        assert row.ci95_both == pytest.approx(over_both, rel=1e-6) and row.p_both == pytest.approx(p, rel=1e-5)
        # Student's with ten more degrees of freedom, of the same variance.
        assert row.patients_low is not None and row.patients_low < row.difference < row.patients_high
    # SimCLR is the same: there is nothing to test, and Holm's correction has two tests.
    small, large = sorted(one[3] for one in found.values())
    wanted = {small: min(1, 2 * small), large: max(min(1, 2 * small), large)}
    for method in found:
        row = row_of(both, method)
        assert row.p_both_holm_table == pytest.approx(wanted[found[method][3]], rel=1e-5)
    assert row_of(both, "clip").difference < 0 and row_of(both, "clip").p_both_holm_table < 0.05


def test_means_are_those_of_each_studys_own_table(sides):
    both = side_by_side(*map(side, sides))
    assert len(both.rows) == 3
    for row in both.rows:
        own, other = (side(s).means.of(row.method, "chexpert", ("LP", 100)) for s in sides)
        assert (row.mean, row.ci95, row.n) == (own.mean, own.ci95, 5)
        assert (row.other_mean, row.other_ci95, row.other_n) == (other.mean, other.ci95, 5)


def test_the_same_predictions_differ_by_nothing(sides):
    both = side_by_side(*map(side, sides))
    row = row_of(both, "simclr")
    assert (row.difference, row.same_cells, row.num_shared, row.p_both) == (0.0, 5, 5, None)
    alone = side_by_side(side(sides[0]), side(sides[0]))
    assert all(row.difference == 0 and row.same_cells == 5 and row.p_both is None for row in alone.rows)


def test_without_predictions_nothing_is_told_apart(sides):
    both = side_by_side(*map(side, sides), predictions=False)
    with_them = side_by_side(*map(side, sides))
    for row in both.rows:
        assert row.p_both is None and row.ci95_both is None and row.patients_low is None
        assert row.difference == row_of(with_them, row.method).difference
    assert row_of(both, "clip").ci95_seeds is not None


def test_other_test_images_leave_out_the_intervals_over_patients_and_say_so(sides, tmp_path):
    here, _ = sides
    there = make(tmp_path, METHODS, seeds=SEEDS, hernias=30)
    for cell in there.plan.cells:
        there.save(cell, image_ids=[f"other{i}" for i in range(len(there.image_ids))])
    both = side_by_side(side(here), side(there))
    assert all(row.p_both is None and row.patients_note == "predictions are not at hand" for row in both.rows)
    assert all(row.difference is not None for row in both.rows)
    [note] = both.notes
    assert note.startswith(
        "CheXpert: predictions of 15 cells of the other study were not used, since predictions are of"
    )


def test_seeds_that_not_both_have_are_left_out_and_named(sides, tmp_path):
    here, _ = sides
    there = make(tmp_path, METHODS, seeds=(2, 3, 4, 5), hernias=30)
    gone = there.cell("clip", 4)
    for cell in there.plan.cells:
        if cell != gone:
            there.save(cell, scores(there, cell, 1.0))
    both = side_by_side(side(here), side(there))
    row = row_of(both, "clip")
    own = {r.seed: r.macro_auroc for r in here.results() if r.encoder == "clip"}
    other = {r.seed: r.macro_auroc for r in there.results() if r.encoder == "clip" and r.macro_auroc is not None}
    assert row.num_shared == 2 and row.left_out == ("4",) and (row.n, row.other_n) == (5, 3)
    assert row.difference == pytest.approx(np.mean([own[s] - other[s] for s in (2, 3)]), rel=1e-12)
    apart = make(tmp_path / "apart", METHODS, seeds=(7, 8), hernias=30)
    save_all(apart)
    assert all(r.difference is None and r.num_shared == 0 for r in side_by_side(side(here), side(apart)).rows)


def test_with_several_pretrainings_these_are_the_pairs(tmp_path):
    studies = [make(tmp_path / name, ("imagenet", "clip"), (0, 1), (0, 1, 2), hernias=30) for name in "ab"]
    save_all(studies[0])
    for cell in studies[1].plan.cells:
        studies[1].save(cell, scores(studies[1], cell, 1.6))
    row = row_of(side_by_side(*map(side, studies)), "clip")
    means = [
        [np.mean([r.macro_auroc for r in s.results() if (r.encoder, r.pretrain_seed) == ("clip", p)]) for p in range(3)]
        for s in studies
    ]
    test = scipy.stats.ttest_rel(*means)
    assert row.num_shared == 3 and row.difference == pytest.approx(np.mean(means[0]) - np.mean(means[1]), rel=1e-9)
    assert row.ci95_seeds == pytest.approx(row.difference - test.confidence_interval().low, rel=1e-9)


def test_rows_are_matched_by_recipe_and_what_one_alone_has_is_left_out(sides, tmp_path):
    here, _ = sides
    rows = {row.name: row for row in here.study.rows}
    names = (replace(rows["clip"], name="ours", display="Ours"), rows["imagenet"])
    study = replace(here.study, name="renamed", rows=names, protocols=("LP", "FT"))
    saved = make(tmp_path, study=study, seeds=SEEDS, hernias=30)
    save_all(saved)
    both = side_by_side(side(here), side(saved))
    assert {(row.method, row.other_method, row.matched_by) for row in both.rows} == {
        ("clip", "ours", "same recipe"),
        ("imagenet", "imagenet", "same recipe"),
    }
    assert both.columns == (("LP", 100),) and {match.here for match in both.rows_matched} == {"clip", "imagenet"}


def test_a_part_of_a_study_is_compared_in_that_part(sides):
    here, there = sides
    part = make_plan(here.study, {b.label: "0" * 12 for b in here.study.data_builds()}, {"method": ["clip"]})
    own = replace(here, plan=part)
    keys = {cell.key for cell in part.cells}
    both = side_by_side(side(own, [r for r in here.results() if r.key in keys]), side(there))
    assert [row.method for row in both.rows] == ["clip"]
