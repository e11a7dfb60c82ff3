"""How often do intervals over patients hold the truth, and how often do a report's words tell equal methods apart?

python -m benchmarks.statistics [--quick]. One JSON line for each figure on stdout, a table on stderr. For each
simulated test set of benchmarks/simulations/coverage.py: coverage over all shapes of scores and AUROCs, the lowest,
mean and highest of them; `given` is the share of test sets that get an interval. The standard error of a coverage of
0.95 in 2,000 repeats is 0.005, so that the extremes of 28 lie 0.01 further apart than those of the true coverages. Then
the false positives of benchmarks/simulations/statistics_words.py, and what the intervals take.
"""

import argparse
import sys
import time

import numpy as np

from benchmarks.metrics import NUM_FINDINGS, made_up_scores
from benchmarks.shared.common import in_turn, report, row
from benchmarks.simulations import statistics_words
from benchmarks.simulations.coverage import (
    Coverage,
    Design,
    designs_of_differences,
    designs_of_findings,
    designs_of_gaps,
    designs_of_macros,
    scan,
    scan_differences,
    scan_gaps,
)
from sweep.statistics.patient_intervals import mean_interval
from sweep.statistics.placements import classes_of, place, presort
from trainables.evaluation.metrics import auroc_per_finding

NUM_IMAGES, IMAGES_PER_PATIENT, ROUNDS, REPEATS, STUDIES = 25_000, 2, 15, 2000, 4000
RESAMPLES, FEW_RESAMPLES = 1000, 20
TOLERANCE, TIES = 1e-12, 1e-4


def coverages(name: str, found: dict) -> list[dict]:
    """Lowest, mean and highest coverage of a design, over the cells of its scan in which intervals are given."""
    cells: list[Coverage] = list(found.values())
    rows = [row("statistics", f"{name}: given", "share", float(np.mean([cell.given for cell in cells])))]
    covered = [cell.covered for cell in cells if cell.covered is not None]
    if covered:
        for what, of in (("lowest", min), ("mean", np.mean), ("highest", max)):
            rows.append(row("statistics", f"{name}: {what} coverage", "share", float(of(covered))))
    return rows


def presorted_bootstrap(scores: np.ndarray, labels: np.ndarray, patients: np.ndarray, resamples: int) -> np.ndarray:
    """(1 + resamples, F) AUROCs, of all patients and of patients drawn with replacement: by numpy alone, sorted once.

    A resample is a weight for each image, how often its patient was drawn. In the order of the scores a positive image
    is above all negative weight before it: AUROC = sum(w_pos * negatives before) / (w_pos w_neg), without ties.
    """
    rng, orders = np.random.default_rng(0), np.argsort(scores, axis=0, kind="stable")
    sorted_labels = np.take_along_axis(labels, orders, axis=0).astype(np.float64)
    count, found = patients.max() + 1, np.empty((resamples + 1, scores.shape[1]))
    for resample in range(resamples + 1):  # the first one has each patient once
        chosen = rng.integers(0, count, count) if resample else np.arange(count)
        weights = np.bincount(chosen, minlength=count)[patients][orders].astype(np.float64)
        positive = weights * sorted_labels
        negatives = np.cumsum(weights - positive, axis=0)
        with np.errstate(invalid="ignore"):  # NaN where a resample of few images has one class only
            found[resample] = (positive * negatives).sum(axis=0) / (positive.sum(axis=0) * negatives[-1])
    return found


def bootstrap_intervals(found: np.ndarray) -> np.ndarray:
    """(2, F + 1): 2.5th and 97.5th percentile of each finding's AUROC over the resamples, and of their mean."""
    return np.nanpercentile(np.column_stack([found, found.mean(axis=1)])[1:], [2.5, 97.5], axis=0)


def timed_bootstrap(
    scores: np.ndarray, labels: np.ndarray, patients: np.ndarray, resamples: int, aurocs: np.ndarray
) -> tuple[float, np.ndarray]:
    """Seconds of the bootstrap, and its intervals. Raises ArithmeticError where its AUROCs are not these, (F,)."""
    started = time.perf_counter()
    found = presorted_bootstrap(scores, labels, patients, resamples)
    intervals = bootstrap_intervals(found)
    seconds = time.perf_counter() - started
    apart = float(np.abs(aurocs - found[0]).max())
    if apart > TIES:
        raise ArithmeticError(f"the bootstrap's AUROC differs by {apart}; at most {TIES} is allowed, for ties")
    return seconds, intervals


def speed(num_images: int, rounds: int) -> list[dict]:
    """Raises ArithmeticError where an AUROC differs from that of trainables.evaluation.metrics by more than 1e-12."""
    scores, labels = made_up_scores(num_images, np.float32)
    patients = np.arange(num_images) // IMAGES_PER_PATIENT
    classes, orders = classes_of(labels, np.ones(labels.shape, bool), patients), presort(scores)
    placed, names = place(scores, classes, orders), [str(f) for f in range(NUM_FINDINGS)]
    worst = float(np.abs(placed.aurocs - np.array([f.auroc for f in auroc_per_finding(scores, labels)])).max())
    if worst > TOLERANCE:
        raise ArithmeticError(f"AUROC differs by {worst}; at most {TOLERANCE} is allowed")
    resamples = RESAMPLES if num_images >= NUM_IMAGES else FEW_RESAMPLES

    def sort_place_and_intervals() -> None:
        whole = place(scores, classes, presort(scores))
        for findings in (*([f] for f in range(NUM_FINDINGS)), range(NUM_FINDINGS)):
            mean_interval(whole, classes, names, findings)

    bootstrap, theirs = timed_bootstrap(scores, labels, patients, resamples, placed.aurocs)
    ours = mean_interval(placed, classes, names, range(NUM_FINDINGS))
    width = (ours.high - ours.low) / (theirs[1, -1] - theirs[0, -1]) if ours.high and ours.low else float("nan")
    seconds = in_turn(
        {
            "whole": sort_place_and_intervals,
            "place": lambda: place(scores, classes, orders),
            "sort": lambda: presort(scores),
            "intervals": lambda: (
                [mean_interval(placed, classes, names, [f]) for f in range(NUM_FINDINGS)]
                + [mean_interval(placed, classes, names, range(NUM_FINDINGS))]
            ),
        },
        rounds,
    )
    size = f"{num_images}x{NUM_FINDINGS}"
    return [
        row(
            "statistics",
            f"placements_{size}",
            "ms",
            1e3 * seconds["place"],
            peer=1e3 * seconds["sort"],
            peer_name="sorting the scores (np.argsort)",
        ),
        row(
            "statistics",
            f"intervals_of_{NUM_FINDINGS}_findings_and_their_mean_{size}",
            "ms",
            1e3 * seconds["intervals"],
        ),
        row(
            "statistics",
            f"sorting_placements_and_intervals_{size}",
            "ms",
            1e3 * seconds["whole"],
            peer=1e3 * bootstrap,
            peer_name=f"bootstrap of {resamples:,} resamples of patients by numpy, sorted once",
        ),
        row("statistics", f"width_of_the_mean's_interval_beside_the_bootstrap's_{size}", "ratio", width),
        row("statistics", f"largest_difference_{size}", "AUROC", worst),
    ]


def figures(repeats: int, num_images: int, rounds: int, studies: int) -> list[dict]:
    rows = speed(num_images, rounds)
    named: list[tuple[str, dict[str, Design]]] = [("", designs_of_findings()), ("macro of ", designs_of_macros())]
    for prefix, designs in named:
        for number, (name, design) in enumerate(designs.items()):
            rows += coverages(prefix + name, scan(design, repeats, number))
    for number, (name, design) in enumerate(designs_of_differences().items()):
        rows += coverages(f"difference, {name}", scan_differences(design, repeats, number))
    for number, (name, design) in enumerate(designs_of_gaps().items()):
        rows += coverages(f"gap, {name} each", scan_gaps(design, repeats, number))
    return rows + statistics_words.figures(studies)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.statistics", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few repeats: checks that it works")
    quick = parser.parse_args(arguments).quick
    report(figures(3, 500, 2, 10) if quick else figures(REPEATS, NUM_IMAGES, ROUNDS, STUDIES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
