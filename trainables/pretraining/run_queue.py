"""Which encoder run does each group of workers take next? An actor that the groups ask. [ray]"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Protocol, cast

import ray

from trainables.events import RemoteMethod


class RunQueue:
    """Hands out each encoder run once, and again to a group that had to start anew. Runs are places in a list of jobs.

    current: group -> the run that it has in hand. expected: folders of encoders without corpus that are being made
    meanwhile, for runs that start from them.
    """

    def __init__(self, num_jobs: int, expected: tuple[str, ...]):
        self.waiting: deque[int] = deque(range(num_jobs))
        self.current: dict[str, int] = {}
        self.expected = set(expected)

    def settled(self, folder: str) -> None:
        """An expected encoder has landed or failed."""
        self.expected.discard(folder)

    def expects(self, folder: str) -> bool:
        """Whether an encoder is still being made, so that it is worth waiting for."""
        return folder in self.expected

    def claim(self, group: str, again: bool) -> int:
        """The next run, or -1 where none is waiting. `again`: the group has just started."""
        if again and group in self.current:  # its workers died: it goes on with what it had in hand
            return self.current[group]
        self.current.pop(group, None)
        if not self.waiting:
            return -1
        self.current[group] = self.waiting.popleft()
        return self.current[group]

    def release(self, group: str, again: bool) -> int | None:
        """The group has ended. What it had in hand waits `again`; else it is named."""
        place = self.current.pop(group, None)
        if place is not None and again:
            self.waiting.appendleft(place)  # first in line: it may have a checkpoint already
            return None
        return place

    def left(self) -> int:
        """Runs that are waiting or in hand."""
        return len(self.waiting) + len(self.current)

    def num_waiting(self) -> int:
        """Runs that no group has in hand."""
        return len(self.waiting)


class RunQueueHandle(Protocol):
    """A RunQueue in a process of its own: each method is called by `.remote(...)`, and gives a reference."""

    @property
    def settled(self) -> RemoteMethod[[str], object]:
        """RunQueue.settled."""
        ...

    @property
    def expects(self) -> RemoteMethod[[str], "ray.ObjectRef[bool]"]:
        """RunQueue.expects."""
        ...

    @property
    def claim(self) -> RemoteMethod[[str, bool], "ray.ObjectRef[int]"]:
        """RunQueue.claim."""
        ...

    @property
    def release(self) -> RemoteMethod[[str, bool], "ray.ObjectRef[int | None]"]:
        """RunQueue.release."""
        ...

    @property
    def left(self) -> RemoteMethod[[], "ray.ObjectRef[int]"]:
        """RunQueue.left."""
        ...

    @property
    def num_waiting(self) -> RemoteMethod[[], "ray.ObjectRef[int]"]:
        """RunQueue.num_waiting."""
        ...


def start_run_queue(num_jobs: int, expected: tuple[str, ...], options: Mapping[str, Any]) -> RunQueueHandle:
    """A RunQueue as an actor. options: of Ray's actors, as where it is to run."""
    # Begun anew after its process died it offers all runs again; those that are finished are skipped.
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(RunQueue)
    # Ray's own type of a handle says of every method that calling it never returns.
    return cast(RunQueueHandle, actor.options(**options).remote(num_jobs, expected))
