"""How fast is macro AUROC of 25,000 images x 14 findings, against scikit-learn and torchmetrics?

python -m benchmarks.metrics [--quick]. One JSON line for each figure on stdout, a table on stderr.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torchmetrics.functional.classification import multilabel_auroc

from trainables.metrics import auroc_per_finding

NUM_IMAGES, NUM_FINDINGS, ROUNDS = 25_000, 14, 15
TOLERANCE = 1e-12


def made_up_scores(num_images: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, F) and labels (N, F) with prevalences from 0.2 to 40 percent."""
    rng = np.random.default_rng(0)
    labels = rng.random((num_images, NUM_FINDINGS)) < np.geomspace(0.002, 0.4, NUM_FINDINGS)
    labels[0], labels[1] = True, False
    scores = 1 / (1 + np.exp(-(rng.normal(size=labels.shape) + 1.5 * labels - 1)))
    return scores.astype(dtype), labels.astype(np.int64)


def in_turn(sides: dict[str, Callable[[], np.ndarray]], rounds: int) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Median seconds of each side and what it returned. The sides alternate, so load from outside hits all."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    values = {}
    for _ in range(rounds):
        for name, side in sides.items():
            started = time.perf_counter()
            values[name] = side()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}, values


def figures(num_images: int, dtype: type, rounds: int) -> list[dict]:
    """Raises ArithmeticError where our values differ from a peer's by more than 1e-12 (float64 peers)."""
    scores, labels = made_up_scores(num_images, dtype)
    score_tensor, label_tensor = torch.from_numpy(scores), torch.from_numpy(labels)
    sides = {
        "ours": lambda: np.array([finding.auroc for finding in auroc_per_finding(scores, labels)]),
        "scikit-learn": lambda: roc_auc_score(labels, scores, average=None),
        "torchmetrics": lambda: multilabel_auroc(score_tensor, label_tensor, NUM_FINDINGS, average="none").numpy(),
    }
    seconds, values = in_turn(sides, rounds)
    columns = np.ascontiguousarray(scores.T.astype(np.float32))
    worst = float(np.abs(values["ours"] - values["scikit-learn"]).max())
    if worst > TOLERANCE:
        raise ArithmeticError(f"AUROC differs from scikit-learn by {worst}; at most {TOLERANCE} is allowed")
    sorting = in_turn({"sort": lambda: np.sort(columns, axis=1)}, rounds)[0]["sort"]
    return [
        {
            "benchmark": "metrics", "figure": f"macro_auroc_{np.dtype(dtype).name}_{num_images}x{NUM_FINDINGS}",
            "unit": "ms", "ours": 1e3 * seconds["ours"], "peer": 1e3 * seconds[peer], "peer_name": peer,
            "speedup": seconds[peer] / seconds["ours"],
            "limit": 1e3 * sorting, "limit_name": "sorting the scores once as float32 (np.sort)",
            "of_limit": min(1.0, sorting / seconds["ours"]),
            "largest_difference": float(np.abs(values["ours"] - values[peer]).max()),
        }
        for peer in ("scikit-learn", "torchmetrics")
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.metrics", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images, three rounds: checks that it works")
    quick = parser.parse_args(arguments).quick
    num_images, rounds = (500, 3) if quick else (NUM_IMAGES, ROUNDS)
    rows = [row for dtype in (np.float32, np.float64) for row in figures(num_images, dtype, rounds)]
    for row in rows:
        print(json.dumps(row))
    print(f"{'figure':<34}{'ours ms':>9}  {'peer':<14}{'peer ms':>9}{'speedup':>9}", file=sys.stderr)
    for row in rows:
        print(
            f"{row['figure']:<34}{row['ours']:>9.2f}  {row['peer_name']:<14}{row['peer']:>9.2f}{row['speedup']:>9.1f}",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
