"""A finished image-text pretraining as it is used without training: images and texts in one space."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from datasets_io.storage.artefacts import Artefacts, CorruptArtefact
from datasets_io.untrusted import sentence
from trainables.evaluation.dataset import MappedRows
from trainables.networks.backbones import build_backbone, feature_dim
from trainables.networks.heads import unit
from trainables.networks.text import TEXT_TOWER, Tokenizer, stored_tokenizer
from trainables.objectives.base import BuildContext
from trainables.objectives.clip import ClipConfig, ImageText
from trainables.objectives.joint import JointConfig
from trainables.recipe import PretrainRecipe
from trainables.training.checkpoint import fill, read_weights
from trainables.views.backbone_input import BackboneInput

BATCH = 256  # images or texts that pass together; in eval mode the answer does not depend on it
# What building a network raises from a description that is none; a ValueError says itself what is wrong.
NOT_DESCRIBED = (KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError, RuntimeError)


@dataclass(frozen=True)
class ImageTextModel:
    """Backbone, heads and text tower in eval mode, on the device."""

    backbone: nn.Module
    objective: ImageText
    tokenizer: Tokenizer
    device: torch.device

    @property
    def scale(self) -> float:
        """What cosines are multiplied by, as in the loss: 1 / temperature."""
        if self.objective.config.learnable_temperature:
            return float(self.objective.log_scale.exp().clamp(max=100))
        return 1 / self.objective.config.temperature

    @torch.no_grad()
    def images(self, sees: BackboneInput, pixels: np.ndarray | MappedRows) -> Tensor:
        """(N, S, S) as they were read for this network -> (N, E) float32 of unit length, on the CPU."""
        rows = []
        for start in range(0, len(pixels), BATCH):
            views = sees.images(pixels[start : start + BATCH], None, self.device)
            rows.append(unit(self.objective.image_head(self.backbone(views))).float().cpu())
        return torch.cat(rows)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """(N, E) float32 of unit length, on the CPU."""
        rows = []
        for start in range(0, len(texts), BATCH):
            ids, mask = (part.to(self.device) for part in self.tokenizer(texts[start : start + BATCH]))
            rows.append(unit(self.objective.text_head(self.objective.text(ids, mask))).float().cpu())
        return torch.cat(rows)


def image_text_part(config: object) -> tuple[ClipConfig, str] | None:
    """The image-text objective of a method and the prefix of its weights; None for a method without reports.

    config: any method's configuration (recipe.ObjectiveConfig).
    """
    if isinstance(config, JointConfig):
        return config.image_text, "image_text."
    return (config, "") if isinstance(config, ClipConfig) else None


@contextmanager
def _described(encoder: Artefacts) -> Iterator[None]:
    """Where a tokenizer, text tower or heads that are stored describe no network, CorruptArtefact says so."""
    try:
        yield
    except CorruptArtefact:
        raise
    except NOT_DESCRIBED as error:
        text = sentence(" ".join(f"{type(error).__name__}: {error}".split()))[:300]
        what = f"{encoder.folder} has a tokenizer, text tower or heads of no network of this version ({text})"
        raise CorruptArtefact(what, advice=f"remove the folder {encoder.folder} to compute it again") from error


def load_image_text(encoder: Artefacts, recipe: PretrainRecipe, device: torch.device) -> ImageTextModel:
    """Of what is stored alone: a text encoder's folder may be gone.

    Encoders of radsweep 0.1.0 lack text_tower.json, and a tokenizer of Hugging Face: theirs are loaded as in training.
    Raises ValueError for a method that reads no reports, and where a weight of the text tower is not stored; and
    CorruptArtefact where a file is damaged, or describes no network.
    """
    found = image_text_part(recipe.objective)
    if found is None:
        raise ValueError(f"{type(recipe.objective).__name__} reads no reports: it has no text tower")
    config, prefix = found
    backbone = build_backbone(recipe.backbone, seed=0)
    fill(backbone, read_weights(encoder, "backbone.safetensors"), f"{encoder.folder}/backbone.safetensors")
    with _described(encoder):
        tokenizer = stored_tokenizer(encoder.read("tokenizer.json").decode(), recipe.text)
        network = encoder.read(TEXT_TOWER).decode() if TEXT_TOWER in encoder.result["files"] else None
        objective = config.build(
            BuildContext(
                backbone=backbone,
                feature_dim=feature_dim(backbone),
                global_batch_size=recipe.global_batch_size,
                # Of a training that is over: neither enters an image-text objective.
                num_train_images=0,
                seed=0,
                text_config=recipe.text,
                vocabulary_size=tokenizer.vocabulary_size,
                text_network=network,
            )
        )
    stored = read_weights(encoder, "objective.safetensors")
    # A joint method's weights are stored under the names of its parts.
    own = {name.removeprefix(prefix): value for name, value in stored.items() if name.startswith(prefix)}
    parameters = {name for name, _ in objective.named_parameters()}
    statistics = {name for name in objective.state_dict() if "running_" in name}
    missing = sorted((parameters | statistics) - own.keys())
    if missing:
        raise ValueError(f"{encoder.folder} lacks {len(missing)} weights of text tower or heads (first: {missing[:3]})")
    with _described(encoder):
        objective.load_state_dict(own, strict=False)  # buffers such as counters of batches are not stored
    return ImageTextModel(backbone.to(device).eval(), objective.to(device).eval(), tokenizer, device)
