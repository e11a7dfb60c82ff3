"""A folder of a model: which file in it has the weights, what identifies them, and its image tower where it has two."""

import hashlib
from pathlib import Path
from typing import Any

from datasets_io.untrusted import json_file
from trainables.networks.weights_file import file_sha256, kind_of
from trainables.recipe import BackboneSpec

INDEX = ".index.json"
# In the order in which transformers looks; an index lists the parts of weights that are in several files.
WEIGHT_FILES = (
    *("model.safetensors", f"model.safetensors{INDEX}"),
    *("pytorch_model.bin", f"pytorch_model.bin{INDEX}"),
)
ADAPTER = "adapter_config.json"  # of peft, which transformers reads first, and other weights by it
OPEN_CLIP_CONFIG = "open_clip_config.json"
OPEN_CLIP_FILES = (
    *("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"),
    *("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth", "model.safetensors", "pytorch_model.bin"),
)
TRUNK = "visual.trunk."  # where open_clip keeps a network of timm
# For an error: timm's sizes by the width of open_clip's own ViT.
VIT_WIDTHS = {384: "small", 768: "base", 1024: "large", 1280: "huge"}


def folder_weights(folder: Path, names: tuple[str, ...] = WEIGHT_FILES) -> Path:
    """The file of weights that is read, or the index of its parts. Raises ValueError where there is none."""
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise ValueError(f"{folder} has no weights: none of {', '.join(names)}; copy them into it")
    return found


def check_is_read(path: Path) -> None:
    """Raise ValueError where transformers, which is given a folder, would read others of its weights than `path`."""
    read_config(path.parent)
    found = folder_weights(path.parent)
    if found != path:
        raise ValueError(
            f"{path.parent} has {found.name} too, which goes before {path.name}, by which the study knows its weights: "
            "take one of them out, or run again to use what is there now"
        )


def read_config(folder: Path) -> dict[str, Any]:
    """What config.json says. Raises ValueError where it is missing, or no JSON object, and for an adapter's folder."""
    path = folder / "config.json"
    if (folder / ADAPTER).is_file():
        raise ValueError(
            f"{folder} holds an adapter ({ADAPTER}), which goes on top of weights that lie elsewhere: merge the two "
            "(peft's merge_and_unload) and give the folder to which save_pretrained writes the whole network"
        )
    if not path.is_file():
        raise ValueError(f"{folder} has no config.json: give a folder that transformers' save_pretrained wrote")
    return json_object(path)


def json_object(path: Path) -> dict[str, Any]:
    """A file beside a model's weights. Raises ValueError where it is no JSON object, OSError where it is no file."""
    try:
        value = json_file(path)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}): copy it again") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} is no JSON object (it holds a {type(value).__name__}): copy it again")
    return value


def known_weights(path: Path) -> str:
    """weights_sha256 of what is to be read. Raises ValueError too where a file, or a part, is no file of weights."""
    digest = weights_sha256(path)
    for file in weight_files(path):  # a pointer of Git LFS has a sha256 as well
        kind_of(file)
    return digest


def weights_sha256(path: Path) -> str:
    """Of a file its sha256; of an index the sha256 over its parts' (sorted), so that other shards are other weights.

    Raises ValueError where one is missing, or lies outside of the folder.
    """
    if not path.name.endswith(INDEX):
        return file_sha256(path)
    return hashlib.sha256("\n".join(sorted(map(file_sha256, weight_files(path)))).encode()).hexdigest()


def weight_files(path: Path) -> list[Path]:
    """The files of weights behind a path: itself, or what an index lists.

    Raises ValueError where the index cannot be read, or names what does not lie beside it.
    """
    if not path.name.endswith(INDEX):
        return [path]
    try:
        parts = sorted(set(json_file(path)["weight_map"].values()))
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"{path} is no index of weights ({type(error).__name__}): copy it again") from error
    if not parts or any(not isinstance(name, str) or Path(name).name != name for name in parts):
        raise ValueError(f"{path} names parts {parts[:3]}: they must be files beside it")
    return [path.parent / name for name in parts]


def image_tower(config: dict[str, Any]) -> dict[str, Any]:
    """Of a config.json with a vision_config (CLIP, SigLIP) that of its image tower; any other as it is.

    transformers builds both towers from such a config, and asks for texts; the tower's own class takes its weights from
    the same files and leaves the rest.
    """
    tower, kind = config.get("vision_config"), config.get("model_type")
    if not isinstance(tower, dict):
        return config
    own = tower.get("model_type")
    # Older files leave the tower's kind away, or give it the pair's.
    return {**tower, "model_type": f"{kind}_vision_model" if own in (None, kind) else own}


def is_open_clip(folder: Path) -> bool:
    """Whether it is open_clip's; a folder that transformers can load as well is transformers'."""
    of_transformers = (folder / "config.json").is_file() and any((folder / name).is_file() for name in WEIGHT_FILES)
    return (folder / OPEN_CLIP_CONFIG).is_file() and not of_transformers


def open_clip_tower(folder: Path) -> tuple[BackboneSpec, Path, str]:
    """The image tower of open_clip's folder: its network, the file of weights and what stands before its names.

    Raises ValueError where the tower is no network of timm, or is pooled outside of it.
    """
    weights = folder_weights(folder, OPEN_CLIP_FILES)
    try:
        vision = json_file(folder / OPEN_CLIP_CONFIG)["model_cfg"]["vision_cfg"]
        size, name = vision.get("image_size", 224), vision.get("timm_model_name")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / OPEN_CLIP_CONFIG} has no model_cfg with a vision_cfg: copy it again") from error
    if name is None:
        raise ValueError(
            f"{folder}: its image tower is open_clip's own network ({_own_tower(vision)}): where timm has it, give "
            f"from_file({str(weights)!r}, {_timm_name(vision)}, part='visual')"
        )
    pool = vision.get("timm_pool")
    if pool in ("abs_attn", "rot_attn"):
        raise ValueError(
            f"{folder}: its image tower pools by {pool!r}, outside of timm's network {name!r}: give the network alone "
            f"with from_file({str(weights)!r}, {name!r}, part={TRUNK[:-1]!r}), pooled in its own way"
        )
    options = (("global_pool", pool),) if pool else ()
    return BackboneSpec(name, size, options), weights, TRUNK


def _own_tower(vision: dict[str, Any]) -> str:
    fields = ("layers", "width", "patch_size", "image_size")
    return ", ".join(f"{field} {vision[field]}" for field in fields if field in vision)


def _timm_name(vision: dict[str, Any]) -> str:
    """A guess, for a sentence only, and one that timm knows."""
    import timm

    width, side, size = (
        VIT_WIDTHS.get(vision.get("width", 768)),
        vision.get("patch_size"),
        vision.get("image_size", 224),
    )
    name = f"vit_{width}_patch{side}_clip_{size}"
    return (
        f"{name!r} (or vit_{width}_patch{side}_clip_quickgelu_{size})" if timm.is_model(name) else "'its name in timm'"
    )
