"""CLIP: symmetric cross-entropy between images and their reports (Radford et al., 2021)."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.batch import MULTI_MODAL, Batch
from trainables.networks.heads import Head, HeadSpec, unit
from trainables.networks.text import TextTower
from trainables.objectives.base import BuildContext, Objective, check_temperature
from trainables.training.distributed import gather, gather_with_grad, rank


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

    display: ClassVar[str] = "CLIP"
    needs_text: ClassVar[bool] = True
    views: ClassVar[tuple[str, ...]] = (MULTI_MODAL,)
    loss_name: ClassVar[str] = "clip"

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if not 0 <= self.lambda_i2t <= 1:
            raise ValueError(f"lambda_i2t is {self.lambda_i2t}; allowed: 0 to 1, the weight of image-to-text")

    @staticmethod
    def released() -> "ClipConfig":
        """The released code's heads: two layers with a residual and layer norm."""
        block = HeadSpec(dims=(512, 512), act="gelu", residual=True, dropout=0.1, out_norm="layer")
        return ClipConfig(image_head=block, text_head=block)

    def build(self, context: BuildContext) -> "ImageText":
        """The module with a text tower of the context's text_config. Raises ValueError where there is none."""
        return ImageText(self, context)


class ImageText(Objective):
    """Text tower and two heads; shared by CLIP and ConVIRT, which differ in values only.

    `log_scale` is there with learnable_temperature only: the logarithm of 1 / temperature, as the original learns it.
    """

    views = (MULTI_MODAL,)

    def __init__(self, config: ClipConfig, context: BuildContext):
        super().__init__()
        self.config = config
        if context.text_config is None:
            raise ValueError(f"{config.display} reads reports, but there is no text encoder: set PretrainRecipe.text")
        self.text = TextTower(context.text_config, context.vocabulary_size, context.text_network)
        self.text.freeze(config.frozen_layers, config.freeze_embeddings)
        self.image_head = Head(config.image_head, context.feature_dim)
        self.text_head = Head(config.text_head, self.text.width)
        if config.learnable_temperature:
            self.log_scale = nn.Parameter(torch.tensor(math.log(1 / config.temperature)))

    def project(self, features: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`image` and `text`, (b, E) of unit length, and with multi_positive `same_report`, (b,) int64.

        Raises ValueError for a batch without tokens.
        """
        if batch.input_ids is None or batch.attention_mask is None:
            raise ValueError(f"{self.config.display} reads reports, and the batch has no tokens of any")
        text = self.text_head(self.text(batch.input_ids, batch.attention_mask, batch.text_lengths))
        found = {"image": unit(self.image_head(features[MULTI_MODAL])), "text": unit(text)}
        if self.config.multi_positive:
            found["same_report"] = report_identity(batch.input_ids, batch.attention_mask)
        return found

    def losses(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        """One loss, `clip` or `convirt`, of this worker's rows against all workers' columns."""
        scale: float | Tensor = 1 / self.config.temperature
        if self.config.learnable_temperature:
            scale = self.log_scale.exp().clamp(max=100)  # the original's bound
        identity = embeddings.get("same_report")
        value = image_text_loss(embeddings["image"], embeddings["text"], scale, self.config.lambda_i2t, identity)
        return {self.config.loss_name: value}


def image_text_loss(
    image: Tensor, text: Tensor, scale: float | Tensor, lambda_i2t: float, identity: Tensor | None = None
) -> Tensor:
    """This worker's rows of lambda CE(u v^T s, I) + (1 - lambda) CE(v u^T s, I), mean over rows.

    Radford et al. (2021), figure 3, with lambda = 1/2; Zhang et al. (2020), eq. 4, with others.
    image, text: (b, D) of unit length, normalised before they are gathered; scale: s = 1 / temperature.
    identity: (b,) equal numbers for equal reports, which then share the target.
    """
    all_image, all_text = gather_with_grad(image), gather_with_grad(text)
    # This worker's rows of the B x B logits; row i's report is column rank * b + i.
    rows = torch.arange(len(image), device=image.device) + rank() * len(image)
    targets = rows
    if identity is not None:
        everyone = gather(identity)
        # A row of the target: 1 / k at each of the k equal reports, so that it sums to 1.
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
    # SplitMix64: the multiplier 0x9E3779B97F4A7C15 and the two of its finaliser, as signed int64. Torch's right shift
    # copies the sign bit where the original shifts in zeros: another scramble, as good for telling texts apart.
    place = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device) * -7046029254386353131
    place = (place ^ (place >> 30)) * -4658895280553007687
    place = (place ^ (place >> 27)) * -7723592293110705685
    return ((input_ids + 1) * attention_mask * (place ^ (place >> 31))).sum(dim=1)
