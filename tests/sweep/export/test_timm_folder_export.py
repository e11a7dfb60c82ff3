"""Is an encoder from a folder of timm's exported as a network of timm's, with the features of the storage?"""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from made_up_study import plan_of, results_of
from PIL import Image
from timm.models import save_for_hf
from transformers import AutoImageProcessor, AutoModel

from sweep.export.encoder_files import export_encoder, find_encoder
from sweep.store.snapshot import Origin, Snapshot
from sweep.store.store import Store
from sweep.studies import BASELINE, EncoderRow, demo
from trainables.encoder_source import from_folder
from trainables.evaluation.cell_model import load_backbone
from trainables.pretraining.encoder_job import EncoderJob, run_initial
from trainables.recipe import BackboneSpec, RandomInit
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation_spec import EvalSpec

POOLED = ("resnet", "vit", "vit384", "own384")  # rows whose features are timm's own pooled ones
PATCHES = {"vit-cls": "[:, 0]", "vit-mean": "[:, 1:17].mean(dim=1)", "resnet-mean": ".mean(dim=(2, 3))"}
SMALL = {"depth": 1, "embed_dim": 24, "num_heads": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Snapshot:
    """Folders as timm writes them, with and without classes and at several sizes, each a row whose encoder is done."""
    folder = tmp_path_factory.mktemp("timm")
    torch.manual_seed(0)
    for name, network in {
        "resnet": timm.create_model("resnet18"),
        "vit": timm.create_model("vit_tiny_patch16_224", img_size=64, **SMALL),
        "vit384": timm.create_model("vit_tiny_patch16_384", num_classes=0, **SMALL),
    }.items():
        save_for_hf(network, folder / name, model_args=None if name == "resnet" else SMALL)
    rows = (
        EncoderRow("resnet", "ResNet-18", BASELINE, from_folder(folder / "resnet", 64)),
        EncoderRow("vit", "ViT", BASELINE, from_folder(folder / "vit")),
        EncoderRow("vit384", "ViT at 384", BASELINE, from_folder(folder / "vit384")),
        EncoderRow(
            "own384",
            "A ViT by its name",
            BASELINE,
            RandomInit(BackboneSpec("vit_tiny_patch16_384", 384, tuple(SMALL.items()))),
        ),
        EncoderRow("vit-cls", "ViT, class token", BASELINE, from_folder(folder / "vit", pooling="cls")),
        EncoderRow("vit-mean", "ViT, mean", BASELINE, from_folder(folder / "vit", pooling="mean")),
        EncoderRow("resnet-mean", "ResNet-18, mean", BASELINE, from_folder(folder / "resnet", 64, "mean")),
    )
    study = replace(demo(), rows=rows, seeds=(0,))
    plan, store = plan_of(study), Store(str(folder / "storage"))
    for run in plan.encoders:
        job = EncoderJob(str(run), run.key, store.folder(run), run.recipe, run.weights_seed)
        run_initial(job, store.uri, lambda progress: None)
        assert store.failure(run) is None
    return Snapshot(study, plan, results_of(study, plan), {}, store, Origin("demo", store.uri))


def fed(data: Snapshot, row: str, picture: Image.Image) -> tuple[torch.Tensor, torch.Tensor]:
    """The picture as the row's network gets it, and the features that the stored encoder gives of it."""
    run = find_encoder(data, row)
    spec = run.recipe.backbone
    sees = BackboneInput(EvalSpec(spec.image_size), spec.image_size, spec.preprocessing)
    fit = sees.fit("aspect")
    assert fit is not None
    images = sees.images(fit(np.asarray(picture))[None], None, torch.device("cpu"))
    with torch.no_grad():
        return images, load_backbone(data.store.files, data.store.folder(run), spec)(images)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """Grey, not square, neither smooth nor noise alone."""
    rows, columns = np.mgrid[:431, :500]
    noise = np.random.default_rng(0).integers(0, 60, rows.shape)
    return Image.fromarray(np.uint8(97 + 60 * np.sin(rows / 37) + 37 * np.cos(columns / 23) * 0.9 + noise))


@pytest.mark.parametrize("row", POOLED)
def test_timm_and_transformers_give_the_features_of_the_storage(data, tmp_path, picture, row):
    made = export_encoder(data, find_encoder(data, row), tmp_path / "out")
    assert made.loads_in == ("timm", "transformers") and "preprocessor_config.json" not in made.files
    images, expected = fed(data, row, picture)
    network = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, num_classes=0).eval()
    model, report = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(model.eval()(images).pooler_output, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("row", ["resnet", "vit", "vit384"])
def test_both_libraries_feed_it_as_the_row_was_fed(data, tmp_path, picture, row):
    export_encoder(data, find_encoder(data, row), tmp_path / "out")
    images, _ = fed(data, row, picture)
    network = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, num_classes=0)
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=network))
    torch.testing.assert_close(transform(picture.convert("RGB"))[None], images, atol=1e-5, rtol=0)
    processor = AutoImageProcessor.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(
        processor(picture.convert("RGB"), return_tensors="pt").pixel_values, images, atol=1e-5, rtol=0
    )
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: timm\n") and "not do exactly that" not in card
    assert from_folder(tmp_path / "out").backbone.preprocessing == find_encoder(data, row).recipe.backbone.preprocessing


@pytest.mark.parametrize("row", [*POOLED, *PATCHES])
def test_the_code_of_the_card_gives_the_features_of_the_storage(data, tmp_path, picture, row):
    """Also where the row pools in another way than timm's network does."""
    export_encoder(data, find_encoder(data, row), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    images, expected = fed(data, row, picture)
    code = card.split("```python\n")[1].split("\n```")[0].split("\n# or\n")[0]
    features = card.split("Features: timm's `")[1].split("`")[0]
    assert features == ("model(images)" if row in POOLED else f"model.forward_features(images){PATCHES[row]}")
    names: dict[str, Any] = {"images": images}
    exec(code.replace("DIR", str(tmp_path / "out")), names)
    names["model"].eval()
    with torch.no_grad():
        exec(f"found = {features}", names)
    torch.testing.assert_close(names["found"], expected, atol=1e-6, rtol=1e-6)


def test_its_configuration_has_timms_form(data, tmp_path):
    export_encoder(data, find_encoder(data, "vit"), tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architecture"] == "vit_tiny_patch16_224" and config["num_classes"] == 0
    assert config["model_args"]["img_size"] == [64, 64] and "num_classes" not in config["model_args"]
    assert config["pretrained_cfg"]["mean"] == [0.5, 0.5, 0.5] and config["pretrained_cfg"]["crop_pct"] == 64 / 71
