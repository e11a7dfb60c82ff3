"""How close to the lower bound does the planner's own policy come, on 4 to 512 GPUs, and how fast does it plan?

A simulation: the ordering, worker groups, shares and readiness are those of the sweep itself; only time is made up.
Choosing what runs next is timed with the sweep's own searcher and scheduler on trials that take no time.
Durations are stated in two ways: `paper`, what Huang et al. report (pretraining 1.5 days on four V100, 2 with two
objectives, half a day for 100% of the labels); `forecast`, the FLOPs of each item at a V100's published rate.
"""

import argparse
import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.shared.common import report, row
from benchmarks.shared.trial_choices import seconds_of_choices
from sweep.engine.schedule import (
    ClusterResources,
    ReadyTasks,
    ScheduledJob,
    capacity,
    gpu_share,
    groups_in_order,
    groups_wanted,
    longest_first,
    shape_of,
)
from sweep.studies import Study, paper
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.forecast import FLOPS_PER_SECOND, forecast
from sweep.studies.plan import Plan, make_plan, pending, starts_from
from trainables.recipe import PretrainRecipe

# Images: MIMIC-CXR with an impression, CheXpert's frontal ones, NIH by patient 70-10-20.
COUNTS = {
    "mimic_cxr": {"train": 186_000, "val": 1_500, "test": 2_500},
    "chexpert": {"train": 191_027, "val": 202, "test": 500},
    "nih_cxr14": {"train": 78_500, "val": 11_200, "test": 22_400},
}
HOUR = 3600.0
GPUS = (4, 16, 64, 512)


@dataclass(frozen=True)
class Durations:
    """Seconds of an encoder run on its worker group, and of a group of cells on its share of a GPU."""

    name: str
    encoder: Callable[[EncoderRun, int], float]
    group: Callable[[tuple[Cell, ...]], float]


def paper_durations() -> Durations:
    def encoder(run: EncoderRun, workers: int) -> float:
        if not isinstance(run.recipe, PretrainRecipe):
            return 60.0
        return (48 if "+" in run.row else 36) * HOUR * 4 / workers

    def group(cells: tuple[Cell, ...]) -> float:
        share = {1: 0.3, 10: 0.4, 100: 1.0}[cells[0].label_percent]
        return 12 * HOUR * (0.25 if cells[0].protocol == "LP" else share)

    return Durations("paper", encoder, group)


def forecast_durations() -> Durations:
    rate = FLOPS_PER_SECOND["V100"]

    def encoder(run: EncoderRun, workers: int) -> float:
        return 60.0 + forecast((run,), (), COUNTS).flops / rate / workers

    def group(cells: tuple[Cell, ...]) -> float:
        return 20.0 + forecast((), cells, COUNTS).flops / rate

    return Durations("forecast", encoder, group)


@dataclass(frozen=True)
class Outcome:
    """makespan and lower_bound in seconds; busy: share of the GPUs' time that was used."""

    makespan: float
    lower_bound: float
    busy: float


def folder(item: EncoderRun | Cell) -> str:
    return item.key


def simulate(study: Study, plan: Plan, gpus: int, durations: Durations) -> Outcome:
    """Run a whole plan on so many GPUs, event by event."""
    left = pending(plan, set(), set())
    machines = ClusterResources(float(gpus), 16.0 * gpus)
    runs = longest_first(left.encoders, COUNTS)
    pretrainings = [run for run in runs if run.needs_corpus]
    shape = shape_of(study.resources, machines, len(pretrainings))
    per_group = shape.workers * shape.per_worker
    groups = groups_in_order(left.cells, plan.cells, COUNTS)
    starts = starts_from(plan.cells)
    tasks = [_task(group, work, study, starts) for group, work in groups]
    seconds = [durations.group(group) for group, _ in groups]
    ready = ReadyTasks(tasks)
    events: list[tuple[float, int, float, tuple[str, ...], bool]] = []
    number = groups = 0
    now = used = area = 0.0
    for run in runs:
        if not run.needs_corpus:
            number += 1
            heapq.heappush(events, (durations.encoder(run, 1), number, 0.0, (folder(run),), False))
    landed: set[str] = set()
    waiting = list(pretrainings)
    while True:
        wanted = groups_wanted(shape, machines, len(waiting) + groups)
        startable = [run for run in waiting if run.parent is None or folder(run.parent) in landed]
        while startable and groups < wanted and used + per_group <= gpus + 1e-9:
            run = startable.pop(0)
            waiting.remove(run)
            groups, used, number = groups + 1, used + per_group, number + 1
            end = now + durations.encoder(run, shape.workers)
            heapq.heappush(events, (end, number, per_group, (folder(run),), True))
        room = capacity(shape, machines, wanted) - (used - groups * per_group)
        while (chosen := ready.claim(room)) is not None:
            share = tasks[chosen].share
            room, used, number = room - share, used + share, number + 1
            heapq.heappush(events, (now + seconds[chosen], number, share, tasks[chosen].gives, False))
        assert used <= gpus + 1e-6, "more is running than there are GPUs"
        if not events:
            break
        end, _, share, gives, was_group = heapq.heappop(events)
        area += used * (end - now)
        now, used, groups = end, used - share, groups - was_group
        for name in gives:
            landed.add(name)
            ready.landed(name)
    assert ready.waiting == 0 and not waiting, "the policy left something undone"
    return Outcome(
        now, lower_bound(plan, tasks, seconds, durations, shape.workers, per_group, gpus), area / (now * gpus)
    )


def _task(group: tuple[Cell, ...], work: float, study: Study, starts: dict[str, Cell]) -> ScheduledJob:
    needs = (folder(group[0].encoder), *(folder(starts[cell.key]) for cell in group if cell.key in starts))
    return ScheduledJob(needs, tuple(folder(cell) for cell in group), gpu_share(study.resources, group[0]), work)


def lower_bound(
    plan: Plan,
    tasks: list[ScheduledJob],
    seconds: list[float],
    durations: Durations,
    workers: int,
    per_group: float,
    gpus: int,
) -> float:
    """No schedule is shorter than all work spread evenly, nor than the longest chain of what waits for each other."""
    ends: dict[str, float] = {}
    total = 0.0
    for run in plan.encoders:
        alone = durations.encoder(run, workers if run.needs_corpus else 1)
        ends[folder(run)] = alone + (ends[folder(run.parent)] if run.parent else 0.0)
        total += alone * per_group if run.needs_corpus else 0.0
    open_tasks = list(zip(tasks, seconds, strict=True))
    total += sum(task.share * duration for task, duration in open_tasks)
    while open_tasks:
        later = []
        for task, duration in open_tasks:
            if all(name in ends for name in task.needs):
                end = max((ends[name] for name in task.needs), default=0.0) + duration
                ends.update(dict.fromkeys(task.gives, end))
            else:
                later.append((task, duration))
        assert len(later) < len(open_tasks)
        open_tasks = later
    return max(total / gpus, max(ends.values()))


def plan_of(study: Study) -> Plan:
    return make_plan(study, dict.fromkeys(COUNTS, "0" * 12), {})


def large_study(num_cells: int) -> Study:
    """The paper's study with more pretraining seeds and seeds, to at least so many cells."""
    study = paper()
    per_seed = len(plan_of(replace(study, seeds=(0,))).cells)
    seeds = 50
    return replace(study, seeds=tuple(range(seeds)), pretrain_seeds=tuple(range(-(-num_cells // (per_seed * seeds)))))


def planning_seconds(num_cells: int) -> tuple[float, float, int]:
    """From a study to jobs in their order, as a run does it before its first job. Seconds, of them CPU, and cells."""
    study = large_study(num_cells)
    started, cpu = time.perf_counter(), time.process_time()
    plan = plan_of(study)
    left = pending(plan, set(), set())
    groups = groups_in_order(left.cells, plan.cells, COUNTS)
    starts = starts_from(plan.cells)
    ReadyTasks([_task(group, work, study, starts) for group, work in groups])
    longest_first(left.encoders, COUNTS)
    return time.perf_counter() - started, time.process_time() - cpu, len(plan.cells)


def main(quick: bool = False) -> list[dict]:
    study = paper()
    plan = plan_of(study)
    rows = []
    for durations in (paper_durations(), forecast_durations()):
        for gpus in GPUS[:2] if quick else GPUS:
            outcome = simulate(study, plan, gpus, durations)
            rows.append(
                {
                    **row(
                        "schedule",
                        "makespan",
                        "h",
                        outcome.makespan / HOUR,
                        limit=outcome.lower_bound / HOUR,
                        limit_name="max(total work / GPUs, longest chain)",
                    ),
                    "gpus": gpus,
                    "durations": durations.name,
                    "cells": len(plan.cells),
                    "encoders": len(plan.encoders),
                    "busy": outcome.busy,
                }
            )
    seconds, cpu, cells = planning_seconds(10_000 if quick else 100_000)
    rows.append({**row("schedule", "planning", "s", seconds), "cells": cells, "cpu_seconds": cpu})
    seconds, trials = seconds_of_choices(1_000 if quick else 100_000)
    rows.append({**row("schedule", "choosing_trials", "core-s", seconds), "trials": trials})
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two sizes and a tenth of the cells")
    report(main(parser.parse_args().quick))
