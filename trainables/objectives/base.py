"""What every objective is: named losses from views and reports, on a backbone that it is given."""

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from trainables.batch import SSL_1, SSL_2, Batch
from trainables.networks.text import TextConfig

ConfigT = TypeVar("ConfigT")
Pairs = tuple[tuple[str, str], ...]
TWO_VIEWS: Pairs = ((SSL_1, SSL_2),)


@dataclass(frozen=True)
class BuildContext:
    """What an objective may need to know when it is built.

    feature_dim: width of the backbone's features; seed: for what the objective draws itself, step by step;
    text_config and vocabulary_size: None where the method reads no reports; text_network: of a text tower whose weights
    are put in afterwards (TextTower).
    """

    backbone: nn.Module
    feature_dim: int
    global_batch_size: int
    num_train_images: int
    seed: int
    text_config: TextConfig | None = None
    vocabulary_size: int | None = None
    text_network: str | None = None


class ImageImageConfig(Protocol):
    """The configuration of an image-image objective, alone or as a part of a joint one."""

    display: ClassVar[str]
    needs_text: ClassVar[bool]
    views: ClassVar[tuple[str, ...]]

    def build(self, context: BuildContext, pairs: Pairs = TWO_VIEWS) -> "Objective":
        """The module, with a loss for each of these pairs of views."""
        ...


class Objective(nn.Module):
    """Heads, text tower, queue, momentum copy: all that belongs to a method but the image backbone.

    `project` makes per-sample tensors of this worker's features; `losses` makes named scalars of them, weights
    applied, so that their sum is the total and its mean over workers is the loss of the global batch.
    """

    views: tuple[str, ...] = ()

    @property
    def feature_views(self) -> tuple[str, ...]:
        """The views whose features `project` reads; all of them unless an objective says otherwise."""
        return self.views

    @property
    def shuffled_views(self) -> tuple[str, ...]:
        """The views that `project` wants of images of other workers in training, from Batch.pictures where it is."""
        return ()

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Each view passes the backbone on its own: batch norm sees one kind of view at a time."""
        return self.project({name: backbone(batch.views[name]) for name in self.feature_views}, batch)

    def project(self, features: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Features (b, D) of each view -> named tensors whose first axis is this worker's b images; to override."""
        raise TypeError(f"{type(self).__name__} must define project")

    def losses(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        """What `project` gave -> named scalars, weights applied. Gathers over workers where the method needs it.

        To override.
        """
        raise TypeError(f"{type(self).__name__} must define losses")

    def forward(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Named losses of a batch on a backbone that is not the objective's own."""
        return self.precise_losses(self.embed(backbone, batch))

    def precise_losses(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        """The losses outside autocast, which would take their matrix products in half precision."""
        # Exponentials of similarities / 0.07 and sums over thousands of columns need float32's digits.
        device = next(iter(embeddings.values())).device.type
        with torch.autocast(device, enabled=False):
            return self.losses(embeddings)

    def after_step(self, backbone: nn.Module) -> None:
        """Called once after each optimiser step in training, never in validation; nothing by default."""


def check_temperature(temperature: float) -> None:
    """Raise ValueError for a temperature that logits cannot be divided by."""
    if not temperature > 0:  # and not `<= 0`: NaN fails too
        raise ValueError(f"temperature is {temperature}; it divides the logits and must be greater than 0")


def views_of(pairs: Pairs) -> tuple[str, ...]:
    """The distinct views of the pairs, in the order of their first mention."""
    return tuple(dict.fromkeys(view for pair in pairs for view in pair))


def mean_over_pairs(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Named scalar losses of several pairs of views -> their means, under the same names."""
    return {name: reduce(add, [part[name] for part in parts]) / len(parts) for name in parts[0]}


class PairObjective(Objective, Generic[ConfigT]):
    """An image-image objective without memory: one head, a loss for each pair of views."""

    def __init__(self, head: nn.Module, config: ConfigT, pairs: Pairs):
        super().__init__()
        self.head, self.config, self.pairs = head, config, pairs
        self.views = views_of(pairs)

    def project(self, features: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """The head's output (b, D) for each view."""
        return {name: self.head(features[name]) for name in self.views}

    def losses(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        """The means over the pairs of what `pair_losses` gives for each."""
        return mean_over_pairs([self.pair_losses(embeddings[a], embeddings[b]) for a, b in self.pairs])

    def pair_losses(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Named losses of one pair: a, b are (b, D), row i of both from one image; to override."""
        raise TypeError(f"{type(self).__name__} must define pair_losses")
