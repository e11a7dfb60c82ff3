"""Are checkpoints of the usual repositories, by their real names, read as the network that their makers have?

The files are made up: small networks under the names that each repository's code gives them.
"""

import re

import pytest
import timm
import torch
from torch import Tensor, nn

from trainables.encoder_source import from_file, load_source
from trainables.networks.backbones import load_imagenet
from trainables.recipe import BackboneSpec, ImageNetInit

Weights = dict[str, Tensor]
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3}
EVA = {**VIT, "ref_feat_shape": (4, 4)}
SWIN = {"img_size": 64, "window_size": 4, "embed_dim": 6, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 3, 3)}
DENSENET = {"growth_rate": 4, "block_config": (1, 1, 1, 1), "memory_efficient": False}
NARROW = {"stem_width": 8, "channels": (8, 8, 16, 16)}
CHILDREN = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


def network(name: str, options: dict, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    built = timm.create_model(name, num_classes=0, **options)
    for value in built.state_dict().values():
        if value.is_floating_point():  # all different: ones and zeros would hide a swap
            value.copy_(torch.rand_like(value) + 0.5)
    return built


def weights(name: str, options: dict, seed: int = 0) -> Weights:
    return dict(network(name, options, seed).state_dict())


def under(prefix: str, tensors: Weights) -> Weights:
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def replaced(tensors: Weights, *pairs: tuple[str, str]) -> Weights:
    """Names by regular expressions, one after the other."""
    for pattern, new in pairs:
        tensors = {re.sub(pattern, new, name): value for name, value in tensors.items()}
    return tensors


def loaded(tmp_path, content, name: str, options: dict, **choice) -> Weights:
    torch.save(content, tmp_path / "w.pth")
    spec = BackboneSpec(name, options.get("img_size", 32), tuple(options.items()))
    return dict(load_source(from_file(tmp_path / "w.pth", spec, **choice)).state_dict())


def check(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(found[name], value, atol=1e-6), name


def mae(own: Weights) -> Weights:
    decoder = {"decoder_pos_embed": torch.zeros(1, 17, 8), "decoder_blocks.0.norm1.weight": torch.zeros(8)}
    return {**own, "mask_token": torch.zeros(1, 1, 24), **decoder}


def openai(own: Weights) -> Weights:
    own = replaced(
        own,
        (r"^patch_embed\.proj\.", "conv1."),
        (r"^norm_pre\.", "ln_pre."),
        (r"^norm\.", "ln_post."),
        (r"^cls_token", "class_embedding"),
        (r"^pos_embed", "positional_embedding"),
        (r"^blocks\.", "transformer.resblocks."),
        (r"\.norm([12])\.", r".ln_\1."),
        (r"attn\.qkv\.", "attn.in_proj_"),
        (r"attn\.proj\.", "attn.out_proj."),
        (r"mlp\.fc1\.", "mlp.c_fc."),
        (r"mlp\.fc2\.", "mlp.c_proj."),
    )
    own["class_embedding"] = own["class_embedding"][0, 0]
    own["positional_embedding"] = own["positional_embedding"][0]
    return {**own, "proj": torch.zeros(24, 16)}


TEXTS = {
    "transformer.resblocks.0.attn.in_proj_weight": torch.zeros(9, 3),
    "positional_embedding": torch.zeros(7, 3),
    "logit_scale": torch.zeros(()),
}


def dinov2(own: Weights, masked: bool = True) -> Weights:
    own = replaced(own, (r"^reg_token", "register_tokens"))
    own["pos_embed"] = torch.cat([torch.full((1, 1, 24), 0.25), own["pos_embed"]], dim=1)
    own["cls_token"] = own["cls_token"] - 0.25
    return {**own, "mask_token": torch.zeros(1, 24)} if masked else own


def eva_x(own: Weights) -> Weights:
    own = replaced(
        own,
        (r"^fc_norm\.", "norm."),
        (r"attn\.norm\.", "attn.inner_attn_ln."),
        (r"mlp\.norm\.", "mlp.ffn_ln."),
        (r"mlp\.fc1_g\.", "mlp.w1."),
        (r"mlp\.fc1_x\.", "mlp.w2."),
        (r"mlp\.fc1\.", "mlp.w12."),
        (r"mlp\.fc2\.", "mlp.w3."),
        (r"([qv])_proj\.bias", r"\1_bias"),
    )
    rope = {"rope.freqs_cos": torch.zeros(4), "blocks.0.attn.rope.freqs_sin": torch.zeros(4)}
    return {**own, **rope, "mask_token": torch.zeros(1, 1, 24), "lm_head.weight": torch.zeros(3, 24)}


def mmpretrain(own: Weights) -> Weights:
    return replaced(
        own,
        (r"^patch_embed\.proj\.", "patch_embed.projection."),
        (r"^norm\.", "ln1."),
        (r"^blocks\.", "layers."),
        (r"\.norm([12])\.", r".ln\1."),
        (r"mlp\.fc1\.", "ffn.layers.0.0."),
        (r"mlp\.fc2\.", "ffn.layers.1."),
    )


def timm_0_5_swin(own: Weights) -> Weights:
    older = {
        re.sub(r"^layers\.(\d)\.downsample", lambda at: f"layers.{int(at[1]) - 1}.downsample", name): value
        for name, value in own.items()
    }
    buffers = {"layers.0.blocks.0.attn.relative_position_index": torch.zeros(16, 16, dtype=torch.long)}
    return {**older, **buffers, "layers.0.blocks.0.attn_mask": torch.zeros(4, 16, 16), "head.weight": torch.zeros(3)}


def numbered(own: Weights) -> Weights:
    return {f"{CHILDREN[name.split('.')[0]]}.{name.partition('.')[2]}": value for name, value in own.items()}


def half_of(tensors: Weights, kind: torch.dtype) -> Weights:
    return {name: value.to(kind) if value.is_floating_point() else value for name, value in tensors.items()}


LAYOUTS = {
    "torchvision": ("resnet18", NARROW, lambda own: {**own, "fc.weight": torch.zeros(3, 16)}),
    "torch's tutorial": ("resnet18", NARROW, lambda own: {"model_state_dict": own, "epoch": 3}),
    "net": ("resnet18", NARROW, lambda own: {"net": own, "acc": 0.9}),
    "DataParallel": ("resnet18", NARROW, lambda own: {"state_dict": under("module.", own)}),
    "torch.compile": ("resnet18", NARROW, lambda own: {"model": under("_orig_mod.", own)}),
    "Lightning": ("resnet18", NARROW, lambda own: {"state_dict": under("model.net.", own), "callbacks": {}}),
    "no counters": ("resnet18", NARROW, lambda own: {k: v for k, v in own.items() if "batches" not in k}),
    "MAE": ("vit_tiny_patch16_224", VIT, lambda own: {"model": mae(own), "optimizer": {"state": {0: own}}}),
    "DINO, only teacher": ("vit_tiny_patch16_224", VIT, lambda own: {"teacher": under("backbone.", own)}),
    "mmpretrain ViT": ("vit_tiny_patch16_224", VIT, lambda own: {"state_dict": under("backbone.", mmpretrain(own))}),
    "mmpretrain ResNet": ("resnet18", NARROW, lambda own: {"state_dict": under("backbone.", own), "meta": {}}),
    "open_clip trunk": (
        *("vit_tiny_patch16_224", VIT),
        lambda own: {**under("visual.trunk.", own), "visual.head.proj.weight": torch.zeros(9, 24), **TEXTS},
    ),
    "CLIP": ("vit_base_patch32_clip_quickgelu_224", VIT, lambda own: {**under("visual.", openai(own)), **TEXTS}),
    "CLIP, DataParallel": (
        *("vit_base_patch32_clip_quickgelu_224", VIT),
        lambda own: {"state_dict": {**under("module.visual.", openai(own)), **under("module.", TEXTS)}},
    ),
    "CLIP, image tower alone": ("vit_base_patch32_clip_quickgelu_224", VIT, openai),
    "DINOv2": ("vit_base_patch14_reg4_dinov2", VIT, dinov2),
    "DINOv2 without mask token": ("vit_base_patch14_reg4_dinov2", VIT, lambda own: dinov2(own, masked=False)),
    "CheXFound": (
        *("vit_base_patch14_reg4_dinov2", VIT),
        lambda own: {
            "teacher": {
                **under("backbone.", replaced(dinov2(own), (r"^blocks\.(\d+)\.", r"blocks.0.\1."))),
                "dino_head.mlp.0.weight": torch.zeros(3),
            }
        },
    ),
    "EVA-X Ti": ("eva02_tiny_patch14_224", EVA, lambda own: {"module": eva_x(own)}),
    "EVA-X B": ("eva02_base_patch14_224", EVA, lambda own: {"model": eva_x(own)}),
    "Ark-6": ("swin_tiny_patch4_window7_224", SWIN, timm_0_5_swin),
    "DeiT III": (
        *("deit3_small_patch16_224", VIT),
        lambda own: {"model": replaced(own, (r"ls([12])\.gamma", r"gamma_\1"))},
    ),
    "torchvision's older DenseNet": (
        *("densenet121", DENSENET),
        lambda own: replaced(own, (r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.")),
    ),
    "RadImageNet": ("resnet18", NARROW, lambda own: under("backbone.", numbered(own))),
    "KAD": (
        *("resnet18", NARROW),
        lambda own: {
            "image_encoder": {
                **under("resnet.", own),
                "resnet.fc.weight": torch.zeros(3),
                **under("res_features.", numbered(own)),
            },
            "text_encoder": {"encoder.layer.0.output.dense.weight": torch.zeros(3)},
            "model": {"decoder.layers.0.norm1.weight": torch.zeros(3)},
        },
    ),
    "GLoRIA": (
        *("resnet18", NARROW),
        lambda own: {
            "state_dict": {**under("gloria.img_encoder.model.", own), "gloria.text_encoder.w": torch.zeros(3)}
        },
    ),
    "equal average": ("resnet18", NARROW, lambda own: {"model": own, "model_ema": {k: v + 0 for k, v in own.items()}}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_known_layout_gives_the_network_it_was_saved_from(tmp_path, layout):
    name, options, save = LAYOUTS[layout]
    own = weights(name, options)
    check(loaded(tmp_path, save(own), name, options), own)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_in_the_networks_type(tmp_path, kind):
    own = weights("resnet18", NARROW)
    found = loaded(tmp_path, half_of(own, kind), "resnet18", NARROW)
    assert {value.dtype for value in found.values()} == {torch.float32, torch.int64}
    check(found, {name: value.to(own[name].dtype) for name, value in half_of(own, kind).items()})


def ark(first: Weights, second: Weights) -> dict:
    return {"state_dict": under("module.", timm_0_5_swin(first)), "teacher": under("module.", timm_0_5_swin(second))}


PAIRS = {
    "DINO": (
        *("vit_tiny_patch16_224", VIT, "student", "teacher"),
        lambda a, b: {"student": under("module.backbone.", a), "teacher": under("backbone.", b), "epoch": 3},
    ),
    "Ark+": ("swin_tiny_patch4_window7_224", SWIN, "state_dict", "teacher", ark),
    "MoCo v3": (
        *("vit_tiny_patch16_224", VIT, "module.base_encoder", "module.momentum_encoder"),
        lambda a, b: {"state_dict": {**under("module.base_encoder.", a), **under("module.momentum_encoder.", b)}},
    ),
    "MoCo": (
        *("resnet18", NARROW, "module.encoder_q", "module.encoder_k"),
        lambda a, b: {"state_dict": {**under("module.encoder_q.", a), **under("module.encoder_k.", b)}},
    ),
    "C2L": (
        *("resnet18", NARROW, "model", "model_ema"),
        lambda a, b: {"model": under("encoder.module.", a), "model_ema": under("encoder.module.", b)},
    ),
    "timm": ("resnet18", NARROW, "state_dict", "state_dict_ema", lambda a, b: {"state_dict": a, "state_dict_ema": b}),
    "Lightning": (
        *("resnet18", NARROW, "state_dict", "callbacks.EMA.ema_weights"),
        lambda a, b: {"state_dict": under("net.", a), "callbacks": {"EMA": {"ema_weights": under("net.", b)}}},
    ),
    "BYOL": (
        *("resnet18", NARROW, "online_encoder", "target_encoder"),
        lambda a, b: {**under("online_encoder.", a), **under("target_encoder.", b)},
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_of_two_networks_none_is_taken_unless_it_is_named(tmp_path, pair):
    name, options, first, second, save = PAIRS[pair]
    a, b = (weights(name, options, seed) for seed in (0, 1))
    with pytest.raises(ValueError, match=r'holds 2 networks.*say which.*part="') as refusal:
        loaded(tmp_path, save(a, b), name, options)
    assert all(part in str(refusal.value) for part in (first, second))
    for part, expected in ((first, a), (second, b)):
        check(loaded(tmp_path, save(a, b), name, options, part=part), expected)
        check(loaded(tmp_path, save(a, b), name, options, prefix=f"{part}."), expected)


def test_an_average_under_names_that_do_not_fit_is_not_passed_over(tmp_path):
    own = weights("resnet18", NARROW)
    content = {"model": own, "ema": {"decay": 0.99, "shadow_params": [value + 1 for value in own.values()]}}
    with pytest.raises(ValueError, match=r"moving average of the weights in 'ema'.*raw ones say part=\"model\""):
        loaded(tmp_path, content, "resnet18", NARROW)
    check(loaded(tmp_path, content, "resnet18", NARROW, part="model"), own)


def test_a_prefix_means_what_it_meant_below_state_dict_and_model(tmp_path):
    """A prefix is part of a row's key, so that what it named before nested names must stay."""
    a, b = (weights("resnet18", NARROW, seed) for seed in (0, 1))
    content = {"state_dict": {**under("model.", a), **under("other.", b)}}
    check(loaded(tmp_path, content, "resnet18", NARROW, prefix="model."), a)
    check(loaded(tmp_path, content, "resnet18", NARROW, prefix="state_dict.other."), b)
    check(loaded(tmp_path, {"model": a, "ema": b}, "resnet18", NARROW, prefix=""), a)


def test_an_unknown_part_is_refused_with_the_parts_there_are(tmp_path):
    own = weights("resnet18", NARROW)
    with pytest.raises(ValueError, match=r"nothing under 'nope\.'; its parts are \['student', 'teacher'\]"):
        loaded(tmp_path, {"student": own, "teacher": own}, "resnet18", NARROW, part="nope")
    with pytest.raises(ValueError, match=r"nothing under 'techer\.'; .*; did you mean 'teacher'\?"):
        loaded(tmp_path, {"student": own, "teacher": own}, "resnet18", NARROW, part="techer")
    with pytest.raises(ValueError, match=r"prefix='a\.' and part='b': give one"):
        loaded(tmp_path, own, "resnet18", NARROW, prefix="a.", part="b")


def clip_of(size: int) -> Weights:
    return under("visual.", openai(weights("vit_base_patch32_clip_quickgelu_224", {**VIT, "img_size": size})))


MISFITS = {
    "MedKLIP": (
        *("resnet18", NARROW, r"nothing of layer4.*tensors missing \(first: \['layer4\.0\.conv1\.weight'"),
        lambda: {
            "model": {
                f"module.res_features.{k}": v for k, v in numbered(weights("resnet18", NARROW)).items() if k[0] != "7"
            }
        },
    ),
    "one channel": (
        *("resnet18", NARROW, r"takes 1 channel, the network's 3: give .*\('in_chans', 1\)"),
        lambda: weights("resnet18", {**NARROW, "in_chans": 1}),
    ),
    "larger images": (
        *(
            "vit_tiny_patch16_224",
            VIT,
            r"is for images of 64 pixels \(8 x 8 patches\), the network's for 32: give .*64",
        ),
        lambda: weights("vit_tiny_patch16_224", {**VIT, "img_size": 64}),
    ),
    "larger images of CLIP": (
        *("vit_base_patch32_clip_quickgelu_224", VIT, r"images of 64 pixels .*\('img_size', 64\)"),
        lambda: clip_of(64),
    ),
    "larger images of DINOv2": (
        *("vit_base_patch14_reg4_dinov2", VIT, r"images of 64 pixels"),
        lambda: dinov2(weights("vit_base_patch14_reg4_dinov2", {**VIT, "img_size": 64})),
    ),
    "larger patches": (
        *("vit_tiny_patch16_224", VIT, r"patches are of 16 pixels, the network's of 8"),
        lambda: weights("vit_tiny_patch16_224", {**VIT, "patch_size": 16}),
    ),
    "larger windows": (
        *("swin_tiny_patch4_window7_224", SWIN, r"windows are of 8 x 8 places, the network's of 4 x 4"),
        lambda: timm_0_5_swin(weights("swin_tiny_patch4_window7_224", {**SWIN, "img_size": 128, "window_size": 8})),
    ),
    "quantised": (
        *("resnet18", NARROW, r"conv1\.weight is torch\.int8 in the file: save weights that are not quantised"),
        lambda: {k: v.to(torch.int8) if "conv1" in k else v for k, v in weights("resnet18", NARROW).items()},
    ),
    "transformers": (
        *(
            "vit_tiny_patch16_224",
            VIT,
            "names are those of Hugging Face transformers: give its folder with from_folder",
        ),
        lambda: {"vit.embeddings.patch_embeddings.projection.weight": torch.zeros(24, 3, 8, 8)},
    ),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_what_does_not_fit_is_refused_with_what_would(tmp_path, misfit):
    name, options, message, save = MISFITS[misfit]
    with pytest.raises(ValueError, match=rf"(?s){message}"):
        loaded(tmp_path, save(), name, options)


def test_weights_that_are_not_finite_are_named(tmp_path):
    own = weights("resnet18", NARROW)
    own["layer1.0.conv1.weight"].view(-1)[:3] = torch.tensor([float("nan"), float("nan"), float("inf")])
    count = own["layer1.0.conv1.weight"].numel()
    with pytest.raises(ValueError, match=rf"layer1\.0\.conv1\.weight holds 2 NaN and 1 infinite of {count} values"):
        loaded(tmp_path, {"model": own, "again": own}, "resnet18", NARROW)


def test_imagenet_weights_of_a_file_pass_over_no_average(tmp_path):
    a, b = (weights("resnet18", NARROW, seed) for seed in (0, 1))
    spec = BackboneSpec("resnet18", 32, tuple(NARROW.items()))
    torch.save({"model": a}, tmp_path / "w.pth")
    check(dict(load_imagenet(ImageNetInit(spec, str(tmp_path / "w.pth")), 0).state_dict()), a)
    torch.save({"model": a, "model_ema": b}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="holds 2 networks"):
        load_imagenet(ImageNetInit(spec, str(tmp_path / "w.pth")), 0)
