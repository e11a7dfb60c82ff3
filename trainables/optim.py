"""The optimiser and the learning rate of every step."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from trainables.recipe import OptimizerSpec


def build_optimizer(spec: OptimizerSpec, modules: Iterable[nn.Module]) -> torch.optim.Optimizer:
    """AdamW or Adam over all parameters that require a gradient; fused where the device has it."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups = [{"params": parameters, "weight_decay": spec.weight_decay}]
    if spec.exclude_norm_bias:
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": spec.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    if spec.name not in kinds:
        raise ValueError(f"unknown optimiser {spec.name!r}; allowed: {', '.join(sorted(kinds))}")
    return kinds[spec.name](groups, lr=spec.learning_rate, betas=spec.betas, fused=True)


def learning_rate(peak: float, step: int, total_steps: int, schedule: str, warmup_steps: int = 0) -> float:
    """Rate used in step `step` (from 0) of `total_steps`: linear warm-up, then a cosine to zero.

    Without warm-up this is torch's CosineAnnealingLR(T_max=total_steps) stepped once a step
    (Loshchilov and Hutter, 2017).
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant":
        return peak
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
