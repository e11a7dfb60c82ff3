"""What running work tells a display, and the channel that it goes through: nothing of it enters a result."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
RefT = TypeVar("RefT", covariant=True)


@dataclass(frozen=True)
class Progress:
    """Where an encoder is. metrics: of the epoch that has just ended.

    status: `running`, `done`, `failed`, or `waiting` for an encoder that is computed again.
    """

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
    """How a cell ended. macro_auroc: in [0, 1]; None where it failed, or no finding has both classes.

    status: `done`, `failed`, or `waiting` for an encoder or a cell that is computed again.
    """

    key: str
    status: str
    macro_auroc: float | None = None
    error: str | None = None


class RemoteMethod(Protocol[P, RefT]):
    """A method of an actor in another process, as its handle has it."""

    def remote(self, *args: P.args, **kwargs: P.kwargs) -> RefT:
        """Send the call and return at once, with a reference to what it will give."""
        ...


class EventChannel(Protocol):
    """The handle of the actor that collects events in the driver (sweep's board).

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
