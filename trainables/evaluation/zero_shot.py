"""Findings without any label: which of two prompts is an image nearer to (Tiu et al., 2022)?"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

VERSION = 2  # 2: AUROCs are of logits, since probabilities near 1 tie in float32
TEMPLATES = (("{}.", "no {}."), ("findings suggesting {}.", "no evidence of {}."), ("there is {}.", "there is no {}."))
ONE_VECTOR = 1e-6  # the largest difference, of vectors of length 1, that rounding in float32 makes
# Findings whose name is no phrase of a report, and the one that is the absence of the others.
Pairs = tuple[tuple[str, str], ...]
PROMPTS: dict[str, Pairs] = {
    "no_finding": (
        ("no acute cardiopulmonary process.", "acute cardiopulmonary process."),
        ("normal chest.", "abnormal chest."),
    ),
    "pleural_other": tuple((a.format("pleural thickening"), b.format("pleural thickening")) for a, b in TEMPLATES),
    "lung_lesion": tuple((a.format("lung nodule or mass"), b.format("lung nodule or mass")) for a, b in TEMPLATES),
    "effusion": tuple((a.format("pleural effusion"), b.format("pleural effusion")) for a, b in TEMPLATES),
    "infiltration": tuple((a.format("infiltrate"), b.format("infiltrate")) for a, b in TEMPLATES),
    "mass": tuple((a.format("lung mass"), b.format("lung mass")) for a, b in TEMPLATES),
    "nodule": tuple((a.format("lung nodule"), b.format("lung nodule")) for a, b in TEMPLATES),
    "hernia": tuple((a.format("hiatal hernia"), b.format("hiatal hernia")) for a, b in TEMPLATES),
}


def prompts_of(finding: str, prompts: Mapping[str, Pairs] = PROMPTS) -> Pairs:
    """(present, absent) pairs; the finding's own words where `prompts` has none."""
    words = finding.replace("_", " ")
    return prompts.get(finding) or tuple((a.format(words), b.format(words)) for a, b in TEMPLATES)


def zero_shot_logits(images: Tensor, present: Tensor, absent: Tensor, scale: float) -> np.ndarray:
    """(N, F) float64: the logit of the softmax over the two prompts of each finding.

    images: (N, E), present and absent: (F, E), all of unit length; scale multiplies cosines as in the loss.
    """
    # exp(p) / (exp(p) + exp(a)) = sigmoid(p - a), with p and a the scaled cosines of both prompts.
    difference = scale * (images.double() @ (present.double() - absent.double()).T)
    return difference.numpy()


def class_embeddings(embed: Callable[[Sequence[str]], Tensor], findings: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Present and absent, (F, E): the mean of each finding's prompts, scaled to unit length. embed: texts -> (n, E)."""
    sides: list[list[Tensor]] = [[], []]
    for finding in findings:
        for side, texts in zip(sides, zip(*prompts_of(finding), strict=True), strict=True):
            # The mean of unit vectors is shorter than 1 (prompt ensembling: Radford et al., 2021, section 3.1.4).
            mean = embed(list(texts)).mean(dim=0)
            side.append(mean / mean.norm().clamp(min=1e-12))
    return torch.stack(sides[0]), torch.stack(sides[1])


def check_told_apart(present: Tensor, absent: Tensor, findings: Sequence[str]) -> None:
    """Raise ValueError where a finding's presence and absence have one vector: all images would tie, at AUROC 0.5.

    present, absent: (F, E), as class_embeddings gives them.
    """
    apart = (present - absent).abs().amax(dim=1)
    one = [finding for finding, distance in zip(findings, apart.tolist(), strict=True) if not distance > ONE_VECTOR]
    if one:
        raise ValueError(
            f"the text tower gives one vector for the presence and the absence of {', '.join(one)}, so that zero-shot "
            "would say nothing: its prompts are not told apart; check the tower's pooling and tokenizer, and whether "
            "its training collapsed"
        )
