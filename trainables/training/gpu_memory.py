"""What is done where a GPU's memory ran out: once more, since its neighbours may have ended by then."""

import gc
from collections.abc import Callable

import torch


def once_more_without_memory(work: Callable[[], None]) -> None:
    """Do it, and once again where the GPU's memory ran out: its neighbours on a shared GPU may have ended by then.

    The batch is never cut: batch norm sees the whole batch, so smaller parts would be another recipe.
    """
    try:
        work()
        return
    except torch.OutOfMemoryError:
        pass  # leave the handler first: it holds the failed attempt's tensors
    free_memory()
    try:
        work()
    except torch.OutOfMemoryError as error:
        raise RuntimeError(
            f"out of GPU memory twice ({error}). Give cells a whole GPU with Resources(gpus_per_cell=1), or take a "
            "smaller batch_size in the recipe, which is then another recipe"
        ) from error


def free_memory() -> None:
    """Give back what is held by nobody: the handler of an error holds what it was raised over, so leave it first."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
