"""Downstream jobs as Ray Tune trials whose processes are kept from one to the next. [ray]"""

import os
from typing import Any

import ray
import torch
from ray import tune

from trainables.cells import DownstreamJob, run_job
from trainables.events import Outcome
from trainables.precision import resolve
from trainables.recipe import Resources


def run_trial(
    config: dict[str, Any], jobs: tuple[DownstreamJob, ...], storage: str, resources: Resources, board: Any
) -> None:
    """A function trainable: config["job"] is the place in `jobs`. Results go to the store, not to Tune."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(resources.cpus_per_cell)

    def emit(outcome: Outcome) -> None:
        if board is not None:
            board.cell.remote(outcome)

    if board is not None:
        board.started.remote(config["job"], ray.get_runtime_context().get_node_id(), os.getpid())
    run_job(jobs[config["job"]], storage, resolve(resources.precision, device), emit)
    if board is not None:
        board.ended.remote(config["job"])
    tune.report({"job": config["job"]})
