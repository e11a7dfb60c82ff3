"""Which sections are there, in which order, and how long may each take on a card?"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.gpu import (
    captured,
    card,
    checkpoints,
    fine_tuning,
    inference,
    memory,
    methods,
    pretraining,
    streams,
    views,
)
from benchmarks.gpu.bench import Bench


@dataclass(frozen=True)
class Section:
    """measure: yields its lines as they are found. seconds: after which it is ended, and the next one begins."""

    measure: Callable[[Bench], Iterator[dict]]
    seconds: float


# First what else rests on, then by what is most worth knowing. In all 440 of 480 seconds: a process begins in ten.
SECTIONS: dict[str, Section] = {
    "card": Section(card.section, 15),
    "fine_tuning": Section(fine_tuning.section, 30),
    "captured": Section(captured.section, 40),
    "captured_same_bits": Section(captured.same_bits, 20),
    "pretraining": Section(pretraining.section, 65),
    "methods": Section(methods.section, 75),
    "views": Section(views.section, 30),
    "precision": Section(methods.precision, 30),
    "checkpoints": Section(checkpoints.section, 45),
    "streams": Section(streams.section, 20),
    "memory": Section(memory.section, 10),
    "one_order": Section(fine_tuning.one_order, 35),
    "inference": Section(inference.section, 25),
}
