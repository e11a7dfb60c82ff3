"""Do timm and transformers load what is exported, with the same features; does the card have the encoder's numbers?"""

import json
from dataclasses import replace
from typing import Any

import pytest
import timm
import torch
from made_up_study import plan_of, results_of
from safetensors.torch import load_file
from transformers import AutoModel, ViTConfig, ViTModel

from sweep.export.encoder_files import export_encoder, find_encoder
from sweep.statistics.summary import summarise
from sweep.store.snapshot import Origin, Snapshot
from sweep.store.store import Store
from sweep.studies import BASELINE, EncoderRow, demo
from sweep.studies.bad_input import BadInput
from trainables.encoder_source import from_folder
from trainables.evaluation.cell_model import load_backbone
from trainables.networks.backbones import build_backbone
from trainables.pretraining.encoder_job import EncoderJob, run_initial
from trainables.recipe import BackboneSpec, RandomInit

IMAGES = torch.linspace(-1, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)
RESNET = BackboneSpec("resnet18", 64, (("zero_init_last", False),))
VIT = ViTConfig(
    hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=64, patch_size=16
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Snapshot:
    """Three rows that need no pretraining, their encoders finished, their cells' results made up."""
    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    ViTModel(VIT).save_pretrained(folder / "vit")
    rows = (
        EncoderRow("resnet", "ResNet-18", BASELINE, RandomInit(RESNET)),
        EncoderRow("vit", "A ViT made elsewhere", BASELINE, from_folder(folder / "vit", 64)),
        EncoderRow("own", "Demo network", BASELINE, RandomInit(BackboneSpec("demo_cnn", 64))),
    )
    study = replace(demo(), rows=rows, seeds=(0, 1, 2), pretrain_seeds=(0, 1))
    plan, store = plan_of(study), Store(str(folder / "storage"))
    for run in plan.encoders:
        if run.pretrain_seed == 0:
            job = EncoderJob(str(run), run.key, store.folder(run), run.recipe, run.weights_seed)
            run_initial(job, store.uri, lambda progress: None)
            assert store.failure(run) is None
    return Snapshot(study, plan, results_of(study, plan), {}, store, Origin("demo", store.uri))


def stored(data: Snapshot, name: str) -> torch.nn.Module:
    run = find_encoder(data, name)
    return load_backbone(data.store.files, data.store.folder(run), run.recipe.backbone)


def test_timm_and_transformers_load_a_timm_network(data, tmp_path):
    made = export_encoder(data, find_encoder(data, "resnet"), tmp_path / "out")
    assert made.loads_in == ("timm", "transformers")
    expected = stored(data, "resnet")(IMAGES)
    path = tmp_path / "out" / "model.safetensors"
    by_path = timm.create_model("resnet18", num_classes=0, checkpoint_path=str(path)).eval()
    assert torch.equal(by_path(IMAGES), expected)
    by_folder = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, num_classes=0).eval()
    assert torch.equal(by_folder(IMAGES), expected)
    model, report = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"]
    output = model.eval()(pixel_values=IMAGES)
    assert torch.allclose(output.pooler_output, expected, atol=1e-6)


def test_transformers_loads_a_network_of_its_own(data, tmp_path):
    made = export_encoder(data, find_encoder(data, "vit"), tmp_path / "out")
    assert made.loads_in == ("transformers",)
    model, report = AutoModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert torch.allclose(model.eval()(pixel_values=IMAGES).pooler_output, stored(data, "vit")(IMAGES), atol=1e-6)


def test_an_own_network_is_loaded_as_its_card_says(data, tmp_path, monkeypatch):
    export_encoder(data, find_encoder(data, "own"), tmp_path / "out")
    backbone = build_backbone(BackboneSpec("demo_cnn", 64), seed=0)
    backbone.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"))
    assert torch.equal(backbone.eval()(IMAGES), stored(data, "own")(IMAGES))
    monkeypatch.chdir(tmp_path / "out")
    shown = (tmp_path / "out" / "README.md").read_text().split("```python\n")[1].split("\n```")[0]
    assert "from trainables.backbones import build_backbone" in shown  # the path that cards of 0.1.0 name as well
    names: dict[str, Any] = {}
    exec(shown, names)
    assert torch.equal(names["backbone"].eval()(IMAGES), backbone(IMAGES))
    assert not (tmp_path / "out" / "config.json").exists()


def test_the_card_has_this_encoders_numbers(data, tmp_path):
    def own(row):
        place = (row, "chexpert", "FT", 10, 0)
        return [
            r for r in data.results if (r.encoder, r.dataset, r.protocol, r.label_percent, r.pretrain_seed) == place
        ]

    export_encoder(data, find_encoder(data, "vit-p0"), tmp_path / "vit")
    one = summarise(own("vit"), (0, 1, 2))
    line = f"| CheXpert | FT | 10% | {100 * one.mean:.2f} ± {100 * one.ci95:.2f} | {100 * one.sd:.2f} | 3 of 3 |"
    assert line in (tmp_path / "vit" / "README.md").read_text()
    # Of a row without pretraining an encoder is one seed's network, and so are its numbers.
    export_encoder(data, find_encoder(data, "resnet-p0-s1"), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    (value,) = (r.macro_auroc for r in own("resnet") if r.seed == 1)
    assert f"| CheXpert | FT | 10% | {100 * value:.2f} | – | 1 of 1 |" in card
    assert card.startswith("---\nlibrary_name: timm\n")
    recipe = json.loads(card.split("```json\n")[1].split("\n```")[0])
    assert recipe["type"] == "RandomInit" and recipe["backbone"]["name"] == "resnet18"
    assert "zero_init_last=False" in card and "Not a medical device" in card
    assert str(data.store.uri) not in card


def test_what_cannot_be_exported_is_said(data, tmp_path):
    with pytest.raises(BadInput, match=r"has no encoder 'resnt'; it has resnet, vit, own; did you mean 'resnet'\?"):
        find_encoder(data, "resnt")
    with pytest.raises(BadInput, match="resnet-p1-s0 is not finished"):
        export_encoder(data, find_encoder(data, "resnet-p1"), tmp_path / "out")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    with pytest.raises(BadInput, match="is not empty"):
        export_encoder(data, find_encoder(data, "own"), tmp_path / "used")
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["file"]
