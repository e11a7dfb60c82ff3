"""How fast is macro AUROC of 25,000 images x 14 findings, against scikit-learn and torchmetrics?

python -m benchmarks.metrics [--quick]. One JSON line for each figure on stdout, a table on stderr.
"""

import argparse
import sys

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.shared.common import in_turn, report, row
from trainables.evaluation.metrics import auroc_per_finding

NUM_IMAGES, NUM_FINDINGS, ROUNDS = 25_000, 14, 15
TOLERANCE = 1e-12


def made_up_scores(num_images: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, F) and labels (N, F) with prevalences from 0.2 to 40 percent."""
    rng = np.random.default_rng(0)
    labels = rng.random((num_images, NUM_FINDINGS)) < np.geomspace(0.002, 0.4, NUM_FINDINGS)
    labels[0], labels[1] = True, False
    scores = 1 / (1 + np.exp(-(rng.normal(size=labels.shape) + 1.5 * labels - 1)))
    return scores.astype(dtype), labels.astype(np.int64)


def figures(num_images: int, dtype: type, rounds: int) -> list[dict]:
    """Raises ArithmeticError where our values differ from a peer's by more than 1e-12 (float64 peers)."""
    # Seconds, which whoever takes made_up_scores of this file need not wait for.
    from torchmetrics.functional.classification import multilabel_auroc

    scores, labels = made_up_scores(num_images, dtype)
    score_tensor, label_tensor = torch.from_numpy(scores), torch.from_numpy(labels)
    columns = np.ascontiguousarray(scores.T.astype(np.float32))
    sides = {
        "ours": lambda: np.array([finding.auroc for finding in auroc_per_finding(scores, labels)]),
        "scikit-learn": lambda: roc_auc_score(labels, scores, average=None),
        "torchmetrics": lambda: multilabel_auroc(score_tensor, label_tensor, NUM_FINDINGS, average="none").numpy(),
        "sort": lambda: np.sort(columns, axis=1),
    }
    values: dict[str, np.ndarray] = {}
    seconds = in_turn(sides, rounds, values=values)
    worst = float(np.abs(values["ours"] - values["scikit-learn"]).max())
    if worst > TOLERANCE:
        raise ArithmeticError(f"AUROC differs from scikit-learn by {worst}; at most {TOLERANCE} is allowed")
    ms = {name: 1e3 * value for name, value in seconds.items()}
    rows = []
    for peer in ("scikit-learn", "torchmetrics"):
        figure = f"macro_auroc_{np.dtype(dtype).name}_{num_images}x{NUM_FINDINGS}_{peer}"
        apart = float(np.abs(values["ours"] - values[peer]).max())
        rows += [
            row(
                "metrics",
                figure,
                "ms",
                ms["ours"],
                peer=ms[peer],
                peer_name=peer,
                limit=ms["sort"],
                limit_name="sorting the scores once as float32 (np.sort)",
            ),
            row("metrics", f"{figure}_largest_difference", "AUROC", apart),
        ]
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images, three rounds: checks that it works")
    quick = parser.parse_args(arguments).quick
    num_images, rounds = (500, 3) if quick else (NUM_IMAGES, ROUNDS)
    report([figure for dtype in (np.float32, np.float64) for figure in figures(num_images, dtype, rounds)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
