"""Threads that read beside each other, of which an interrupted command does not wait for the ones that are stuck."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def reading_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of so many threads, which is waited for as usual, but not where the user asked to stop.

    A read of a storage that is away may take minutes, and nothing ends a thread. For reads alone: what a thread
    writes must not be half done when the process ends.
    """
    pool, asked_to_stop = ThreadPoolExecutor(count), False
    try:
        yield pool
    except (KeyboardInterrupt, SystemExit, GeneratorExit):  # the last one: whoever asked for the values wants no more
        asked_to_stop = True
        raise
    finally:
        pool.shutdown(wait=not asked_to_stop, cancel_futures=asked_to_stop)
