"""What do scores of images say of whole studies: the highest or the mean over a study's images, and its AUROC?

CheXpert's test labels are of studies, and its competition scores a study by the maximum over its views (Irvin et al.,
2019, section 5). The images are those that the recipe evaluates: without lateral views where it leaves them out.
"""

from collections.abc import Sequence

import numpy as np

from trainables.evaluation.metrics import FindingAuroc, auroc_per_finding

MAXIMUM, MEAN = AGGREGATES = ("max", "mean")


def study_aurocs(
    logits: np.ndarray, labels: np.ndarray, known: np.ndarray, studies: Sequence[str], findings: Sequence[str]
) -> dict[str, tuple[FindingAuroc, ...]]:
    """One of AGGREGATES -> AUROC of each finding over studies, with counts of studies; empty where each has one image.

    logits, labels, known: (N, F) of images; studies: N names, the same for the images of one study. A study is positive
    where an image is known to be, else negative where one is known to be, else unknown. The maximum is the same of
    logits and of probabilities; the mean is of probabilities.
    """
    names, codes = np.unique(np.asarray(studies), return_inverse=True)
    if len(names) == len(studies):
        return {}
    # Images of a study side by side; starts: where each study begins, for reductions over its rows.
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(len(names)))
    sorted_logits, sorted_known = logits[order].astype(np.float64), known[order]
    of_study = np.maximum.reduceat((labels[order] == 1) & sorted_known, starts)
    known_study = np.maximum.reduceat(sorted_known, starts)
    # log(p / (1 - p)) of the mean p, from sums of sigmoid(z) and sigmoid(-z): none of them rounds to 0 or 1.
    present, absent = (
        np.logaddexp.reduceat(-np.logaddexp(0, side), starts) for side in (-sorted_logits, sorted_logits)
    )
    scores = {MAXIMUM: np.maximum.reduceat(sorted_logits, starts), MEAN: present - absent}
    return {how: auroc_per_finding(scores[how], of_study, known_study, findings) for how in AGGREGATES}
