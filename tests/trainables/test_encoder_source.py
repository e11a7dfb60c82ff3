"""Does a row made elsewhere give the features its makers' library gives, and is it known by its content?"""

import json
import shutil
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import AutoModel, ResNetConfig, ResNetModel, ViTConfig, ViTForImageClassification, ViTModel

from datasets_io.fingerprint import fingerprint
from trainables.encoder_source import from_file, from_folder, from_timm, load_source, tensors_sha256
from trainables.networks.backbones import build_backbone, check_backbone, feature_dim
from trainables.pretraining.initial import make_initial
from trainables.recipe import BackboneSpec, EncoderSource

IMAGES = torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)
VIT = ViTConfig(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
)
RESNET = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")


def resnet(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return timm.create_model("resnet18", num_classes=14).eval()


def rebuilt(source: EncoderSource) -> torch.nn.Module:
    """As a cell gets it: the spec's network with the tensors that make_initial gave."""
    backbone = build_backbone(source.backbone, seed=3)
    backbone.load_state_dict(make_initial(source, seed=0))
    return backbone.eval()


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.image_encoder."])
@pytest.mark.parametrize("kind", ["safetensors", "pth", "nested"])
def test_a_state_dict_gives_the_features_of_the_network_it_came_from(tmp_path, prefix, kind):
    model = resnet()
    tensors = {f"{prefix}{name}": value.clone() for name, value in model.state_dict().items()}
    tensors["text.embedding"] = torch.zeros(3)
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save({"state_dict": tensors, "epoch": 3} if kind == "nested" else tensors, path)
    source = from_file(path, "resnet18")
    expected = model.forward_head(model.forward_features(IMAGES), pre_logits=True)
    assert torch.equal(rebuilt(source)(IMAGES), expected)


def test_a_row_is_known_by_content_and_not_by_place(tmp_path):
    save_file(resnet().state_dict(), tmp_path / "a.safetensors")
    shutil.copy(tmp_path / "a.safetensors", tmp_path / "b.safetensors")
    save_file(resnet(1).state_dict(), tmp_path / "c.safetensors")
    a, b, c = (from_file(tmp_path / f"{name}.safetensors", "resnet18") for name in "abc")
    assert fingerprint(a) == fingerprint(b) != fingerprint(c)
    assert fingerprint(a) != fingerprint(replace(a, version=2))
    shutil.copy(tmp_path / "c.safetensors", tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="is not the one that the study names"):
        load_source(a)


def test_what_does_not_fit_is_refused_with_names(tmp_path):
    save_file({"conv1.weight": torch.zeros(4, 3, 7, 7), "other": torch.zeros(1)}, tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match=r"tensors missing \(first: .*bn1.*1 of another shape"):
        load_source(from_file(tmp_path / "bad.safetensors", "resnet18"))
    with pytest.raises(ValueError, match="does not exist"):
        from_file(tmp_path / "none.pth", "resnet18")
    with pytest.raises(ValueError, match="needs the sha256"):
        EncoderSource(BackboneSpec("resnet18"), path="somewhere")
    two = {f"{part}.{name}": value for part in ("query", "key") for name, value in resnet().state_dict().items()}
    save_file({name: value.clone() for name, value in two.items()}, tmp_path / "two.safetensors")
    with pytest.raises(ValueError, match="say which with prefix"):
        load_source(from_file(tmp_path / "two.safetensors", "resnet18"))
    assert load_source(from_file(tmp_path / "two.safetensors", "resnet18", prefix="key."))


def test_code_in_a_pth_does_not_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"conv1.weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(Exception, match=r"(?i)weights"):
        load_source(from_file(tmp_path / "bomb.pth", "resnet18"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("pooling", ["auto", "cls", "mean"])
def test_a_hugging_face_folder_gives_automodels_features(tmp_path, pooling):
    torch.manual_seed(0)
    ViTModel(VIT).save_pretrained(tmp_path)
    source = from_folder(tmp_path, 32, pooling, "dataset")
    check_backbone(source.backbone)
    output = AutoModel.from_pretrained(tmp_path).eval()(pixel_values=IMAGES)
    states = output.last_hidden_state
    expected = {"auto": output.pooler_output, "cls": states[:, 0], "mean": states.mean(dim=1)}[pooling]
    backbone = rebuilt(source)
    assert feature_dim(backbone) == 16 and torch.allclose(backbone(IMAGES), expected, atol=1e-6)


def test_a_classifiers_folder_lends_its_backbone(tmp_path):
    torch.manual_seed(0)
    model = ViTForImageClassification(VIT).eval()
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="pooling='cls'"):
        load_source(from_folder(tmp_path, 32, preprocessing="dataset"))
    states = model.vit(pixel_values=IMAGES).last_hidden_state
    assert torch.allclose(rebuilt(from_folder(tmp_path, 32, "cls", "dataset"))(IMAGES), states[:, 0], atol=1e-6)


def test_a_convolutional_folder_pools_its_map(tmp_path):
    torch.manual_seed(0)
    ResNetModel(RESNET).save_pretrained(tmp_path)
    model = AutoModel.from_pretrained(tmp_path).eval()
    expected = model(pixel_values=IMAGES).last_hidden_state.mean(dim=(2, 3))
    for pooling in ("auto", "mean"):
        assert torch.allclose(rebuilt(from_folder(tmp_path, 32, pooling, "dataset"))(IMAGES), expected, atol=1e-5)


def test_a_folder_never_runs_its_own_code(tmp_path):
    (tmp_path / "config.json").write_text(
        json.dumps(
            {"model_type": "evil", "auto_map": {"AutoModel": "modeling.Evil", "AutoConfig": "modeling.EvilConfig"}}
        )
    )
    (tmp_path / "modeling.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    for refuse in (lambda source: check_backbone(source.backbone), load_source):
        with pytest.raises(ValueError, match="cannot build an image network"):
            refuse(from_folder(tmp_path, preprocessing="dataset"))
    assert not (tmp_path / "ran").exists()


def test_timm_names_are_checked_and_their_absence_is_no_random_network(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="timm has no model 'resnet18x'; similar"):
        from_timm("resnet18x")
    monkeypatch.setattr(timm, "create_model", _no_network)
    with pytest.raises(ValueError, match="cannot get the weights of 'resnet18'"):
        load_source(from_timm("resnet18"))


def _no_network(*args, **options):
    raise OSError("no network")


def test_timms_weights_can_be_pinned(monkeypatch):
    weights = timm.create_model("resnet18", num_classes=0).state_dict()
    real = timm.create_model

    def cached(name, pretrained, num_classes):
        model = real(name, pretrained=False, num_classes=num_classes)
        model.load_state_dict(weights)
        return model

    monkeypatch.setattr(timm, "create_model", cached)
    good = from_timm("resnet18", sha256=tensors_sha256(weights))
    assert torch.equal(load_source(good).state_dict()["conv1.weight"], weights["conv1.weight"])
    with pytest.raises(ValueError, match="the study names"):
        load_source(from_timm("resnet18", sha256="0" * 64))
