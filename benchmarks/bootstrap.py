"""How fast are 1,000 patient-clustered resamples of 25,000 images x 14 findings, against a loop over scikit-learn?

python -m benchmarks.bootstrap [--quick]. One JSON line for each figure on stdout, a table on stderr. The loop would
take minutes, so it is timed on some of the resamples and multiplied; each resample costs the same.
"""

import argparse
import sys
from dataclasses import replace

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.common import in_turn, report, row
from benchmarks.metrics import NUM_FINDINGS, made_up_scores
from sweep.statistics.bootstrap import Resamples, draw_resamples, presort, resampled_aurocs

NUM_IMAGES, IMAGES_PER_PATIENT, NUM_RESAMPLES, ROUNDS = 25_000, 2, 1000, 5
TIMED_RESAMPLES = 5  # of the loop over scikit-learn
TOLERANCE = 1e-12


def by_scikit_learn(scores: np.ndarray, labels: np.ndarray, resamples: Resamples, num: int) -> np.ndarray:
    """AUROCs (F, num) of the first resamples, each from the scores and labels of its images."""
    values = []
    for r in range(num):
        rows = resamples.rows(r)
        values.append(roc_auc_score(labels[rows], scores[rows], average=None))
    return np.array(values).T


def check(scores: np.ndarray, labels: np.ndarray, resamples: Resamples, num: int) -> float:
    """Largest difference from scikit-learn on the same resamples. Raises ArithmeticError above 1e-12."""
    ours = resampled_aurocs(scores, labels, np.ones(labels.shape, bool), resamples)[:, :num]
    expected = by_scikit_learn(scores, labels, resamples, num)
    worst = float(np.nanmax(np.abs(ours - expected)))
    if worst > TOLERANCE or (np.isnan(ours) != np.isnan(expected)).any():
        raise ArithmeticError(f"AUROC differs from scikit-learn by {worst}; at most {TOLERANCE} is allowed")
    return worst


def figures(num_images: int, num_resamples: int, timed: int, rounds: int) -> list[dict]:
    """Seconds of drawing, sorting and all AUROCs, and of the AUROCs alone."""
    scores, labels = made_up_scores(num_images, np.float32)
    patients = np.arange(num_images) // IMAGES_PER_PATIENT
    known = np.ones(labels.shape, bool)
    resamples, orders = draw_resamples(patients, num_resamples), presort(scores)
    few = replace(resamples, num=timed)
    worst = check(scores, labels, resamples, timed)
    lines = [resamples.patients[order] for order in orders]

    def gather() -> None:
        for block in resamples.weights:
            for line in lines:
                np.take(block, line, axis=0)

    seconds = in_turn(
        {
            "all": lambda: resampled_aurocs(scores, labels, known, draw_resamples(patients, num_resamples)),
            "aurocs": lambda: resampled_aurocs(scores, labels, known, resamples, orders),
            "scikit-learn": lambda: by_scikit_learn(scores, labels, few, timed),
            "gather": gather,
        },
        rounds,
    )
    peer = seconds["scikit-learn"] * num_resamples / timed
    size = f"{num_resamples}_resamples_{num_images}x{NUM_FINDINGS}"
    peer_name = f"loop over roc_auc_score ({timed} resamples timed, x {num_resamples / timed:g})"
    limit_name = "reading every weight once in the scores' order (np.take)"
    rows = [
        row(
            "bootstrap",
            f"{name}_{size}",
            "s",
            seconds[side],
            peer=peer,
            peer_name=peer_name,
            limit=seconds["gather"],
            limit_name=limit_name,
        )
        for name, side in (("draw_sort_and_aurocs", "all"), ("aurocs", "aurocs"))
    ]
    rows.append(row("bootstrap", f"largest_difference_{size}", "AUROC", worst))
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bootstrap", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images and resamples: checks that it works")
    quick = parser.parse_args(arguments).quick
    report(figures(400, 128, 3, 2) if quick else figures(NUM_IMAGES, NUM_RESAMPLES, TIMED_RESAMPLES, ROUNDS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
