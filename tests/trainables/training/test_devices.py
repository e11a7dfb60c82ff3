"""Does seeding give what `torch.manual_seed` gives, and leave nothing behind?"""

import torch
from torch import nn

from trainables.training.devices import seed_step, seeded


def test_dropout_is_that_of_manual_seed():
    dropout, ones = nn.Dropout(0.5), torch.ones(64)
    torch.manual_seed(7)
    expected = dropout(ones)
    seed_step(7, torch.device("cpu"))
    assert torch.equal(dropout(ones), expected) and 0 < int((expected == 0).sum()) < 64


def test_steps_without_a_gpu_leave_no_calls_behind():
    before = len(torch.cuda._queued_calls)
    for step in range(100):
        seed_step(step, torch.device("cpu"))
    assert len(torch.cuda._queued_calls) == before


def test_a_seeded_draw_is_that_of_manual_seed_and_changes_no_later_one():
    torch.manual_seed(7)
    expected = nn.Linear(5, 3).weight
    torch.manual_seed(1)
    later = torch.rand(4)
    torch.manual_seed(1)
    with seeded(7):
        assert torch.equal(nn.Linear(5, 3).weight, expected)
    assert torch.equal(torch.rand(4), later)
