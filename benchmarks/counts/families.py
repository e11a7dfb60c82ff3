"""Does every family of image networks of timm and Hugging Face work as a backbone?

python -m benchmarks.counts.families [--only NAME,...]. Of timm the smallest network of each class of each module, of
Hugging Face each kind that AutoModel builds for images, made small; all with random weights. A line for each: what it
gives, or the sentence that refuses it. Ends with 1 where one of them neither works nor is refused.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sweep.studies.forecast import forward_flops
from trainables.evaluation.grad_cam import NoMap, grad_cam
from trainables.evaluation.supervised import masked_bce, new_head
from trainables.networks.backbones import HUGGING_FACE, build_backbone, check_backbone, feature_dim, images_of
from trainables.recipe import BackboneSpec, OptimizerSpec
from trainables.training.optim import build_optimizer

FINDINGS, RATE, LEAST_APART = 3, 1e-3, 1e-5
# Names of timm, most at 64 pixels, the others at the smallest common size that they take.
TIMM = """
convmixer_768_32 cpubone_nano crossvit_tiny_240 cs3darknet_focus_s csatv2 cspnext_tiny davit_tiny
deepseek_vit_412m:224 densenet121 dla46x_c dpn48b edgenext_xx_small efficientformer_l1:224 efficientvim_m1
efficientvim_m1_dist efficientvit_b0 efficientvit_l1 efficientvit_m0 ese_vovnet19b_slim_dw fasternet_t0
fastvit_t8 focalnet_tiny_srf gemma4_vit_167m ghostnet_050 halonet_h1:256 hardcorenas_b hgnetv2_b0
hrnet_w18_small iformer_t inception_next_atto inception_resnet_v2:96 inception_v3:96 inception_v4:96 lcnet_035
lcnetv2_small legacy_seresnet18 legacy_xception lowformer_b0 mobilenetv5_base mobilevit_xxs mvitv2_tiny
naflexvit_base_patch16_parfac_gap nasnetalarge nextvit_small pnasnet5large poolformerv2_s12 pvt_v2_b0
qwen3_vit_88m rdnet_tiny regnetx_002 repghostnet_050 repvit_m1 res2next50 resnest14d resnetv2_18 rexnet_100
sam2_hiera_tiny samvit_base_patch16_224 selecsls42 sequencer2d_s shvit_s1 skresnet18 starnet_s050 swiftformer_xs
test_byobnet test_convnext test_efficientnet test_mambaout test_nfnet test_resnet test_vit tiny_vit_5m_224
tresnet_m twins_svt_small vgg11 vit_tiny_patch16_dinov3_qkvb xception41p xcit_nano_12_p8_224
"""
# Of fixed size, unless they are built for another.
TIMM_SIZED = """
beit_base_patch16_224 cait_xxs24_224 coat_tiny convit_tiny deit_tiny_distilled_patch16_224 deit_tiny_patch16_224
efficientformerv2_s0 gcvit_xxtiny gmlp_ti16_224 hiera_tiny_224 levit_128s levit_256d nest_tiny pit_ti_224
swin_tiny_patch4_window7_224 swinv2_cr_tiny_224 swinv2_tiny_window16_256 test_coatnet test_vit_relpos
tnt_s_legacy_patch16_224 visformer_tiny vit_tiny_r_s16_p8_224 vitamin_small_224 volo_d1_224
"""
# Of those with at most 8 million parameters that are tried at 64 pixels, every third by name: make test tries these.
TIMM_SAMPLE = """
coat_tiny crossvit_tiny_240 deit_tiny_distilled_patch16_224 dla46x_c efficientvim_m1 efficientvit_m0 fastvit_t8
hardcorenas_b inception_next_atto levit_128s pvt_v2_b0 repvit_m1 starnet_s050 test_coatnet test_mambaout
test_vit vit_tiny_patch16_dinov3_qkvb
"""
# Towers of language models, which give tokens or maps and pool nothing.
TIMM_REFUSED = ("deepseek_vit_412m_enc", "gemma4_vit_167m_enc", "mobilenetv5_300m_enc", "qwen3_vit_88m_enc")
# Of these no small network has a name.
SHALLOW = ("beit", "deepseek", "gemma4", "naflexvit", "qwen3", "samvit")

_VIT = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32,
    "patch_size": 8,
}  # fmt: skip
_STAGES = {"hidden_sizes": [8, 8, 16, 24], "depths": [1, 1, 1, 1]}
_HEADS = {"num_attention_heads": [1, 1, 2, 2], "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}
_SWIN = {
    "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2, "image_size": 32, "patch_size": 4,
}  # fmt: skip
_SAM = {**_VIT, "mlp_dim": 32, "output_channels": 16, "global_attn_indexes": [1], "window_size": 2}
# model_type -> what makes it small.
KINDS = {
    "aimv2_vision_model": _VIT,
    "beit": _VIT,
    "bit": {**_STAGES, "embedding_size": 8, "num_groups": 4},
    "chinese_clip_vision_model": _VIT,
    "clip_vision_model": _VIT,
    "convnext": _STAGES,
    "convnextv2": _STAGES,
    "cvt": {"embed_dim": [8, 8, 16], "num_heads": [1, 1, 2], "depth": [1, 2, 3]},
    "data2vec-vision": _VIT,
    "deit": _VIT,
    "dinov2": _VIT,
    "dinov2_with_registers": _VIT,
    "dinov3_convnext": _STAGES,
    "dinov3_vit": {**_VIT, "num_register_tokens": 4},
    "donut-swin": _SWIN,
    "dpt": _VIT,
    "efficientnet": {"depth_coefficient": 0.1, "width_coefficient": 1.0, "hidden_dim": 1280, "initializer_range": 0.2},
    "focalnet": {
        "embed_dim": 8, "depths": [1, 1], "image_size": 32, "hidden_sizes": [8, 16], "focal_levels": [1, 1],
        "focal_windows": [3, 3],
    },
    "glpn": {**_HEADS, "sr_ratios": [2, 2, 1, 1]},
    "hiera": {
        "embed_dim": 8, "image_size": [32, 32], "depths": [1, 1, 1], "num_heads": [1, 1, 2], "patch_stride": [4, 4],
        "query_stride": [2, 2], "num_query_pool": 2, "masked_unit_size": [4, 4],
    },
    "ijepa": _VIT,
    "internvl_vision": {**_VIT, "image_size": [32, 32], "patch_size": [8, 8]},
    "levit": {
        "hidden_sizes": [16, 16, 32], "key_dim": [4, 4, 4], "num_attention_heads": [2, 2, 2], "depths": [1, 1, 1],
        "image_size": 64,
    },
    "maskformer-swin": _SWIN,
    "mlcd_vision_model": _VIT,
    "mobilenet_v1": {"depth_multiplier": 0.25, "image_size": 32},
    "mobilenet_v2": {"depth_multiplier": 0.25, "image_size": 32},
    "mobilevit": {
        "hidden_sizes": [16, 16, 16], "neck_hidden_sizes": [8, 8, 8, 8, 8, 16, 16], "image_size": 64,
        "num_attention_heads": 2, "initializer_range": 0.2,
    },
    "mobilevitv2": {"image_size": 64, "width_multiplier": 0.5, "initializer_range": 0.2},
    "pixio": _VIT,
    "poolformer": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
    "pvt": {**_HEADS, "image_size": 64, "sequence_reduction_ratios": [2, 2, 1, 1]},
    "pvt_v2": {**_HEADS, "image_size": 32, "sr_ratios": [2, 2, 1, 1]},
    "qianfan_ocr_vision": {**_VIT, "image_size": [32, 32], "patch_size": [8, 8]},
    "radio": {**_VIT, "max_img_size": 64},
    "regnet": {**_STAGES, "embedding_size": 8, "groups_width": 4},
    "resnet": {**_STAGES, "embedding_size": 8},
    "sam2_vision_model": {
        "backbone_config": {
            "model_type": "sam2_hiera_det_model", "hidden_size": 8, "embed_dim_per_stage": [8, 16, 32, 64],
            "num_attention_heads_per_stage": [1, 1, 2, 2], "blocks_per_stage": [1, 1, 2, 1], "image_size": [64, 64],
            "global_attention_blocks": [3], "window_size_per_stage": [4, 4, 4, 4], "query_stride": [2, 2],
            "window_positional_embedding_background_size": [2, 2],
        },
        "image_size": 64, "backbone_channel_list": [64, 32, 16, 8],
        "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
    },
    "sam3_vit_model": {**_VIT, "global_attn_indexes": [1], "window_size": 2, "pretrain_image_size": 32},
    "sam_hq_vision_model": _SAM,
    "sam_vision_model": _SAM,
    "sapiens2": {**_VIT, "num_key_value_heads_per_layer": [2, 2]},
    "segformer": {**_HEADS, "sr_ratios": [2, 2, 1, 1], "decoder_hidden_size": 16},
    "siglip_vision_model": _VIT,
    "swiftformer": {"depths": [1, 1, 1, 1], "embed_dims": [8, 8, 16, 16]},
    "swin": _SWIN,
    "swin2sr": {**_SWIN, "patch_size": 1, "image_size": 16},
    "swinv2": _SWIN,
    "textnet": {},
    "timm_wrapper": {"architecture": "test_vit", "num_classes": 0, "image_size": 160},
    "tipsv2_vision_model": _VIT,
    "vit": _VIT,
    "vit_mae": {
        **_VIT, "decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 16,
    },
    "vit_msn": _VIT,
    "vitdet": _VIT,
    "yolos": {**_VIT, "image_size": [32, 32], "num_detection_tokens": 5},
}  # fmt: skip
# model_type -> what makes it small; they give no features of single images, or want more than images.
KINDS_REFUSED = {
    "clip": {},
    "conditional_detr": {},
    "deformable_detr": {},
    "depth_pro": {},
    "detr": {},
    "glm_image_vision": _VIT,
    "gpt2": {"n_embd": 16, "n_layer": 1, "n_head": 2},
    "grounding-dino": {},
    "hgnet_v2": {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
    "imagegpt": {"n_embd": 16, "n_layer": 1, "n_head": 2},
    "llama4": {},
    "mllama": {},
    "pixtral": _VIT,
    "rt_detr": {},
    "siglip": {},
    "siglip2_vision_model": _VIT,
    "table-transformer": {},
    "timesformer": {**_VIT, "num_frames": 2},
    "timm_backbone": {"backbone": "resnet18"},
    "videomae": {**_VIT, "num_frames": 2},
    "vivit": {**_VIT, "num_frames": 2, "tubelet_size": [2, 8, 8]},
}


@dataclass(frozen=True)
class Family:
    """A network to try. name: timm's, or a model_type with its pooling."""

    name: str
    spec: BackboneSpec
    refused: bool = False


@dataclass(frozen=True)
class Verdict:
    """width: of its features; gflops: of one image; places: sides of its Grad-CAM map, or why there is none."""

    width: int
    gflops: float
    places: str


def timm_families() -> list[Family]:
    """One for each class of each module."""
    found = []
    for word in f"{TIMM} {TIMM_SIZED}".split():
        name, _, size = word.partition(":")
        side = int(size or 64)
        options = [("img_size", side)] if name in TIMM_SIZED.split() else []
        options += [("depth", 2)] if name.startswith(SHALLOW) else []
        found.append(Family(name, BackboneSpec(name, side, tuple(options))))
    return found + [Family(name, BackboneSpec(name), refused=True) for name in TIMM_REFUSED]


def hugging_face_families(poolings: tuple[str, ...] = ("auto", "cls", "mean")) -> list[Family]:
    """One for each kind and pooling."""
    found = []
    for kind, values in {**KINDS, **KINDS_REFUSED}.items():
        size = values.get("image_size", 32)
        side = size[0] if isinstance(size, list) else size
        own = {name: value for name, value in values.items() if (kind, name) != ("timm_wrapper", "image_size")}
        config = json.dumps({"model_type": kind, **own}, sort_keys=True)
        for pooling in poolings:
            options = (("config", config), ("pooling", pooling), ("version", 2))
            found.append(Family(f"{kind} {pooling}", BackboneSpec(HUGGING_FACE, side, options), kind in KINDS_REFUSED))
    return found


def examined(family: Family) -> Verdict:
    """Raises ValueError where the network is refused, and AssertionError where it is wrong."""
    check_backbone(family.spec, images_of(family.spec))
    network = build_backbone(family.spec, seed=0).eval()
    width = feature_dim(network)
    images = two_images(family.spec.image_size)
    with torch.no_grad():
        features = network(images)
        assert features.shape == (2, width), f"features are {tuple(features.shape)}, not (2, {width})"
        assert torch.isfinite(features).all(), "features are not finite"
        assert torch.equal(features, network(images)), "features differ from pass to pass"
    if apart(features) < LEAST_APART:  # deep random networks lose the image where batch norm has seen none
        with_statistics(network, images)
    with torch.no_grad():
        features = network(images)
        assert apart(features) >= LEAST_APART, f"two images are not told apart: {apart(features):.1e}"
    head = new_head(width, FINDINGS, seed=0)
    places = explained(network, head, images)
    network.eval()
    frozen = {name: value.clone() for name, value in network.state_dict().items()}
    step(head, [head], lambda: network(images).detach())
    assert all(torch.equal(value, frozen[name]) for name, value in network.state_dict().items()), "a probe moved it"
    network.train()
    step(head, [network, head], lambda: network(images))
    idle = [name for name, value in network.named_parameters() if value.requires_grad and value.grad is None]
    assert not idle, f"parameters that are trained, and that no feature passes: {idle[:3]}"
    with torch.no_grad():
        assert not torch.equal(network.eval()(images), features), "fine-tuning changed nothing"
    return Verdict(width, forward_flops(family.spec) / 1e9, places)


def two_images(size: int) -> Tensor:
    """(2, 3, S, S): noise, and a bright square on black."""
    images = torch.zeros(2, 3, size, size)
    images[0] = torch.randn(3, size, size, generator=torch.Generator().manual_seed(0))
    images[1, :, size // 4 : size // 2, size // 4 : size // 2] = 2
    return images


def apart(features: Tensor) -> float:
    """The largest difference of two images' features, as a share of the largest feature."""
    return float((features[0] - features[1]).abs().max() / features.abs().max())


def with_statistics(network: nn.Module, images: Tensor) -> None:
    """Batch norms as if they had been trained on these images."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(images)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    network.eval()


def step(head: nn.Linear, trained: list[nn.Module], features: object) -> None:
    """One step of the modules on made-up labels, as cells take it."""
    optimizer = build_optimizer(OptimizerSpec("adam", RATE, (0.9, 0.999)), trained)
    targets = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    loss = masked_bce(head(features()), targets, torch.ones(2, FINDINGS, dtype=torch.bool))
    assert torch.isfinite(loss), "the loss is not finite"
    loss.backward()
    optimizer.step()


def explained(network: nn.Module, head: nn.Linear, images: Tensor) -> str:
    try:
        maps, logits = grad_cam(network, head, images, torch.tensor([0, 1]))
    except NoMap as reason:
        return f"no map: {reason}"
    direct = head(network(images)).detach()
    assert torch.allclose(logits, direct[[0, 1], [0, 1]], rtol=1e-3, atol=1e-4), "Grad-CAM explains another logit"
    assert maps.shape[1] == maps.shape[2] and torch.isfinite(maps).all(), f"Grad-CAM maps are {tuple(maps.shape)}"
    return f"{maps.shape[1]} x {maps.shape[2]}"


def said_of(family: Family) -> tuple[bool, str]:
    """Whether it is as it should be, and the line on it."""
    started = time.monotonic()
    try:
        verdict = examined(family)
        good = not family.refused
        said = f"{verdict.width} wide, {verdict.gflops:.2f} GFLOP, Grad-CAM {verdict.places}"
    except ValueError as reason:
        # A pooling that a kind does not have is refused rightly; that it has one at all is asked by the test.
        good, said = family.refused or "pooling is" in str(reason), f"refused: {reason}"
    except Exception as reason:  # whatever else a network raises is what we look for
        good, said = False, f"WRONG: {type(reason).__name__}: {reason}"
    return good, f"{family.name} at {family.spec.image_size}: {said} ({time.monotonic() - started:.1f} s)"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counts.families", description=__doc__)
    parser.add_argument("--only", default="", metavar="NAME,...", help="names of timm, or model types")
    wanted = [name for name in parser.parse_args(arguments).only.split(",") if name]
    families = [*timm_families(), *hugging_face_families()]
    chosen = [family for family in families if not wanted or family.name.split()[0] in wanted]
    wrong = 0
    for family in chosen:
        good, line = said_of(family)
        wrong += not good
        print(line, flush=True)
    print(f"{len(chosen)} networks, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
