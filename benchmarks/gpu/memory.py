"""Is a part of a card a limit that holds, and what becomes of work that meets it?"""

from collections.abc import Callable, Iterator

import torch

from benchmarks.gpu.bench import Bench, check
from trainables.training.devices import limit_memory
from trainables.training.gpu_memory import once_more_without_memory

SHARE = 0.25


def runs(work: Callable[[], None]) -> str:
    """How it ended: `done`, or the type of its error."""
    try:
        work()
    except RuntimeError as error:  # torch's OutOfMemoryError is one
        return type(error).__name__
    return "done"


def section(bench: Bench) -> Iterator[dict]:
    """A quarter of a card gives no half of it; work that finds no room is done again, and then fails with advice."""
    if bench.device.type != "cuda":
        return
    total = torch.cuda.get_device_properties(bench.device).total_memory
    tries = []

    def take(share: float) -> None:
        tries.append(share)
        torch.empty(int(share * total), dtype=torch.uint8, device=bench.device)

    def first_too_much() -> None:
        take(SHARE / 2 if tries else 2 * SHARE)

    try:
        limit_memory(bench.device, SHARE)
        within, beyond = runs(lambda: take(SHARE / 2)), runs(lambda: take(2 * SHARE))
        yield check("half_of_its_share_is_refused", "1", float(within != "done"), 0.0)
        yield check("twice_its_share_is_given", "1", float(beyond != "OutOfMemoryError"), 0.0)
        torch.cuda.empty_cache()
        tries.clear()
        again = runs(lambda: once_more_without_memory(first_too_much))
        yield check("work_is_not_done_once_more", "1", float((again, len(tries)) != ("done", 2)), 0.0)
        twice = runs(lambda: once_more_without_memory(lambda: take(2 * SHARE)))
        yield check("out_of_memory_twice_gives_no_advice", "1", float(twice != "RuntimeError"), 0.0)
    finally:
        limit_memory(bench.device, 1.0)
        torch.cuda.empty_cache()
    freed = torch.cuda.memory_allocated(bench.device) / total
    yield check("memory_that_is_kept", "share of the card", freed, 0.01)
