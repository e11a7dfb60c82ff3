"""Is every network that does not do what a study asks found when it is tried once, and every other let through?"""

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from datasets_io.storage.artefacts import seal
from sweep.studies import demo
from trainables.encoder_source import from_file, from_folder
from trainables.networks.backbones import OWN_BACKBONES, build_backbone
from trainables.networks.heads import HeadSpec
from trainables.networks.weights_file import file_sha256
from trainables.objectives.clip import ClipConfig
from trainables.objectives.mocov2 import MocoV2Config
from trainables.preflight.check import is_small, run_check
from trainables.preflight.memory import saved_for_backward, step_bytes
from trainables.preflight.verdict import MOST, VERSION, EncoderCheck, PretrainingCheck, Verdict
from trainables.recipe import BackboneSpec, EncoderSource, ImageNetInit, RandomInit
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.preprocessing import Preprocessing

SPEC = BackboneSpec("demo_cnn", 32)
DATASETS = (("CheXpert", EvalSpec(32)),)


def of(recipe, batch_size: int | None = 8) -> Verdict:
    return run_check(EncoderCheck(recipe, DATASETS, batch_size))


def saved(path, change=lambda name, tensor: (name, tensor)):
    """A file of the demo's network, its names and tensors changed; as a row of it."""
    tensors = build_backbone(SPEC, seed=0).state_dict()
    save_file(dict(change(name, tensor.clone()) for name, tensor in tensors.items()), path)
    return from_file(path, SPEC)


def test_a_network_that_fits_has_no_misfit_and_a_forecast_of_its_memory(tmp_path):
    for recipe in (RandomInit(SPEC), saved(tmp_path / "mine.safetensors")):
        verdict = of(recipe)
        assert (verdict.misfit, verdict.warning, verdict.step_images) == (None, None, 8)
        # Weights, gradients and two moments are there for any number of images; the rest grows with them.
        network = build_backbone(SPEC, seed=0)
        fixed = 4 * sum(p.numel() * 4 for p in network.parameters())
        double = of(recipe, 16).step_bytes
        assert fixed < verdict.step_bytes < double and double < 2 * verdict.step_bytes
    assert of(RandomInit(SPEC), None) == Verdict()  # probed only: nothing of it is trained


def test_what_datasets_show_alike_is_fed_once_and_what_they_show_otherwise_each(monkeypatch):
    fed: list[int] = []

    class Counting(OWN_BACKBONES["demo_cnn"]):
        def forward(self, x):
            fed.append(x.shape[-1])
            return super().forward(x)

    monkeypatch.setitem(OWN_BACKBONES, "demo_cnn", Counting)
    specs = {"a": EvalSpec(32), "alike": EvalSpec(32), "cut": EvalSpec(32, 40), "other": EvalSpec(32, normalise=False)}
    assert run_check(EncoderCheck(RandomInit(SPEC), tuple(specs.items()))) == Verdict()
    assert fed == [32] * 6  # three, each twice: the second time without the first image


def test_what_a_forward_pass_keeps_is_counted_once():
    layer, images = nn.Linear(10, 20, bias=False), torch.rand(4, 10)
    with saved_for_backward((*layer.parameters(), images)) as found:
        hidden = layer(images).relu()  # ReLU keeps its result, which both factors of the square are
        (hidden * hidden).sum()
    assert found.total == 4 * 20 * 4
    assert step_bytes(layer, found.total, 4, 8) == 4 * (10 * 20 * 4) + 2 * 4 * 20 * 4
    layer.requires_grad_(False)
    assert step_bytes(layer, 0, 4, 8) == 10 * 20 * 4


def test_a_file_that_is_missing_changed_or_of_other_names_is_a_misfit(tmp_path):
    source = saved(tmp_path / "mine.safetensors")
    assert (
        "1 of"
        in of(saved(tmp_path / "part.safetensors", lambda n, t: (f"{n}x" if n == "layers.0.weight" else n, t))).misfit
    )
    assert "missing" in of(replace(source, prefix="encoder.")).misfit
    (tmp_path / "mine.safetensors").write_bytes(b"another file")
    assert "sha256" in of(source).misfit
    (tmp_path / "mine.safetensors").unlink()
    assert "does not exist" in of(source).misfit
    assert "does not exist" in of(ImageNetInit(SPEC, str(tmp_path / "mine.safetensors"))).misfit


def test_a_file_of_imagenet_weights_is_known_by_its_content_before_anything_is_made_of_it(tmp_path):
    """By its path alone, cells of one file would pass for those of the next."""
    path = saved(tmp_path / "mine.safetensors").path
    unknown = ImageNetInit(SPEC, path)
    sha256 = file_sha256(tmp_path / "mine.safetensors")
    assert f"add file_sha256={sha256!r} to its ImageNetInit" in of(unknown).misfit
    assert of(replace(unknown, file_sha256=sha256)).misfit is None
    (tmp_path / "mine.safetensors").write_bytes(b"another file")
    assert "its sha256 differs" in of(replace(unknown, file_sha256=sha256)).misfit


def test_weights_that_are_damaged_are_blamed_on_the_weights(tmp_path):
    broken = saved(tmp_path / "nan.safetensors", lambda n, t: (n, t * float("nan") if n == "layers.3.weight" else t))
    assert "tensor layers.3.weight holds 2592 NaN of 2592 values" in of(broken).misfit
    constant = saved(tmp_path / "zero.safetensors", lambda n, t: (n, torch.zeros_like(t)))
    assert "the same features for different images of dataset CheXpert" in of(constant).misfit
    huge = saved(tmp_path / "huge.safetensors", lambda n, t: (n, t * 1e30 if t.ndim == 4 else t))
    assert "NaN or infinite features" in of(huge).misfit


class Drawing(nn.Module):
    """Features with noise, also in eval mode."""

    num_features = 3

    def forward(self, x):
        return x.mean(dim=(2, 3)) + torch.rand(len(x), 3)


class Wide(nn.Module):
    """A map, where a vector is expected."""

    num_features = 3

    def forward(self, x):
        return x


class Wider(nn.Module):
    """Vectors of another width than it says."""

    num_features = 3

    def forward(self, x):
        return x.mean(dim=3).flatten(1)


class Unaware(nn.Module):
    """A network that cannot be run at all."""

    num_features = 3

    def forward(self, x):
        raise KeyError("pixel_mask")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (Drawing, "other features for the same image each time"),
        (Wide, "gives (3, 3, 32, 32) for 3 images on dataset CheXpert, where one vector of 3"),
        (Wider, "gives vectors of 96 numbers, and its network says that they have 3"),
        (Unaware, "does not take images of 32 x 32 with 3 channels, as dataset CheXpert shows them (KeyError"),
    ],
)
def test_a_network_that_gives_no_features_is_a_misfit(kind, sentence, monkeypatch):
    monkeypatch.setitem(OWN_BACKBONES, "of_this_test", kind)
    verdict = of(RandomInit(BackboneSpec("of_this_test", 32)))
    assert sentence in verdict.misfit


def test_a_network_of_another_size_or_channels_says_what_it_takes(tmp_path):
    from transformers import ViTConfig, ViTModel

    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    ViTModel(ViTConfig(image_size=224, patch_size=32, **small)).save_pretrained(tmp_path)
    verdict = of(from_folder(tmp_path, 32, preprocessing="dataset"))
    assert "ViTModel does not take images of 32 x 32 pixels" in verdict.misfit
    assert verdict.misfit.endswith("its configuration says image_size 224: give that")
    grey = tmp_path / "grey"
    ViTModel(ViTConfig(image_size=32, patch_size=16, num_channels=1, **small)).save_pretrained(grey)
    verdict = of(from_folder(grey, 32, preprocessing="dataset"))
    assert "in 3 channels" in verdict.misfit and "image_size" not in verdict.misfit
    advice = (
        "num_channels 1: give preprocessing=Preprocessing(32, channels=1, mean=..., std=...) as it was trained with"
    )
    assert verdict.misfit.endswith(advice)
    given = Preprocessing(32, channels=1, mean=(0.5,), std=(0.5,))
    assert of(from_folder(grey, 32, preprocessing=given)).misfit is None
    one = of(RandomInit(BackboneSpec("resnet10t", 32, (("in_chans", 1),))))
    assert "does not take images of 32 x 32 pixels in 3 channels" in one.misfit and "('in_chans', 3)" in one.misfit
    vit = of(RandomInit(BackboneSpec("vit_tiny_patch16_224", 32, (("depth", 1),))))
    assert "with the option ('img_size', 32) of its BackboneSpec it does" in vit.misfit
    assert of(RandomInit(BackboneSpec("vit_tiny_patch16_224", 32, (("depth", 1), ("img_size", 32))))).misfit is None
    unknown = of(RandomInit(BackboneSpec("resnt18", 32)))
    assert "unknown backbone 'resnt18'" in unknown.misfit
    wrong = of(RandomInit(BackboneSpec("resnet10t", 32, (("depht", 1),))))
    assert "timm cannot build 'resnet10t' with the options {'depht': 1} (TypeError" in wrong.misfit


def test_what_cannot_be_fetched_now_is_not_remembered(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    verdict = of(EncoderSource(BackboneSpec("no_such_network", 32)))
    assert verdict.misfit.startswith("cannot be loaded:") and not verdict.lasting


# -- pretraining -----------------------------------------------------------------------------------------------


def pretraining(method: str, start: BackboneSpec | None = None, **changes) -> PretrainingCheck:
    (recipe,) = (row.recipe for row in demo().rows if row.name == method)
    return PretrainingCheck(replace(recipe, **changes), 48, start, recipe.global_batch_size)


@pytest.mark.parametrize("method", [row.name for row in demo().rows[2:]])
def test_the_demos_methods_fit_and_no_tower_is_built(method):
    check = pretraining(method, demo().rows[0].recipe.backbone)
    assert is_small(check) and run_check(check).misfit is None


def test_a_small_network_of_large_images_is_tried_in_a_process_of_its_own():
    # 9,000 x 9,000 took 7 GB of the command itself, which another process only loses its verdict by.
    for large in (
        EncoderCheck(RandomInit(BackboneSpec("demo_cnn", 9000)), DATASETS),
        EncoderCheck(RandomInit(BackboneSpec("demo_cnn", preprocessing=Preprocessing(32, "shortest", 3000))), DATASETS),
        EncoderCheck(RandomInit(SPEC), (("CheXpert", EvalSpec(32, resize=3000)),)),
        replace(pretraining("simclr"), image_size=3000),
    ):
        assert not is_small(large)
    assert is_small(EncoderCheck(RandomInit(SPEC), DATASETS)) and is_small(pretraining("simclr"))


def test_a_whole_step_is_tried_with_its_text_tower():
    # A backbone that is not the project's: then all of it is tried, the small tower too.
    check = pretraining("clip+mocov2", backbone=BackboneSpec("resnet10t", 32))
    verdict = run_check(check)
    assert not is_small(check) and verdict.misfit is None and verdict.step_images == 32
    beyond = replace(check.recipe.objective.image_text, frozen_layers=9)
    objective = replace(check.recipe.objective, image_text=beyond)
    assert "frozen_layers is 9" in run_check(replace(check, recipe=replace(check.recipe, objective=objective))).misfit


@pytest.mark.parametrize(
    ("method", "changes", "sentence"),
    [
        ("clip", {"objective": ClipConfig(frozen_layers=3)}, "frozen_layers 3; allowed: 0 to 1"),
        ("mocov2", {"objective": MocoV2Config(queue_size=8)}, "queue_size 8 is smaller than global_batch_size 32"),
        ("mocov2", {"objective": MocoV2Config(key_bn_splits=5)}, "key_bn_splits 5 does not fit"),
        ("simclr", {"gradient_cache_chunk": 5}, "5"),
        ("simclr", {"views": ()}, "has no view 'ssl_1', which its objective reads"),
        ("simclr", {"start": BackboneSpec("resnet10t", 32)}, "starts from a row whose network is 'resnet10t'"),
    ],
)
def test_a_pretraining_that_cannot_run_is_a_misfit(method, changes, sentence):
    start = changes.pop("start", None)
    assert sentence in run_check(pretraining(method, start, **changes)).misfit


def test_a_head_of_a_text_method_is_built_on_the_features():
    objective = ClipConfig(image_head=HeadSpec((64, 32)), text_head=HeadSpec((32,)))
    assert run_check(pretraining("clip", objective=objective)).misfit is None


# -- verdicts --------------------------------------------------------------------------------------------------

ON = "0123456789ab"  # a check


def test_a_verdict_is_read_as_it_was_written_and_what_is_none_is_not():
    for verdict in (Verdict(), Verdict("does not fit", None), Verdict(None, "slow", 7, 2)):
        assert Verdict.from_json(verdict.to_json(ON), ON) == verdict
    assert Verdict.from_json(Verdict("has \x1b[2J\nin it").to_json(ON), ON) == Verdict("has \\x1b[2J\nin it")
    whole = {"version": VERSION, "check": ON, **asdict(Verdict("does not fit"))}
    assert Verdict.from_json(seal(whole), ON) == Verdict("does not fit")
    for changed in (
        {**whole, "version": VERSION + 1},
        {**whole, "check": "of another check"},
        {**whole, "misfit": 3},
        {**whole, "step_bytes": "7"},
        {**whole, "lasting": False},
        {**whole, "more": 1},
        {},
    ):
        assert Verdict.from_json(seal(changed), ON) is None
    # As it was written before verdicts had seals.
    assert Verdict.from_json(json.dumps(whole, indent=1, sort_keys=True).encode(), ON) is None
    for text in (b"", b"{", b"\xff\xfe", b"null", b"[" * 100_000):
        assert Verdict.from_json(text, ON) is None


@pytest.mark.parametrize(
    "odd",
    [
        {"step_bytes": 10**400}, {"step_bytes": -1}, {"step_bytes": MOST + 1}, {"step_images": True},
        {"step_images": 2.0}, {"misfit": "\x1b]0;pwned\x07"}, {"warning": "\u202e"},
    ],
)  # fmt: skip
def test_a_sealed_verdict_with_a_value_that_none_has_is_found_anew(odd):
    assert (
        Verdict.from_json(seal({"version": VERSION, "check": ON, "step_bytes": MOST, "step_images": 0}), ON) is not None
    )
    assert (
        Verdict.from_json(seal({"version": VERSION, "check": ON, "step_bytes": 7, "step_images": 2, **odd}), ON) is None
    )


def test_a_verdict_of_which_a_byte_was_changed_is_found_anew():
    data = Verdict("does not fit", None, 7, 2).to_json(ON)
    found = [Verdict.from_json(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :], ON) for i in range(len(data))]
    assert found == [None] * len(data)


def test_a_check_never_raises():
    assert run_check(object()).misfit.startswith("cannot be used: AttributeError")
