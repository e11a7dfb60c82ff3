"""What a worker is told: the seed that draws a network, and the cells that share one."""

from itertools import combinations

import torch

from sweep.engine.jobs import downstream_jobs, encoder_job
from sweep.engine.schedule import groups_in_order
from sweep.studies import demo
from sweep.studies.cell import EncoderRun
from sweep.studies.plan import make_plan
from trainables.pretraining.initial import make_initial
from trainables.recipe import Resources

COUNTS = {name: {"train": 1000, "val": 100, "test": 100} for name in ("mimic_cxr", "chexpert", "nih_cxr14")}


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
