"""The one training loop: steps, learning rate, validation by epoch, the best epoch kept, early stop."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from trainables.training.checkpoint import copy_state
from trainables.training.optim import learning_rate, set_learning_rate
from trainables.training.precision import SMALLEST_SCALE

BatchT = TypeVar("BatchT")
LOOK_EVERY = 20  # steps between two looks at the losses of an accelerator


class TrainingDiverged(RuntimeError):
    """A loss became NaN or infinite; the message names the step and the last losses."""


class Task(Protocol[BatchT]):
    """What a training gives the loop, with batches of a type of its own.

    modules: those that it changes; scaler: disabled where there is no float16.
    """

    modules: dict[str, nn.Module]
    scaler: torch.amp.GradScaler

    def stream(self, start_step: int) -> Iterator[BatchT]:
        """Batches from a step on, to the end of the last epoch."""

    def backward(self, batch: BatchT, step: int) -> dict[str, Tensor]:
        """Named losses of a batch, detached, after their sum's gradient was added to the parameters."""

    def after_step(self) -> None:
        """What follows an optimiser step: momentum copies, queues."""

    def evaluate(self) -> dict[str, float]:
        """Metrics on validation data with `score` among them: higher is better."""


@dataclass(frozen=True)
class LoopPlan:
    """How long a training lasts and at what rate.

    schedule: `cosine` to zero or `constant`, after warmup_steps of a linear rise. patience: epochs without a better
    score before it stops, None: never. plateau_factor: multiplies the rate after each epoch without a better score.
    """

    num_epochs: int
    steps_per_epoch: int
    learning_rate: float
    schedule: str = "constant"
    warmup_steps: int = 0
    patience: int | None = None
    plateau_factor: float | None = None

    @property
    def total_steps(self) -> int:
        """Optimiser steps of all epochs, were none stopped early."""
        return self.num_epochs * self.steps_per_epoch

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0, before plateaus lower it."""
        return learning_rate(self.learning_rate, step, self.total_steps, self.schedule, self.warmup_steps)


@dataclass
class LoopState:
    """Everything the loop itself must know to go on after a stop.

    step: optimiser steps done; best_tensors: module -> its state dict at best_epoch, on the CPU; history: an entry of
    metrics for each epoch; sums: of each named loss over the epoch's steps so far; rate_scale: product of the
    plateau_factors so far.
    """

    step: int = 0
    best_score: float = -math.inf
    best_epoch: int = -1
    best_tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, Tensor] = field(default_factory=dict)
    rate_scale: float = 1.0
    stopped: bool = False


def fit(
    task: Task[BatchT],
    optimizer: torch.optim.Optimizer,
    plan: LoopPlan,
    state: LoopState,
    on_step: Callable[[LoopState], None] = lambda state: None,
    on_epoch: Callable[[LoopState], None] = lambda state: None,
) -> LoopState:
    """Train from `state` to the end. The best epoch's tensors, by `score`, are in state.best_tensors.

    Raises TrainingDiverged where a loss is not finite.
    """
    take_step = partial(train_step, task, optimizer, plan, state, watch=LossWatch())
    for _ in steps_of(task, take_step, plan, state, on_step, on_epoch):
        pass
    return state


def steps_of(
    task: Task[BatchT],
    take_step: Callable[[BatchT], None],
    plan: LoopPlan,
    state: LoopState,
    on_step: Callable[[LoopState], None] = lambda state: None,
    on_epoch: Callable[[LoopState], None] = lambda state: None,
) -> Iterator[None]:
    """As `fit`, one step each time it is asked, so that several trainings can take turns.

    take_step: train_step for this task and state, or what does the same in another way.
    """
    batches = task.stream(state.step)
    while state.step < plan.total_steps and not state.stopped:
        for module in task.modules.values():
            module.train()
        while True:
            take_step(next(batches))
            if state.step % plan.steps_per_epoch == 0:
                break  # an epoch's last step has no on_step of its own: on_epoch follows, with validation done
            on_step(state)
            yield
        _end_epoch(task, plan, state)
        on_epoch(state)
        yield


def train_step(
    task: Task[BatchT],
    optimizer: torch.optim.Optimizer,
    plan: LoopPlan,
    state: LoopState,
    batch: BatchT,
    watch: "LossWatch | None" = None,
) -> None:
    """One optimiser step: state.step and state.sums move on. Raises TrainingDiverged where a loss is not finite.

    watch: of the steps of one loop; without one an accelerator's losses are looked at by the epoch only.
    """
    set_learning_rate(optimizer, plan.rate(state.step) * state.rate_scale)
    optimizer.zero_grad(set_to_none=True)
    losses = task.backward(batch, state.step)
    (watch or LossWatch()).look(losses, state)
    task.scaler.step(optimizer)  # leaves a step out whose float16 gradients overflowed
    task.scaler.update()
    task.after_step()
    for name, value in losses.items():
        # Summed as tensors on the device: turning each into a number would wait for it.
        state.sums[name] = state.sums[name] + value if name in state.sums else value.clone()
    state.step += 1


class LossWatch:
    """Raises TrainingDiverged where a loss is not finite.

    On a CPU at once. On an accelerator each look would wait for it: there the losses of every LOOK_EVERY-th step are
    copied beside the work, and looked at when the next copy is due. By the number of steps and not by whether a copy
    is ready, so that all workers end at one step.
    """

    def __init__(self) -> None:
        self.step = 0
        self.copied: dict[str, Tensor] = {}
        self.ready: torch.cuda.Event | None = None

    def look(self, losses: dict[str, Tensor], state: LoopState) -> None:
        """After the backward pass of step state.step."""
        if next(iter(losses.values())).device.type == "cpu":
            _check_finite(losses, state, state.step)
        elif state.step % LOOK_EVERY == 0:
            if self.ready is not None:
                self.ready.synchronize()  # of LOOK_EVERY steps ago: nothing to wait for
            _check_finite(self.copied, state, self.step)
            values = torch.stack([value.detach() for value in losses.values()])
            host = values.to("cpu", non_blocking=True)
            if values.is_cuda:
                self.ready = torch.cuda.Event()
                self.ready.record()
            self.step, self.copied = state.step, dict(zip(losses, host.unbind(), strict=True))


def _check_finite(losses: dict[str, Tensor], state: LoopState, step: int) -> None:
    if all(bool(torch.isfinite(value)) for value in losses.values()):
        return
    now = ", ".join(f"{name}={float(value):g}" for name, value in losses.items())
    before = state.history[-1] if state.history else "none: first epoch"
    raise TrainingDiverged(f"loss is not finite at step {step}: {now}; last epoch's means: {before}")


def _end_epoch(task: Task[BatchT], plan: LoopPlan, state: LoopState) -> None:
    """Validate, keep the tensors of a better epoch, and decide whether to stop."""
    epoch = state.step // plan.steps_per_epoch - 1  # epochs count from 0, and `step` is the number of steps done
    means = {f"train_{name}": float(total) / plan.steps_per_epoch for name, total in state.sums.items()}
    if not all(math.isfinite(value) for value in means.values()):
        raise TrainingDiverged(f"loss is not finite in epoch {epoch} (up to step {state.step}): {means}")
    state.sums = {}
    for module in task.modules.values():
        module.eval()
    if task.scaler.is_enabled() and task.scaler.get_scale() < SMALLEST_SCALE:
        raise TrainingDiverged(
            f"float16 gradients overflow at every scale in epoch {epoch} (up to step {state.step}): {means}; "
            "Resources(precision='float32') or 'bfloat16' has their range"
        )
    metrics = task.evaluate()
    state.history.append({"epoch": epoch, **means, **metrics})
    if metrics["score"] > state.best_score:  # strictly: the first of equal epochs stays; NaN is never better
        state.best_score, state.best_epoch = metrics["score"], epoch
        state.best_tensors = {name: copy_state(module) for name, module in task.modules.items()}
    elif plan.plateau_factor is not None:
        state.rate_scale *= plan.plateau_factor
    # max(..., 0): where no score was ever a number, best_epoch is -1 and patience counts from the first epoch.
    if plan.patience is not None and epoch - max(state.best_epoch, 0) >= plan.patience:
        state.stopped = True
