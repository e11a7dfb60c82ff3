"""Fine-tuning whose step always uses the same memory, so that it can be captured once and replayed without its Python.

Same numbers as Supervised's own steps: the same images in the same order, the same operators, the same streams of
randomness. What changes between two steps lies in buffers that are filled before each of them: places of images, the
learning rate, the seed of the random generator. The last batch of an epoch, if it is smaller, is not replayed but run.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from trainables.evaluation.supervised import Supervised
from trainables.evaluation.tuning.device_images import StaticBatches, TrainingImages, batch_bounds
from trainables.training.capture import StepCapture
from trainables.training.loop import LoopState, LossWatch, steps_of
from trainables.training.optim import build_optimizer, set_learning_rate

LEAST_STEPS = 10  # replayed in a training; fewer do not pay for the few that a capture runs before
logger = logging.getLogger(__name__)


class StaticSteps:
    """A loop Task over the batches of a Supervised, whose bounds in the epoch are what `stream` yields.

    capture: None runs each step. draws: whether a step draws random numbers on the device, known after the first one.
    """

    def __init__(self, task: Supervised, images: TrainingImages, capture: StepCapture | None):
        self.task, self.capture = task, capture
        self.modules, self.scaler = task.modules, task.scaler
        self.optimizer = self._new_optimizer()
        self.count = len(task.rows)
        self.batch_size = min(task.recipe.batch_size, max(1, self.count))  # of no images no step is taken
        self.batches = StaticBatches(images, self.count, self.batch_size, task.recipe.eval_spec.flip_p > 0)
        self.loss = torch.zeros((), device=task.device)  # of the last step
        self.total = torch.zeros((), device=task.device)  # of the epoch so far
        self.watch = LossWatch()
        self.state = LoopState()
        self.draws = False
        replayed = task.num_epochs * (self.count // self.batch_size)
        # Of one image batch norm may have no statistics, which is seen by an error: not in a capture.
        if replayed < LEAST_STEPS or self.batch_size == 1:
            self.capture = None
        self._replay: Callable[[], None] | None = None

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return build_optimizer(self.task.optimizer_spec, self.modules.values(), capturable=True)

    def stream(self, start_step: int) -> Iterator[tuple[int, int]]:
        """Where each step's batch begins and ends in its epoch. start_step must be the first of an epoch."""
        for epoch in range(start_step // self.task.steps_per_epoch, self.task.num_epochs):
            self.batches.begin_epoch(*self.task.epoch(epoch))
            yield from batch_bounds(self.count, self.batch_size)

    def backward(self, batch: tuple[int, int], step: int) -> dict[str, Tensor]:
        """As Supervised.backward."""
        self.batches.load(*batch)
        self.task.seed_step(step)
        return {"bce": self._add_gradient(batch[1] - batch[0])}

    def after_step(self) -> None:
        """Nothing."""

    def evaluate(self) -> dict[str, float]:
        """As Supervised.evaluate."""
        return self.task.evaluate()

    def steps(self) -> Iterator[None]:
        """Train to the end, one step each time it is asked; `state` has then the best epoch's tensors.

        Raises TrainingDiverged where a loss is not finite.
        """
        return steps_of(self, self.take_step, self.task.plan, self.state)

    def take_step(self, batch: tuple[int, int]) -> None:
        """The next one, of the batch with these bounds: replayed if it is a whole one, else run."""
        state = self.state
        set_learning_rate(self.optimizer, self.task.plan.rate(state.step) * state.rate_scale)
        if not state.sums:  # of a new epoch
            self.total.zero_()
            state.sums["bce"] = self.total
        self.batches.load(*batch)
        whole = batch[1] - batch[0] == self.batch_size
        if whole and self.capture is not None:
            self._capture(self.capture)
        self.task.seed_step(state.step)
        if whole and self._replay is not None:
            self._replay()
        else:
            self._step(batch[1] - batch[0])
        self.watch.look({"bce": self.loss}, state)
        state.step += 1

    def _step(self, count: int) -> None:
        """The whole of a step, of what lies in the buffers: all of it is captured."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._add_gradient(count)
        self.scaler.step(self.optimizer)  # leaves a step out whose float16 gradients overflowed
        self.scaler.update()
        self.loss.copy_(loss)
        self.total.add_(loss)

    def _add_gradient(self, count: int) -> Tensor:
        pixels, flips, targets, known = self.batches.read(count)
        images = self.task.train_part.images_there(self.task.recipe, pixels, flips)
        return self.task.add_gradient(images, targets, known)

    def _capture(self, capture: StepCapture) -> None:
        """Before the first step: capture it, and put back what that changed. Where it cannot be, steps are run."""
        self.capture = None  # once
        device = self.task.device
        assert not self.optimizer.state, "put back is a fresh optimiser's state, of zeros"
        tensors = [self.total]
        for module in (self.task.backbone, self.task.head):
            tensors += [*module.parameters(), *module.buffers()]
        values, scale = [tensor.detach().clone() for tensor in tensors], self.scaler.state_dict()
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            drawn = _generator_state(device)
            try:
                self._replay = capture.capture(partial(self._step, self.batch_size))
            except Exception as error:  # what fails a step as well is raised by it
                logger.warning("steps are not captured, and run as they are: %s", str(error).partition("\n")[0])
                # Both remember in which part of a step they were.
                self.scaler = self.task.scaler = self.task.compute.scaler()
                self.optimizer = self._new_optimizer()
            self.draws = not torch.equal(drawn, _generator_state(device))
        with torch.no_grad():
            for tensor, value in zip(tensors, values, strict=True):
                tensor.copy_(value)
            for of_parameter in self.optimizer.state.values():
                for value in of_parameter.values():
                    value.zero_()
        self.scaler.load_state_dict(scale)


def _generator_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
