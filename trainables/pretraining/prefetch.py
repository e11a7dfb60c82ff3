"""How are batches prepared ahead in a thread, with its errors raised by the reader?"""

import queue
import threading
from collections.abc import Iterator
from typing import Any, TypeVar

ItemT = TypeVar("ItemT")


def prefetched(items: Iterator[ItemT], depth: int) -> Iterator[ItemT]:
    """Prepare `depth` items ahead in a thread; an error there is raised here."""
    if depth <= 0:
        yield from items
        return
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: tuple[str, Any]) -> bool:
        # Asked again and again: a consumer that has gone must not leave this thread waiting for a free place.
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(("item", item)):
                    return
            put(("end", None))
        except BaseException as error:  # handed over, not swallowed: the consumer raises it
            put(("error", error))

    thread = threading.Thread(target=work, daemon=True, name="radsweep-prefetch")
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            yield value
    finally:
        stop.set()
        thread.join(timeout=5)
