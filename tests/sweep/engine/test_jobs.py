"""What a worker is told: the seed that draws a network, and the cells that share one."""

from itertools import combinations

import torch

from sweep.engine.jobs import encoder_job
from sweep.studies import demo
from sweep.studies.cell import EncoderRun
from sweep.studies.plan import make_plan
from trainables.pretraining.initial import make_initial


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


def test_a_network_that_no_seed_draws_is_that_of_its_pretraining_seed():
    run = EncoderRun("random", 3, demo().rows[0].recipe)
    assert encoder_job(run, {}).seed == 3
