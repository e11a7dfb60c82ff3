"""Do timm and transformers load what is exported, with the same features; does the card have the encoder's numbers?"""

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from made_up_study import plan_of, results_of
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel, ViTConfig, ViTMAEConfig, ViTMAEModel, ViTModel

from datasets_io.storage.artefacts import Artefacts, CorruptArtefact, publish
from sweep.export.encoder_files import UNFINISHED, _make_folder, export_encoder, find_encoder
from sweep.export.model_card import model_card
from sweep.export.preprocessing_files import timm_fields, transformers_fields
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
from trainables.views.backbone_input import BackboneInput, scaled
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.preprocessing import Preprocessing, torchxrayvision
from trainables.views.published import of_timm, of_transformers

# An encoder that its makers fed in a way of their own, for each library.
OF_TIMM = Preprocessing(64, "shortest", 73, "bicubic", mean=(0.53, 0.5, 0.5), std=(0.26, 0.25, 0.25))
OF_TRANSFORMERS = Preprocessing(64, "shortest", 72, "bicubic", "torch_bytes", "down", mean=(0.4,) * 3, std=(0.3,) * 3)
IMAGES = torch.linspace(-1, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)
RESNET = BackboneSpec("resnet18", 64, (("zero_init_last", False),))
SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
VIT = ViTConfig(**SMALL, image_size=64, patch_size=16)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Snapshot:
    """Six rows that need no pretraining, their encoders finished, their cells' results made up."""
    folder = tmp_path_factory.mktemp("export")
    torch.manual_seed(0)
    ViTModel(VIT).save_pretrained(folder / "vit")
    ViTMAEModel(ViTMAEConfig(**SMALL, image_size=64, patch_size=16)).save_pretrained(folder / "mae")
    rows = (
        EncoderRow("resnet", "ResNet-18", BASELINE, RandomInit(RESNET)),
        EncoderRow("vit", "A ViT made elsewhere", BASELINE, from_folder(folder / "vit", 64, preprocessing="dataset")),
        EncoderRow(
            "fed", "ResNet-18 as its makers fed it", BASELINE, RandomInit(replace(RESNET, preprocessing=OF_TIMM))
        ),
        EncoderRow(
            "hub", "A ViT as its makers fed it", BASELINE, from_folder(folder / "vit", 64, "auto", OF_TRANSFORMERS)
        ),
        EncoderRow("mae", "A masked autoencoder", BASELINE, from_folder(folder / "mae", 64, "auto", OF_TRANSFORMERS)),
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
    assert made.loads_in == ("transformers",) and "preprocessor_config.json" in made.files
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


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "Pretrained on `mimic_cxr`; pretraining seed 0"),
        ({"num_train_images": None, "best_epoch": 2}, "Pretrained on `mimic_cxr`; pretraining seed 0"),
        ({"num_train_images": 1234, "best_epoch": 2}, "on 1,234 images of `mimic_cxr`; pretraining seed 0"),
        ({"best_epoch": 2, "history": [{}] * 5}, ", epoch 3 of 5 kept by validation loss; started from row `imagenet`"),
        ({"best_epoch": 2}, ", epoch 3 kept by validation loss; started from row `imagenet`"),
    ],
)
def test_the_card_says_of_a_pretraining_what_its_result_says(tmp_path, fields, said):
    """A sealed result may lack each of them."""
    study, store = demo(), Store(str(tmp_path))
    data = Snapshot(study, plan_of(study), [], {}, store, Origin("demo", store.uri))
    run = find_encoder(data, "clip")
    card = model_card(data, run, run.recipe.backbone, Artefacts(store.files, "x", {"files": {}, **fields}), (), ())
    assert said in card


def test_the_card_has_the_notes_that_are_true_of_this_encoder(data, tmp_path):
    """The study is made from the demo: four of its six rows are no four-convolution network, and own has 64 px."""
    study = replace(data.study, deviations=(*data.study.deviations, "Ours alone."))
    for row in ("resnet", "own"):
        export_encoder(replace(data, study=study), find_encoder(data, row), tmp_path / row)
        card = (tmp_path / row / "README.md").read_text()
        assert "four-convolution" not in card and "stand-in" not in card
        assert "- The study says of itself: Ours alone.\n" in card


def test_what_cannot_be_exported_is_said(data, tmp_path):
    known = "resnet, vit, fed, hub, mae, own"
    with pytest.raises(BadInput, match=rf"has no encoder 'resnt'; it has {known}; did you mean 'resnet'\?"):
        find_encoder(data, "resnt")
    with pytest.raises(BadInput, match="resnet-p1-s0 is not finished"):
        export_encoder(data, find_encoder(data, "resnet-p1"), tmp_path / "out")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    with pytest.raises(BadInput, match="is not empty"):
        export_encoder(data, find_encoder(data, "own"), tmp_path / "used")
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["file"]


@pytest.mark.parametrize("killed", [False, True])
def test_a_folder_that_must_stay_gets_the_files_written_in_it(tmp_path, killed):
    """A container's volume, or a link to another disk: no rename leads there, and none can replace it."""
    elsewhere = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else tmp_path))
    try:
        (tmp_path / "out").symlink_to(elsewhere)
        if killed:
            (elsewhere / UNFINISHED).mkdir()
        _make_folder(tmp_path / "out", {"a": b"1", "b": b"2"})
        assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == {"a": b"1", "b": b"2"}
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
    finally:
        shutil.rmtree(elsewhere)


def test_a_link_that_leads_nowhere_is_no_place_for_an_export(data, tmp_path):
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="is a link to a place that is not there"):
        export_encoder(data, find_encoder(data, "own"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.fixture(scope="module")
def radiograph(shared_data) -> Image.Image:
    """A real one, not square."""
    path = sorted((shared_data / "real_cxr" / "originals" / "covid").glob("*.jp*"))[0]
    return Image.open(path).convert("L").resize((150, 131))


def own_features(data: Snapshot, name: str, radiograph: Image.Image) -> torch.Tensor:
    spec = find_encoder(data, name).recipe.backbone
    sees = BackboneInput(EvalSpec(32), spec.image_size, spec.preprocessing)
    fit = sees.fit("aspect")
    assert fit is not None
    with torch.no_grad():
        return stored(data, name)(sees.images(fit(np.asarray(radiograph))[None], None, torch.device("cpu")))


def test_timm_and_transformers_feed_an_export_as_its_makers_did(data, tmp_path, radiograph):
    export_encoder(data, find_encoder(data, "fed"), tmp_path / "out")
    expected, rgb = own_features(data, "fed", radiograph), radiograph.convert("RGB")
    network = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(model=network))
    processor = AutoImageProcessor.from_pretrained(tmp_path / "out")
    model = AutoModel.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        torch.testing.assert_close(network(transform(rgb)[None]), expected, atol=1e-5, rtol=0)
        found = model(**processor(rgb, return_tensors="pt")).pooler_output
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"Images: grey, {OF_TIMM}." in card and "not do exactly that" not in card and "ImageNet's mean" not in card


def test_transformers_feeds_its_own_network_as_its_makers_did(data, tmp_path, radiograph):
    made = export_encoder(data, find_encoder(data, "hub"), tmp_path / "out")
    assert "preprocessor_config.json" in made.files
    processor = AutoImageProcessor.from_pretrained(tmp_path / "out")
    model = AutoModel.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        found = model(**processor(radiograph.convert("RGB"), return_tensors="pt")).pooler_output
    torch.testing.assert_close(found, own_features(data, "hub", radiograph), atol=1e-5, rtol=0)
    # And back: the export is an encoder made elsewhere, fed the same way.
    again = from_folder(tmp_path / "out").backbone
    assert again.preprocessing == OF_TRANSFORMERS


def test_a_masked_autoencoder_is_exported_without_its_mask(data, tmp_path, radiograph):
    """Its own config.json masks three quarters of each image, other ones each time."""
    export_encoder(data, find_encoder(data, "mae"), tmp_path / "out")
    processor = AutoImageProcessor.from_pretrained(tmp_path / "out")
    model = AutoModel.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        found = model(**processor(radiograph.convert("RGB"), return_tensors="pt")).last_hidden_state
    torch.testing.assert_close(found[:, 0], own_features(data, "mae", radiograph), atol=1e-5, rtol=0)
    assert found.shape[1] == 17 and "its class token" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    "own",
    [
        Preprocessing(64),
        OF_TIMM,
        OF_TRANSFORMERS,
        Preprocessing(224, "squash", 256, mean=(0.5,) * 3, std=(0.5,) * 3),
        Preprocessing(518, "shortest", 592, "lanczos"),
        Preprocessing(97, "longest", None, "bicubic", fill=128, mean=(0.5,) * 3),
        Preprocessing(64, resampler="torch_floats", rounding="down"),
        Preprocessing(64, high=255.0, mean=(100.0,) * 3, std=(50.0,) * 3),
        torchxrayvision(),
        Preprocessing(64, "longest", fill=7),
        Preprocessing(64, min_max=True),
    ],
    ids=str,
)
def test_what_files_say_is_read_back_as_it_was(own):
    fields, exact = timm_fields(own)
    assert fields["input_size"] == [own.channels, own.size, own.size]
    # Also of what it cannot say whole, such as OpenCV's way, it makes a transform: else nobody could load the folder.
    image = Image.fromarray(np.zeros((90, 80), np.uint8)).convert("RGB" if own.channels == 3 else "L")
    made = timm.data.create_transform(**timm.data.resolve_data_config(pretrained_cfg=fields))(image)
    assert made.shape == (own.channels, own.size, own.size)
    if exact:
        back = of_timm(fields)
        rounding = "even" if own.resize in (None, own.size) else own.rounding
        wanted = replace(own, low=0.0, high=1.0, rounding=rounding, mean=back.mean, std=back.std)
        assert back == wanted
        grey = torch.linspace(0, 1, 64 * 64).view(1, 64, 64)
        torch.testing.assert_close(scaled(back, grey), scaled(own, grey), atol=1e-4, rtol=0)
    processor = transformers_fields(own)
    if processor is not None:
        resampler = "torch_bytes" if own.resampler == "torch_floats" else own.resampler
        back = of_transformers(processor, resampler=resampler)
        assert replace(back, rounding=own.rounding, low=own.low, high=own.high, mean=own.mean, std=own.std) == own
    expressible = own.geometry != "cut" and not own.min_max and own.fill in (0, 128)
    assert (exact or processor is not None) == expressible


def _header(content: dict[str, Any]) -> bytes:
    text = json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text


HUGE = {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}
SEALED_WEIGHTS = {
    "a shape and offsets beyond the file": _header({"weight": HUGE}),
    "a header longer than the file": (2**63).to_bytes(8, "little") + b"{}",
    "a type that no tensor has": _header({"weight": {"dtype": "F4", "shape": [1], "data_offsets": [0, 4]}}) + bytes(4),
    "nothing": b"",
    "a tensor of another network": _header({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    + bytes(4),
    "no such name": None,
}


@pytest.mark.parametrize("weights", SEALED_WEIGHTS.values(), ids=SEALED_WEIGHTS.keys())
def test_sealed_weights_that_are_none_are_one_sentence(data, tmp_path, weights):
    run = find_encoder(data, "own")
    store = Store(str(tmp_path / "storage"))
    contents = {"other.safetensors": b""} if weights is None else {"backbone.safetensors": weights}
    publish(store.files, store.folder(run), contents, {"name": str(run), "key": run.key})
    with pytest.raises(
        BadInput, match=rf"encoder {run} is damaged: .*backbone\.safetensors .*: remove the folder"
    ) as error:
        export_encoder(replace(data, store=store), run, tmp_path / "out")
    assert "\n" not in str(error.value) and len(str(error.value)) < 700 and not (tmp_path / "out").exists()
    with pytest.raises(CorruptArtefact, match=r"backbone\.safetensors .*; remove the folder"):
        load_backbone(store.files, store.folder(run), run.recipe.backbone)
