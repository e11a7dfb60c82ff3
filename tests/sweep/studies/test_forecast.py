"""What a plan costs: counted by hand on small numbers of images."""

import math
import subprocess
import sys
from dataclasses import fields, replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from sweep.studies import demo
from sweep.studies.forecast import FLOPS_PER_SECOND, Forecast, forecast, forward_flops, key_views, text_flops
from sweep.studies.plan import make_plan
from trainables.networks.backbones import build_backbone
from trainables.networks.text import HuggingFaceText, TinyText
from trainables.networks.text_config import LOCAL_FOLDER
from trainables.objectives.clip import ClipConfig
from trainables.objectives.joint import JointConfig
from trainables.objectives.mocov2 import MocoV2Config
from trainables.recipe import BackboneSpec, SplitRecipe
from trainables.views.evaluation_spec import EvalSpec

COUNTS = {
    "mimic_cxr": {"train": 1000, "val": 100, "test": 70},
    "chexpert": {"train": 505, "val": 40, "test": 30},
    "nih_cxr14": {"train": 90, "val": 20, "test": 10},
}
STUDY = demo()
PLAN = make_plan(STUDY, dict.fromkeys(COUNTS, "x"), {})
ENCODERS = {encoder.row: encoder for encoder in PLAN.encoders}


def of_cells(protocol: str, percent: int, number: int = 1, **changes) -> Forecast:
    """Of cells of one encoder on chexpert; `changes` of its recipe."""
    cells = [c for c in PLAN.cells if (c.dataset, c.protocol, c.label_percent) == ("chexpert", protocol, percent)]
    cells = [replace(c, recipe=replace(c.recipe, **changes)) for c in cells if c.encoder.row == "clip"][:number]
    assert len(cells) == number
    return forecast((), cells, COUNTS)


def test_a_network_is_counted_as_it_is():
    """ResNet-50 at 224: 4.09 billion multiplications and as many additions (He et al., 2016, table 1: 3.8 billion)."""
    assert forward_flops(BackboneSpec("resnet50.tv_in1k")) == pytest.approx(2 * 4.09e9, rel=0.01)
    small, large = (forward_flops(BackboneSpec("demo_cnn", size)) for size in (32, 64))
    assert large == pytest.approx(4 * small, rel=0.05) and isinstance(small, float)


def test_a_small_network_is_counted_as_torch_counts_and_without_its_compiler():
    counter = (
        "import sys, torch\nfrom sweep.studies.forecast import forward_flops\n"
        "from trainables.recipe import BackboneSpec\n"
        "print(forward_flops(BackboneSpec('demo_cnn', 48)), 'torch._dynamo' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", counter], capture_output=True, text=True, check=True).stdout.split()
    with FlopCounterMode(display=False) as torchs, torch.no_grad():
        build_backbone(BackboneSpec("demo_cnn", 48), 0).eval()(torch.zeros(1, 3, 48, 48))
    assert said == [str(float(torchs.get_total_flops())), "False"]
    assert forward_flops(BackboneSpec("demo_cnn", 48)) == torchs.get_total_flops()


def test_hours_are_work_over_the_devices_rate():
    assert FLOPS_PER_SECOND == {"V100": 3.0e13, "A100": 6.1e13, "H100": 1.22e14, "CPU core": 1.5e10}
    assert Forecast(flops=2 * 6.1e13 * 3600, text_flops=6.1e13 * 3600).hours("A100") == pytest.approx(3)


def test_a_sum_is_of_every_field():
    one = Forecast(1, 2, 3, 4.0, 5.0, 6, 7)
    assert one + Forecast(10, 20, 30, 40.0, 50.0, 60, 70) == Forecast(11, 22, 33, 44.0, 55.0, 66, 77)
    assert len(fields(Forecast)) == 7
    assert forecast((), (), {}) == Forecast() == Forecast(0, 0, 0, 0.0, 0.0, 0, 0)


def test_a_pretraining_passes_each_view_of_each_image_in_each_epoch():
    recipe = ENCODERS["simclr"].recipe
    found, epochs, one = forecast([ENCODERS["simclr"]], (), COUNTS), recipe.num_epochs, forward_flops(recipe.backbone)
    assert found == Forecast(
        images_read=epochs * 1100,
        forward_passes=epochs * 100 * 2,
        training_passes=epochs * 1000 * 2,
        flops=one * (3 * epochs * 2000 + epochs * 200),
        text_flops=0.0,
        views=epochs * 1100 * 2,
        steps=epochs * (1000 // recipe.global_batch_size),
    )


def test_mocos_copy_passes_its_views_once_more_forward():
    assert key_views(ENCODERS["mocov2"].recipe) == 2 == key_views(ENCODERS["clip+mocov2"].recipe)
    assert key_views(ENCODERS["simclr"].recipe) == 0 == key_views(ENCODERS["clip+simclr"].recipe)
    moco, plain = (forecast([ENCODERS[row]], (), COUNTS) for row in ("mocov2", "simclr"))
    epochs = ENCODERS["mocov2"].recipe.num_epochs
    assert moco.forward_passes - plain.forward_passes == epochs * 1000 * 2
    assert moco.flops - plain.flops == pytest.approx(
        epochs * 2000 * forward_flops(ENCODERS["mocov2"].recipe.backbone), rel=1e-9
    )


def test_encoders_that_see_no_corpus_cost_nothing_here():
    assert forecast([ENCODERS["random"], ENCODERS["imagenet"]], (), COUNTS) == Forecast()


def text_cost(objective, text) -> float:
    return text_flops(replace(ENCODERS["clip"].recipe, objective=objective, text=text))


def test_a_text_tower_costs_24_squared_widths_a_layer_and_token():
    # 40 tokens; forward once and backward twice where a layer is trained.
    unit = 24 * 64**2 * 40
    tiny = TinyText(layers=5, width=64)
    free, fixed = ClipConfig(frozen_layers=3), ClipConfig(frozen_layers=3, freeze_embeddings=True)
    assert text_cost(free, tiny) == unit * 3 * 5, "gradients pass fixed layers on their way to free embeddings"
    assert text_cost(fixed, tiny) == unit * (3 * 2 + 3)
    assert text_cost(JointConfig(fixed, MocoV2Config()), tiny) == unit * (3 * 2 + 3)
    assert text_cost(ClipConfig(), HuggingFaceText("name")) == 24 * 768**2 * 40 * 3 * 12, "taken for BERT base"
    folder = HuggingFaceText(LOCAL_FOLDER, content="ab", path="/models/bert", size=(3, 64))
    assert text_cost(ClipConfig(), folder) == 24 * 64**2 * 40 * 3 * 3, "a folder says its own size"
    frozen = ClipConfig(frozen_layers=6, freeze_embeddings=True)
    assert text_cost(frozen, folder) == 24 * 64**2 * 40 * 3, "no less than nothing is trained"
    assert text_cost(ClipConfig(), None) == 0.0 and isinstance(text_cost(free, tiny), float)
    recipe = ENCODERS["clip"].recipe
    assert forecast([ENCODERS["clip"]], (), COUNTS).text_flops == recipe.num_epochs * 1000 * text_flops(recipe)


def test_fine_tuning_trains_on_the_labelled_share_validates_every_epoch_and_tests_once():
    epochs = STUDY.datasets[0].recipe.num_epochs
    one = forward_flops(ENCODERS["clip"].recipe.backbone)
    own = SplitRecipe(val="val", test="test")
    for percent, images in ((1, 5), (10, 50), (100, 505)):
        train, forward = epochs * images, epochs * 40 + 30
        steps = epochs * math.ceil(images / STUDY.datasets[0].recipe.batch_size)
        expected = Forecast(train + forward, forward, train, one * (3 * train + forward), steps=steps)
        assert of_cells("FT", percent, splits=own) == expected
    assert of_cells("FT", 10, 3) == of_cells("FT", 10) + of_cells("FT", 10) + of_cells("FT", 10)


@pytest.mark.parametrize(("percent", "val"), [(1, 1), (10, 9), (100, 99)])
def test_where_the_labels_for_validation_are_few_too_only_their_images_are_evaluated(percent, val):
    cells = [c for c in PLAN.cells if (c.dataset, c.protocol, c.label_percent) == ("chexpert", "FT", percent)][:1]
    changes = {"budget_validation": True, "splits": SplitRecipe(val="val", test="test")}
    cells = [replace(c, recipe=replace(c.recipe, **changes)) for c in cells]
    found = forecast((), cells, {"chexpert": {"train": 505, "val": 99, "test": 30}})
    assert found.forward_passes == cells[0].recipe.num_epochs * val + 30


def test_parts_are_those_that_the_recipe_makes_of_the_splits():
    """505 images for training, 40 of val, 30 of test; 20% of the first are 101."""
    epochs = STUDY.datasets[0].recipe.num_epochs
    carved = of_cells("FT", 100, splits=SplitRecipe(val="carved", test="test", also_test="val", carve_percent=20))
    assert (carved.training_passes, carved.forward_passes) == (epochs * 404, epochs * 101 + 30 + 40)
    same = of_cells("FT", 100, splits=SplitRecipe(val="val", test="val"))
    assert (same.training_passes, same.forward_passes) == (epochs * 505, epochs * 40 + 40)
    crops = EvalSpec(32, ten_crop=True, test_resize=40)
    ten = of_cells("FT", 100, splits=SplitRecipe(val="val", test="test"), eval_spec=crops)
    assert ten.forward_passes == epochs * 40 + 10 * 30


def test_one_percent_of_few_images_is_one():
    cells = [c for c in PLAN.cells if (c.dataset, c.label_percent, c.encoder.row) == ("nih_cxr14", 1, "clip")][:1]
    assert forecast((), cells, COUNTS).training_passes == cells[0].recipe.num_epochs


def test_a_probes_features_are_computed_once_for_all_seeds_in_each_form():
    one = forward_flops(ENCODERS["clip"].recipe.backbone)
    flipped, plain = EvalSpec(32, flip_p=0.5), EvalSpec(32)
    own = {"splits": SplitRecipe(val="val", test="test")}
    assert of_cells("LP", 100, 5, eval_spec=flipped, **own) == Forecast(1080, 1080, 0, one * 1080)
    assert of_cells("LP", 100, 1, eval_spec=flipped, **own) == of_cells("LP", 100, 5, eval_spec=flipped, **own)
    assert of_cells("LP", 100, 5, eval_spec=plain, **own) == Forecast(575, 575, 0, one * 575)


def test_a_probe_whose_batch_norm_adapts_is_trained_like_fine_tuning():
    own = SplitRecipe(val="val", test="test")
    found = of_cells("LP", 100, 2, linear_probe_bn_eval=False, linear_probe_epochs=7, splits=own)
    assert (found.training_passes, found.forward_passes) == (2 * 7 * 505, 2 * (7 * 40 + 30))
    found = of_cells("LP", 100, 2, linear_probe_bn_eval=False, linear_probe_epochs=None, num_epochs=3, splits=own)
    assert (found.training_passes, found.forward_passes) == (2 * 3 * 505, 2 * (3 * 40 + 30))


def test_splits_that_a_source_does_not_have_count_nothing():
    cells = [c for c in PLAN.cells if (c.dataset, c.protocol) == ("chexpert", "LP")][:1]
    cells = [replace(cell, recipe=replace(cell.recipe, eval_spec=EvalSpec(32))) for cell in cells]
    assert forecast((), cells, {"chexpert": {"train": 500}}).images_read == 500


def test_a_network_that_takes_no_such_images_is_refused_with_what_fits():
    with pytest.raises(ValueError, match=r"does not take images of 32 x 32 .*option \('img_size', 32\)"):
        forward_flops(BackboneSpec("vit_tiny_patch16_224", 32))
    small, large = (forward_flops(BackboneSpec("pit_ti_224", side, (("img_size", side),))) for side in (64, 128))
    assert 0 < small < large
