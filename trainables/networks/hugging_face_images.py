"""A Hugging Face image network as a backbone: built from its configuration, images in, one vector an image out."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedModel

from datasets_io.untrusted import json_value
from trainables.networks.image_outputs import POOLINGS, Images, Measured, OutputForm, measure, without_pooler

OPTIONS = ("config", "pooling", "version")
# What a row's features mean. 2: the mean is over patches alone, not over class and register tokens too; and a masked
# autoencoder sees the whole image. Only those rows say a version, so that all others keep their keys.
VERSION = 2
TIMM_WRAPPER = "timm_wrapper"  # transformers' model_type of timm's networks


class HuggingFaceBackbone(nn.Module):
    """(B, C, S, S) -> (B, num_features).

    pooling: `auto` takes the model's own pooled output and, where it has none, the class token, or the mean of its
    map; `cls` the class token; `mean` the mean over patches, or over the places of a map. measured: of this model and
    this pooling. Parameters that no feature passes take no gradient.
    """

    def __init__(self, model: PreTrainedModel, pooling: str, measured: Measured):
        super().__init__()
        without_pooler(model, pooling)
        self.model: Any = model  # each kind of model has outputs and attributes of its own
        self.pooling, self.form = pooling, measured.form
        self.num_features = measured.width
        for name, value in model.named_parameters():
            if name in measured.unused:
                value.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, S, S) as the model's preprocessing gives them -> (B, num_features)."""
        return self.form.features(self.model(pixel_values=x, **self.form.inputs(x)), self.pooling)


def check_options(options: dict[str, Any], images: Images) -> None:
    """Raise ValueError for options of which no network can be built that takes these images."""
    if "config" not in options or set(options) - set(OPTIONS):
        raise ValueError(f"a transformers backbone has options {', '.join(OPTIONS)}, not {sorted(options)}")
    pooling, version = options.get("pooling", "auto"), options.get("version", 1)
    if pooling not in POOLINGS:
        raise ValueError(f"pooling is {pooling!r}; allowed: {', '.join(POOLINGS)}")
    if version not in (1, VERSION):
        raise ValueError(f"a transformers backbone has version 1 or {VERSION}, not {version!r}")
    found = _measured(options["config"], pooling, images)
    if version < VERSION and (pooling == "mean" or found.form.ordered):
        was = "masked the images" if found.form.ordered else "averaged class and register tokens too"
        raise ValueError(
            f"the backbone's option version is 1, and {found.form.network} with pooling={pooling!r} then {was}: add "
            f"the option ('version', {VERSION}), as from_folder does"
        )


def build_image_network(options: dict[str, Any], images: Images) -> HuggingFaceBackbone:
    """The network with weights of its own initialisation. No code of a model folder is ever run."""
    check_options(options, images)
    pooling = options.get("pooling", "auto")
    measured = _measured(options["config"], pooling, images)
    return HuggingFaceBackbone(_new_model(options["config"]), pooling, measured)


@lru_cache(maxsize=64)
def _measured(config: str, pooling: str, images: Images) -> Measured:
    """Of a configuration. Raises ValueError where it is of no image network, or takes no such images or pooling."""
    return measure(lambda: _new_model(config), pooling, images)


def measured_form(config: str, pooling: str, images: Images) -> OutputForm:
    """What a network gives for such images. Raises ValueError as check_options does."""
    return _measured(config, pooling, images).form


def _new_model(text: str) -> Any:
    config = _configuration(text)
    _check_is_of_images(config)
    try:
        return AutoModel.from_config(config, trust_remote_code=False, dtype=torch.float32)
    except Exception as error:  # whatever a kind of network raises for values it has no use for, or a missing library
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
        raise ValueError(
            f"transformers cannot build a network of {type(config).__name__} ({type(error).__name__}: {reason})"
        ) from error


def _check_is_of_images(config: Any) -> None:
    """Raise ValueError for a network of texts, of sounds, of images and texts, or one that decodes what it has seen."""
    found = MODEL_MAPPING.get(type(config), None)
    kinds: tuple[Any, ...] = found if isinstance(found, tuple) else (found,)
    for kind in kinds:
        takes = getattr(kind, "main_input_name", "pixel_values")
        if takes != "pixel_values":
            raise ValueError(f"{kind.__name__} is no image network: it takes {takes}, not images alone")
    if getattr(config, "is_encoder_decoder", False):
        raise ValueError(
            f"{type(config).__name__} is of no image network: its output is a decoder's, of queries instead of patches"
        )


def load_image_network(options: dict[str, Any], folder: Path, images: Images) -> HuggingFaceBackbone:
    """The network with a folder's weights, read by transformers, which knows the names of older files.

    Raises ValueError where the folder lacks a weight that features pass.
    """
    check_options(options, images)
    config, pooling = _configuration(options["config"]), options.get("pooling", "auto")
    measured = _measured(options["config"], pooling, images)
    try:
        model, report = AutoModel.from_pretrained(
            folder,
            config=config,
            trust_remote_code=False,
            local_files_only=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ValueError(f"transformers cannot load {folder} ({type(error).__name__}: {reason})") from error
    backbone = HuggingFaceBackbone(model, pooling, measured)
    own = set(backbone.model.state_dict()) - measured.unused
    missing = sorted(name for name in report["missing_keys"] if name in own)
    wrong = sorted(str(name) for name in report.get("mismatched_keys", ()))
    if missing or wrong:
        hint = "; with pooling='cls' or 'mean' no pooler is needed" if any("pooler" in name for name in missing) else ""
        raise ValueError(
            f"{folder} does not fit its configuration: {len(missing)} tensors missing (first: {missing[:3]}), "
            f"{len(wrong)} of another shape (first: {wrong[:3]}){hint}"
        )
    return backbone


def _configuration(text: str) -> Any:
    """A transformers configuration of the kind that the JSON text names. Raises ValueError where there is none."""
    try:
        values = json_value(text)
        kind = _kind(values)
        values.pop("model_type", None)
        if kind is None:
            raise ValueError("it names no model_type")
        if isinstance(values.get("model_args"), dict):
            values["model_args"] = _without_classes(values["model_args"])
        config = AutoConfig.for_model(kind, **_own(values))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"transformers cannot build an image network from this configuration: {error}") from error
    if hasattr(config, "mask_ratio"):
        config.mask_ratio = 0.0  # of a masked autoencoder: features are of the whole image
    return config


def _kind(values: dict[str, Any]) -> str | None:
    """The model_type. timm's networks in transformers' clothes carry an `architecture` and none."""
    return values.get("model_type") or (TIMM_WRAPPER if "architecture" in values else None)


def _without_classes(model_args: dict[str, Any]) -> dict[str, Any]:
    """timm writes num_classes since 1.0.31, and transformers gives it a second time: its networks have no classes."""
    return {name: value for name, value in model_args.items() if name != "num_classes"}


def timm_network(text: str) -> tuple[str, dict[str, Any]] | None:
    """Name and options of the timm network that a configuration wraps, without classes; None for another network."""
    values: dict[str, Any] = json_value(text)
    if _kind(values) != TIMM_WRAPPER:
        return None
    return values["architecture"], _without_classes(values.get("model_args") or {})


def whole_image_config(text: str) -> dict[str, Any]:
    """A folder's config.json, of a masked autoencoder with the mask turned off, as its features are computed."""
    config: dict[str, Any] = json_value(text)
    return {**config, "mask_ratio": 0.0} if hasattr(_configuration(text), "mask_ratio") else config


def _own(values: dict[str, Any]) -> dict[str, Any]:
    """What of a config.json describes the network. `auto_map` would name code to run."""
    return {name: value for name, value in values.items() if name not in ("auto_map", "transformers_version", "dtype")}
