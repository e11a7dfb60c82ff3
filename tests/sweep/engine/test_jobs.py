"""What a worker is told: the seed that draws a network, and the cells that share one."""

from itertools import combinations
from types import SimpleNamespace

import pytest
import torch

from sweep.engine import execution
from sweep.engine.jobs import downstream_jobs, encoder_job, shares_of
from sweep.engine.schedule import ClusterResources, groups_in_order, seeds_at_once, shape_of
from sweep.studies import demo, paper
from sweep.studies.cell import EncoderRun
from sweep.studies.learnt_seconds import Observations
from sweep.studies.plan import Pending, make_plan
from trainables.pretraining.initial import make_initial
from trainables.recipe import Resources

COUNTS = {name: {"train": 1000, "val": 100, "test": 100} for name in ("mimic_cxr", "chexpert", "nih_cxr14")}
RESOURCES = {
    "all on GPUs": Resources(),
    "pretraining on cores": Resources(gpus_per_worker=0),
    "cells on cores": Resources(gpus_per_cell=0),
}


def test_the_networks_of_a_row_without_pretraining_differ_in_every_layer():
    fingerprints = {spec.source: "x" for spec in demo().builds()}
    plan = make_plan(demo(), fingerprints, {"method": ("random",)})
    jobs = [encoder_job(run, {}) for run in plan.encoders]
    assert [job.name for job in jobs] == [f"random-p0-s{seed}" for seed in range(5)]
    assert len({job.folder for job in jobs}) == 5
    weights = [make_initial(job.recipe, job.seed) for job in jobs]
    layers = [name for name, tensor in weights[0].items() if tensor.ndim > 1]
    assert layers
    for one, other in combinations(weights, 2):
        assert not any(torch.equal(one[name], other[name]) for name in layers)


def test_seeds_that_are_trained_side_by_side_wait_for_all_their_starts_and_for_none_that_failed():
    study = demo()
    plan = make_plan(study, {spec.source: "x" for spec in study.builds()}, {"method": ("imagenet",)})
    folders = {cell.shards: "data" for cell in plan.cells}
    groups = groups_in_order(plan.cells, plan.cells, COUNTS, at_once=5)
    jobs, tasks = downstream_jobs(groups, plan.cells, folders, Resources(), on_gpus=True)
    for job, task in zip(jobs, tasks, strict=True):
        starts = {target.starts_from_folder for target in job.targets} - {None}
        assert task.may_lack == starts and set(task.needs) == {job.encoder_folder, *starts}
        assert len(starts) == (len(job.targets) if job.protocol.name == "LPFT" else 0)
        assert task.gives == tuple(target.folder for target in job.targets)
    alone = downstream_jobs(groups_in_order(plan.cells, plan.cells, COUNTS), plan.cells, folders, Resources(), True)[1]
    assert not any(task.may_lack for task in alone)


def test_a_network_that_no_seed_draws_is_that_of_its_pretraining_seed():
    run = EncoderRun("random", 3, demo().rows[0].recipe)
    assert encoder_job(run, {}).seed == 3


@pytest.mark.parametrize("gib", [None, 15, 24, 80])
@pytest.mark.parametrize("resources", RESOURCES.values(), ids=RESOURCES)
def test_the_time_left_counts_of_each_cell_the_part_of_a_gpu_that_its_job_was_given(gib, resources, monkeypatch):
    study, machines = paper(), ClusterResources(8.0, 128.0)
    plan = make_plan(study, {spec.source: "x" for spec in study.builds()}, {})
    shape = shape_of(resources, machines, 17)
    some = next(cell.encoder.key for cell in plan.cells if cell.encoder.row == "clip")
    left = tuple(cell for cell in plan.cells if cell.encoder.key != some or cell.seed >= 3)  # of one two seeds are left
    groups = groups_in_order(left, plan.cells, COUNTS, seeds_at_once(resources, shape, machines, left))
    card = None if gib is None else gib << 30
    folders = {cell.shards: "data" for cell in plan.cells}
    jobs, tasks = downstream_jobs(groups, plan.cells, folders, resources, shape.on_gpus, card)
    monkeypatch.setattr(execution, "resources_at_most", lambda: machines)
    sweep = SimpleNamespace(shape=shape, tasks=tasks, pretrainings=range(17))
    costs = execution.Execution.time_left(sweep, Pending(plan.encoders, left, (), (), ()), COUNTS, Observations()).costs
    given = {target.key: task.share for job, task in zip(jobs, tasks, strict=True) for target in job.targets}
    assert given.keys() == {cell.key for cell in left}
    assert {key: costs[key].share for key in given} == given
    assert len(set(given.values())) > 1 or not shape.on_gpus, "shares of several sizes were compared"
    share = shares_of(shape, tasks)
    whole = shape.on_gpus and resources.gpus_per_worker != 0
    assert {share(run) for run in plan.encoders} == {4.0 if whole else 1.0}
