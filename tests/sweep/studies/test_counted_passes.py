"""Does a job of cells pass as many images through its network as the plan says? Counted while it runs."""

from dataclasses import replace

import pytest
from small_storage import Small, small

from datasets_io.corpus.read import read_manifest
from sweep.studies.forecast import forecast
from trainables.evaluation import cell_job
from trainables.recipe import SplitRecipe
from trainables.views.evaluation_spec import EvalSpec

RECIPES = {
    "val also tests": {"splits": SplitRecipe(val="val", test="val")},
    "ten crops and flips": {
        "splits": SplitRecipe(val="val", test="val"),
        "eval_spec": EvalSpec(24, flip_p=0.5, ten_crop=True, test_resize=32),
    },
    "batch norm adapts": {"splits": SplitRecipe(val="val", test="val"), "linear_probe_bn_eval": False},
    "few labels of validation": {"splits": SplitRecipe(val="val", test="val"), "budget_validation": True},
    "carved": {"splits": SplitRecipe(val="carved", test="val", carve_percent=20), "eval_spec": EvalSpec(32)},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Small:
    found = small(tmp_path_factory.mktemp("small"))
    found.make_encoders()
    return found


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize(("protocol", "percent"), [("LP", 100), ("FT", 100), ("FT", 10)])
def test_the_forecast_counts_what_passes(made, monkeypatch, protocol, percent, changes):
    trained, forward = [], []

    def counting(spec, seed):
        backbone = build(spec, seed)
        backbone.register_forward_hook(
            lambda module, given, output: (trained if output.requires_grad else forward).append(len(given[0]))
        )
        return backbone

    build = cell_job.build_backbone
    monkeypatch.setattr(cell_job, "build_backbone", counting)
    job = made.job("random", protocol, percent)
    recipe = replace(job.recipe, **changes)
    seeds = (0, 1)
    targets = tuple(replace(job.targets[0], seed=s, folder=f"cells/counted-{s}") for s in seeds)
    for target in targets:
        made.files.remove(target.folder)
    outcomes = made.run(replace(job, recipe=recipe, targets=targets))
    assert [outcome.status for outcome in outcomes] == ["done", "done"], outcomes
    cell = next(c for c in made.plan.cells if made.store.folder(c) == job.targets[0].folder)
    group = [replace(cell, recipe=recipe, seed=s) for s in seeds]
    counts = {
        split: part["images"] for split, part in read_manifest(made.files, job.data_folder).counts["splits"].items()
    }
    planned = forecast((), group, {cell.shards: counts})
    # A probe that adapts trains through a frozen backbone: its passes are the plan's "with backward", an upper bound.
    if protocol == "LP" and not recipe.linear_probe_bn_eval:
        trained, forward = [0], [sum(forward) - planned.training_passes]
        planned = replace(planned, training_passes=0)
    carved = recipe.splits.val == "carved"
    if not carved or percent == 100:  # one epoch: what is carved is validated once and would else be trained once
        assert sum(trained) + sum(forward) == planned.training_passes + planned.forward_passes
    off = 0.4 if carved else 0  # who is carved is drawn by patient: the plan has the expectation of few
    assert sum(trained) == pytest.approx(planned.training_passes, rel=off)
    assert sum(forward) == pytest.approx(planned.forward_passes, rel=off)
