"""What running work tells a display: nothing of it enters a result."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where an encoder is. status: `running`, `done` or `failed`. metrics: of the epoch that has just ended."""

    key: str
    status: str
    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    val_loss: float | None = None
    error: str | None = None
    metrics: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a cell ended. status: `done` or `failed`."""

    key: str
    status: str
    macro_auroc: float | None = None
    error: str | None = None
