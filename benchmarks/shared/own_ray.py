"""A Ray for a benchmark: one of its own, or that of its process where there is one already, as in tests. [ray]"""

import contextlib
import signal
from collections.abc import Iterator

import ray

from sweep.engine.cluster import start_ray, stop_ray


@contextlib.contextmanager
def own_ray() -> Iterator[None]:
    """A fresh Ray for each side, as a run of the sweep has one. Tune's handler of Ctrl-C, which it leaves, goes too."""
    on_sigint, own = signal.getsignal(signal.SIGINT), not ray.is_initialized()
    if own:
        start_ray()
    try:
        yield
    finally:
        if own:
            stop_ray()
        signal.signal(signal.SIGINT, on_sigint)
