"""Trains every method a few steps with one worker and with two, and the two with deliberate mistakes as well."""

import functools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from small import BATCH_SIZE, batch, build, gradients, rows_of, small_config
from small_pretraining import pretrain, published, recipe_of
from torch import Tensor, nn
from worker_processes import run_workers

from trainables.networks.heads import HeadSpec
from trainables.networks.normalisation import convert_to_global
from trainables.objectives import barlow_twins, clip, simclr, vicreg
from trainables.objectives.joint import JointSettings
from trainables.objectives.mocov2 import MocoV2
from trainables.pretraining import task
from trainables.registry import METHODS
from trainables.training import distributed
from trainables.training.checkpoint import weights_from_bytes
from trainables.training.gradient_cache import cached_backward

STEPS, CHUNK = 3, 4
PRETRAINED = ("clip+mocov2", "simclr")
BY_PICTURES, PLAINLY_WRAPPED = PRETRAINED
Pretrained = tuple[list[dict[str, float]], dict[str, Tensor]]


@dataclass(frozen=True)
class Case:
    """One method's training. chunk: through the gradient cache; mistake: made by the two workers only."""

    name: str
    config: Any
    chunk: int | None = None
    mistake: str | None = None


@dataclass(frozen=True)
class Outcome:
    """Gradients and losses of every step (means over workers), all tensors at the end."""

    gradients: list[dict[str, Tensor]]
    losses: list[dict[str, Tensor]]
    state: dict[str, Tensor]


def right_cases() -> list[Case]:
    """Every method, and the switches that change what is gathered or shuffled."""
    cases = [Case(method, small_config(method)) for method in METHODS]
    all_pairs = JointSettings(ssl_weight=0.7, ssl_pairs="all")
    return [
        *cases,
        Case("clip, learnable temperature", small_config("clip", learnable_temperature=True)),
        Case("clip, multi-positive", small_config("clip", multi_positive=True)),
        Case("mocov2, 2 groups", small_config("mocov2", key_bn_splits=2)),
        Case("mocov2, one way", small_config("mocov2", symmetric=False)),
        Case("mocov2, head without norm", small_config("mocov2", head=HeadSpec((10, 6), act="relu"))),
        Case("vicreg, narrow", small_config("vicreg", expander=small_config("barlow_twins").projector)),
        *(Case(f"{method}, all pairs", small_config(method, all_pairs)) for method in ("clip+mocov2", "clip+vicreg")),
        Case("clip, cached", small_config("clip", learnable_temperature=True), chunk=CHUNK),
        Case("clip+simclr, cached", small_config("clip+simclr"), chunk=CHUNK),
    ]


def mistaken_cases() -> list[Case]:
    made = [
        *(("gather without gradient", method) for method in ("clip", "simclr", "vicreg", "clip+simclr")),
        *(("normalise after gather", method) for method in ("clip", "convirt", "simclr")),
        *(("local statistics of the loss", method) for method in ("vicreg", "barlow_twins", "convirt+vicreg")),
        *(("local batch norm", method) for method in METHODS),
        ("keys not shuffled over workers", "mocov2"),
        ("running statistics not averaged", "mocov2"),
        ("only own keys enqueued", "mocov2"),
    ]
    cases = [Case(f"{method}: {mistake}", small_config(method), mistake=mistake) for mistake, method in made]
    cached = small_config("clip", learnable_temperature=True)
    return [*cases, Case("clip, cached: cached gradients not averaged", cached, CHUNK, "cached gradients not averaged")]


@contextmanager
def mistakes(name: str | None) -> Iterator[None]:
    """The project's code with one mistake in it."""
    losses = (clip, simclr, vicreg, barlow_twins)
    with pytest.MonkeyPatch.context() as patch:
        if name == "gather without gradient":
            for module in losses:
                patch.setattr(module, "gather_with_grad", distributed.gather)
        elif name == "normalise after gather":
            # With gradients through the gather, normalising all rows after it would be the same number; the
            # mistake is that a worker's own rows, which are not gathered, then stay as they are.
            for module in (clip, simclr):
                unit = module.unit
                patch.setattr(module, "unit", lambda z: z)
                patch.setattr(module, "gather_with_grad", lambda z, unit=unit: unit(distributed.gather_with_grad(z)))
        elif name == "local statistics of the loss":
            for module in (vicreg, barlow_twins):
                patch.setattr(module, "gather_with_grad", lambda z: z)
        elif name == "keys not shuffled over workers":
            patch.setattr(MocoV2, "keys", _unshuffled_keys)
        elif name == "running statistics not averaged":
            patch.setattr("trainables.objectives.mocov2.average_running_statistics", lambda module: None)
        elif name == "only own keys enqueued":
            patch.setattr(MocoV2, "after_step", _enqueue_own_keys)
        elif name == "cached gradients not averaged":
            patch.setattr(distributed, "average_gradients", lambda parameters: None)
        yield


@torch.no_grad()
def _unshuffled_keys(self: MocoV2, images: Tensor) -> Tensor:
    return clip.unit(self.key_head(self.key_backbone(images)))


_keys, _after_step = MocoV2.keys, MocoV2.after_step


def _keys_in_validation(self: MocoV2, views: Tensor) -> Tensor:
    assert not self.training, "keys of views, which are to be made of pictures"
    return _keys(self, views)


def _enqueue_own_keys(self: MocoV2, backbone: torch.nn.Module) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainables.objectives.mocov2.gather", lambda local: local)
        _after_step(self, backbone)


def train(case: Case) -> Outcome:
    """STEPS steps of plain SGD: Adam would turn the rounding errors of zero gradients into whole steps."""
    world, rank = distributed.world_size(), distributed.rank()
    model = build(case.config).train()
    if world > 1 and case.mistake != "local batch norm":
        model = convert_to_global(model)
    forward = distributed.wrap(model, torch.device("cpu"))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    share = BATCH_SIZE // world
    all_gradients, all_losses = [], []
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        mine = rows_of(batch(step), rank * share, (rank + 1) * share)
        if case.chunk is None:
            losses = forward(mine)
            sum(losses.values()).backward()
        else:
            losses = cached_backward(model, mine, case.chunk)
        all_gradients.append(gradients(model))
        all_losses.append({name: distributed.mean(value) for name, value in losses.items()})
        optimizer.step()
        model.objective.after_step(model.backbone)
    return Outcome(all_gradients, all_losses, {name: value.clone() for name, value in model.state_dict().items()})


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    outcomes = {}
    for case in (*right_cases(), *mistaken_cases()):
        with mistakes(case.mistake) if case.mistake else nullcontext():
            outcomes[case.name] = vars(train(case))
    torch.save(outcomes, f"{folder}/{rank}.pt")
    for method in PRETRAINED:
        pretrain_in_float64(method, f"{folder}/{method}")
    with pytest.MonkeyPatch.context() as patch:
        # As between GPUs.
        patch.setattr(task, "sends_pictures", lambda objective, workers, device: bool(objective.shuffled_views))
        patch.setattr(MocoV2, "keys", _keys_in_validation)
        pretrain_in_float64(BY_PICTURES, f"{folder}/by pictures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "wrap", lambda model, device: nn.parallel.DistributedDataParallel(model))
        pretrain_in_float64(PLAINLY_WRAPPED, f"{folder}/plainly wrapped")
    dist.destroy_process_group()


def pretrain_in_float64(method: str, storage: str) -> Pretrained:
    """A whole pretraining without dropout, whose masks differ between workers; what worker 0 published of it."""
    torch.set_default_dtype(torch.float64)
    try:
        pretrain(method, storage, recipe_of(method, dropout=0.0))
    finally:
        torch.set_default_dtype(torch.float32)
    return read_pretrained(storage)


def read_pretrained(storage: str) -> Pretrained:
    found = published(storage)
    return found.result["history"], weights_from_bytes(found.read("backbone.safetensors"))


@dataclass(frozen=True)
class TwoWorkers:
    """What each of two workers has at the end of every case, and what they published together.

    by_pictures: of BY_PICTURES, where workers sent each other stored pictures and not views. plainly_wrapped: of
    PLAINLY_WRAPPED, by DistributedDataParallel as it is without options.
    """

    outcomes: tuple[dict[str, Outcome], ...]
    pretrained: dict[str, Pretrained]
    by_pictures: Pretrained
    plainly_wrapped: Pretrained


@functools.cache
def two_workers() -> TwoWorkers:
    """One launch serves all tests of a session."""
    with tempfile.TemporaryDirectory() as folder:
        run_workers(_worker, (folder,), 2)
        content = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]
        pretrained = {method: read_pretrained(f"{folder}/{method}") for method in PRETRAINED}
        others = [read_pretrained(f"{folder}/{name}") for name in ("by pictures", "plainly wrapped")]
    outcomes = tuple({name: Outcome(**parts) for name, parts in one.items()} for one in content)
    return TwoWorkers(outcomes, pretrained, *others)


@functools.cache
def one_worker(name: str) -> Outcome:
    """The right code, with the whole batch."""
    return train(next(case for case in right_cases() if case.name == name))
