"""Is a network tried with the weights, the sizes and the number of images that it will have?"""

from dataclasses import replace

from sweep.studies import BASELINE, EncoderRow, demo
from sweep.studies.plan import make_plan, pending
from sweep.studies.preflight_checks import checks_of, with_starts, without_rows
from trainables.preflight.verdict import EncoderCheck, PretrainingCheck
from trainables.recipe import BackboneSpec, ImageNetInit, RandomInit, Resources

BACKBONE = BackboneSpec("demo_cnn", 32)
SIMCLR = next(row for row in demo().rows if row.name == "simclr")


def planned(*rows, **changes):
    """A study of these rows alone, and all that is left of it."""
    study = replace(demo(), rows=rows, hidden_rows=(), **changes)
    return study, pending(make_plan(study, {build.label: "made up" for build in study.data_builds()}, {}), (), ())


def step_of(resources: Resources, **recipe):
    row = replace(SIMCLR, recipe=replace(SIMCLR.recipe, initial="weights", **recipe))
    weights = EncoderRow("weights", "Weights", BASELINE, ImageNetInit(BACKBONE))
    study, left = planned(weights, row, resources=resources)
    return row.recipe, checks_of(study, left)["simclr"][1]


def test_weights_are_read_of_encoders_that_are_still_to_be_made():
    study, left = planned(EncoderRow("weights", "Weights", BASELINE, ImageNetInit(BACKBONE)))
    (check,) = checks_of(study, left)["weights"]
    assert isinstance(check, EncoderCheck) and check.recipe == ImageNetInit(BACKBONE)
    # One cell is enough to know the network of what is stored.
    for cell in (left.cells[0], left.cells[-1]):
        stored = replace(left, encoders=(), cells=(cell,))
        (check,) = checks_of(study, stored)["weights"]
        assert check.recipe == RandomInit(BACKBONE) and [name for name, _ in check.datasets] == [cell.dataset]


def test_a_step_has_the_images_of_one_worker_or_of_one_chunk():
    for workers, images in ((None, 30), (1, 30), (4, 7)):
        _, step = step_of(Resources(pretrain_workers=workers), global_batch_size=30)
        assert step.step_images == images and isinstance(step.step_images, int)
    _, step = step_of(Resources(pretrain_workers=2), global_batch_size=30, gradient_cache_chunk=5)
    assert step.step_images == 5 and step.image_size == demo().corpus.image_size and step.start == BACKBONE


def test_how_long_a_pretraining_takes_makes_no_other_check():
    recipe, step = step_of(Resources(), num_epochs=7, patience=3)
    assert step.recipe == replace(recipe, num_epochs=1, patience=None, initial="")
    assert step == step_of(Resources(), num_epochs=9)[1]


def test_features_are_of_the_datasets_and_protocols_that_are_left():
    random = next(row for row in demo().rows if row.name == "random")
    study, left = planned(random, replace(SIMCLR, recipe=replace(SIMCLR.recipe, initial="random")))
    checks = checks_of(study, left)
    (check,) = checks["random"]
    assert check.datasets == tuple((d.source, d.recipe.eval_spec) for d in study.datasets)
    assert check.batch_size == study.datasets[0].recipe.batch_size
    assert [type(check) for check in checks["simclr"]] == [EncoderCheck, PretrainingCheck]
    probes = replace(left, cells=tuple(cell for cell in left.cells if cell.protocol == "LP"))
    assert checks_of(study, probes)["random"][0].batch_size is None
    assert checks_of(study, replace(left, cells=()))["random"][0].datasets == ()
    assert list(checks_of(study, replace(left, encoders=(), cells=left.cells[-1:]))) == ["simclr"]


def test_what_starts_from_a_row_that_does_not_fit_does_not_fit_either():
    weights = EncoderRow("weights", "Weights", BASELINE, ImageNetInit(BACKBONE))
    first, second = (
        replace(SIMCLR, name=name, recipe=replace(SIMCLR.recipe, initial=initial))
        for name, initial in (("first", "weights"), ("second", "first"))
    )
    _, left = planned(weights, first, second)
    start = "starts from row {}, which does not fit"
    unfit = with_starts(left, {"weights": "is odd"})
    assert unfit == {"weights": "is odd", "first": start.format("weights"), "second": start.format("first")}
    assert with_starts(left, {"first": "is odd"}) == {"first": "is odd", "second": start.format("first")}
    both = {"weights": "is odd", "first": "is odd too", "second": "is odd as well"}
    assert with_starts(left, both) == both and with_starts(left, {}) == {}
    # What is stored fitted: a misfit of its row takes nothing from those that start from it.
    stored = replace(left, encoders=tuple(run for run in left.encoders if run.row != "weights"))
    assert with_starts(stored, {"weights": "is odd"}) == {"weights": "is odd"}
    kept = without_rows(left, ["first", "second"])
    assert {run.row for run in kept.encoders} == {cell.encoder.row for cell in kept.cells} == {"weights"}
    assert len(kept.cells) * 3 == len(left.cells) and without_rows(left, []) == left
