"""What running work tells a display, and the channel that it goes through: nothing of it enters a result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
RefT = TypeVar("RefT", covariant=True)
# `waiting`: what it needs was damaged and is computed again, so it is neither done nor has it failed.
EventStatus = Literal["running", "waiting", "done", "failed"]


@dataclass(frozen=True)
class Progress:
    """Where an encoder is. epoch: how many are done; metrics: of the one that has just ended.

    val_loss: of the last epoch, or of the best where the encoder is done. error: of a running one, a sentence that
    somebody should read although it goes on. core_seconds: of processors, by all workers since this start.
    """

    key: str
    status: EventStatus
    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    val_loss: float | None = None
    error: str | None = None
    metrics: Mapping[str, float] | None = None
    core_seconds: float | None = None


@dataclass(frozen=True)
class Outcome:
    """How a cell ended. macro_auroc: in [0, 1]; None where it is not done, or no finding has both classes.

    seconds, core_seconds: by a clock and of processors, of its own and its share of what it was computed with.
    """

    key: str
    status: EventStatus
    macro_auroc: float | None = None
    error: str | None = None
    seconds: float | None = None
    core_seconds: float | None = None


class RemoteMethod(Protocol[P, RefT]):
    """A method of an actor in another process, as its handle has it."""

    def remote(self, *args: P.args, **kwargs: P.kwargs) -> RefT:
        """Send the call and return at once, with a reference to what it will give."""
        ...


class EventChannel(Protocol):
    """The handle of the actor that collects events in the driver (sweep's progress actor).

    Nobody waits for an answer: a channel that is gone must not stop the work.
    """

    @property
    def encoder(self) -> RemoteMethod[[Progress], object]:
        """Where an encoder is."""
        ...

    @property
    def cell(self) -> RemoteMethod[[Outcome], object]:
        """How a cell ended."""
        ...
