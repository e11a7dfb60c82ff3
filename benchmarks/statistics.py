"""How often do intervals over patients hold the truth, and how often do a report's words tell equal methods apart?

python -m benchmarks.statistics [--quick]. One JSON line for each figure on stdout, a table on stderr. For each
simulated test set of benchmarks/simulations/coverage.py: coverage over all shapes of scores and AUROCs, the lowest,
mean and highest of them; `given` is the share of test sets that get an interval. The standard error of a coverage of
0.95 in 2,000 repeats is 0.005, so that the extremes of 28 lie 0.01 further apart than those of the true coverages. Then
the false positives of benchmarks/simulations/statistics_words.py, and what the intervals take.
"""

import argparse
import sys

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
TOLERANCE = 1e-12


def coverages(name: str, found: dict) -> list[dict]:
    """Lowest, mean and highest coverage of a design, over the cells of its scan in which intervals are given."""
    cells: list[Coverage] = list(found.values())
    rows = [row("statistics", f"{name}: given", "share", float(np.mean([cell.given for cell in cells])))]
    covered = [cell.covered for cell in cells if cell.covered is not None]
    if covered:
        for what, of in (("lowest", min), ("mean", np.mean), ("highest", max)):
            rows.append(row("statistics", f"{name}: {what} coverage", "share", float(of(covered))))
    return rows


def speed(num_images: int, rounds: int) -> list[dict]:
    """Raises ArithmeticError where an AUROC differs from that of trainables.evaluation.metrics by more than 1e-12."""
    scores, labels = made_up_scores(num_images, np.float32)
    patients = np.arange(num_images) // IMAGES_PER_PATIENT
    classes, orders = classes_of(labels, np.ones(labels.shape, bool), patients), presort(scores)
    placed, names = place(scores, classes, orders), [str(f) for f in range(NUM_FINDINGS)]
    worst = float(np.abs(placed.aurocs - np.array([f.auroc for f in auroc_per_finding(scores, labels)])).max())
    if worst > TOLERANCE:
        raise ArithmeticError(f"AUROC differs by {worst}; at most {TOLERANCE} is allowed")
    seconds = in_turn(
        {
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
