"""Are seeds trained side by side those that were trained one after another, and does the failure of one cost one?"""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from tuned import Case, tensors

from trainables.evaluation.supervised import Supervised
from trainables.evaluation.tuning.device_images import TrainingImages, image_budget
from trainables.evaluation.tuning.seeds import side_by_side, train_seeds
from trainables.evaluation.tuning.static_steps import StaticSteps
from trainables.recipe import Resources
from trainables.training.loop import LoopState
from trainables.training.recorded import RecordedSteps

SEEDS = (3, 4, 5)


def tasks() -> list[Supervised]:
    """One seed has other labelled images than the others, as at 1% of the labels."""
    made = [replace(Case(), seed=seed).task() for seed in SEEDS]
    made[1].rows = np.arange(33)[::-1].copy()
    return made


def trainings(made: list[Supervised]) -> list[StaticSteps]:
    rows = np.concatenate([task.rows for task in made])
    images = TrainingImages(made[0].train_part, rows, made[0].device, 1 << 20)
    return [StaticSteps(task, images, RecordedSteps()) for task in made]


def test_seeds_side_by_side_are_those_that_were_trained_alone():
    together, alone = tasks(), tasks()
    states = side_by_side(trainings(together))
    for ours, state, task in zip(together, states, alone, strict=True):
        expected = task.run()
        assert isinstance(state, LoopState) and state.history == expected.history
        ours_now, expected_now = tensors(state, ours), tensors(expected, task)
        assert all(torch.equal(ours_now[name], expected_now[name]) for name in expected_now)
    assert len({state.history[-1]["train_bce"] for state in states}) == len(SEEDS)


@pytest.mark.parametrize("empty", [(1,), (0, 1, 2)], ids=["one", "all"])
def test_a_seed_without_images_ends_as_the_plain_loop_does_and_costs_the_others_nothing(empty):
    together, alone = tasks(), tasks()
    for place in empty:
        together[place].rows = alone[place].rows = np.zeros(0, dtype=np.int64)
    states = side_by_side(trainings(together))
    assert [state.history for state in states] == [task.run().history for task in alone]
    assert all((states[place].step, states[place].best_tensors) == (0, {}) for place in empty)


def test_a_seed_that_diverges_costs_the_others_nothing():
    together, (first, _, last) = tasks(), tasks()
    with torch.no_grad():
        together[1].head.weight.fill_(torch.nan)
    states = side_by_side(trainings(together))
    assert isinstance(states[1], RuntimeError) and "loss is not finite at step 0: bce=nan" in str(states[1])
    assert [states[0].history, states[2].history] == [first.run().history, last.run().history]


def test_what_a_seed_that_diverged_held_is_free_as_soon_as_all_are_over():
    made = trainings(tasks())
    with torch.no_grad():
        made[1].task.head.weight.fill_(torch.nan)
    held = [weakref.ref(training) for training in made]
    gc.disable()  # a GPU's memory would wait for it
    try:
        assert [isinstance(state, Exception) for state in side_by_side(made)] == [False, True, False]
        del made
        assert [training() for training in held] == [None] * 3
    finally:
        gc.enable()


def test_memory_that_is_too_small_is_for_the_caller_to_hear(monkeypatch):
    def too_much(self, images, targets, known):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Supervised, "add_gradient", too_much)
    with pytest.raises(torch.OutOfMemoryError):
        side_by_side(trainings(tasks()))
    with pytest.raises(torch.OutOfMemoryError):
        train_seeds(tasks(), Resources())


def test_on_a_cpu_each_seed_is_trained_by_the_plain_loop(monkeypatch):
    monkeypatch.setattr(StaticSteps, "__init__", lambda self, *given: pytest.fail("a step of static buffers"))
    made = tasks()
    with torch.no_grad():
        made[1].head.weight.fill_(torch.nan)
    first, failed, last = train_seeds(made, Resources())
    assert len(first.history) == len(last.history) == 3 and isinstance(failed, RuntimeError)


def test_images_lie_where_their_rows_say_and_only_those_that_are_asked_for():
    task = Case().task()
    images = TrainingImages(task.train_part, np.array([7, 2, 7, 11]), task.device, 1 << 20)
    assert np.flatnonzero(images.places >= 0).tolist() == [2, 7, 11]
    for row in (2, 7, 11):
        place = images.places[row]
        assert np.array_equal(images.pixels[place].numpy(), task.train_part.pixels[row])
        assert np.array_equal(images.targets[place].numpy(), task.train_part.targets[row])
        assert np.array_equal(images.known[place].numpy(), task.train_part.known[row])
    bytes_of_three = 3 * task.train_part.pixels[0].nbytes
    assert TrainingImages(task.train_part, np.array([7, 2, 11]), task.device, bytes_of_three).pixels is not None
    assert TrainingImages(task.train_part, np.array([7, 2, 11]), task.device, bytes_of_three - 1).pixels is None


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_images_may_take_half_of_what_a_process_can_still_have_of_a_card(monkeypatch, device):
    monkeypatch.setattr(torch.cuda.memory, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 10)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 14)
    for free, fraction, budget in ((60, 1.0, 32), (60, 0.5, 20), (2, 1.0, 3), (60, 0.05, 0)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 100))
        of_card = {0: fraction}  # by the number of the card
        monkeypatch.setattr(torch._C, "_cuda_getMemoryFraction", of_card.__getitem__, raising=False)
        assert image_budget(torch.device(device)) == budget


def test_one_image_passes_a_compiled_network_as_it_was_built():
    task, network = Case().task(), None

    def compiled(images: torch.Tensor) -> torch.Tensor:
        """torch's compiler raises errors of its own where batch norm has too few values."""
        assert len(images) > 1, "a RuntimeError of the compiler"
        return network._call_impl(images)

    network = task.backbone
    network._compiled_call_impl = compiled  # where nn.Module.compile puts what it made
    assert task.run().history == Case().task().run().history
