"""How fast are the objectives' losses, text tower and optimiser, value and gradient, against the official forms?

python -m benchmarks.objectives [--quick]. Batch 256, the paper's widths. VICReg's two forms are checked equal in
float64, SimCLR's loss against a plain cross-entropy, CLIP's against open_clip's, bucketed texts against padded ones,
each in the same run. The text tower is one of BERT-base's width with half of its layers. One JSON line for each figure
on stdout, a table on stderr.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from benchmarks.shared.common import in_turn, report, row
from benchmarks.shared.plain_losses import plain_nt_xent
from benchmarks.views import one_core
from trainables.networks.heads import unit
from trainables.networks.text import TextTower, TinyText
from trainables.objectives.clip import image_text_loss
from trainables.objectives.simclr import nt_xent
from trainables.objectives.vicreg import covariance_term
from trainables.recipe import OptimizerSpec
from trainables.training.optim import build_optimizer


@dataclass(frozen=True)
class Size:
    """texts pass the tower; padded_to is the usual length; optimizer_width squared are its parameters."""

    batch: int
    expander: int
    texts: int
    padded_to: int
    text_layers: int
    text_width: int
    optimizer_width: int
    rounds: int
    loss_rounds: int


FULL = Size(256, 8192, 16, 128, 6, 768, 4096, 3, 101)
QUICK = Size(16, 64, 6, 24, 2, 32, 32, 2, 3)


def gradients(loss: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> Callable[[], tuple[Tensor, ...]]:
    """Value and gradients as one call."""
    leaves = [value.clone().requires_grad_() for value in inputs]

    def run() -> tuple[Tensor, ...]:
        value = loss(*leaves)
        return value.detach(), *torch.autograd.grad(value, leaves)

    return run


def check_equal(name: str, ours: Callable, theirs: Callable, tolerance: float) -> float:
    """Largest difference of values and gradients. Raises ArithmeticError above the tolerance."""
    worst = max(float((a - b).abs().max()) for a, b in zip(ours(), theirs(), strict=True))
    if worst > tolerance:
        raise ArithmeticError(f"{name} differs from the official form by {worst}; at most {tolerance} is allowed")
    return worst


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# -- VICReg ----------------------------------------------------------------------------------------


def off_diagonal_covariance(z: Tensor) -> Tensor:
    """The equation as it stands (Bardes et al., 2022): the D x D covariance, its off-diagonal entries squared."""
    z = z - z.mean(dim=0)
    covariance = z.T @ z / (len(z) - 1)
    width = len(covariance)
    off = covariance.flatten()[:-1].view(width - 1, width + 1)[:, 1:]
    return off.pow(2).sum() / width


def vicreg(size: Size) -> list[dict]:
    return [*covariance(size.batch, size), *covariance(size.batch // 4, size)]


def covariance(batch: int, size: Size) -> list[dict]:
    """The D x D form has D / batch times the arithmetic: 32 times at 256 rows, 128 times at 64."""
    small = normal(batch, 3 * batch, dtype=torch.float64)
    worst = check_equal(
        "VICReg's covariance", gradients(covariance_term, (small,)), gradients(off_diagonal_covariance, (small,)), 1e-10
    )
    z = normal(batch, size.expander)
    identity = f"{batch}x{size.expander}"
    sides = {"ours": gradients(covariance_term, (z,)), "peer": gradients(off_diagonal_covariance, (z,))}

    def two_products() -> Tensor:
        return (z @ z.T) @ z

    seconds = in_turn(sides | {"limit": two_products}, size.rounds)
    ms = {name: 1e3 * value for name, value in seconds.items()}
    return [
        row(
            "objectives",
            f"vicreg_covariance_{identity}",
            "ms",
            ms["ours"],
            peer=ms["peer"],
            peer_name=f"{size.expander} x {size.expander} covariance",
            limit=ms["limit"],
            limit_name="the two products it cannot do without",
        ),
        row("objectives", f"vicreg_covariance_{identity}_float64_difference", "value", worst),
    ]


# -- contrastive losses ----------------------------------------------------------------------------


def contrastive(size: Size) -> list[dict]:
    temperature, rows = 0.1, []
    views = normal(size.batch, 128), normal(size.batch, 128, seed=1)
    pairs = normal(size.batch, 512), normal(size.batch, 512, seed=1)
    # Here, since every process of the tests imports this file: it takes a second or two.
    from open_clip.loss import ClipLoss

    open_clip = ClipLoss()
    scale = torch.tensor(1 / temperature)

    def our_simclr(a: Tensor, b: Tensor) -> Tensor:
        return nt_xent(unit(a), unit(b), temperature)

    def our_clip(u: Tensor, v: Tensor) -> Tensor:
        return image_text_loss(unit(u), unit(v), 1 / temperature, 0.5)

    def their_clip(u: Tensor, v: Tensor) -> Tensor:
        return open_clip(nn.functional.normalize(u, dim=-1), nn.functional.normalize(v, dim=-1), scale)

    losses = {
        "simclr": (our_simclr, lambda a, b: plain_nt_xent(a, b, temperature), "one cross-entropy", views),
        "clip": (our_clip, their_clip, "open_clip ClipLoss", pairs),
    }
    for name, (ours, theirs, peer_name, inputs) in losses.items():
        sides = {"ours": gradients(ours, inputs), "peer": gradients(theirs, inputs)}
        check_equal(name, sides["ours"], sides["peer"], 1e-5)
        ms = {side: 1e3 * value for side, value in in_turn(sides, size.loss_rounds, warm_ups=3).items()}
        figure = f"{name}_loss_{size.batch}x{inputs[0].shape[1]}"
        rows.append(row("objectives", figure, "ms", ms["ours"], peer=ms["peer"], peer_name=peer_name))
    return rows


# -- text ------------------------------------------------------------------------------------------


def report_lengths(count: int, longest: int) -> Tensor:
    """Tokens of impressions: most are short, a few are long (log-normal, median 20, cut at `longest`)."""
    lengths = torch.exp(normal(count) * 0.6 + torch.tensor(20.0).log())
    return lengths.round().long().clamp(3, longest)


def tower(size: Size) -> TextTower:
    text = TextTower(TinyText(layers=1, width=8, heads=2, max_length=8, dropout=0.0), 10)
    text.bert = BertModel(
        BertConfig(
            vocab_size=1000,
            hidden_size=size.text_width,
            num_hidden_layers=size.text_layers,
            num_attention_heads=max(2, size.text_width // 64),
            intermediate_size=4 * size.text_width,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        ),
        add_pooling_layer=False,
    )
    return text


def texts(size: Size) -> list[dict]:
    """ConVIRT's tower in buckets, half of it frozen or all trained, against the same padded to the batch's longest.

    And against one length for all batches, all trained, which is how it is often run.
    """
    torch.manual_seed(0)
    lengths = report_lengths(size.texts, size.padded_to)
    mask = (torch.arange(size.padded_to) < lengths[:, None]).long()
    ids = torch.randint(5, 1000, mask.shape) * mask
    ours, usual = tower(size), tower(size)
    usual.load_state_dict(ours.state_dict())
    ours.freeze(size.text_layers // 2, embeddings=True)
    longest = int(lengths.max())

    def bucketed(model: TextTower) -> Tensor:
        return model(ids[:, :longest], mask[:, :longest])

    def padded(model: TextTower) -> Tensor:
        return model.pooled(ids, mask)

    with torch.no_grad():
        apart = float((bucketed(ours) - padded(usual)).abs().max())
    if apart > 1e-4:
        raise ArithmeticError(f"bucketed texts differ from padded ones by {apart}")

    def step(model: TextTower, forward: Callable) -> Callable[[], None]:
        def run() -> None:
            forward(model).pow(2).mean().backward()
            model.zero_grad(set_to_none=True)

        return run

    def to_the_longest(model: TextTower) -> Tensor:
        return model.pooled(ids[:, :longest], mask[:, :longest])

    sides = {
        "ours": step(ours, bucketed),
        "longest": step(ours, to_the_longest),
        "all trained": step(usual, bucketed),
        "longest, all trained": step(usual, to_the_longest),
        "peer": step(usual, padded),
    }
    seconds = in_turn(sides, size.rounds, warm_ups=0)
    name = f"text_{size.texts}_reports_{size.text_layers}_layers_of_{size.text_width}"
    # A frozen layer costs its forward pass, a third of a trained one's work; a token that is padding need cost nothing.
    needed = float(lengths.sum()) / (size.padded_to * size.texts) * (0.5 + 0.5 / 3)
    limit = {"limit": needed * seconds["peer"], "limit_name": "real tokens' share of the time padded to one length"}
    frozen, trained = f"{name}_bucketed_half_frozen", f"{name}_bucketed_all_trained"
    to_longest, to_one = "padded to the longest", f"padded to {size.padded_to}, all layers trained"
    ours, all_trained, longest_trained = seconds["ours"], seconds["all trained"], seconds["longest, all trained"]
    return [
        row("objectives", frozen, "s", ours, peer=seconds["longest"], peer_name=f"{to_longest}, as frozen", **limit),
        row("objectives", trained, "s", all_trained, peer=longest_trained, peer_name=to_longest),
        row("objectives", f"{frozen}_beside_one_length", "s", ours, peer=seconds["peer"], peer_name=to_one),
    ]


# -- optimiser -------------------------------------------------------------------------------------


def optimisers(size: Size) -> list[dict]:
    """AdamW on one square matrix of the expander and the batch norms beside it."""
    spec = OptimizerSpec("adamw", 1e-4, (0.9, 0.98), 1e-5)
    module = nn.Sequential(
        nn.Linear(size.optimizer_width, size.optimizer_width, bias=False), nn.BatchNorm1d(size.optimizer_width)
    )
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    fused = build_optimizer(spec, [module])
    foreach = torch.optim.AdamW(module.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=1e-5, foreach=True)
    seconds = in_turn({"ours": fused.step, "peer": foreach.step}, max(3, size.rounds))
    number = sum(p.numel() for p in module.parameters())
    figure = f"adamw_{number / 1e6:.0f}M" if number > 1e6 else f"adamw_{number}"
    return [
        row("objectives", figure, "ms", 1e3 * seconds["ours"], peer=1e3 * seconds["peer"], peer_name="foreach AdamW")
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.objectives", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small widths: checks that it works")
    size = QUICK if parser.parse_args(arguments).quick else FULL
    with one_core():
        rows = [line for part in (vicreg, contrastive, texts, optimisers) for line in part(size)]
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
