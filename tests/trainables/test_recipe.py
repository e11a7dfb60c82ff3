"""Recipes refuse what cannot be computed, with what is allowed, and say what they are."""

import dataclasses

import pytest

from trainables import recipe
from trainables.objectives.clip import ClipConfig
from trainables.objectives.simclr import SimClrConfig
from trainables.recipe import (
    BackboneSpec,
    DownstreamRecipe,
    EncoderSource,
    LabelPolicy,
    OptimizerSpec,
    PretrainRecipe,
    SplitRecipe,
)
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.preprocessing import Preprocessing, torchxrayvision

BACKBONE = BackboneSpec("demo_cnn", 32)
ADAM = OptimizerSpec("adam", 1e-3, (0.9, 0.999))


def pretraining(**values) -> PretrainRecipe:
    return PretrainRecipe(**{"backbone": BACKBONE, "objective": SimClrConfig(), "optimizer": ADAM, "text": None,
                             "views": (), **values})  # fmt: skip


def downstream(**values) -> DownstreamRecipe:
    return DownstreamRecipe(**{"num_epochs": 1, "batch_size": 2, "select_by": "val_loss",
                               "eval_spec": EvalSpec(32), **values})  # fmt: skip


def test_a_pretraining_needs_two_images_and_a_known_schedule():
    assert pretraining(global_batch_size=2, schedule="constant").global_batch_size == 2
    assert pretraining().schedule == "cosine"
    with pytest.raises(ValueError, match="global_batch_size is 1; every objective needs at least 2"):
        pretraining(global_batch_size=1)
    with pytest.raises(ValueError, match="schedule is 'linear'; allowed: 'cosine', 'constant'"):
        pretraining(schedule="linear")


def test_it_reads_reports_where_its_objective_does():
    assert not pretraining().objective_needs_text and pretraining(objective=ClipConfig()).objective_needs_text


@pytest.mark.parametrize("uncertain", ["ones", "zeros", "ignore"])
@pytest.mark.parametrize("blank", ["zeros", "ignore"])
def test_every_label_policy_that_is_named_is_allowed(uncertain, blank):
    assert LabelPolicy(uncertain, blank).uncertain == uncertain


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LabelPolicy(uncertain="one"), "uncertain is 'one'; allowed: 'ones', 'zeros', 'ignore'"),
        (lambda: LabelPolicy(blank="ones"), "blank is 'ones'; allowed: 'zeros', 'ignore'"),
        (lambda: downstream(select_by="loss"), "select_by is 'loss'; allowed: 'val_auroc', 'val_loss'"),
        (lambda: EncoderSource(BACKBONE, path="w.pt"), "EncoderSource of w.pt needs the sha256"),
    ],
)
def test_a_value_that_no_recipe_has_is_refused_with_what_is_allowed(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_encoder_of_a_file_is_known_by_its_content():
    assert EncoderSource(BACKBONE, sha256="a" * 64, path="w.pt").path == "w.pt"
    assert EncoderSource(BACKBONE).sha256 is None and EncoderSource(BACKBONE, sha256="a" * 64).path is None
    assert [f.name for f in dataclasses.fields(EncoderSource) if not f.metadata.get("hashed", True)] == ["path"]


def test_the_epoch_is_picked_on_reported_images_where_validation_and_test_are_one():
    assert SplitRecipe("val", "val").selects_on_test
    assert not SplitRecipe("carved", "val").selects_on_test and not SplitRecipe().selects_on_test


def test_a_recipe_keeps_its_key_and_another_value_has_another():
    one = downstream()
    assert one.key == one.key == downstream().key != downstream(num_epochs=2).key
    assert isinstance(one.key, str) and len(one.key) == 12


def test_recipes_cannot_be_changed():
    kinds = [
        kind for kind in vars(recipe).values() if dataclasses.is_dataclass(kind) and kind.__module__ == recipe.__name__
    ]
    assert len(kinds) >= 10
    assert all(kind.__dataclass_params__.frozen for kind in kinds), "what is hashed must stay what it was"


@pytest.mark.parametrize("split", ["test", "val", "train"])
def test_a_second_split_neither_trains_nor_picks_nor_is_the_first(split):
    with pytest.raises(ValueError, match=f"also_test is '{split}'"):
        SplitRecipe(also_test=split)
    assert SplitRecipe(val="carved", also_test="val").also_test == "val" and SplitRecipe().also_test is None


def test_a_network_sees_one_size_that_need_not_be_said_twice():
    for size in (96, 224):
        assert BackboneSpec("resnet18", preprocessing=Preprocessing(size)).image_size == size
        assert BackboneSpec("resnet18", size, preprocessing=Preprocessing(size)).image_size == size
    assert BackboneSpec("resnet18").image_size == 224 and BackboneSpec("resnet18", 96).image_size == 96
    with pytest.raises(ValueError, match=r"image_size is 97 and preprocessing\.size 96, but a network sees one size"):
        BackboneSpec("resnet18", 97, preprocessing=Preprocessing(96))


def test_a_network_takes_three_channels_unless_its_preprocessing_says_one():
    specs = (BACKBONE, BackboneSpec("a", 32, (), Preprocessing(32)), BackboneSpec("a", preprocessing=torchxrayvision()))
    assert [spec.channels for spec in specs] == [3, 3, 1]


def test_findings_are_a_tuple_of_different_names():
    for findings in (None, ("edema",), ("edema", "mass")):
        assert downstream(findings=findings).findings == findings
    for wrong in ((), [], ["edema"], "edema", ("edema", "mass", "edema")):
        with pytest.raises(ValueError, match=r"findings is .*; allowed: a tuple of one or more names, or None for all"):
            downstream(findings=wrong)


@pytest.mark.parametrize("side", [0, -32])
def test_a_network_sees_at_least_one_pixel(side):
    with pytest.raises(ValueError, match=f"BackboneSpec.image_size is {side}: "):
        BackboneSpec("demo_cnn", side)
