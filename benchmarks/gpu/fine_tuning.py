"""How many images a second does fine-tuning take, how often does a step wait, and what does one order cost?"""

from collections.abc import Callable, Iterator

from benchmarks.gpu.bench import Bench, check, figure, largest
from benchmarks.gpu.made_up import fine_tuning, labelled
from benchmarks.gpu.streams import stepper, weights
from trainables.evaluation.supervised import Supervised
from trainables.training.precision import resolve

STEPS = 20  # of two trainings whose weights are compared


def step_of(task: Supervised) -> Callable[[], None]:
    """The loop's own step on the next batch."""
    steps = stepper(task)
    return lambda: next(steps)


def section(bench: Bench) -> Iterator[dict]:
    """The step as the loop takes it, one operator after the other, and its waits for the device."""
    size = bench.size
    part = labelled(size.images, size.side)
    step = step_of(fine_tuning(bench, part))
    seconds = bench.sides({"step": step})["step"]
    name = f"fine_tuning_{size.backbone}_{size.side}px_batch_{size.batch}"
    yield figure(name, "images/s", size.batch / seconds, higher_is_better=True)
    yield check(f"{name}_syncs", "1", bench.syncs(step), 0)


def one_order(bench: Bench) -> Iterator[dict]:
    """Two trainings of one seed: the same bits where the device adds in one order; how far apart else; the price."""
    size = bench.size
    part, count = labelled(size.images, size.side), min(STEPS, size.steps)
    apart, seconds = {}, {}
    for ordered in (True, False):
        found = []
        for _ in range(2):
            task = fine_tuning(bench, part, one_order=ordered)
            step = step_of(task)
            for _ in range(count):
                step()
            bench.wait()
            found.append(weights(task))
        apart[ordered] = largest(*found)
        seconds[ordered] = bench.seconds(step, size.steps)
    resolve("auto", bench.device)
    yield check(f"twice_{count}_steps_in_one_order", "largest difference", apart[True], 0.0)
    yield figure(f"twice_{count}_steps_in_any_order", "largest difference", apart[False])
    yield figure(
        "fine_tuning_step_in_one_order",
        "s",
        seconds[True],
        peer=seconds[False],
        peer_name="in whichever order is fastest",
    )
