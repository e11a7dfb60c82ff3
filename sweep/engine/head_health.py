"""Is the cluster's head still there? Ray ends a driver a minute after its head, and without a message of ours. [ray]"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, TypeVar

import ray

from sweep.cli.exit_codes import ClusterLost

SILENT_SECONDS, ASK_SECONDS, AGAIN_SECONDS = 30.0, 5.0, 1.0
T = TypeVar("T")


@contextmanager
def named_loss() -> Iterator[None]:
    """What Ray raises in a driver whose cluster is gone, as one sentence. Raises ClusterLost."""
    try:
        yield
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise _lost(error) from error


def _lost(error: Exception) -> ClusterLost:
    return ClusterLost(
        f"Ray's head or this driver's connection to it is gone ({type(error).__name__}): on a cluster of "
        "your own see `ray status`, on one machine its memory"
    )


@contextmanager
def watched_head(on_lost: Callable[[ClusterLost], NoReturn]) -> Iterator[None]:
    """For a call that waits inside of Ray for a lost head, where no exception reaches it: `on_lost` ends the process.

    `on_lost` is called in another thread.
    """
    over, head = threading.Event(), HeadMonitor()

    def poll() -> None:
        while not over.wait(ASK_SECONDS):
            try:
                head.check()
            except ConnectionError as error:
                on_lost(_lost(error))

    threading.Thread(target=poll, name="radsweep-head", daemon=True).start()
    try:
        yield
    finally:
        over.set()


class HeadMonitor:
    """The head of the cluster that this driver has joined."""

    def __init__(self) -> None:
        # An IPv6 address stands in brackets, since it has colons of its own: [::1]:6379.
        host, _, port = ray.get_runtime_context().gcs_address.rpartition(":")
        self.address = host.strip("[]"), int(port)

    def check(self) -> None:
        """Wait for a head that is away for a moment. Raises ConnectionError for one that stays silent."""
        deadline = time.monotonic() + SILENT_SECONDS
        while not self._answers():
            if time.monotonic() > deadline:
                raise ConnectionError(f"{self.address[0]}:{self.address[1]} has not answered for {SILENT_SECONDS:g} s")
            time.sleep(AGAIN_SECONDS)

    def get(self, ref: "ray.ObjectRef[T]") -> T:
        """ray.get, which would wait for ever for a head that is gone. Raises ConnectionError then."""
        (value,) = self.get_all([ref])
        return value

    def get_all(self, refs: "list[ray.ObjectRef[T]]") -> list[T]:
        """`get` of several at once."""
        while True:
            try:
                return ray.get(refs, timeout=ASK_SECONDS)
            except ray.exceptions.GetTimeoutError:
                self.check()

    def _answers(self) -> bool:
        # A connection and no call of Ray's: those wait for a head that is gone, one minute or for ever.
        with suppress(OSError), socket.create_connection(self.address, timeout=ASK_SECONDS):
            return True
        return False
