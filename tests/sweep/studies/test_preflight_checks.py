"""Is a network tried with the weights, the sizes and the number of images that it will have?"""

from dataclasses import replace

from sweep.studies import BASELINE, EncoderRow, demo
from sweep.studies.plan import make_plan, pending
from sweep.studies.preflight_checks import checks_of
from trainables.preflight.verdict import EncoderCheck
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
