"""How are functions of tests run in worker processes, as torch.multiprocessing.spawn runs them, without its imports?"""

import multiprocessing
from collections.abc import Callable
from typing import Any

import torch.multiprocessing

# What takes a worker seconds to import. They are forked from a process that has it, and starts no thread.
IMPORTS = ["torch", "transformers.models.bert.modeling_bert", "trainables.pretraining.worker_group"]


def run_workers(function: Callable[..., None], arguments: tuple[Any, ...], number: int) -> None:
    """Call function(rank, *arguments) in so many processes; raises what torch.multiprocessing.spawn raises."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(IMPORTS)
    torch.multiprocessing.start_processes(function, arguments, number, start_method="forkserver")
