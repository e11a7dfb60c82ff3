"""An exported image-text method, away from the storage it came from: heads, text tower and tokenizer."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from datasets_io.fingerprint import plain
from datasets_io.storage.artefacts import Artefacts
from datasets_io.untrusted import json_file
from trainables.evaluation.image_text import BATCH, image_text_part, load_image_text
from trainables.networks.heads import Head, HeadSpec, unit
from trainables.networks.text import TEXT_TOWER, TextTower, TinyText, Tokenizer, stored_tokenizer
from trainables.recipe import PretrainRecipe
from trainables.training.checkpoint import weights_from_bytes

WEIGHTS, TOKENIZER = "objective.safetensors", "tokenizer.json"


@dataclass(frozen=True)
class ExportedText:
    """Heads and text tower in eval mode on the CPU. scale: what cosines are multiplied by, as in the loss."""

    tower: TextTower
    text_head: nn.Module
    image_head: nn.Module
    tokenizer: Tokenizer
    scale: float

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """(N, E) float32 of unit length."""
        parts = [texts[start : start + BATCH] for start in range(0, len(texts), BATCH)]
        return torch.cat([unit(self.text_head(self.tower(*self.tokenizer(part)))) for part in parts])

    @torch.no_grad()
    def images(self, features: Tensor) -> Tensor:
        """Features (N, D) of the exported backbone -> (N, E) float32 of unit length, in the space of the texts."""
        return unit(self.image_head(features))


def export_text(encoder: Artefacts, recipe: PretrainRecipe) -> dict[str, bytes]:
    """Name -> content of the files that load_text reads. No path of this machine is in them.

    Raises ValueError as load_image_text does.
    """
    model = load_image_text(encoder, recipe, torch.device("cpu"))
    found = image_text_part(recipe.objective)
    assert found is not None, "load_image_text refuses a method without a text tower"
    config, prefix = found
    first: Any = model.objective.image_head.first
    described = {
        **json.loads(model.objective.text.to_json()),
        "prefix": prefix,
        "text_head": plain(config.text_head),
        "image_head": plain(config.image_head),
        "feature_dim": first.in_features,
        "scale": model.scale,
    }
    return {
        WEIGHTS: encoder.read(WEIGHTS),
        TOKENIZER: model.tokenizer.to_json().encode(),
        TEXT_TOWER: (json.dumps(described, indent=1, sort_keys=True) + "\n").encode(),
    }


def load_text(folder: str | Path) -> ExportedText:
    """Of a folder that sweep.export wrote. Raises ValueError where a file is missing, another or lacks a weight."""
    folder = Path(folder)
    missing = [name for name in (WEIGHTS, TOKENIZER, TEXT_TOWER) if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)}: give a folder of sweep.export of a method with reports")
    try:
        values = json_file(folder / TEXT_TOWER)
        # Of the configuration the pooling alone is read: the network is the one that is described.
        tower = TextTower(TinyText(pooling=values["pooling"]), None, json.dumps(values))
        parts = {
            "text": tower,
            "text_head": Head(_head(values["text_head"]), tower.width),
            "image_head": Head(_head(values["image_head"]), values["feature_dim"]),
        }
        start, scale = str(values["prefix"]), float(values["scale"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"{folder / TEXT_TOWER} is none that sweep.export writes ({why}): export it again") from error
    stored = weights_from_bytes((folder / WEIGHTS).read_bytes(), str(folder / WEIGHTS))
    for name, part in parts.items():
        before = f"{start}{name}."
        own = {key.removeprefix(before): value for key, value in stored.items() if key.startswith(before)}
        wanted = {key for key, _ in part.named_parameters()} | {key for key in part.state_dict() if "running_" in key}
        if wanted - own.keys():
            raise ValueError(f"{folder / WEIGHTS} lacks {len(wanted - own.keys())} weights of {name}: export it again")
        try:
            part.load_state_dict(own, strict=False)  # counters of batches are not stored
        except RuntimeError as error:  # of other shapes
            raise ValueError(f"{folder / WEIGHTS} has {name} of another network: export it again") from error
        part.eval()
    try:
        tokenizer = stored_tokenizer((folder / TOKENIZER).read_text(encoding="utf-8"))
        tokenizer([""])
    except Exception as error:  # the tokenizers' library raises no other kind for what is no tokenizer
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{folder / TOKENIZER} is none that sweep.export writes ({why}): export it again") from error
    return ExportedText(tower, parts["text_head"], parts["image_head"], tokenizer, scale)


def _head(values: dict[str, Any]) -> HeadSpec:
    fields: dict[str, Any] = {name: value for name, value in values.items() if name != "type"}
    return HeadSpec(**{**fields, "dims": tuple(fields["dims"])})
