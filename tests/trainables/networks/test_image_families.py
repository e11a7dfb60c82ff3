"""Is every family of image networks of timm and Hugging Face right as a backbone, or refused in a sentence?"""

import json

import pytest
import timm
import torch
import transformers
from transformers import AutoConfig, AutoModel, ViTConfig, ViTModel
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_MAPPING_NAMES

from benchmarks.counts.families import (
    KINDS,
    KINDS_REFUSED,
    TIMM_REFUSED,
    TIMM_SAMPLE,
    Family,
    examined,
    hugging_face_families,
    timm_families,
)
from trainables.encoder_source import MASKING
from trainables.networks.backbones import HUGGING_FACE, build_backbone, check_backbone, feature_dim
from trainables.networks.image_outputs import DoesNotTake, Images
from trainables.recipe import BackboneSpec
from trainables.views.preprocessing import Preprocessing

# Libraries or inputs that a small test has not: natten, videos, models in models. Each is refused by its own sentence.
NOT_BUILT = {"cohere2_vision", "dab-detr", "dinat", "mlcd", "videoprism_vision_model"}
# What each kind's tokens are, read in its source: tokens before the patches, behind them, and a class token among them.
TOKENS = {
    "aimv2_vision_model": (0, 0, False),  # a query of its head is called class token
    "beit": (1, 0, True),
    "clip_vision_model": (1, 0, True),
    "data2vec-vision": (1, 0, True),
    "deit": (2, 0, True),  # and the distillation token
    "dinov2_with_registers": (5, 0, True),
    "dinov3_convnext": (1, 0, False),  # the mean of the map, which is the pooled output
    "dinov3_vit": (5, 0, True),
    "hiera": (0, 0, False),
    "ijepa": (0, 0, False),
    "levit": (0, 0, False),
    "pixio": (8, 0, True),  # eight class tokens
    "pvt": (1, 0, True),
    "radio": (10, 0, True),  # class tokens and registers
    "sapiens2": (9, 0, True),
    "siglip_vision_model": (0, 0, False),
    "swin": (0, 0, False),
    "vit": (1, 0, True),
    "vit_mae": (1, 0, True),
    "yolos": (1, 5, True),  # and queries for five objects behind
}


def of_kind(kind: str, pooling: str) -> Family:
    return next(family for family in hugging_face_families((pooling,)) if family.name.split()[0] == kind)


def test_the_list_has_every_module_of_timm():
    """A new module of timm's: add its smallest network to benchmarks/counts/families.py, and run it."""
    modules = {timm.models._registry._model_to_module[family.name] for family in timm_families()}
    assert modules == set(timm.list_modules()) and len(timm_families()) > 100


def test_the_list_has_every_kind_that_hugging_face_calls_of_images():
    assert set(MODEL_FOR_IMAGE_MAPPING_NAMES) - NOT_BUILT <= set(KINDS) | set(KINDS_REFUSED)


@pytest.mark.parametrize("name", TIMM_SAMPLE.split())
def test_every_third_small_family_of_timm_is_right(name):
    (family,) = (family for family in timm_families() if family.name == name)
    examined(family)


@pytest.mark.parametrize("name", TIMM_REFUSED)
def test_towers_of_language_models_are_refused_since_they_pool_nothing(name):
    with pytest.raises(ValueError, match="not one vector: it has no pooling"):
        check_backbone(BackboneSpec(name, timm.get_pretrained_cfg(name).input_size[1]))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_kind_of_hugging_face_is_right_by_its_first_pooling_and_says_which_it_has(kind):
    form = None
    for family in hugging_face_families():
        if family.name.split()[0] != kind:
            continue
        pooling = family.name.split()[1]
        try:
            if form is None:
                examined(family)
                form = build_backbone(family.spec, seed=0).form
            check_backbone(family.spec)
            assert pooling in form.poolings
        except ValueError as reason:
            assert str(reason).startswith(f"pooling is {pooling!r}, but ") and "; allowed: " in str(reason)
    assert form is not None and "mean" in form.poolings
    assert bool(form.ordered) is (kind in MASKING)
    if kind in TOKENS:
        assert (form.prefix, form.suffix, form.class_token) == TOKENS[kind]


@pytest.mark.parametrize("kind", sorted(KINDS_REFUSED))
def test_a_network_of_more_than_images_or_without_features_is_refused(kind):
    with pytest.raises(ValueError, match=r"no image network|does not take images of \d+ x \d+ pixels") as refusal:
        check_backbone(of_kind(kind, "auto").spec)
    assert "\n" not in str(refusal.value)


VIT = dict(
    hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
)


def backbone_of(kind: str, pooling: str, seed: int = 0) -> torch.nn.Module:
    return build_backbone(of_kind(kind, pooling).spec, seed).eval()


IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("pooling", ["auto", "cls", "mean"])
def test_a_masked_autoencoder_gives_what_the_same_weights_give_as_a_plain_vit(pooling):
    backbone = backbone_of("vit_mae", pooling)
    plain = ViTModel(ViTConfig(**VIT), add_pooling_layer=False).eval()
    plain.load_state_dict({name: value for name, value in backbone.model.state_dict().items()})
    states = plain(pixel_values=IMAGES).last_hidden_state
    expected = states[:, 1:].mean(dim=1) if pooling == "mean" else states[:, 0]
    assert torch.allclose(backbone(IMAGES), expected, atol=1e-6)
    assert torch.equal(backbone(IMAGES), backbone(IMAGES))


def test_the_mean_is_over_patches_and_not_over_registers_or_queries():
    for kind, first, last in (("dinov2_with_registers", 5, None), ("yolos", 1, -5), ("dinov3_convnext", 1, None)):
        backbone = backbone_of(kind, "mean")
        states = backbone.model(pixel_values=IMAGES).last_hidden_state
        assert torch.allclose(backbone(IMAGES), states[:, first:last].mean(dim=1), atol=1e-6)


def test_a_map_with_its_channels_last_is_averaged_over_its_places():
    backbone = backbone_of("sam2_vision_model", "mean")
    images = torch.randn(2, 3, 64, 64)
    states = backbone.model(pixel_values=images).last_hidden_state
    assert states.shape == (2, 2, 2, 64) and feature_dim(backbone) == 64
    assert torch.allclose(backbone(images), states.mean(dim=(1, 2)), atol=1e-6)


def test_what_meant_something_else_in_earlier_results_wants_a_version():
    for kind, pooling, match in (("vit", "mean", "averaged class"), ("vit_mae", "cls", "masked the images")):
        spec = of_kind(kind, pooling).spec
        options = tuple(option for option in spec.options if option[0] != "version")
        with pytest.raises(ValueError, match=match):
            check_backbone(BackboneSpec(HUGGING_FACE, 32, options))
    options = (("config", json.dumps({"model_type": "vit", **VIT})), ("pooling", "cls"))
    check_backbone(BackboneSpec(HUGGING_FACE, 32, options))
    with pytest.raises(ValueError, match="version 1 or 2, not 3"):
        check_backbone(BackboneSpec(HUGGING_FACE, 32, (*options, ("version", 3))))


def test_layers_that_no_feature_passes_are_not_trained_and_need_no_weights(tmp_path):
    torch.manual_seed(0)
    model = transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**VIT))
    backbone = backbone_of("siglip_vision_model", "mean")
    frozen = {name for name, value in backbone.named_parameters() if not value.requires_grad}
    assert frozen == {f"model.{name}" for name, _ in model.named_parameters() if name.startswith("head.")}
    assert all(value.requires_grad for value in backbone_of("siglip_vision_model", "auto").parameters())


def test_widths_are_those_of_what_comes_out():
    """timm's num_features is of the last map, as num_features and hidden_size are elsewhere."""
    for name, wide, of_map in (("lcnet_035", 1280, 176), ("ghostnet_050", 1280, 480), ("hgnetv2_b0", 2048, 1024)):
        network = build_backbone(BackboneSpec(name, 64), seed=0)
        assert (feature_dim(network), network.num_features) == (wide, of_map)
        assert feature_dim(timm.create_model(name, num_classes=0)) == wide  # as it comes with timm's own weights
    doubled = build_backbone(BackboneSpec("resnet18", 64, (("global_pool", "catavgmax"),)), seed=0)
    assert feature_dim(doubled) == 1024 == doubled(torch.zeros(2, 3, 64, 64)).shape[1]
    assert feature_dim(backbone_of("textnet", "auto")) == 2048


@pytest.mark.parametrize(
    ("spec", "images", "match"),
    [
        (BackboneSpec("vit_tiny_patch16_224"), Images(3, 32), r"option \('img_size', 32\) of its BackboneSpec it does"),
        (BackboneSpec("vgg11"), Images(3, 16), "smallest common size that it takes is 32 x 32, and its own is 224"),
        (BackboneSpec("test_resnet"), Images(1, 64), r"option \('in_chans', 1\) of its BackboneSpec it does"),
        (BackboneSpec("test_resnet", 64, (("global_pool", ""),)), None, "not one vector"),
        (BackboneSpec("vit_tiny_patch16_224", preprocessing=Preprocessing(32)), None, "does not take images of 32"),
        (of_kind("vit", "cls").spec, Images(3, 48), "does not take images of 48 .* says image_size 32"),
    ],
)
def test_images_that_do_not_fit_are_refused_with_what_fits(spec, images, match):
    with pytest.raises(ValueError, match=match) as refusal:
        check_backbone(spec, images)
    assert isinstance(refusal.value, DoesNotTake) is ("does not take" in match or "option" in match or "size" in match)


def test_a_network_is_tried_at_the_size_that_its_row_declares():
    with pytest.raises(DoesNotTake, match=r"64 x 64 pixels.*\('img_size', 64\)"):
        build_backbone(BackboneSpec("vit_tiny_patch16_224", 64), seed=0)
    with pytest.raises(DoesNotTake, match="224 x 224 pixels"):
        check_backbone(BackboneSpec(HUGGING_FACE, 224, of_kind("vit", "cls").spec.options))


def test_measuring_builds_a_network_once_and_feeds_it_once(monkeypatch):
    made: list[str] = []
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **values: made.append(name) or create(name, **values))
    check_backbone(BackboneSpec("test_resnet", 80))
    assert made == ["test_resnet"]
    forward, fed = ViTModel.forward, []
    monkeypatch.setattr(ViTModel, "forward", lambda self, *a, **v: fed.append(self) or forward(self, *a, **v))
    config = json.dumps({"model_type": "vit", **VIT, "num_hidden_layers": 1})
    check_backbone(BackboneSpec(HUGGING_FACE, 32, (("config", config), ("pooling", "cls"))))
    assert len(fed) == 1


def test_measuring_draws_no_random_number():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    check_backbone(BackboneSpec("test_resnet", 96))
    check_backbone(of_kind("swin", "mean").spec)
    assert torch.equal(before, torch.get_rng_state())


def test_a_random_network_has_the_weights_that_it_had():
    """Auto and cls rows keep their keys, so their weights and features are to stay as they were too."""
    torch.manual_seed(7)
    expected = AutoModel.from_config(AutoConfig.for_model("vit", **VIT)).eval()
    backbone = build_backbone(of_kind("vit", "auto").spec, seed=7).eval()
    assert torch.equal(backbone(IMAGES), expected(pixel_values=IMAGES).pooler_output)
