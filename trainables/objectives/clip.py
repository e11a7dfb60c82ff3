"""CLIP: symmetric cross-entropy between images and their reports (Radford et al., 2021)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.batch import MULTI_MODAL, Batch
from trainables.distributed import gather, gather_with_grad, rank
from trainables.heads import Head, HeadSpec, unit
from trainables.objectives.base import BuildContext, Objective, check_temperature
from trainables.text import TextTower


@dataclass(frozen=True)
class ClipConfig:
    """temperature divides the logits and is fixed, as the paper lists it; learnable_temperature starts from it.

    lambda_i2t weighs image-to-text against text-to-image. multi_positive: equal reports in a batch are
    positives of each other.
    """

    image_head: HeadSpec = HeadSpec(dims=(2048, 512), norm="batch", act="relu")
    text_head: HeadSpec = HeadSpec(dims=(512,))
    temperature: float = 0.07
    learnable_temperature: bool = False
    lambda_i2t: float = 0.5
    frozen_layers: int = 0
    freeze_embeddings: bool = False
    multi_positive: bool = False
    version: int = 1

    display = "CLIP"
    needs_text = True
    views = (MULTI_MODAL,)
    loss_name = "clip"

    def __post_init__(self):
        check_temperature(self.temperature)
        if not 0 <= self.lambda_i2t <= 1:
            raise ValueError(f"lambda_i2t is {self.lambda_i2t}; allowed: 0 to 1, the weight of image-to-text")

    @staticmethod
    def released() -> "ClipConfig":
        block = HeadSpec(dims=(512, 512), act="gelu", residual=True, dropout=0.1, out_norm="layer")
        return ClipConfig(image_head=block, text_head=block)

    def build(self, context: BuildContext) -> "ImageText":
        return ImageText(self, context)


class ImageText(Objective):
    """Text tower and two heads; shared by CLIP and ConVIRT, which differ in values only."""

    views = (MULTI_MODAL,)

    def __init__(self, config: ClipConfig, context: BuildContext):
        super().__init__()
        self.config = config
        if context.text_config is None:
            raise ValueError(f"{config.display} reads reports, but there is no text encoder: set PretrainRecipe.text")
        self.text = TextTower(context.text_config, context.vocabulary_size)
        self.text.freeze(config.frozen_layers, config.freeze_embeddings)
        self.image_head = Head(config.image_head, context.feature_dim)
        self.text_head = Head(config.text_head, self.text.width)
        if config.learnable_temperature:
            self.log_scale = nn.Parameter(torch.tensor(math.log(1 / config.temperature)))

    def project(self, features: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        text = self.text_head(self.text(batch.input_ids, batch.attention_mask))
        found = {"image": unit(self.image_head(features[MULTI_MODAL])), "text": unit(text)}
        if self.config.multi_positive:
            found["same_report"] = report_identity(batch.input_ids, batch.attention_mask)
        return found

    def losses(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        scale = 1 / self.config.temperature
        if self.config.learnable_temperature:
            scale = self.log_scale.exp().clamp(max=100)  # the original's bound
        identity = embeddings.get("same_report")
        value = image_text_loss(embeddings["image"], embeddings["text"], scale, self.config.lambda_i2t, identity)
        return {self.config.loss_name: value}


def image_text_loss(
    image: Tensor, text: Tensor, scale: float | Tensor, lambda_i2t: float, identity: Tensor | None = None
) -> Tensor:
    """This worker's rows of lambda CE(u v^T s, I) + (1 - lambda) CE(v u^T s, I), mean over rows.

    image, text: (b, D) of unit length, normalised before they are gathered. identity: (b,) equal numbers for
    equal reports, which then share the target.
    """
    all_image, all_text = gather_with_grad(image), gather_with_grad(text)
    rows = torch.arange(len(image), device=image.device) + rank() * len(image)
    targets = rows
    if identity is not None:
        everyone = gather(identity)
        same = (identity[:, None] == everyone[None]).to(image.dtype)
        targets = same / same.sum(dim=1, keepdim=True)
    logits = scale * image @ all_text.T
    i2t = functional.cross_entropy(logits, targets)
    # With one worker the other direction is the transpose; with more, its rows are with the others.
    t2i = functional.cross_entropy(logits.T if all_image is image else scale * text @ all_image.T, targets)
    return lambda_i2t * i2t + (1 - lambda_i2t) * t2i


def report_identity(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """A number for each text, equal for equal tokens whatever the padding: (b,) int64.

    A sum of the tokens, each times a scrambled 64-bit number of its place (Steele et al., 2014), modulo 2^64.
    """
    place = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device) * -7046029254386353131
    place = (place ^ (place >> 30)) * -4658895280553007687
    place = (place ^ (place >> 27)) * -7723592293110705685
    return ((input_ids + 1) * attention_mask * (place ^ (place >> 31))).sum(dim=1)
