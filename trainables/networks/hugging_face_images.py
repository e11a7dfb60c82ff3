"""A Hugging Face image network as a backbone: built from its configuration, images in, one vector an image out."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedModel

POOLINGS = ("auto", "cls", "mean")


class HuggingFaceBackbone(nn.Module):
    """(B, 3, H, W) -> (B, num_features).

    pooling: `auto` takes the model's own pooled output and, where it has none, the class token; `cls` and `mean` read
    the last hidden state: its first token, or the mean over places or tokens.
    """

    def __init__(self, model: PreTrainedModel, pooling: str):
        super().__init__()
        self.model: Any = model  # each kind of model has outputs and attributes of its own
        self.pooling = pooling
        pooler = getattr(model, "pooler", None)
        if pooling != "auto" and pooler is not None and any(True for _ in pooler.parameters()):
            # Layers that no feature passes.
            model.pooler = None  # type: ignore[assignment]  # torch takes None for a part, its types do not say so
        self.num_features = _width(model.config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) as the model's preprocessing gives them -> (B, num_features)."""
        output = self.model(pixel_values=x)
        states: Tensor = output.last_hidden_state
        if self.pooling == "auto":
            pooled: Tensor | None = getattr(output, "pooler_output", None)
            if pooled is not None:
                return pooled.flatten(1)
        if states.ndim == 4:  # a map: (B, C, h, w)
            return states.mean(dim=(2, 3))
        return states.mean(dim=1) if self.pooling == "mean" else states[:, 0]


def check_options(options: dict[str, Any]) -> None:
    """Raise ValueError for options that no network can be built from."""
    if "config" not in options or set(options) - {"config", "pooling"}:
        raise ValueError(f"a transformers backbone has options config and pooling, not {sorted(options)}")
    if options.get("pooling", "auto") not in POOLINGS:
        raise ValueError(f"pooling is {options['pooling']!r}; allowed: {', '.join(POOLINGS)}")
    _configuration(options["config"])


def build_image_network(options: dict[str, Any]) -> HuggingFaceBackbone:
    """The network with weights of its own initialisation. No code of a model folder is ever run."""
    config = _configuration(options["config"])
    model = AutoModel.from_config(config, trust_remote_code=False, dtype=torch.float32)
    return HuggingFaceBackbone(model, options.get("pooling", "auto"))


def load_image_network(options: dict[str, Any], folder: Path) -> HuggingFaceBackbone:
    """The network with a folder's weights, read by transformers, which knows the names of older files.

    Raises ValueError where the folder lacks a weight of the network.
    """
    config, pooling = _configuration(options["config"]), options.get("pooling", "auto")
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
    backbone = HuggingFaceBackbone(model, pooling)
    own = backbone.model.state_dict()
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
        values = json.loads(text)
        # timm's networks in transformers' clothes carry an `architecture` and no model_type.
        kind = values.pop("model_type", None) or ("timm_wrapper" if "architecture" in values else None)
        if kind is None:
            raise ValueError("it names no model_type")
        return AutoConfig.for_model(kind, **_own(values))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"transformers cannot build an image network from this configuration: {error}") from error


def _own(values: dict[str, Any]) -> dict[str, Any]:
    """What of a config.json describes the network. `auto_map` would name code to run."""
    return {name: value for name, value in values.items() if name not in ("auto_map", "transformers_version", "dtype")}


def _width(config: Any) -> int:
    """Of the features, under whichever name a kind of configuration has it; of several stages the last one's."""
    for name in ("hidden_size", "num_features", "embed_dim"):
        value = getattr(config, name, None)
        if isinstance(value, int):
            return value
    sizes = getattr(config, "hidden_sizes", None)
    if sizes:
        return int(sizes[-1])
    raise ValueError(f"{type(config).__name__} does not say how wide its features are (hidden_size or hidden_sizes)")
