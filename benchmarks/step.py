"""How long is a whole step of SimCLR, CLIP and VICReg, against a plain loop with plain losses and open_clip's?

python -m benchmarks.step [--quick]. Same backbone, same batch, same widths, float32. Both sides get views and tokens
that are there already and end with the optimiser's step; the losses of the first step are checked equal. The limit is
the backbone's forward and backward alone. Beside each step its loss alone, value and gradient: however fast it is, a
step gains no more than its share. One JSON line for each figure on stdout, a table on stderr.
"""

import argparse
import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.shared.common import in_turn, report, row
from benchmarks.shared.made_up_corpus import made_up_corpus
from benchmarks.shared.plain_losses import plain_nt_xent, plain_vicreg
from benchmarks.views import one_core
from datasets_io.corpus.read import CorpusBatch
from trainables.batch import MULTI_MODAL, SSL_1, SSL_2, Batch
from trainables.networks.heads import HeadSpec
from trainables.networks.text import TinyText
from trainables.objectives.clip import ClipConfig
from trainables.objectives.simclr import SimClrConfig
from trainables.objectives.vicreg import VicRegConfig
from trainables.pretraining.task import Pretraining
from trainables.recipe import BackboneSpec, OptimizerSpec, PretrainRecipe, Resources
from trainables.training.loop import LoopState, train_step
from trainables.views.view_spec import multi_modal_view, ssl_view_1, ssl_view_2


@dataclass(frozen=True)
class Size:
    """Of one step: the network, the side of its square images, images in a batch, units of VICReg's expander."""

    backbone: str
    image_size: int
    batch: int
    expander: int
    rounds: int


FULL = Size("resnet18", 64, 64, 1024, 15)
QUICK = Size("demo_cnn", 16, 8, 32, 2)
HEAD = HeadSpec(dims=(512, 128), norm="batch", act="relu")
TEXT = TinyText(layers=2, width=128, heads=2, max_length=48, dropout=0.0)


def recipe_of(method: str, size: Size) -> PretrainRecipe:
    wide = HeadSpec(dims=(size.expander,) * 3, norm="batch", act="relu", bias_last=False)
    objectives = {
        "simclr": SimClrConfig(head=HEAD, temperature=0.1),
        "clip": ClipConfig(image_head=HEAD, text_head=HeadSpec(dims=(128,)), temperature=0.07),
        "vicreg": VicRegConfig(expander=wide),
    }
    side = size.image_size
    return PretrainRecipe(
        backbone=BackboneSpec(size.backbone, side),
        objective=objectives[method],
        optimizer=OptimizerSpec("adamw", 1e-4, (0.9, 0.98), 1e-5),
        text=TEXT if method == "clip" else None,
        views=((MULTI_MODAL, multi_modal_view(side)), (SSL_1, ssl_view_1(side)), (SSL_2, ssl_view_2(side))),
        global_batch_size=size.batch,
        patience=None,
        num_epochs=1000,
        schedule="constant",
    )


def ours(task: Pretraining, batch: Batch) -> Callable[[], None]:
    """The project's own step, with its checks and sums."""
    state = LoopState()
    task.model.train()
    return lambda: train_step(task, task.optimizer, task.loop_plan, state, batch)


def plain_loss(method: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Of what two heads give, (b, D) each, of any length."""
    if method != "clip":
        return partial(plain_nt_xent, temperature=0.1) if method == "simclr" else plain_vicreg
    from open_clip.loss import ClipLoss  # here, as in benchmarks/objectives.py

    clip, scale = ClipLoss(), torch.tensor(1 / 0.07)

    def loss(image: Tensor, text: Tensor) -> Tensor:
        return clip(nn.functional.normalize(image, dim=-1), nn.functional.normalize(text, dim=-1), scale)

    return loss


def plain_losses(method: str) -> Callable[[nn.Module, nn.Module, Batch], Tensor]:
    """The loss of a copy of our networks by a plain loss, or open_clip's."""
    loss = plain_loss(method)

    def two_views(backbone: nn.Module, heads: nn.Module, batch: Batch) -> Tensor:
        return loss(*(heads.head(backbone(batch.views[name])) for name in (SSL_1, SSL_2)))

    def image_and_text(backbone: nn.Module, heads: nn.Module, batch: Batch) -> Tensor:
        image = heads.image_head(backbone(batch.views[MULTI_MODAL]))
        states = heads.text.bert(input_ids=batch.input_ids, attention_mask=batch.attention_mask)
        return loss(image, heads.text_head(states.last_hidden_state[:, 0]))

    return image_and_text if method == "clip" else two_views


def plain(method: str, task: Pretraining, batch: Batch) -> Callable[[], float]:
    """What a researcher would write: forward, backward, torch's AdamW as it comes, the loss read for the log."""
    backbone, heads = copy.deepcopy(task.model.backbone), copy.deepcopy(task.model.objective)
    parameters = [*backbone.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, betas=(0.9, 0.98), weight_decay=1e-5)
    loss_of = plain_losses(method)

    def run() -> float:
        optimizer.zero_grad()
        loss = loss_of(backbone, heads, batch)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def backbone_alone(task: Pretraining, batch: Batch, views: tuple[str, ...]) -> Callable[[], None]:
    backbone = copy.deepcopy(task.model.backbone)

    def run() -> None:
        for name in views:
            backbone(batch.views[name]).sum().backward()
        backbone.zero_grad(set_to_none=True)

    return run


def losses_alone(method: str, task: Pretraining, batch: Batch) -> dict[str, Callable[[], None]]:
    """Ours and the plain loss on what the heads give of this batch, value and gradient: what a loss is of a step.

    The plain ones of SimCLR and CLIP scale to unit length within, ours before: two vectors an image.
    """
    objective, backbone = copy.deepcopy(task.model.objective), copy.deepcopy(task.model.backbone)
    with torch.no_grad():
        given = objective.embed(backbone, batch)
    ours_of, theirs_of = objective.precise_losses, plain_loss(method)
    leaves = {name: value.clone().requires_grad_() for name, value in given.items()}
    ordered = list(leaves.values())[:2]

    def once(value: Tensor) -> None:
        torch.autograd.grad(value, ordered)

    return {"our loss": lambda: once(sum(ours_of(leaves).values())), "their loss": lambda: once(theirs_of(*ordered))}


def check_first_loss(method: str, task: Pretraining, batch: Batch) -> float:
    """Difference of the two sides' losses at the same weights. Raises ArithmeticError above 1e-4 of the loss."""
    copied = copy.deepcopy(task.model)
    with torch.no_grad():
        our_loss = float(sum(copied(batch).values()))
        theirs = float(plain_losses(method)(copied.backbone, copied.objective, batch))
    apart = abs(our_loss - theirs) / abs(theirs)
    if apart > 1e-4:
        raise ArithmeticError(f"{method}: our loss is {our_loss}, that of the plain loop {theirs}")
    return apart


def figures(method: str, size: Size) -> list[dict]:
    corpus, recipe = made_up_corpus(2 * size.batch, size.image_size), recipe_of(method, size)
    task = Pretraining(recipe, 0, corpus, Resources(), None, torch.device("cpu"))
    raw = CorpusBatch(corpus.val_pixels[: size.batch], corpus.train.reports[: size.batch])
    batch = task.make_batch(raw, "views", 0, size.batch)
    task.model.train()
    apart = check_first_loss(method, task, batch)
    views = recipe.objective.views
    sides = {
        "plain": plain(method, task, batch),
        "limit": backbone_alone(task, batch, views),
        "ours": ours(task, batch),
        **losses_alone(method, task, batch),
    }
    seconds = in_turn(sides, size.rounds)
    loss = "open_clip's loss" if method == "clip" else "a plain loss"
    name = f"{method}_{size.backbone}_{size.image_size}px_batch_{size.batch}"
    return [
        row(
            "step",
            name,
            "s",
            seconds["ours"],
            peer=seconds["plain"],
            peer_name=f"plain loop with {loss}",
            limit=seconds["limit"],
            limit_name="the backbone's forward and backward alone",
        ),
        row("step", f"{name}_loss_alone", "s", seconds["our loss"], peer=seconds["their loss"], peer_name=loss),
        row("step", f"{name}_loss_of_the_step", "share", seconds["our loss"] / seconds["ours"]),
        row("step", f"{name}_relative_difference_of_the_first_loss", "1", apart),
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small network: checks that it works")
    size = QUICK if parser.parse_args(arguments).quick else FULL
    with one_core():
        rows = [line for method in ("simclr", "clip", "vicreg") for line in figures(method, size)]
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
