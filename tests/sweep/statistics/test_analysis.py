"""Do the statistics of a study say what its predictions hold, and say plainly what they do not?"""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from sweep.statistics import patient_intervals
from sweep.statistics.analysis import FILES, analyse
from sweep.statistics.patient_intervals import difference_interval, mean_interval
from sweep.statistics.placements import Placed, classes_of, place
from sweep.studies import check_study
from sweep.studies.plan import Plan
from tests.sweep.saved_study import FINDINGS, NUM_IMAGES, make, save_all, save_shards
from trainables.evaluation.metrics import auroc_per_finding

DEFINED = FINDINGS[:6]  # mass has no positive


def run(saved, **options):
    return analyse(saved.study, saved.plan, saved.results(), saved.store, **options)


def row(rows, **wanted):
    found = [r for r in rows if all(getattr(r, name) == value for name, value in wanted.items())]
    assert len(found) == 1, (wanted, len(found))
    return found[0]


def over_patients(saved, method, findings, seeds=(0, 1, 2), minus=None):
    """Its interval by the functions that are tested by themselves, on the mean over seeds; of method - minus."""
    classes = classes_of(saved.labels, saved.known, saved.patient_ids)

    def mean(name):
        placed = [place(saved.probabilities(saved.cell(name, seed)), classes) for seed in seeds]
        return Placed(np.mean([p.aurocs for p in placed], axis=0), np.mean([p.influence for p in placed], axis=0))

    rows = [FINDINGS.index(finding) for finding in findings]
    if minus is None:
        found = mean_interval(mean(method), classes, FINDINGS, rows)
    else:
        found = difference_interval(mean(method), mean(minus), classes, FINDINGS, rows)
    return found.low, found.high


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    saved = make(tmp_path_factory.mktemp("complete"))
    save_all(saved)
    return saved, run(saved)


def test_an_interval_over_patients_is_that_of_the_printed_mean_over_seeds(complete):
    saved, analysis = complete
    ours = row(analysis.intervals, method="clip", value="edema")
    truth = [
        roc_auc_score(
            saved.labels[saved.known[:, 3], 3], saved.probabilities(saved.cell("clip", s))[saved.known[:, 3], 3]
        )
        for s in range(3)
    ]
    assert ours.mean == pytest.approx(np.mean(truth), abs=1e-12) and ours.sd == pytest.approx(np.std(truth, ddof=1))
    assert (ours.n, ours.interval, ours.varies, ours.n_findings) == (3, "t", "downstream seeds", 1)
    expected = over_patients(saved, "clip", ["edema"])
    assert (ours.patients_low, ours.patients_high) == pytest.approx(expected, abs=1e-12)
    assert ours.patients_low < ours.mean < ours.patients_high and ours.patients_note == ""
    # Images 2 i and 2 i + 1 are of one patient, so there are fewer positive patients than images.
    assert 10 <= ours.fewest_patients < ours.n_pos


def test_a_macro_has_its_findings_together_and_none_with_one_that_has_few_patients(complete):
    saved, analysis = complete
    ours = row(analysis.intervals, method="clip", value="macro_defined")
    assert ours.n_findings == 6 and ours.mean is not None  # hernia has four positives
    assert (ours.patients_low, ours.patients_high) == (None, None)
    assert ours.patients_note == "fewer than 10 positive patients: hernia" and ours.fewest_patients <= 4
    for value in ("macro_10_positives", "macro_competition"):
        five = row(analysis.intervals, method="clip", value=value)
        expected = over_patients(saved, "clip", FINDINGS[:5])
        assert five.n_findings == 5 and (five.patients_low, five.patients_high) == pytest.approx(expected, abs=1e-12)
        means = [row(analysis.intervals, method="clip", value=f).mean for f in FINDINGS[:5]]
        assert five.mean == pytest.approx(np.mean(means))


def test_methods_are_compared_on_the_same_patients(complete):
    saved, analysis = complete
    ours = row(analysis.finding_differences, method="clip", finding="edema")
    assert ours.reference == analysis.reference == "imagenet" and ours.num_cells == 3
    expected = over_patients(saved, "clip", ["edema"], minus="imagenet")
    assert (ours.patients_low, ours.patients_high) == pytest.approx(expected, abs=1e-12)
    means = {m: row(analysis.intervals, method=m, value="edema").mean for m in ("clip", "imagenet")}
    assert ours.difference == pytest.approx(means["clip"] - means["imagenet"])
    pair = row(analysis.comparisons, family="all pairs", first="imagenet", second="clip")
    against = row(analysis.comparisons, family="against the reference", first="clip", second="imagenet")
    # Over macro_defined, which holds hernia.
    assert against.patients_low is pair.patients_low is None
    assert against.patients_note == pair.patients_note == "fewer than 10 positive patients: hernia"
    assert against.difference == pytest.approx(-pair.difference) and against.n == 3 and against.left_out == ()


def test_where_enough_patients_carry_them_differences_and_gaps_have_intervals(complete, with_metadata, monkeypatch):
    """The small study has too few: with lower bounds the rows are to hold the intervals of the right methods."""
    for name in ("FEWEST_PATIENTS", "FEWEST_IN_ALL", "FEWEST_IN_DIFFERENCE"):
        monkeypatch.setattr(patient_intervals, name, 1)
    saved, _ = complete
    analysis = run(saved)
    ours = row(analysis.finding_differences, method="clip", finding="edema")
    expected = over_patients(saved, "clip", ["edema"], minus="imagenet")
    assert (ours.patients_low, ours.patients_high) == pytest.approx(expected, abs=1e-12)
    assert ours.patients_low < ours.difference < ours.patients_high and ours.patients_note == ""
    pair = row(analysis.comparisons, family="all pairs", first="imagenet", second="clip")
    against = row(analysis.comparisons, family="against the reference", first="clip", second="imagenet")
    expected = over_patients(saved, "clip", DEFINED, minus="imagenet")
    assert (against.patients_low, against.patients_high) == pytest.approx(expected, abs=1e-12)
    assert against.patients_low == pytest.approx(-pair.patients_high)
    saved, _, _ = with_metadata
    grouped = run(saved, folders={"chexpert": "data/chexpert-test"})
    gap = row(grouped.gaps, method="clip", attribute="sex")
    assert gap.patients_low < gap.gap < gap.patients_high
    women = row(grouped.subgroups, method="clip", attribute="sex", group="F")
    assert women.patients_low < women.macro_auroc < women.patients_high


def test_metrics_are_means_over_seeds(complete):
    saved, analysis = complete
    ours, known = row(analysis.metrics, method="simclr", finding="edema"), saved.known[:, 3]
    labels = saved.labels[known, 3]
    scores = [saved.probabilities(saved.cell("simclr", seed))[known, 3] for seed in range(3)]
    assert ours.auprc == pytest.approx(np.mean([average_precision_score(labels, s) for s in scores]))
    assert ours.brier == pytest.approx(np.mean([((s.astype(float) - labels) ** 2).mean() for s in scores]))
    assert (ours.n_pos, ours.prevalence, ours.n) == (labels.sum(), pytest.approx(labels.mean()), 3)
    assert 0 < ours.ece < 0.5 and ours.ece_ci95 > 0
    macro = row(analysis.metrics, method="simclr", finding="macro_defined")
    parts = [row(analysis.metrics, method="simclr", finding=finding).auprc for finding in DEFINED]
    assert macro.auprc == pytest.approx(np.mean(parts)) and macro.n_pos is None


def test_a_finding_without_positives_is_undefined_and_named(complete):
    _, analysis = complete
    mass = row(analysis.intervals, method="clip", value="mass")
    assert (mass.mean, mass.ci95, mass.patients_low, mass.n_pos, mass.fewest_patients) == (None, None, None, 0, 0)
    assert mass.patients_note == "fewer than 10 positive patients: mass"
    assert mass.undefined == ("0", "1", "2")
    assert row(analysis.metrics, method="clip", finding="mass").auprc is None
    assert not [r for r in analysis.finding_differences if r.finding == "mass"]
    assert "CheXpert: no AUROC for mass: one class only in the test images." in analysis.notes
    assert "CheXpert: fewer than 10 positives: hernia (4)." in analysis.notes


def test_ranks_have_a_block_for_each_place(complete):
    _, analysis = complete
    whole, column = analysis.ranks
    assert (whole.scope, whole.num_blocks, column.scope, column.num_blocks) == ("all columns", 1, "LP", 6)
    assert set(column.methods) == {"imagenet", "clip", "simclr"} and column.methods[0] == "clip"
    assert [r.method for r in analysis.rank_rows if r.scope == "LP"] == list(column.methods)


def test_files_hold_every_row_and_read_back(complete):
    _, analysis = complete
    files = analysis.csv_files()
    assert list(files) == list(FILES)
    read = {name: list(csv.DictReader(io.StringIO(text))) for name, text in files.items()}
    assert len(read["intervals.csv"]) == len(analysis.intervals) == 3 * (3 + 7)
    first = next(r for r in read["intervals.csv"] if r["method"] == "clip" and r["value"] == "edema")
    ours = row(analysis.intervals, method="clip", value="edema")
    assert float(first["patients_high"]) == ours.patients_high
    undefined = next(r for r in read["intervals.csv"] if r["method"] == "clip" and r["value"] == "mass")
    assert undefined["mean"] == "" and undefined["undefined"] == "0 1 2"
    assert (
        undefined["patients_low"] == undefined["patients_high"] == "" and "fewer than 10" in undefined["patients_note"]
    )


def test_the_number_of_threads_changes_nothing(complete):
    saved, analysis = complete
    assert run(saved, threads=1) == analysis


def test_missing_and_failed_cells_are_named_and_their_partners_not_averaged_over(tmp_path):
    saved = make(tmp_path)
    absent = (saved.cell("clip", 1), saved.cell("simclr", 0))
    save_all(saved, absent)
    saved.store.files.write(f"{saved.store.folder(absent[1])}/failed.json", b'{"error": "e", "traceback": ""}')
    analysis = run(saved)
    clip = row(analysis.intervals, method="clip", value="macro_defined")
    assert (clip.n, clip.missing, clip.failed) == (2, ("1",), ())
    assert row(analysis.intervals, method="simclr", value="edema").failed == ("0",)
    edema = row(analysis.intervals, method="clip", value="edema")
    expected = over_patients(saved, "clip", ["edema"], (0, 2))
    assert (edema.patients_low, edema.patients_high) == pytest.approx(expected, abs=1e-12)
    pair = row(analysis.comparisons, family="all pairs", first="clip", second="simclr")
    assert (pair.n, pair.left_out) == (1, ("0", "1"))
    expected = over_patients(saved, "clip", ["edema"], (0, 2), "imagenet")
    shared = row(analysis.finding_differences, method="clip", finding="edema")
    assert shared.num_cells == 2 and (shared.patients_low, shared.patients_high) == pytest.approx(expected, abs=1e-12)
    assert analysis.ranks[0].methods_left_out == ("clip", "simclr")
    assert "1 of 9 cells are missing; means are over the others and name them." in analysis.notes
    assert "1 of 9 cells are failed; means are over the others and name them." in analysis.notes


def test_predictions_that_cannot_be_used_are_named_and_nothing_is_made_of_them(tmp_path):
    saved = make(tmp_path)
    wrong = saved.cell("clip", 0), saved.cell("simclr", 1), saved.cell("simclr", 2)
    save_all(saved, wrong)
    for cell in wrong:
        probabilities = saved.probabilities(cell)
        told = auroc_per_finding(probabilities, saved.labels, saved.known, FINDINGS)
        if cell == wrong[0]:
            probabilities[7, 3] = np.nan
        if cell == wrong[1]:
            probabilities = 1 - probabilities
        ids = saved.image_ids[::-1] if cell == wrong[2] else None
        saved.save(cell, probabilities, told, ids)
    analysis = run(saved)
    reasons = dict(analysis.unusable)
    assert reasons[wrong[0].key] == "1 of 160 probabilities of edema are NaN or outside 0 to 1"
    assert "the result has AUROC" in reasons[wrong[1].key]
    assert "of other images" in reasons[wrong[2].key] and len(reasons) == 3
    assert any(note.startswith("3 finished cells have predictions that were not used") for note in analysis.notes)
    clip = row(analysis.intervals, method="clip", value="macro_defined")
    assert (
        clip.n == 3
        and clip.ci95 > 0
        and (clip.patients_low, clip.patients_note) == (None, "predictions are not at hand")
    )
    assert row(analysis.metrics, method="clip", finding="edema").n == 2
    assert row(analysis.intervals, method="imagenet", value="macro_competition").patients_low is not None
    assert not [r for r in analysis.finding_differences if r.method == "clip"]


def test_damaged_predictions_are_named(tmp_path):
    saved = make(tmp_path)
    save_all(saved)
    folder = saved.store.folder(saved.cell("clip", 2))
    path = next(p for p in saved.store.files.list(folder) if p.endswith(".parquet"))
    data = bytearray(saved.store.files.read(path))
    data[100] ^= 1
    saved.store.files.write(path, bytes(data))
    analysis = run(saved)
    assert [key for key, _ in analysis.unusable] == [saved.cell("clip", 2).key]
    assert "damaged" in analysis.unusable[0][1]


def test_predictions_that_could_name_types_which_run_code_are_not_opened(tmp_path):
    saved = make(tmp_path)
    foreign = saved.cell("clip", 2)
    save_all(saved, (foreign,))
    saved.save(foreign, store_schema=True)
    ((key, reason),) = run(saved).unusable
    assert key == foreign.key and "Arrow schema, which could name types that run code; compute the cell again" in reason


def test_an_empty_study_and_one_without_results_have_files_with_headers_and_a_sentence(tmp_path):
    saved = make(tmp_path)
    nothing = analyse(saved.study, Plan((), ()), [], saved.store)
    assert nothing.notes == ("The study has no cell: there is nothing to analyse.",) and nothing.intervals == ()
    assert all(len(text.splitlines()) == 1 for text in nothing.csv_files().values())
    unfinished = run(saved)
    assert "CheXpert: no cell is finished" in unfinished.notes
    assert all(r.mean is None and r.patients_low is None and r.n == 0 for r in unfinished.intervals)
    assert all(r.p is None and r.difference is None for r in unfinished.comparisons)
    assert unfinished.ranks[0].methods == () and unfinished.metrics == ()


def test_without_the_storage_there_are_intervals_over_seeds_only(complete):
    saved, analysis = complete
    alone = analyse(saved.study, saved.plan, saved.results(), None)
    assert [r.ci95 for r in alone.intervals] == [r.ci95 for r in analysis.intervals]
    assert all(r.patients_low is None for r in alone.intervals) and alone.metrics == alone.subgroups == ()
    assert any("without the storage" in note for note in alone.notes)


def test_results_that_are_no_numbers_count_as_failed(complete):
    saved, _ = complete
    results = saved.results()
    results[0] = replace(results[0], macro_auroc=float("nan"))
    analysis = analyse(saved.study, saved.plan, results, None)
    assert analysis.notes[0] == "1 cells have results that are no numbers; they count as failed."
    assert row(analysis.intervals, method=results[0].encoder, value="macro_defined").failed == (str(results[0].seed),)


def test_several_pretrainings_are_what_varies_and_both_intervals_are_given(tmp_path):
    saved = make(tmp_path, pretrain_seeds=(0, 1), seeds=(0, 1))
    save_all(saved)
    analysis = run(saved)
    clip = row(analysis.intervals, method="clip", value="macro_defined")
    assert (clip.n, clip.varies) == (2, "pretraining seeds") and clip.ci95_both_seeds > 0
    five = row(analysis.intervals, method="clip", value="macro_competition")
    assert clip.sd_pretraining is not None and five.patients_low < five.mean < five.patients_high
    assert "2 pretraining seeds (0, 1)" in analysis.varies


def test_z_on_demand(complete):
    saved, analysis = complete
    z = analyse(replace(saved.study, interval="z"), saved.plan, saved.results(), None)
    a, b = (row(x.intervals, method="clip", value="edema") for x in (analysis, z))
    with pytest.raises(ValueError, match="'normal'; allowed: t, z"):
        check_study(replace(saved.study, interval="normal"))
    assert b.interval == "z" and a.ci95 / b.ci95 == pytest.approx(4.302653 / 1.959964, rel=1e-5)


@pytest.fixture(scope="module")
def with_metadata(tmp_path_factory):
    saved = make(tmp_path_factory.mktemp("groups"))
    save_all(saved)
    sexes = ["F" if i % 2 else "M" for i in range(NUM_IMAGES)]
    sexes[5] = None
    ages = [20 + 50 * (i % 4 == 0) for i in range(NUM_IMAGES)]
    ages[6], ages[7] = 414, None
    views = ["PA" if i < 150 else "LATERAL" for i in range(NUM_IMAGES)]
    folder = save_shards(saved, sexes, ages, views)
    return saved, run(saved, folders={"chexpert": folder}), np.array(sexes, dtype=object)


def test_a_subgroup_is_measured_on_its_images(with_metadata):
    saved, analysis, sexes = with_metadata
    women = row(analysis.subgroups, method="clip", attribute="sex", group="F")
    values = []
    for f in range(6):  # hernia is the sixth: of its positives, images 10 to 13, each sex has two
        rows = saved.known[:, f] & (sexes == "F")
        values.append(
            [
                roc_auc_score(saved.labels[rows, f], saved.probabilities(saved.cell("clip", s))[rows, f])
                for s in range(3)
            ]
        )
    assert women.macro_auroc == pytest.approx(np.mean(values), abs=1e-12)
    assert (women.n_findings, women.num_cells, women.n_images) == (6, 3, 79)
    assert (women.fewest_positives, women.patients_low) == (2, None)
    assert "fewer than 10 positive patients: hernia" in women.patients_note and women.fewest_patients <= 2
    men, gap = (
        row(analysis.subgroups, method="clip", attribute="sex", group="M"),
        row(analysis.gaps, method="clip", attribute="sex"),
    )
    assert gap.gap == pytest.approx(abs(women.macro_auroc - men.macro_auroc))
    assert {gap.highest, gap.lowest} == {"F", "M"} and gap.patients_low is gap.patients_high is None


def test_unknown_and_small_groups_are_counted_and_not_compared(with_metadata):
    _, analysis, _ = with_metadata
    sizes = {(r.attribute, r.group): (r.n_images, r.compared) for r in analysis.group_sizes}
    assert sizes == {
        ("sex", "F"): (79, True),
        ("sex", "M"): (80, True),
        ("sex", "unknown"): (1, False),
        ("age_band", "20-39"): (118, True),
        ("age_band", "60-79"): (40, True),
        ("age_band", "unknown"): (2, False),
        ("view_position", "PA"): (150, True),
        ("view_position", "LATERAL"): (10, False),
    }
    assert not [r for r in analysis.gaps if r.attribute == "view_position"]
    assert not [r for r in analysis.subgroups if r.group in ("unknown", "LATERAL")]


def test_shards_that_cannot_be_read_leave_out_the_subgroups_only(complete):
    saved, analysis = complete
    assert "CheXpert: no subgroups: its shards are not in the storage" in analysis.notes
    other = run(saved, folders={"chexpert": "data/nowhere"})
    assert other.intervals == analysis.intervals and other.subgroups == ()
    assert any("metadata of its shards cannot be read" in note for note in other.notes)
