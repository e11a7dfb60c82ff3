"""What do all sections share: the device, sizes, timing that waits for the device, and lines of figures and checks?"""

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.shared.common import in_turn, row
from trainables.networks.text import TinyText
from trainables.training.capture import noticing_waits


@dataclass(frozen=True)
class Size:
    """Of all sections. side: of square images, in pixels.

    backbone, side, batch, images: of fine-tuning, seeds of one cell; pretrain_batch, text: of pretraining. small_*: of
    the steps that are compared with float64 on the CPU. steps: that a rate is taken over; rounds: of each side.
    product: rows of the matrices whose product on the device is timed; exact_product: of those whose product is
    compared with float64 on the CPU, which may be four cores.
    """

    backbone: str
    side: int
    batch: int
    images: int
    seeds: int
    pretrain_batch: int
    text: TinyText
    small_backbone: str
    small_side: int
    small_batch: int
    steps: int
    rounds: int
    product: int
    exact_product: int
    copied_bytes: int
    storage_seconds: float


FULL = Size(
    "resnet50",
    224,
    16,
    2048,
    5,
    64,
    TinyText(layers=12, width=768, heads=12, max_length=128, dropout=0.0),
    "resnet18",
    48,
    8,
    steps=40,
    rounds=3,
    product=8192,
    exact_product=1024,
    copied_bytes=1 << 31,
    storage_seconds=2.0,
)
QUICK = Size(
    "demo_cnn",
    32,
    4,
    24,
    2,
    8,
    TinyText(layers=1, width=16, heads=2, max_length=48, dropout=0.0),
    "demo_cnn",
    16,
    8,
    steps=2,
    rounds=1,
    product=64,
    exact_product=64,
    copied_bytes=1 << 16,
    storage_seconds=0.05,
)


@dataclass(frozen=True)
class Bench:
    """Where and how large: what a section is given."""

    device: torch.device
    size: Size

    def wait(self) -> None:
        """For all that the device was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, call: Callable[[], Any], times: int, warm_ups: int = 3) -> float:
        """Of one call in the mean of `times`, after the device has done all of them."""
        for _ in range(min(warm_ups, times)):
            call()
        self.wait()
        started = time.perf_counter()
        for _ in range(times):
            call()
        self.wait()
        return (time.perf_counter() - started) / times

    def sides(self, calls: Mapping[str, Callable[[], Any]], times: int | None = None) -> dict[str, float]:
        """Name -> seconds of one call, the median of rounds in which the sides alternate, `times` calls a round."""
        times = times or self.size.steps

        def several(call: Callable[[], Any]) -> Callable[[], None]:
            def run() -> None:
                for _ in range(times):
                    call()
                self.wait()

            return run

        found = in_turn({name: several(call) for name, call in calls.items()}, self.size.rounds)
        return {name: seconds / times for name, seconds in found.items()}

    def syncs(self, call: Callable[[], Any]) -> int:
        """How often the call waits for the device, as torch sees it. On a CPU 0: nothing is waited for."""
        if self.device.type != "cuda":
            call()
            return 0
        call()  # what is set up once may wait
        self.wait()
        with noticing_waits("warn"), warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            call()
        return sum("synchroniz" in str(warning.message) for warning in found)


def figure(name: str, unit: str, ours: float, **more: Any) -> dict:
    """A line of what was measured, as every benchmark has it. more: as `row` takes it."""
    return row("gpu", name, unit, ours, **more)


def check(name: str, unit: str, found: float, allowed: float) -> dict:
    """A line of what must be so: `passed` where found is at most allowed. NaN is not."""
    # JSON has neither NaN nor infinity: what is no number is null there, and has not passed.
    shown = found if math.isfinite(found) else None
    return {**row("gpu", name, unit, 0.0), "ours": shown, "allowed": allowed, "passed": bool(found <= allowed)}


def relative(found: torch.Tensor, exact: torch.Tensor) -> float:
    """||found - exact|| / ||exact|| in float64; 0 where both are nothing."""
    apart = (found.detach().cpu().double() - exact.detach().cpu().double()).norm()
    size = exact.detach().cpu().double().norm()
    return float(apart / size) if size > 0 else float(apart)


def largest(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """The largest difference of any entry; infinite where names differ, NaN where an entry is NaN."""
    if one.keys() != other.keys():
        return math.inf
    apart = [(one[n].detach().cpu().double() - other[n].detach().cpu().double()).abs().max() for n in one]
    return float(torch.stack(apart).max()) if apart else 0.0
