"""How much faster is a fine-tuning step that is replayed as a CUDA graph, alone and for the seeds of a cell at once?"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.bench import Bench, check, figure, largest
from benchmarks.gpu.fine_tuning import step_of
from benchmarks.gpu.made_up import fine_tuning, labelled
from benchmarks.gpu.streams import weights
from trainables.evaluation.dataset import Part
from trainables.evaluation.tuning.device_images import TrainingImages
from trainables.evaluation.tuning.seeds import Streams
from trainables.evaluation.tuning.static_steps import StaticSteps
from trainables.training.capture import CudaGraphs, StepCapture
from trainables.training.recorded import RecordedSteps

STEPS = 20  # of two trainings whose weights are compared


def captures(device: torch.device) -> StepCapture:
    """A CUDA graph; on a CPU recorded operators, which check that the section itself works."""
    return CudaGraphs(device) if device.type == "cuda" else RecordedSteps()


def static(
    bench: Bench, part: Part, seeds: Sequence[int], capture: StepCapture | None, *, one_order: bool = False
) -> list[StaticSteps]:
    """Trainings of some seeds over shared images that lie on the device."""
    tasks = [fine_tuning(bench, part, seed, one_order=one_order) for seed in seeds]
    images = TrainingImages(part, np.arange(len(part)), bench.device, part.pixels.nbytes)
    return [StaticSteps(task, images, capture) for task in tasks]


def stepper(trainings: Sequence[StaticSteps]) -> Callable[[], None]:
    """One step of each, on a stream each after the first, without validation."""
    bounds, streams = [training.stream(0) for training in trainings], Streams(trainings)

    def step() -> None:
        for place, training in enumerate(trainings):
            with streams.of(place):
                training.take_step(next(bounds[place]))

    step()
    streams.part()
    return step


def section(bench: Bench) -> Iterator[dict]:
    """Images a second of the loop's own step, of one with images on the device, of a graph, and of graphs at once."""
    size = bench.size
    part = labelled(size.images, size.side)
    torch.backends.cudnn.benchmark = True
    try:
        capture, alone = captures(bench.device), (0,)
        calls = {
            "loop": step_of(fine_tuning(bench, part)),
            "resident": stepper(static(bench, part, alone, None)),
            "captured": stepper(static(bench, part, alone, capture)),
            "seeds": stepper(static(bench, part, range(size.seeds), capture)),
        }
        seconds = bench.sides(calls)
        name = f"fine_tuning_{size.backbone}_{size.side}px_batch_{size.batch}"
        rate = {side: size.batch / seconds[side] for side in calls}
        peer = {"peer": rate["loop"], "peer_name": "one operator after the other", "higher_is_better": True}
        yield figure(f"{name}_images_on_the_device", "images/s", rate["resident"], **peer)
        yield figure(f"{name}_captured", "images/s", rate["captured"], **peer)
        yield figure(f"{name}_captured_{size.seeds}_seeds", "images/s", size.seeds * rate["seeds"], **peer)
        yield check(f"{name}_captured_syncs", "1", bench.syncs(calls["captured"]), 0)
        yield check(f"{name}_captured_{size.seeds}_seeds_syncs", "1", bench.syncs(calls["seeds"]), 0)
    finally:
        torch.backends.cudnn.benchmark = False


def same_bits(bench: Bench) -> Iterator[dict]:
    """Replayed steps beside the same ones run: no bit apart where the device adds in one order; how far else."""
    part, count = labelled(bench.size.images, bench.size.side), min(STEPS, bench.size.steps)

    def trained(capture: StepCapture | None, one_order: bool) -> dict[str, Tensor]:
        trainings = static(bench, part, (0,), capture, one_order=one_order)
        step = stepper(trainings)
        for _ in range(count):
            step()
        bench.wait()
        return weights(trainings[0].task)

    capture = captures(bench.device)
    ordered = largest(trained(capture, True), trained(None, True))
    yield check(f"captured_{count}_steps_in_one_order_from_run", "largest difference", ordered, 0.0)
    for name, first in (("captured", trained(capture, False)), ("run_twice", trained(None, False))):
        apart = largest(first, trained(None, False))
        yield figure(f"{name}_{count}_steps_in_any_order_from_run", "largest difference", apart)
