"""Two workers with half the batch each train as one worker with the whole batch, for every method."""

import pytest
import torch
from small import largest_difference
from two_worker_runs import (
    BY_PICTURES,
    PLAINLY_WRAPPED,
    PRETRAINED,
    STEPS,
    Outcome,
    Pretrained,
    one_worker,
    pretrain_in_float64,
    right_cases,
    two_workers,
)

TOLERANCE = 1e-9
NAMES = [case.name for case in right_cases()]


def check_equal(two: Outcome, one: Outcome) -> None:
    """Gradients and losses at every step, parameters, running statistics, queues and pointers at the end."""
    for step in range(STEPS):
        assert largest_difference(two.gradients[step], one.gradients[step]) < TOLERANCE, f"gradients of step {step}"
        assert largest_difference(two.losses[step], one.losses[step]) < TOLERANCE, f"losses of step {step}"
    assert largest_difference(two.state, one.state) < TOLERANCE, "state at the end"


@pytest.mark.parametrize("name", NAMES)
def test_two_workers_with_half_the_batch_are_one_with_the_whole(name):
    one = one_worker(name)
    assert all(float(sum(g.norm() for g in step.values())) > 1e-3 for step in one.gradients), "nothing was trained"
    for outcomes in two_workers().outcomes:
        check_equal(outcomes[name], one)


@pytest.mark.parametrize("name", NAMES)
def test_both_workers_hold_the_same_bits(name):
    first, second = (outcomes[name].state for outcomes in two_workers().outcomes)
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("method", PRETRAINED)
def test_a_whole_pretraining_publishes_the_same_with_two_workers(method, tmp_path):
    """Views, order, validation losses and gradient norms included; under the weights' usual names."""
    history, weights = pretrain_in_float64(method, str(tmp_path))
    other_history, other_weights = two_workers().pretrained[method]
    assert len(history) == len(other_history)
    for one, other in zip(history, other_history, strict=True):
        assert one.keys() == other.keys()
        assert [other[name] for name in one] == pytest.approx([one[name] for name in one], abs=1e-6)
    assert largest_difference(weights, other_weights) < 1e-6


def test_pictures_that_are_sent_and_then_rendered_give_the_bits_of_views_that_are_sent():
    check_same_bits(two_workers().by_pictures, two_workers().pretrained[BY_PICTURES])


def test_gradients_that_lie_in_their_buckets_have_the_bits_of_gradients_that_are_copied():
    check_same_bits(two_workers().plainly_wrapped, two_workers().pretrained[PLAINLY_WRAPPED])


def check_same_bits(one: Pretrained, other: Pretrained) -> None:
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys() and all(torch.equal(one[1][name], other[1][name]) for name in one[1])
