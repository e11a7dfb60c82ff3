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
    WEIGHT_FILES,
    preprocessing_of_folder,
    published_beside,
    spec_of,
    spec_of_timm,
    timm_config,
)
from trainables.networks.backbones import HUGGING_FACE, build_backbone, read_weights, similar_names
from trainables.recipe import BackboneSpec, EncoderSource
from trainables.views.preprocessing import Preprocessing
from trainables.views.published import of_timm


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
    preprocessing: Preprocessing | str | None = None,
) -> EncoderSource:
    """A state dict for a network that timm can build: .safetensors, or .pth and .pt, of which no code is run.

    backbone: timm's name of the network, or a whole specification; prefix: what stands before its names in the file,
    None finds it. preprocessing: None for what the files beside it say (published_beside), and where they say nothing
    for the data set's, as DATASET. Raises ValueError where there is no file.
    """
    spec = backbone
    if not isinstance(spec, BackboneSpec):
        spec = spec_of_timm(spec, image_size, preprocessing or published_beside(Path(path).expanduser()) or DATASET)
    return EncoderSource(spec, file_sha256(Path(path)), str(Path(path).expanduser().resolve()), prefix)


def from_folder(
    folder: str | Path,
    image_size: int | None = None,
    pooling: str = "auto",
    preprocessing: Preprocessing | str | None = None,
) -> EncoderSource:
    """A folder that Hugging Face's AutoModel loads: config.json and model.safetensors (or pytorch_model.bin).

    image_size: side in pixels of what the network sees, None for that of its preprocessing. pooling: `auto`, `cls` or
    `mean` (hugging_face_images). preprocessing: None for that of the folder's preprocessor_config.json, DATASET for the
    data set's. Raises ValueError where a file is missing.
    """
    folder = Path(folder).expanduser().resolve()
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder} has no config.json: give a folder that transformers' save_pretrained wrote")
    found = [folder / name for name in WEIGHT_FILES if (folder / name).is_file()]
    if not found:
        raise ValueError(f"{folder} has none of {', '.join(WEIGHT_FILES)}; merge weights that are in several shards")
    # As sorted JSON text the configuration is hashable, and the same whatever blanks the file has.
    config = json.dumps(json.loads((folder / "config.json").read_text()), sort_keys=True)
    own = preprocessing or preprocessing_of_folder(folder, json.loads(config).get("model_type"))
    spec = spec_of(HUGGING_FACE, image_size, (("config", config), ("pooling", pooling)), own)
    return EncoderSource(spec, file_sha256(found[0]), str(found[0]))


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in pieces. Raises ValueError where there is none."""
    path = path.expanduser()
    if not path.is_file():
        raise ValueError(f"weights file {path} does not exist")
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
    if file_sha256(path) != source.sha256:
        raise ValueError(f"weights file {path} is not the one that the study names: its sha256 is not {source.sha256}")
    if source.backbone.name == HUGGING_FACE:
        from trainables.networks.hugging_face_images import load_image_network

        return load_image_network(dict(source.backbone.options), path.parent)
    backbone = build_backbone(source.backbone, seed=0)
    backbone.load_state_dict(fitted(backbone, read_weights(path), source))
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
    found = tensors_sha256(backbone.state_dict())
    if source.sha256 not in (None, found):
        raise ValueError(f"timm's weights of {name!r} have sha256 {found}, the study names {source.sha256}")
    return backbone


def fitted(backbone: nn.Module, tensors: dict[str, Tensor], source: EncoderSource) -> dict[str, Tensor]:
    """The file's tensors under the network's names, classifiers and other parts of the file left out.

    Raises ValueError where no prefix fits, with what is missing under the nearest, or where several do.
    """
    wanted = backbone.state_dict()
    prefixes = [source.prefix] if source.prefix is not None else prefixes_of(wanted, tensors)
    results = [_under(prefix, wanted, tensors) for prefix in prefixes]
    fits = [found for found, missing, wrong in results if not missing and not wrong]
    if len(fits) > 1:  # a teacher and its student, for example: which of them is meant is not for us to guess
        raise ValueError(
            f"{source.path} holds {len(fits)} networks that fit {source.backbone.name!r}, under {prefixes}: "
            "say which with prefix"
        )
    if fits:
        return fits[0]
    _, missing, wrong = min(results, key=lambda result: len(result[1]) + len(result[2]))
    raise ValueError(
        f"{source.path} does not fit {source.backbone.name!r}: {len(missing)} of {len(wanted)} tensors missing "
        f"(first: {missing[:3]}), {len(wrong)} of another shape (first: {wrong[:3]}); "
        f"the file has {sorted(tensors)[:3]}"
    )


def prefixes_of(wanted: dict[str, Tensor], tensors: dict[str, Tensor]) -> list[str]:
    """What may stand before a network's names in a file, as its first and last tensor tell; "" always among them."""
    # A prefix stands before every name, so the first name finds its candidates and the last one confirms them.
    names = [name for name in wanted if not name.endswith("num_batches_tracked")]
    found = {""}
    for name in tensors:
        if name.endswith(f".{names[0]}"):
            prefix = name[: -len(names[0])]
            if f"{prefix}{names[-1]}" in tensors:
                found.add(prefix)
    return sorted(found)


def _under(
    prefix: str, wanted: dict[str, Tensor], tensors: dict[str, Tensor]
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Tensors by the network's names, names that are missing, names of another shape."""
    found: dict[str, Tensor] = {}
    missing: list[str] = []
    wrong: list[str] = []
    for name, value in wanted.items():
        place = f"{prefix}{name}"
        if place not in tensors:
            # Counters of batches enter no output, and older files lack them.
            if not name.endswith("num_batches_tracked"):
                missing.append(name)
            found[name] = value
        elif tensors[place].shape != value.shape:
            wrong.append(name)
        else:
            found[name] = tensors[place].to(value.dtype)
    return found, missing, wrong
