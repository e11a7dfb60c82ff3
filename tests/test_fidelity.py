"""Does docs/fidelity.md name keys that exist, and does each study take the values it says?"""

import dataclasses
import re
from dataclasses import replace
from pathlib import Path

import pytest

from datasets_io.build import BuildSpec
from datasets_io.sources.mimic_cxr import MimicOptions
from datasets_io.sources.nih_cxr14 import NihOptions
from sweep.studies import STUDIES as ALL_STUDIES
from sweep.studies import Study, paper, released, strict
from sweep.studies.layout import TableLayout
from trainables.networks.text import HuggingFaceText
from trainables.objectives.clip import ClipConfig
from trainables.objectives.convirt import ConvirtConfig
from trainables.objectives.joint import JointSettings
from trainables.objectives.mocov2 import MocoV2Config
from trainables.objectives.simclr import SimClrConfig
from trainables.objectives.vicreg import VicRegConfig
from trainables.recipe import DownstreamRecipe, LabelPolicy, OptimizerSpec, PretrainRecipe, RandomInit, SplitRecipe
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.view_spec import ViewSpec

DOCUMENT = (Path(__file__).parents[1] / "docs" / "fidelity.md").read_text(encoding="utf-8")
CLASSES = {
    kind.__name__: kind
    for kind in (
        BuildSpec,
        ClipConfig,
        ConvirtConfig,
        DownstreamRecipe,
        EvalSpec,
        HuggingFaceText,
        JointSettings,
        LabelPolicy,
        MimicOptions,
        MocoV2Config,
        NihOptions,
        OptimizerSpec,
        PretrainRecipe,
        RandomInit,
        SimClrConfig,
        SplitRecipe,
        Study,
        TableLayout,
        VicRegConfig,
        ViewSpec,
    )
}
STUDIES = {"paper": paper, "released": released, "strict": strict}


def keys():
    return sorted(set(re.findall(r"`([A-Z]\w+)\.(\w+)`", DOCUMENT)))


@pytest.mark.parametrize(("kind", "field"), keys())
def test_a_key_exists(kind, field):
    assert field in {f.name for f in dataclasses.fields(CLASSES[kind])}


def test_every_table_row_has_its_columns():
    width = None
    for line in DOCUMENT.splitlines():
        if not line.startswith("|"):
            width = None
            continue
        width = width or line.count("|")
        assert line.count("|") == width, line


def row(study, name):
    return next(row.recipe for row in STUDIES[study]().rows if row.name == name)


def dataset(study, name):
    return next(d for d in STUDIES[study]().datasets if d.source == name)


@pytest.mark.parametrize(
    ("study", "pairs", "jitter", "freeze", "moco", "beta"),
    [
        ("paper", "two", 0.5, True, (512, 128), 0.98),
        ("released", "all", 0.8, False, (2048, 128), 0.98),
        ("strict", "two", 0.5, True, (512, 128), 0.98),
    ],
)
def test_pretraining_values(study, pairs, jitter, freeze, moco, beta):
    joint = row(study, "convirt+simclr")
    assert joint.objective.settings.ssl_pairs == pairs and joint.objective.settings.ssl_weight == 1.0
    assert dict(joint.views)["multi_modal"].jitter_p == jitter
    convirt = row(study, "convirt").objective
    assert (convirt.lambda_i2t, convirt.frozen_layers, convirt.freeze_embeddings) == (0.75, 6, freeze)
    assert convirt.temperature == 0.1 and row(study, "clip").objective.temperature == 0.07
    assert row(study, "mocov2").objective.head.dims == moco
    assert joint.optimizer.betas == (0.9, beta) and joint.schedule == "cosine" and joint.patience == 5
    assert joint.optimizer.weight_decay == 0.01 and row(study, "simclr").optimizer.weight_decay == 1e-5
    assert joint.global_batch_size == 256 and joint.num_epochs == 50 and joint.text.max_length == 128


@pytest.mark.parametrize(
    ("study", "normalise", "ten_crop", "plateau", "bn_eval", "val", "test", "split"),
    [
        ("paper", True, False, None, True, "val", "val", "patient_70_10_20"),
        ("released", False, True, 0.1, False, "val", "val", "patient_70_10_20"),
        ("strict", True, False, None, True, "carved", "test", "official"),
    ],
)
def test_downstream_values(study, normalise, ten_crop, plateau, bn_eval, val, test, split):
    chexpert, nih = dataset(study, "chexpert"), dataset(study, "nih_cxr14")
    assert chexpert.recipe.eval_spec.normalise is normalise and nih.recipe.eval_spec.ten_crop is ten_crop
    assert nih.recipe.lr_plateau_factor == plateau and chexpert.recipe.lr_plateau_factor is None
    assert chexpert.recipe.linear_probe_bn_eval is nih.recipe.linear_probe_bn_eval is bn_eval
    assert (chexpert.recipe.splits.val, chexpert.recipe.splits.test) == (val, test)
    assert nih.build.options.split == split and not nih.recipe.splits.selects_on_test
    assert (chexpert.recipe.batch_size, chexpert.recipe.num_epochs, chexpert.recipe.select_by) == (64, 5, "val_auroc")
    assert (nih.recipe.batch_size, nih.recipe.num_epochs, nih.recipe.select_by) == (16, 30, "val_loss")
    assert chexpert.recipe.frontal_only and chexpert.recipe.label_policy == LabelPolicy("ones", "zeros")


@pytest.mark.parametrize("name", sorted(ALL_STUDIES))
def test_data_are_built_at_the_size_that_crops_are_cut_from(name):
    """So that no preset enlarges a stored image."""
    for one in ALL_STUDIES[name]().datasets:
        assert one.build.image_size == one.recipe.eval_spec.stored_size


@pytest.mark.parametrize(
    ("study", "chexpert", "nih"), [("paper", 256, 224), ("released", 224, 256), ("strict", 256, 224)]
)
def test_sizes_of_stored_images(study, chexpert, nih):
    assert [dataset(study, name).build.image_size for name in ("chexpert", "nih_cxr14")] == [chexpert, nih]
    assert STUDIES[study]().corpus.image_size == 224


def test_strict_reports_valid_csv_and_lets_it_choose_nothing():
    splits = dataset("strict", "chexpert").recipe.splits
    assert (splits.val, splits.test, splits.also_test) == ("carved", "test", "val")
    assert all(dataset(study, "chexpert").recipe.splits.also_test is None for study in ("paper", "released"))


def test_simclrs_last_bias_of_the_released_code_is_in_its_joint_methods_only():
    heads = {name: row("released", name).objective for name in ("simclr", "clip+simclr", "convirt+simclr")}
    assert heads["simclr"].head.bias_last is False
    for name in ("clip+simclr", "convirt+simclr"):
        assert heads[name].image_image.head == replace(heads["simclr"].head, bias_last=True)


def test_one_pretraining_and_five_downstream_seeds():
    for study in STUDIES.values():
        assert (study().pretrain_seeds, len(study().seeds)) == ((0,), 5)
