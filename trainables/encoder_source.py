"""Bring your own encoder: from a timm name, a Hugging Face folder or a file of weights, to a row without pretraining.

In a study of your own: `EncoderRow("mine", "My encoder", "baseline", from_file("mine.safetensors", "resnet50"))`.
"""

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.networks.backbones import HUGGING_FACE, build_backbone
from trainables.networks.weights_choice import check_finite, fitted
from trainables.networks.weights_file import read_tensors
from trainables.networks.weights_folder import (
    folder_weights,
    image_tower,
    is_open_clip,
    open_clip_tower,
    read_config,
    weights_sha256,
)
from trainables.recipe import BackboneSpec, EncoderSource


def from_timm(name: str, image_size: int = 224, sha256: str | None = None) -> EncoderSource:
    """timm's weights under this name, from its local cache or the network. sha256 pins their content.

    image_size: side in pixels of what the network sees. Raises ValueError for a name that timm does not know.
    """
    import timm

    if not timm.is_model(name):
        similar = ", ".join(timm.list_models(f"*{name.split('.')[0][:8]}*")[:5]) or "see timm.list_models()"
        raise ValueError(f"timm has no model {name!r}; similar: {similar}")
    return EncoderSource(BackboneSpec(name, image_size), sha256)


def from_file(
    path: str | Path,
    backbone: str | BackboneSpec,
    image_size: int = 224,
    prefix: str | None = None,
    part: str | None = None,
) -> EncoderSource:
    """A state dict for a network that timm can build: safetensors or a file of torch.save, of which no code is run.

    backbone: timm's name of the network, or a whole specification. prefix: what stands before its names in the file, or
    the beginning of it; None finds it where one network fits. part="teacher" is prefix="teacher.". Raises ValueError
    where there is no file, and for a prefix and a part that differ.
    """
    if part is not None:
        if prefix not in (None, f"{part}."):
            raise ValueError(f"from_file has prefix={prefix!r} and part={part!r}: give one of them")
        prefix = f"{part}."
    spec = backbone if isinstance(backbone, BackboneSpec) else BackboneSpec(backbone, image_size)
    path = Path(path).expanduser().resolve()
    return EncoderSource(spec, weights_sha256(path), str(path), prefix)


def from_folder(folder: str | Path, image_size: int = 224, pooling: str = "auto") -> EncoderSource:
    """A folder that Hugging Face's AutoModel loads: config.json and model.safetensors (or pytorch_model.bin), or parts.

    Of two towers (CLIP, SigLIP) it is the image tower's. open_clip's folder gives timm's network of its image tower, of
    its own size and pooling. pooling: `auto`, `cls` or `mean` (hugging_face_images). Raises ValueError where a file is
    missing or no file of weights.
    """
    folder = Path(folder).expanduser().resolve()
    if is_open_clip(folder):
        spec, weights, prefix = open_clip_tower(folder)
        return EncoderSource(spec, weights_sha256(weights), str(weights), prefix)
    config_values = image_tower(read_config(folder))
    weights = folder_weights(folder)
    # As sorted JSON text the configuration is hashable, and the same whatever blanks the file has.
    config = json.dumps(config_values, sort_keys=True)
    spec = BackboneSpec(HUGGING_FACE, image_size, (("config", config), ("pooling", pooling)))
    return EncoderSource(spec, weights_sha256(weights), str(weights))


def tensors_sha256(tensors: dict[str, Tensor]) -> str:
    """Over names, types, shapes and bytes, whatever file they came in."""
    digest = hashlib.sha256()
    # By name, since a file may hold them in any order; as bytes, since equal numbers may be of different types.
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        # numpy has no bfloat16: a view as bytes serves every type.
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_source(source: EncoderSource) -> nn.Module:
    """The backbone with its weights. Never falls back to random ones: raises ValueError with what does not fit."""
    if source.path is None:
        return _from_timm(source)
    path = Path(source.path)
    if weights_sha256(path) != source.sha256:
        raise ValueError(f"weights file {path} is not the one that the study names: its sha256 is not {source.sha256}")
    if source.backbone.name == HUGGING_FACE:
        from trainables.networks.hugging_face_images import load_image_network

        network = load_image_network(dict(source.backbone.options), path.parent)
        check_finite(network.state_dict(), str(path.parent))
        return network
    backbone = build_backbone(source.backbone, seed=0)
    tensors = fitted(backbone, source.backbone.name, read_tensors(path), source.path, source.prefix)
    check_finite(tensors, str(path))
    backbone.load_state_dict(tensors)
    return backbone


def _from_timm(source: EncoderSource) -> nn.Module:
    import timm

    name = source.backbone.name
    try:
        backbone = timm.create_model(name, pretrained=True, num_classes=0, **dict(source.backbone.options))
    except Exception as error:
        raise ValueError(
            f"cannot get the weights of {name!r} from timm ({type(error).__name__}: {error}); on a machine without a "
            "network copy timm's cache here, or give the file with from_file"
        ) from error
    check_finite(backbone.state_dict(), f"timm's weights of {name!r}")
    found = tensors_sha256(backbone.state_dict())
    if source.sha256 not in (None, found):
        raise ValueError(f"timm's weights of {name!r} have sha256 {found}, the study names {source.sha256}")
    return backbone
