"""Bring your own encoder: from a timm name, a Hugging Face folder or a file of weights, to a row without pretraining.

In a study of your own: `EncoderRow("mine", "My encoder", "baseline", from_file("mine.safetensors", "resnet50"))`.
"""

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from trainables.encoder_specs import (
    DATASET,
    fed_spec,
    preprocessing_of_folder,
    published_beside,
    spec_of,
    spec_of_timm,
    timm_config,
)
from trainables.networks.backbones import HUGGING_FACE, build_backbone, images_of, similar_names
from trainables.networks.weights_choice import check_finite, fitted
from trainables.networks.weights_file import read_tensors, unchanged
from trainables.networks.weights_folder import (
    check_is_read,
    folder_weights,
    image_tower,
    is_open_clip,
    known_weights,
    open_clip_tower,
    read_config,
    weight_files,
    weights_sha256,
)
from trainables.recipe import BackboneSpec, EncoderSource
from trainables.views.preprocessing import Preprocessing
from trainables.views.published import of_timm

MASKING = ("vit_mae",)  # Hugging Face's models that mask what they see, unless they are told not to


def from_timm(
    name: str,
    image_size: int | None = None,
    sha256: str | None = None,
    preprocessing: Preprocessing | str | None = None,
) -> EncoderSource:
    """timm's weights under this name, from its local cache or the network. sha256 pins their content.

    image_size: side in pixels of what the network sees, None for that of the weights. preprocessing: None for that of
    timm's pretrained_cfg, DATASET for the data set's. Raises ValueError for a name that timm does not know.
    """
    import timm

    if not timm.is_model(name):
        raise ValueError(f"timm has no model {name!r}{similar_names(name)}")
    return EncoderSource(spec_of_timm(name, image_size, preprocessing or of_timm(timm_config(name))), sha256)


def from_file(
    path: str | Path,
    backbone: str | BackboneSpec,
    image_size: int | None = None,
    prefix: str | None = None,
    part: str | None = None,
    preprocessing: Preprocessing | str | None = None,
) -> EncoderSource:
    """A state dict for a network that timm can build: safetensors or a file of torch.save, of which no code is run.

    backbone: timm's name of the network, or a specification with its options. prefix: what stands before its names in
    the file, or the beginning of it; None finds it where one network fits. part="teacher" is prefix="teacher.".
    preprocessing: None for the specification's, else for what the files beside it say (published_beside), and where
    they say nothing for the data set's, as DATASET. Raises ValueError where there is no file, for a prefix and a part
    that differ, and for a size or a preprocessing that is not the specification's.
    """
    if part is not None:
        if prefix not in (None, f"{part}."):
            raise ValueError(f"from_file has prefix={prefix!r} and part={part!r}: give one of them")
        prefix = f"{part}."
    path = Path(path).expanduser().resolve()
    digest = known_weights(path)
    if isinstance(backbone, BackboneSpec):
        spec = fed_spec(backbone, image_size, preprocessing, path)
    else:
        spec = spec_of_timm(backbone, image_size, preprocessing or published_beside(path) or DATASET)
    return EncoderSource(spec, digest, str(path), prefix)


def from_folder(
    folder: str | Path,
    image_size: int | None = None,
    pooling: str = "auto",
    preprocessing: Preprocessing | str | None = None,
) -> EncoderSource:
    """A folder that Hugging Face's AutoModel loads: config.json and model.safetensors (or pytorch_model.bin), or parts.

    Of two towers (CLIP, SigLIP) it is the image tower's. open_clip's folder gives timm's network of its image tower, of
    its own pooling. image_size: side in pixels of what the network sees, None for that of its preprocessing. pooling:
    `auto`, `cls` or `mean` (hugging_face_images.HuggingFaceBackbone). preprocessing: None for that of the folder's
    preprocessor_config.json or open_clip_config.json, DATASET for the data set's. Raises ValueError where a file is
    missing or no file of weights.
    """
    folder = Path(folder).expanduser().resolve()
    if is_open_clip(folder):
        tower, weights, prefix = open_clip_tower(folder)
        own = preprocessing or published_beside(weights) or DATASET
        side = tower.image_size if isinstance(own, str) else None
        spec = spec_of_timm(tower.name, side if image_size is None else image_size, own, tower.options)
        return EncoderSource(spec, known_weights(weights), str(weights), prefix)
    whole = read_config(folder)
    weights = folder_weights(folder)
    # As sorted JSON text the configuration is hashable, and the same whatever blanks the file has.
    config = json.dumps(image_tower(whole), sort_keys=True)
    own = preprocessing or preprocessing_of_folder(folder, whole.get("model_type"))
    options: tuple[tuple[str, object], ...] = (("config", config), ("pooling", pooling))
    # Such features are others than those of 0.1.0 (hugging_face_images.VERSION): all other rows keep their keys.
    if pooling == "mean" or whole.get("model_type") in MASKING:
        options += (("version", 2),)
    return EncoderSource(spec_of(HUGGING_FACE, image_size, options, own), known_weights(weights), str(weights))


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
    """The backbone with its weights. Never falls back to random ones: raises ValueError with what does not fit.

    So it does where the file is another than the study names, or changes while it is read.
    """
    if source.path is None:
        return _from_timm(source)
    path = Path(source.path)
    with unchanged([path] if not path.is_file() else {path, *weight_files(path)}):
        return _from_file(source, path)


def _from_file(source: EncoderSource, path: Path) -> nn.Module:
    if weights_sha256(path) != source.sha256:
        raise ValueError(
            f"weights file {path} is not the one that the study names: its sha256 is not {source.sha256}; run again to "
            "use what is there now, or put the other back"
        )
    if source.backbone.name == HUGGING_FACE:
        from trainables.networks.hugging_face_images import load_image_network

        check_is_read(path)
        network = load_image_network(dict(source.backbone.options), path.parent, images_of(source.backbone))
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
