"""Where and how a network computes: the device, the number format with what it needs, and whether in one order."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from datasets_io.nearest import did_you_mean
from trainables.training.devices import keep_float32

KINDS: dict[str, torch.dtype | None] = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": None}
SMALLEST_SCALE = 2.0**-14  # float16's smallest normal number: gradients scaled below it only lose digits


@dataclass(frozen=True)
class Compute:
    """A device and a resolved precision: `half` is None where everything is computed as the parameters are stored.

    deterministic: whether a GPU adds in one order, so that the same job gives the same bits there; a CPU always does.
    """

    device: torch.device
    half: torch.dtype | None = None
    deterministic: bool = False

    @property
    def precision(self) -> str:
        """The name of its number format, one of KINDS: results keep it."""
        return next(name for name, kind in KINDS.items() if kind is self.half)

    def autocast(self) -> torch.autocast:
        """The context of a forward pass: in half precision where there is one, else without effect."""
        return torch.autocast(self.device.type, dtype=self.half, enabled=self.half is not None)

    def features(self, backbone: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, D), float32 where they were computed in half: a head and its AUROC need no ties."""
        with self.autocast():
            features = backbone(images)
        return features if self.half is None else features.float()

    def scaler(self) -> torch.amp.GradScaler:
        """float16 loses gradients below 6e-8: they are multiplied up and divided again before the step.

        Disabled, it passes everything through unchanged.
        """
        return torch.amp.GradScaler(self.device.type, enabled=self.half is torch.float16)


def resolve(precision: str, device: torch.device, deterministic: bool = False) -> Compute:
    """`auto`: float32 on a CPU; on a GPU bfloat16 where the chip has it, else float16.

    On a GPU float32 is float32 from then on in this process, also where the card would round to TF32; and
    `deterministic` holds from then on for all that the process computes there. Raises ValueError for another value.
    """
    if precision == "auto":
        # bfloat16 first: with float32's range no gradient needs scaling. Where it is emulated it is slow.
        if device.type != "cuda":
            precision = "float32"
        else:
            precision = "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"
    check_precision(precision)
    if device.type == "cuda":
        keep_float32()
        _keep_order(deterministic)
    return Compute(device, KINDS[precision], deterministic)


def _keep_order(wanted: bool) -> None:
    """Have GPUs add in one order, or in whichever is fastest. An operation that knows no one order then raises."""
    if wanted:
        # cuBLAS reads it when it is first used, and torch asks for it: workspaces of their own for each stream.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False  # which takes the algorithm that was fastest this time
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # C++ gives it
    if torch.are_deterministic_algorithms_enabled() != wanted:  # to say it again would import the compiler
        torch.use_deterministic_algorithms(wanted)
    torch.backends.cudnn.deterministic = wanted


def check_precision(precision: str) -> None:
    """Raise ValueError for a word that is neither `auto` nor a number format."""
    allowed = ("auto", *KINDS)
    if precision not in allowed:
        hint = did_you_mean(precision, allowed)
        raise ValueError(f"precision is {precision!r}; allowed: {', '.join(allowed)}{hint}")


def scaled_sum(losses: dict[str, Tensor], scaler: torch.amp.GradScaler | None) -> Tensor:
    """What backward starts from: the total of scalar losses, multiplied up where gradients are float16."""
    total = reduce(add, losses.values())
    return total if scaler is None else scaler.scale(total)
