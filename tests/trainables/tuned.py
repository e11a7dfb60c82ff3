"""Small fine-tunings for tests of their steps: random images, networks with everything a step may hold, one seed."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from trainables.evaluation.dataset import Part
from trainables.evaluation.supervised import LabelledImages, Supervised, TrainingSettings, new_head
from trainables.protocols.base import Phase
from trainables.recipe import DownstreamRecipe, OptimizerSpec
from trainables.training.loop import LoopState
from trainables.training.precision import Compute
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation_spec import EvalSpec

SIDE, FINDINGS, WIDTH, EPOCHS = 12, 3, 6, 3
RECIPE = DownstreamRecipe(
    EPOCHS, 8, "val_loss", EvalSpec(10, resize=11, flip_p=0.5), OptimizerSpec("adam", 1e-2, (0.9, 0.99))
)
# At such a rate the first epoch stays the best: the last one has half of it.
DECAYED = replace(
    RECIPE,
    select_by="val_auroc",
    optimizer=OptimizerSpec("adamw", 3.0, (0.9, 0.99), 0.1, exclude_norm_bias=True),
    lr_plateau_factor=0.5,
)
ALL, HEAD = Phase("all"), Phase("head")


def part(count: int, seed: int, sees: BackboneInput | None = None) -> Part:
    """Random images; a fifth of their labels is unknown, all of one image's are."""
    random = np.random.default_rng(seed)
    ids = np.array([f"i{k}" for k in range(count)])
    pixels = random.integers(0, 256, (count, SIDE, SIDE), dtype=np.uint8)
    if sees is not None:
        pixels = (pixels / 255).astype(np.float32)
    known = random.random((count, FINDINGS)) < 0.8
    known[5] = False
    targets = (random.random((count, FINDINGS)) < 0.4).astype(np.float32)
    return Part(pixels, targets, known, ids, ids, ids, sees)


class Convolutions(nn.Module):
    """(B, C, S, S) -> (B, 6), with batch norm and dropout."""

    def __init__(self, channels: int = 3):
        super().__init__()
        layers = (nn.Conv2d(channels, WIDTH, 3, stride=2, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU())
        self.layers = nn.Sequential(*layers, nn.Dropout(0.3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean(dim=(2, 3))


class Attention(nn.Module):
    """(B, 3, 10, 10) -> (B, 6), with layer norm, attention and stochastic depth."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 5, stride=5)
        self.block = nn.TransformerEncoderLayer(WIDTH, 2, 12, dropout=0.1, batch_first=True, norm_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        dropped = tokens.new_empty(len(x), 1, 1).bernoulli_(0.8) if self.training else 1.0
        return (tokens + self.block(tokens) * dropped).mean(dim=1)


@dataclass(frozen=True)
class Case:
    recipe: DownstreamRecipe = RECIPE
    network: type[nn.Module] = Convolutions
    phase: Phase = ALL
    half: torch.dtype | None = None
    count: int = 33  # four batches of eight and one image
    sees: BackboneInput | None = None
    budget: int = 1 << 20  # bytes: all images lie on the device
    seed: int = 3
    device: str = "cpu"

    def task(self) -> Supervised:
        torch.manual_seed(1)
        channels = 1 if self.sees is not None else 3
        network = self.network(channels) if self.network is Convolutions else self.network()
        rows = np.random.default_rng(2).permutation(40)[: self.count]
        images = LabelledImages(part(40, 0, self.sees), rows, part(20, 5, self.sees))
        settings = TrainingSettings(self.recipe, self.phase, self.seed, EPOCHS, self.recipe.optimizer)
        head = new_head(WIDTH, FINDINGS, self.seed)
        return Supervised(network, head, images, settings, Compute(torch.device(self.device), self.half))


def tensors(state: LoopState, task: Supervised) -> dict[str, Tensor]:
    """Those of the best epoch and of the last one."""
    every = {f"best {m}.{name}": v for m, values in state.best_tensors.items() for name, v in values.items()}
    for m, module in {"backbone": task.backbone, "head": task.head}.items():
        every |= {f"last {m}.{name}": value for name, value in module.state_dict().items()}
    return every
