"""Does a row bring its encoder's own preprocessing along, from a name or from the files beside its weights?"""

import json
from dataclasses import replace

import pytest
import timm
import torch
from safetensors.torch import save_file
from transformers import AutoModel, Dinov2Config, Dinov2Model, ViTImageProcessor

from datasets_io.fingerprint import fingerprint
from trainables.encoder_source import from_file, from_folder, from_timm, load_source
from trainables.encoder_specs import DATASET, spec_of_timm
from trainables.networks.backbones import build_backbone
from trainables.recipe import BackboneSpec
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.preprocessing import IMAGENET_MEAN, Preprocessing, torchxrayvision
from trainables.views.published import of_transformers

HALF = (0.5, 0.5, 0.5)
RAD_DINO = {
    "do_center_crop": True,
    "crop_size": {"height": 56, "width": 56},
    "do_resize": True,
    "size": {"shortest_edge": 56},
    "resample": 3,
    "do_rescale": True,
    "do_normalize": True,
    "image_mean": [0.5307] * 3,
    "image_std": [0.2583] * 3,
    "image_processor_type": "BitImageProcessor",
}


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory):
    """A folder as RAD-DINO's, but small."""
    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(0)
    config = Dinov2Config(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=56, patch_size=14)
    Dinov2Model(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(RAD_DINO))
    return folder


def test_a_folders_own_file_is_read(dinov2):
    own = from_folder(dinov2).backbone.preprocessing
    assert own == Preprocessing(
        56, "shortest", None, "bicubic", "torch_bytes", "down", mean=(0.5307,) * 3, std=(0.2583,) * 3
    )
    assert str(own) == (
        "56 px: shorter side to 56, centre 56 cut out, bicubic (torch); 3 channels, 0 to 1, mean 0.5307, std 0.2583"
    )


def test_a_size_and_a_preprocessing_may_be_given_by_hand(dinov2):
    larger = from_folder(dinov2, 112).backbone
    assert larger.image_size == larger.preprocessing.size == 112
    by_hand = Preprocessing(64, mean=HALF)
    assert from_folder(dinov2, preprocessing=by_hand).backbone.preprocessing == by_hand
    as_data = from_folder(dinov2, 56, preprocessing=DATASET).backbone
    assert as_data.preprocessing is None
    assert len({fingerprint(one) for one in (larger, as_data, from_folder(dinov2).backbone)}) == 3
    with pytest.raises(ValueError, match="allowed: a Preprocessing, 'dataset'"):
        from_folder(dinov2, preprocessing="imagenet")


def test_a_row_at_another_size_gets_other_pixels(dinov2):
    """A row declared at 112 and at 32 was given the same bytes."""
    spec = EvalSpec(32, resize=40, ten_crop=True, test_resize=40)
    for backbone in (BackboneSpec("resnet18", 112), from_folder(dinov2, 112).backbone):
        sees = BackboneInput(spec, backbone.image_size, backbone.preprocessing)
        fit, test_fit = sees.fit("square"), sees.test_fit("square")
        pixels = torch.arange(140 * 140).remainder(251).to(torch.uint8).view(1, 140, 140).numpy()
        fitted, tested = (pixels if one is None else one(pixels[0])[None] for one in (fit, test_fit))
        assert sees.images(fitted, None, torch.device("cpu")).shape == (1, 3, 112, 112)
        assert sees.test_images(tested, torch.device("cpu")).shape == (1, 10, 3, 112, 112)


def test_a_folder_without_the_file_is_refused(dinov2, tmp_path):
    AutoModel.from_pretrained(dinov2).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has no preprocessor_config.json.*preprocessing='dataset'"):
        from_folder(tmp_path)
    ViTImageProcessor(size={"height": 28, "width": 28}, image_mean=[0.1] * 3).save_pretrained(tmp_path)
    assert from_folder(tmp_path).backbone.preprocessing.mean == (0.1,) * 3


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"do_equalize": True}, "do_equalize=True, which cannot be done"),
        ({"do_resize": False}, "do_resize=false"),
        ({"size": {"height": 56, "width": 28}}, "56 x 28"),
        ({"do_center_crop": False}, "no centre crop"),
        ({"size": {"longest_edge": 56}}, "longest_edge"),
        ({"image_processor_type": "Siglip2ImageProcessor", "max_num_patches": 256}, "way of its own|max_num_patches"),
        ({"image_processor_type": "NoSuchImageProcessor"}, "no plain image processor 'NoSuchImageProcessor'"),
        ({"auto_map": {"AutoImageProcessor": "own.Own"}}, "code of its own"),
        ({"image_processor_type": None}, "names no image_processor_type"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(values, reason):
    with pytest.raises(ValueError, match=reason):
        of_transformers({**RAD_DINO, **values})


def test_older_files_mean_what_they_meant():
    old = {"feature_extractor_type": "CLIPFeatureExtractor", "size": 56, "crop_size": 56, "resample": 3}
    own = of_transformers(old)
    assert (own.size, own.geometry, own.mean[0]) == (56, "shortest", 0.48145466)
    vit = of_transformers({"feature_extractor_type": "ViTFeatureExtractor", "size": 56})
    assert (vit.size, vit.geometry, vit.interpolation, vit.mean) == (56, "squash", "bilinear", HALF)
    assert of_transformers({"size": {"shortest_edge": 56}, "crop_size": 56}, "BitImageProcessor").geometry == "shortest"


def test_a_timm_name_has_its_weights_preprocessing_and_size():
    vit = from_timm("vit_small_patch16_224.dino").backbone
    assert vit.preprocessing == Preprocessing(224, "shortest", 248, "bicubic") and vit.options == ()
    assert from_timm("vit_base_patch16_224.augreg_in21k").backbone.preprocessing.mean == HALF
    dinov2 = from_timm("vit_base_patch14_dinov2.lvd142m", 224).backbone
    assert dinov2.preprocessing.resize is None and dinov2.options == (("img_size", 224),)
    assert dinov2.preprocessing.mean == IMAGENET_MEAN
    assert spec_of_timm("vit_base_patch14_dinov2", 224, DATASET).options == (("img_size", 224),)
    assert spec_of_timm("vit_base_patch14_dinov2", None, DATASET).image_size == 518
    resnet = from_timm("resnet50.a1_in1k", 112).backbone
    assert resnet.options == () and resnet.preprocessing.resize == round(235 / 2)  # floor(224 / 0.95) = 235


def test_one_channel_is_built_and_fed():
    spec = spec_of_timm("resnet10t", None, torchxrayvision(64))
    network = build_backbone(spec, seed=0).eval()
    sees = BackboneInput(EvalSpec(32), spec.image_size, spec.preprocessing)
    fit = sees.fit("aspect")
    black_and_white = torch.zeros(80, 90, dtype=torch.uint8)
    black_and_white[:, 45:] = 255
    images = sees.images(fit(black_and_white.numpy())[None], None, torch.device("cpu"))
    assert images.shape == (1, 1, 64, 64) and images.min() == -1024 and images.max() == 1024
    assert network(images).shape == (1, network.num_features)


def test_a_weights_file_is_known_by_the_files_beside_it(tmp_path):
    weights = timm.create_model("resnet10t", num_classes=0).state_dict()
    for name in ("open_clip_model.safetensors", "model.safetensors", "mine.safetensors"):
        save_file(weights, tmp_path / name)
    assert from_file(tmp_path / "model.safetensors", "resnet10t").backbone == BackboneSpec("resnet10t", 224)
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"input_size": [3, 96, 96], "mean": HALF}}))
    of_timm = from_file(tmp_path / "model.safetensors", "resnet10t").backbone
    assert of_timm.preprocessing == Preprocessing(96, "shortest", 109, "bicubic", mean=HALF)
    clip = {"model_cfg": {"vision_cfg": {"image_size": 64}}, "preprocess_cfg": {"resize_mode": "longest"}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(clip))
    of_clip = from_file(tmp_path / "open_clip_model.safetensors", "resnet10t").backbone
    assert (of_clip.image_size, of_clip.preprocessing.geometry) == (64, "longest")
    # A file of another name is not the one that the folder's configuration is about.
    other = from_file(tmp_path / "mine.safetensors", "resnet10t", 96).backbone
    assert other == BackboneSpec("resnet10t", 96)
    given = from_file(tmp_path / "mine.safetensors", "resnet10t", preprocessing=torchxrayvision(64)).backbone
    assert given.options == (("in_chans", 1),) and given.channels == 1


def test_a_specification_beside_a_configuration_is_fed_by_it(tmp_path):
    weights = timm.create_model("resnet10t", num_classes=0).state_dict()
    for name in ("model.safetensors", "mine.safetensors"):
        save_file(weights, tmp_path / name)
    # As timm's older folders have it, too.
    (tmp_path / "config.json").write_text(json.dumps({"architecture": "resnet10t", "input_size": [3, 96, 96]}))
    published = Preprocessing(96, "shortest", 109, "bicubic")
    own, options = Preprocessing(64), (("drop_rate", 0.0),)

    def spec(backbone, file="model", **given):
        return from_file(tmp_path / f"{file}.safetensors", backbone, **given).backbone

    assert spec("resnet10t") == BackboneSpec("resnet10t", 96, (), published)
    assert spec(BackboneSpec("resnet10t", options=options)) == BackboneSpec("resnet10t", 96, options, published)
    assert spec(BackboneSpec("resnet10t", 192)).preprocessing == published.at_size(192)
    assert spec(BackboneSpec("resnet10t", 192), preprocessing=DATASET) == BackboneSpec("resnet10t", 192)
    assert spec(BackboneSpec("resnet10t", 192), "mine") == BackboneSpec("resnet10t", 192)
    assert spec(BackboneSpec("resnet10t", 48), "mine", preprocessing=own).preprocessing == own.at_size(48)
    whole = BackboneSpec("resnet10t", 64, (), own)
    assert spec(whole) == spec(whole, image_size=64, preprocessing=own) == whole
    with pytest.raises(ValueError, match="another one in the BackboneSpec"):
        spec(whole, preprocessing=Preprocessing(64, mean=HALF))
    with pytest.raises(ValueError, match="image_size is 96, and that of the BackboneSpec 64"):
        spec(whole, image_size=96)


def test_a_folder_of_timms_is_fed_by_its_configuration(tmp_path):
    from timm.models import save_for_hf

    network = timm.create_model("resnet10t", num_classes=0)
    network.pretrained_cfg.update(input_size=(3, 64, 64), mean=HALF, std=HALF, crop_pct=1.0)
    save_for_hf(network, tmp_path, safe_serialization=True)
    source = from_folder(tmp_path)
    assert source.backbone.preprocessing == Preprocessing(64, "shortest", None, "bicubic", mean=HALF, std=HALF)
    images = torch.rand(2, 3, 64, 64)
    assert torch.allclose(load_source(source).eval()(images), network.eval()(images), atol=1e-6)


def test_lines_say_what_is_cut_and_what_is_padded():
    assert "longer side to 88, centre 80 cut out, padded to 80 with 7" in str(Preprocessing(80, "longest", 88, fill=7))
    assert "longer side to 80, padded to 80 with 7, " in str(Preprocessing(80, "longest", fill=7))
    assert "shorter side to 70, centre 80 cut out, padded to 80 with 0" in str(Preprocessing(80, "shortest", 70))
    assert "squashed to 80 x 80, bilinear" in str(Preprocessing(80))


def test_a_network_sees_one_size():
    assert BackboneSpec("resnet18", preprocessing=Preprocessing(64)) == BackboneSpec(
        "resnet18", 64, (), Preprocessing(64)
    )
    with pytest.raises(ValueError, match=r"image_size is 112 and preprocessing.size 64"):
        BackboneSpec("resnet18", 112, preprocessing=Preprocessing(64))
    assert replace(Preprocessing(64, resize=72), geometry="shortest").at_size(128).resize == 144


def test_a_size_of_zero_is_refused_and_not_taken_for_none():
    with pytest.raises(ValueError, match="image_size is 0: "):
        spec_of_timm("demo_cnn", 0, DATASET)


def test_weights_that_timm_does_not_have_come_with_those_that_it_has():
    with pytest.raises(
        ValueError, match=r"no weights 'resnet18.a1_in2k'; of resnet18 it has .*mean 'resnet18.a1_in1k'"
    ):
        spec_of_timm("resnet18.a1_in2k", 32, DATASET)
