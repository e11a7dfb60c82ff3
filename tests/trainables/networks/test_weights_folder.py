"""Does a folder with two towers, or with weights in parts, give its image network, known by its content?"""

import json
import shutil

import pytest
import timm
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel, ViTConfig, ViTModel

from trainables.encoder_source import from_folder, load_source
from trainables.networks.backbones import build_backbone
from trainables.recipe import BackboneSpec

IMAGES = torch.linspace(-1, 1, 2 * 3 * 32 * 32).view(2, 3, 32, 32)
LAYERS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
VISION = {**LAYERS, "image_size": 32, "patch_size": 8}
TEXT = {**LAYERS, "vocab_size": 50}
TOWERS = {"clip": (CLIPModel, CLIPConfig), "siglip": (SiglipModel, SiglipConfig)}


def features(folder, **options) -> torch.Tensor:
    with torch.no_grad():
        return load_source(from_folder(folder, 32, preprocessing="dataset", **options)).eval()(IMAGES)


def vit(folder, **options) -> None:
    torch.manual_seed(0)
    ViTModel(ViTConfig(**VISION)).save_pretrained(folder, **options)


@pytest.mark.parametrize("kind", TOWERS)
@pytest.mark.parametrize("older", [False, True])
def test_a_folder_with_two_towers_gives_its_image_tower(tmp_path, kind, older):
    torch.manual_seed(0)
    model_class, config_class = TOWERS[kind]
    model = model_class(config_class(text_config=TEXT, vision_config=VISION)).eval()
    model.save_pretrained(tmp_path)
    if older:  # the tower's kind was not always written
        config = json.loads((tmp_path / "config.json").read_text())
        del config["vision_config"]["model_type"]
        (tmp_path / "config.json").write_text(json.dumps(config))
    with torch.no_grad():
        expected = model.vision_model(pixel_values=IMAGES).pooler_output
    assert torch.allclose(features(tmp_path), expected, atol=1e-6)


def test_a_pair_of_towers_whose_weights_have_other_names_is_refused(tmp_path):
    vit(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    both = {"model_type": "clip", "vision_config": {**VISION, "model_type": "clip_vision_model"}}
    (tmp_path / "config.json").write_text(json.dumps({**config, **both}))
    with pytest.raises(ValueError, match="does not fit its configuration"):
        load_source(from_folder(tmp_path, 32, preprocessing="dataset"))


def test_weights_in_parts_are_the_same_network(tmp_path):
    vit(tmp_path / "one")
    vit(tmp_path / "parts", max_shard_size="20KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    assert torch.equal(features(tmp_path / "one"), features(tmp_path / "parts"))


def test_weights_in_parts_are_known_by_their_content(tmp_path):
    vit(tmp_path / "a", max_shard_size="20KB")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    a, b = (from_folder(tmp_path / name, 32, preprocessing="dataset") for name in "ab")
    assert a.sha256 == b.sha256
    part = sorted((tmp_path / "b").glob("*.safetensors"))[0]
    save_file({name: value + 1 for name, value in load_file(part).items()}, part, metadata={"format": "pt"})
    assert from_folder(tmp_path / "b", 32, preprocessing="dataset").sha256 != a.sha256
    with pytest.raises(ValueError, match="is not the one that the study names"):
        load_source(b)
    part.unlink()
    with pytest.raises(ValueError, match=rf"{part.name} does not exist"):
        from_folder(tmp_path / "b", 32, preprocessing="dataset")


def test_parts_outside_of_the_folder_are_refused(tmp_path):
    vit(tmp_path, max_shard_size="20KB")
    for names in ({"a": "../w.safetensors"}, {}):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
        with pytest.raises(ValueError, match="must be files beside it"):
            from_folder(tmp_path, 32, preprocessing="dataset")


def test_parts_are_known_where_transformers_prefers_them_to_a_bin(tmp_path):
    vit(tmp_path, max_shard_size="20KB")
    sha256 = from_folder(tmp_path, 32, preprocessing="dataset").sha256
    torch.save({}, tmp_path / "pytorch_model.bin")
    assert from_folder(tmp_path, 32, preprocessing="dataset").sha256 == sha256


def test_a_pointer_in_the_place_of_weights_is_refused_at_once(tmp_path):
    vit(tmp_path)
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(ValueError, match="git lfs pull"):
        from_folder(tmp_path, 32, preprocessing="dataset")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"has no weights: none of model\.safetensors"):
        from_folder(tmp_path, 32, preprocessing="dataset")


def test_weights_of_a_folder_that_are_not_finite_are_named(tmp_path):
    vit(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["layernorm.bias"].fill_(float("nan"))
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"layernorm\.bias holds 16 NaN of 16 values"):
        load_source(from_folder(tmp_path, 32, preprocessing="dataset"))


def test_a_damaged_configuration_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"has no config\.json"):
        from_folder(tmp_path)
    for text, message in (("{", "is no JSON"), ("[]", "holds a list"), ("[" * 100_000, "is no JSON")):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            from_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [("model.safetensors.index.json", "is no index of weights"), ("open_clip_config.json", "has no model_cfg")],
)
@pytest.mark.parametrize("data", [b"[" * 100_000, b"\xff{}", b"[]"])
def test_a_damaged_file_beside_weights_is_refused(tmp_path, name, message, data):
    (tmp_path / name).write_bytes(data)
    if name.endswith(".index.json"):
        (tmp_path / "config.json").write_text('{"model_type": "vit"}')
        (tmp_path / "preprocessor_config.json").write_text('{"image_processor_type": "ViTImageProcessor"}')
    else:
        (tmp_path / "open_clip_model.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=message):
        from_folder(tmp_path)


@pytest.mark.parametrize("data", ["[" * 100_000, "[1]", "{"])
def test_a_damaged_preprocessing_beside_weights_is_refused(tmp_path, data):
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "preprocessor_config.json").write_text(data)
    with pytest.raises(ValueError, match=r"preprocessor_config\.json is no JSON"):
        from_folder(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text('{"image_processor": [1]}')
    with pytest.raises(ValueError, match="has an image_processor that is no JSON object"):
        from_folder(tmp_path)


def test_a_stored_configuration_that_is_none_is_refused():
    with pytest.raises(ValueError, match="cannot build an image network from this configuration"):
        build_backbone(BackboneSpec("transformers", 32, (("config", "[" * 100_000), ("pooling", "auto"))), 0)


def open_clip_folder(folder, tensors, **vision) -> None:
    config = {"model_cfg": {"embed_dim": 8, "vision_cfg": {"image_size": 32, **vision}, "text_cfg": {}}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.save(
        {**{f"visual.trunk.{k}": v for k, v in tensors.items()}, "text.w": torch.zeros(2)},
        folder / "open_clip_pytorch_model.bin",
    )


def test_an_open_clip_folder_gives_timms_network_of_its_image_tower(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=0).eval()
    open_clip_folder(tmp_path, model.state_dict(), timm_model_name="resnet18", timm_pool="avg", timm_proj="linear")
    source = from_folder(tmp_path)
    assert source.backbone.image_size == 32
    with torch.no_grad():
        assert torch.equal(features(tmp_path), model(IMAGES))


def test_an_image_tower_that_is_no_network_of_timm_is_refused_with_what_to_write(tmp_path):
    open_clip_folder(tmp_path, {}, layers=12, width=768, patch_size=16, image_size=224)
    with pytest.raises(ValueError, match=r"open_clip's own network.*'vit_base_patch16_clip_224'.*part='visual'"):
        from_folder(tmp_path)
    open_clip_folder(tmp_path, {}, timm_model_name="resnet18", timm_pool="abs_attn")
    with pytest.raises(ValueError, match=r"pools by 'abs_attn'.*part='visual\.trunk'"):
        from_folder(tmp_path)
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(ValueError, match="has no model_cfg"):
        from_folder(tmp_path)


@pytest.mark.parametrize("added", ["model.safetensors", "model.safetensors.index.json"])
def test_weights_that_are_put_beside_those_of_a_study_are_not_taken_for_them(tmp_path, added):
    """transformers is given a folder, and would read them first."""
    vit(tmp_path / "other", max_shard_size="20KB" if added.endswith(".json") else "1GB")
    tensors = ViTModel(ViTConfig(**VISION)).state_dict()
    (tmp_path / "mine").mkdir()
    torch.save(tensors, tmp_path / "mine" / "pytorch_model.bin")
    shutil.copy(tmp_path / "other" / "config.json", tmp_path / "mine")
    source = from_folder(tmp_path / "mine", 32, preprocessing="dataset")
    assert torch.equal(load_source(source).state_dict()["model.layernorm.bias"], tensors["layernorm.bias"])
    for path in (tmp_path / "other").glob("model*"):
        shutil.copy(path, tmp_path / "mine")
    with pytest.raises(ValueError, match=rf"has {added} too, which goes before pytorch_model\.bin"):
        load_source(source)
    again = from_folder(tmp_path / "mine", 32, preprocessing="dataset")
    assert again.sha256 != source.sha256 and load_source(again)


def test_weights_that_are_replaced_while_they_are_read_are_not_taken_for_the_studys(tmp_path, monkeypatch):
    vit(tmp_path, max_shard_size="20KB")
    source = from_folder(tmp_path, 32, preprocessing="dataset")
    load, part = transformers.AutoModel.from_pretrained, sorted(tmp_path.glob("*.safetensors"))[0]

    def replacing(*args, **options):
        save_file({name: value + 1 for name, value in load_file(part).items()}, part, metadata={"format": "pt"})
        return load(*args, **options)

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", replacing)
    with pytest.raises(ValueError, match=rf"{part.name} was changed while it was read"):
        load_source(source)


def test_a_folder_of_an_adapter_is_refused(tmp_path):
    """With peft there, transformers would read weights that lie elsewhere, and without it leave the adapter out."""
    vit(tmp_path)
    source = from_folder(tmp_path, 32, preprocessing="dataset")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "other"}))
    for use in (lambda: from_folder(tmp_path, 32, preprocessing="dataset"), lambda: load_source(source)):
        with pytest.raises(ValueError, match=r"holds an adapter .* merge_and_unload"):
            use()
