"""How are seeds trained through the backbone: by the plain loop on a CPU, side by side with captured steps on a GPU?"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch

from trainables.evaluation.supervised import Supervised
from trainables.evaluation.tuning.device_images import TrainingImages, image_budget
from trainables.evaluation.tuning.static_steps import StaticSteps
from trainables.recipe import Resources
from trainables.training.capture import CudaGraphs, StepCapture
from trainables.training.loop import LoopState

# torch has 32 streams and gives them out in turn; a seed is captured on one and runs on another. A 17th seed's would be
# one that a graph was captured on: both would then write to cuBLAS's workspace, which is one for each stream.
MOST_SIDE_BY_SIDE = 16


def train_seeds(tasks: Sequence[Supervised], resources: Resources) -> list[LoopState | Exception]:
    """Train each to its end, and what it has then; why not, where one failed: the others go on.

    tasks: of one training part and device. Raises torch.OutOfMemoryError for all of them.
    """
    device = tasks[0].device
    if device.type == "cpu":
        return [_alone(task) for task in tasks]
    rows = np.concatenate([task.rows for task in tasks])
    images = TrainingImages(tasks[0].train_part, rows, device, image_budget(device))
    capture: StepCapture | None = CudaGraphs(device) if resources.cuda_graphs else None
    return side_by_side([StaticSteps(task, images, capture) for task in tasks])


def _alone(task: Supervised) -> LoopState | Exception:
    try:
        return task.run()
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        return error


def side_by_side(trainings: Sequence[StaticSteps]) -> list[LoopState | Exception]:
    """One step of each in turn: on a GPU each has a stream, so that their small batches fill it together."""
    results: list[LoopState | Exception] = [training.state for training in trainings]
    streams = Streams(trainings)
    runs = {place: training.steps() for place, training in enumerate(trainings)}
    try:
        _turn(runs, results, streams)  # captures, on the stream that all share
        streams.part()
        while runs:
            _turn(runs, results, streams)
    finally:
        streams.join()
    return results


def _turn(runs: dict[int, Iterator[None]], results: list[LoopState | Exception], streams: "Streams") -> None:
    """A step of each of `runs`, from which those go that are at their end or failed; why, in `results`."""
    for place in list(runs):
        try:
            with streams.of(place):
                next(runs[place])
        except StopIteration:
            del runs[place]
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            # Without this frame, which holds `results` and all trainings: a circle, which would hold them on the GPU.
            results[place] = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
            del runs[place]


class Streams:
    """A CUDA stream for each training; on a CPU nothing."""

    def __init__(self, trainings: Sequence[StaticSteps]):
        self.trainings, self.device = trainings, trainings[0].task.device
        self.own: dict[int, torch.cuda.Stream] = {}

    def part(self) -> None:
        """From now on each has its own."""
        if self.device.type != "cuda" or len(self.trainings) == 1:
            return
        for place, training in enumerate(self.trainings):
            # Before torch 2.13 all graphs read the seed from one place of the GPU: where they draw random numbers, the
            # next one's seed would overtake the one that still runs. They then follow each other on one stream.
            if not training.draws:
                self.own[place] = torch.cuda.Stream(self.device)
                self.own[place].wait_stream(torch.cuda.current_stream(self.device))

    def of(self, place: int) -> AbstractContextManager[object]:
        """What makes a training's stream the current one."""
        return torch.cuda.stream(self.own[place]) if place in self.own else nullcontext()

    def join(self) -> None:
        """What comes next on the shared stream waits for all."""
        for stream in self.own.values():
            torch.cuda.current_stream(self.device).wait_stream(stream)
