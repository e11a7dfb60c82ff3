"""Small things for the tests of methods: a backbone with batch norm, contexts, batches, recipes of any method."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from trainables.batch import MULTI_MODAL, SSL_1, SSL_2, Batch
from trainables.networks.heads import HeadSpec
from trainables.networks.text import TinyText
from trainables.objectives.barlow_twins import BarlowTwinsConfig
from trainables.objectives.base import BuildContext
from trainables.objectives.clip import ClipConfig
from trainables.objectives.convirt import ConvirtConfig
from trainables.objectives.joint import JointConfig, JointSettings
from trainables.objectives.mocov2 import MocoV2Config
from trainables.objectives.simclr import SimClrConfig
from trainables.objectives.vicreg import VicRegConfig
from trainables.pretraining.task import Model
from trainables.registry import objective_config

BATCH_SIZE, SIZE, VOCABULARY, WIDTH = 8, 8, 30, 10
TEXT = TinyText(layers=2, width=16, heads=2, max_length=12, dropout=0.0)
PLAIN_JOINT = JointSettings()
HEAD = HeadSpec(dims=(9, 6), norm="batch", act="relu")
# VICReg's expander is wider than the batch, Barlow Twins' projector narrower: both forms of the covariance are seen.
CONFIGS: dict[str, Any] = {
    "clip": ClipConfig(image_head=HEAD, text_head=HeadSpec(dims=(6,))),
    "convirt": ConvirtConfig(image_head=HEAD, text_head=HEAD, frozen_layers=1),
    "mocov2": MocoV2Config(head=HEAD, queue_size=20, key_bn_splits=4),
    "simclr": SimClrConfig(head=HEAD),
    "vicreg": VicRegConfig(expander=HeadSpec(dims=(12, 12), norm="batch", act="relu", bias_last=False)),
    "barlow_twins": BarlowTwinsConfig(projector=HeadSpec(dims=(7, 7), norm="batch", act="relu", bias_last=False)),
}


class SmallBackbone(nn.Module):
    """(B, 3, 8, 8) -> (B, WIDTH): two convolutions with batch norm."""

    num_features = WIDTH

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, WIDTH, 2, bias=False),
            nn.BatchNorm2d(WIDTH),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean(dim=(2, 3))


def small_config(method: str, joint: JointSettings = PLAIN_JOINT, **changes: Any) -> Any:
    """A method's configuration at this file's size; `changes` replace fields of a method of one part."""
    config = objective_config(method, CONFIGS, joint)
    return replace(config, **changes) if changes else config


def without_batch_norm(config: Any) -> Any:
    """The same configuration with no norm in any head."""
    if isinstance(config, JointConfig):
        return replace(
            config, image_text=without_batch_norm(config.image_text), image_image=without_batch_norm(config.image_image)
        )
    heads = {name: value for name, value in vars(config).items() if isinstance(value, HeadSpec)}
    return replace(config, **{name: replace(spec, norm=None) for name, spec in heads.items()})


def build(
    config: Any,
    seed: int = 0,
    text: TinyText | None = TEXT,
    make: Callable[[], nn.Module] = SmallBackbone,
    **context: Any,
) -> Model:
    """A float64 model, the same for the same seed. `make` makes its backbone; `context` replaces what it is told."""
    torch.manual_seed(seed)
    backbone = make()
    settings = {
        "backbone": backbone,
        "feature_dim": backbone.num_features,
        "global_batch_size": BATCH_SIZE,
        "num_train_images": 100,
        "seed": 5,
        "text_config": text,
        "vocabulary_size": VOCABULARY,
    }
    return Model(backbone, config.build(BuildContext(**{**settings, **context}))).double()


def batch(seed: int = 0, rows: int = BATCH_SIZE, length: int = 7) -> Batch:
    """Float64 views and padded tokens: row 0 is the longest, rows 1 and 2 are the same report."""
    generator = torch.Generator().manual_seed(seed)
    views = {
        name: torch.randn(rows, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
        for name in (MULTI_MODAL, SSL_1, SSL_2)
    }
    ids = torch.randint(3, VOCABULARY, (rows, length), generator=generator)
    lengths = torch.randint(2, length + 1, (rows,), generator=generator)
    lengths[0] = length
    ids[2], lengths[2] = ids[1], lengths[1]
    mask = (torch.arange(length) < lengths[:, None]).long()
    return Batch(views, ids * mask, mask)


def rows_of(whole: Batch, start: int, stop: int) -> Batch:
    """Some rows of a batch, as one worker's share."""
    views = {name: value[start:stop] for name, value in whole.views.items()}
    return Batch(views, whole.input_ids[start:stop], whole.attention_mask[start:stop])


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def largest_difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Over all tensors; infinite where their names differ."""
    if one.keys() != other.keys():
        return float("inf")
    return max((float((one[name].double() - other[name].double()).abs().max()) for name in one), default=0.0)


def pair(rows: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(rows, width, generator=generator, dtype=torch.float64)
    return first, 0.5 * first + torch.randn(rows, width, generator=generator, dtype=torch.float64)


def agree(ours: Callable, theirs: Callable, inputs: tuple[Tensor, ...], tolerance: float = 1e-10) -> None:
    """Values and the gradients at all inputs."""
    results = []
    for function in (ours, theirs):
        leaves = [value.clone().requires_grad_() for value in inputs]
        value = function(*leaves)
        results.append((value.detach(), *torch.autograd.grad(value, leaves)))
    for one, other in zip(*results, strict=True):
        assert float((one - other).abs().max()) < tolerance
    assert float(results[0][1].abs().max()) > 1e-4, "a gradient of zero proves nothing"


def total(losses: dict[str, Tensor]) -> Tensor:
    return sum(losses.values())
