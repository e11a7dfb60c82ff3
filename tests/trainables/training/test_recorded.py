"""Does a recorded step replay as a CUDA graph does: in the same memory, without Python, or refused as one would be?"""

import numpy as np
import pytest
import torch
from torch import nn

from trainables.training.capture import CaptureRefused
from trainables.training.recorded import RecordedSteps


def test_a_replay_reads_and_writes_the_same_memory():
    given, made = torch.tensor([1.0, 2.0]), torch.zeros(2)

    def step():
        made.copy_((given * 2 + 1).view(2, 1).t()[0])

    replay = RecordedSteps().capture(step)
    given.copy_(torch.tensor([10.0, -3.0]))
    replay()
    assert made.tolist() == [21.0, -5.0]


def test_python_is_not_run_again():
    calls, total = [], torch.zeros(())

    def step():
        calls.append(1)
        total.add_(float(len(calls)))

    replay = RecordedSteps().capture(step)
    before, ran = float(total), len(calls)
    replay()
    replay()
    assert len(calls) == ran and float(total) == before + 2 * ran  # the number is that of the capture, for ever


def test_random_numbers_are_drawn_anew_from_the_generator_as_it_stands():
    drawn = torch.zeros(4)
    replay = RecordedSteps().capture(lambda: drawn.copy_(torch.rand(4)))
    torch.manual_seed(5)
    replay()
    first = drawn.clone()
    replay()
    assert not first.equal(drawn)
    torch.manual_seed(5)
    assert first.equal(torch.rand(4)) and drawn.equal(torch.rand(4))


def test_gradients_and_batch_statistics_are_those_of_the_new_input():
    torch.manual_seed(0)
    net, given = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), torch.randn(5, 3)

    def step():
        net.zero_grad(set_to_none=True)
        net(given).square().sum().backward()

    replay = RecordedSteps().capture(step)
    given.copy_(torch.randn(5, 3))
    statistics = net[1].running_mean.clone()
    replay()
    replayed, moved = net[0].weight.grad.clone(), net[1].running_mean.clone()
    net[1].running_mean.copy_(statistics)
    step()
    assert net[0].weight.grad.equal(replayed) and net[1].running_mean.equal(moved) and not moved.equal(statistics)


TOTAL = torch.zeros(2)


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (lambda: TOTAL.add_(TOTAL.sum().item()), "reads a number out of a tensor"),
        (lambda: TOTAL.add_(1) if TOTAL.sum() >= 0 else None, "reads a number out of a tensor"),
        (lambda: TOTAL.add_(torch.tensor([1.0, 2.0])), "makes a tensor from numbers of Python"),
        (lambda: TOTAL.add_(torch.from_numpy(np.ones(2, np.float32))), "makes a tensor from numbers of Python"),
    ],
)
def test_what_a_graph_would_freeze_or_wait_for_is_refused(step, words):
    with pytest.raises(CaptureRefused, match=words):
        RecordedSteps().capture(step)


def test_a_tensor_of_the_step_before_is_refused():
    held = [torch.ones(2)]

    def step():
        held[0] = held[0] * 2

    with pytest.raises(CaptureRefused, match=r"made anew each time, of shapes \[\(2,\)\]"):
        RecordedSteps().capture(step)


def test_memory_of_numpy_may_be_written_to():
    into, given = torch.zeros(2), torch.ones(2)

    def step():
        into.copy_(torch.add(given, 1, out=torch.from_numpy(np.empty(2, np.float32))))

    replay = RecordedSteps().capture(step)
    given.fill_(5)
    replay()
    assert into.tolist() == [6.0, 6.0]
