"""Do an export's files and card say how each data set's EvalSpec fed an encoder without a preprocessing of its own?"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from made_up_study import plan_of, results_of
from PIL import Image
from transformers import AutoImageProcessor, ViTConfig, ViTModel

from datasets_io.pixels.grey import resize
from datasets_io.storage.artefacts import Artefacts
from sweep.export.encoder_files import export_encoder, find_encoder
from sweep.export.feeding import Feeding, feedings, image_words
from sweep.export.model_card import model_card
from sweep.store.snapshot import Origin, Snapshot
from sweep.store.store import Store
from sweep.studies import BASELINE, EncoderRow, Study, demo, paper, released
from trainables.encoder_source import from_folder
from trainables.evaluation.dataset import backbone_input
from trainables.pretraining.encoder_job import EncoderJob, run_initial
from trainables.recipe import BackboneSpec, RandomInit
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.preprocessing import Preprocessing

AS_THEY_ARE = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
SPEC = BackboneSpec("resnet18", 64)
NORMALISED = "mean 0.485 0.456 0.406, std 0.229 0.224 0.225"


def study_of(*eval_specs: EvalSpec, stored: int | None = None, recipe=None) -> Study:
    """The demo with these ways of feeding, pictures stored at `stored`, or as EvalSpec asks, and one row."""
    datasets = tuple(
        replace(
            dataset,
            build=replace(dataset.build, image_size=stored or eval_spec.stored_size),
            recipe=replace(dataset.recipe, eval_spec=eval_spec),
        )
        for dataset, eval_spec in zip(demo().datasets, eval_specs, strict=False)
    )
    rows = (EncoderRow("row", "A row", BASELINE, recipe or RandomInit(SPEC)),)
    return replace(demo(), datasets=datasets, rows=rows, seeds=(0,))


def exported(study: Study, folder: Path) -> str:
    """The export of the row, in folder/out; its card."""
    plan, store = plan_of(study), Store(str(folder / "storage"))
    data = Snapshot(study, plan, results_of(study, plan), {}, store, Origin("demo", store.uri))
    run = find_encoder(data, "row")
    job = EncoderJob(str(run), run.key, store.folder(run), run.recipe, run.weights_seed)
    run_initial(job, store.uri, lambda progress: None)
    export_encoder(data, run, folder / "out")
    return (folder / "out" / "README.md").read_text()


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (171, 150)).astype(np.uint8)


def fed(study: Study) -> torch.Tensor:
    """The picture as a cell of the first data set has it."""
    dataset, (row,) = study.datasets[0], study.rows
    side = study.build_read(row.recipe.backbone, dataset).spec.image_size
    sees = backbone_input(row.recipe.backbone, dataset.recipe)
    return sees.images(resize(picture(), side)[None], None, torch.device("cpu"))


@pytest.mark.parametrize(
    ("eval_spec", "said"),
    [
        (EvalSpec(64), f"64 px: squashed to 64 x 64, bilinear (Pillow); 3 channels, 0 to 1, {NORMALISED}."),
        (EvalSpec(64, normalise=False), "squashed to 64 x 64, bilinear (Pillow); 3 channels, 0 to 1, mean 0, std 1."),
        (EvalSpec(64, resize=73), "squashed to 73 x 73, centre 64 cut out, bilinear (Pillow)"),
        (EvalSpec(64, mean=(0.5,) * 3, std=(0.25,) * 3), "3 channels, 0 to 1, mean 0.5, std 0.25."),
        (EvalSpec(32, resize=36, normalise=False), "squashed to 72 x 72, centre 64 cut out, bilinear (Pillow)"),
    ],
    ids=str,
)
def test_timm_and_transformers_feed_an_export_as_its_data_set_did(tmp_path, eval_spec, said):
    study = study_of(eval_spec)
    card = exported(study, tmp_path)
    network = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, num_classes=0)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=network))
    rgb = Image.fromarray(picture()).convert("RGB")
    torch.testing.assert_close(transform(rgb)[None], fed(study), atol=1e-5, rtol=0)
    found = AutoImageProcessor.from_pretrained(tmp_path / "out")(rgb, return_tensors="pt").pixel_values
    torch.testing.assert_close(found, fed(study), atol=1e-5, rtol=0)
    assert said in card and "not do exactly that" not in card
    assert (NORMALISED in card) == (eval_spec.normalise and eval_spec.mean[0] == 0.485)


def test_a_processor_of_transformers_has_it_too(tmp_path):
    vit = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=64)
    ViTModel(vit).save_pretrained(tmp_path / "vit")
    recipe = from_folder(tmp_path / "vit", 64, preprocessing="dataset")
    study = study_of(EvalSpec(64, resize=73, normalise=False), recipe=recipe)
    card = exported(study, tmp_path)
    made = AutoImageProcessor.from_pretrained(tmp_path / "out")(
        Image.fromarray(picture()).convert("RGB"), return_tensors="pt"
    )
    # Its integers differ from Pillow's by a grey level, and its crop of an odd margin by a pixel: the card says so.
    assert made.pixel_values.shape == (1, 3, 64, 64) and 0 <= made.pixel_values.min() <= made.pixel_values.max() <= 1
    file = json.loads((tmp_path / "out" / "preprocessor_config.json").read_text())
    assert (file["image_mean"], file["image_std"]) == ([0.0] * 3, [1.0] * 3)
    assert file["size"] == {"height": 73, "width": 73} and file["crop_size"] == {"height": 64, "width": 64}
    assert "transformers' own processors do not do exactly that" in card


def test_data_sets_that_were_fed_otherwise_are_named(tmp_path):
    card = exported(study_of(EvalSpec(64, normalise=False), EvalSpec(64, resize=73)), tmp_path)
    assert "prepared in a way of its own for each data set; `config.json` has the first:" in card
    assert "- CheXpert: 64 px: squashed to 64 x 64, bilinear (Pillow); 3 channels, 0 to 1, mean 0, std 1.\n" in card
    nih = f"64 px: squashed to 73 x 73, centre 64 cut out, bilinear (Pillow); 3 channels, 0 to 1, {NORMALISED}"
    assert f"- NIH-ChestX-Ray14: {nih}.\n" in card
    config = json.loads((tmp_path / "out" / "config.json").read_text())["pretrained_cfg"]
    assert (config["mean"], config["std"], config["crop_pct"]) == ([0.0] * 3, [1.0] * 3, 1.0)


def test_pictures_that_are_resized_twice_are_said(tmp_path):
    study = study_of(EvalSpec(64), stored=80)
    card = exported(study, tmp_path)
    assert "bilinear (torch, floats)" in card and "before, squashed to 80 x 80 by Pillow." in card
    assert "timm's own transform does not do exactly that" in card


def test_the_presets_are_fed_as_their_texts_say():
    spec = paper().rows[0].recipe.backbone
    cropped, whole = Feeding(Preprocessing(224, resize=256)), Feeding(Preprocessing(224))
    assert feedings(paper(), spec) == {cropped: ("CheXpert",), whole: ("NIH-ChestX-Ray14",)}
    plain = Feeding(Preprocessing(224, **AS_THEY_ARE))
    crops = Feeding(Preprocessing(224, resampler="torch_floats"), 256, 256)
    assert list(feedings(released(), spec).items()) == [(plain, ("CheXpert",)), (crops, ("NIH-ChestX-Ray14",))]
    assert "in a test the mean over ten crops of squares of 256 x 256" in str(crops)
    # With a preprocessing of its own a data set decides only whether a test has ten crops, in proportion.
    own = Preprocessing(112, "shortest", 128)
    fed_own = feedings(released(), BackboneSpec("resnet18", preprocessing=own))
    assert list(fed_own) == [Feeding(own), Feeding(own, None, 128)]


def test_pictures_that_keep_their_ratio_are_squashed_as_they_are_read():
    (dataset,) = (study := study_of(EvalSpec(64, test_resize=73, ten_crop=True))).datasets
    aspect = replace(study, datasets=(replace(dataset, build=replace(dataset.build, shape="aspect", image_size=300)),))
    assert list(feedings(aspect, SPEC)) == [Feeding(Preprocessing(64, resampler="torch_floats"), 73, 73)]


@pytest.mark.parametrize("normalise", [True, False])
def test_a_pretraining_says_what_its_views_had(tmp_path, normalise):
    base = demo()
    datasets = tuple(
        replace(d, recipe=replace(d.recipe, eval_spec=EvalSpec(32, normalise=normalise))) for d in base.datasets
    )
    study, store = replace(base, datasets=datasets), Store(str(tmp_path))
    data = Snapshot(study, plan_of(study), [], {}, store, Origin("demo", store.uri))
    run = find_encoder(data, "simclr")
    card = model_card(data, run, run.recipe.backbone, Artefacts(store.files, "x", {"files": {}}), (), ())
    assert ("Pretraining saw its views normalised by ImageNet's mean" in card) == (not normalise)
    assert ("mean 0, std 1." in card) == (not normalise) and "for each data set" not in card


def test_a_row_that_is_not_pretrained_says_nothing_of_views():
    words = image_words(study_of(EvalSpec(64, normalise=False)), SPEC, RandomInit(SPEC), ("config.json",))
    assert words == [f"Images: grey, {Preprocessing(64, **AS_THEY_ARE)}."]
