"""Does seeding give what `torch.manual_seed` gives, and does a process take its own card, and no more of it?"""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from trainables.training.devices import CONTEXT_BYTES, limit_memory, own_device, seed_step, seeded


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


@pytest.fixture
def four_cards(monkeypatch):
    """torch as it is where it sees four cards of 16 GiB; which was made the current one, and the limits set."""
    calls: dict[str, list] = {"current": [], "limits": []}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(total_memory=16 << 30))
    monkeypatch.setattr(torch.cuda, "set_device", calls["current"].append)

    def set_fraction(share, device):
        if device is not None:
            torch.cuda._utils._get_device_index(device)  # as torch does, which takes no device without a number
        calls["limits"].append(share)

    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", set_fraction)
    return calls


@pytest.mark.parametrize(
    ("visible", "granted", "place"),
    [
        ("2", ["2"], 0),  # as Ray hides the others
        (None, ["3"], 3),  # as it is told not to
        ("1,3", ["3"], 1),
        ("GPU-aa, GPU-bb", ["GPU-bb"], 1),
        (None, [], 0),
        (None, ["7"], 0),  # a number that torch does not have here
        (None, ["MIG-x"], 0),
        ("0,1", ["5"], 0),
    ],
)
def test_each_process_takes_the_card_that_ray_gave_it(four_cards, monkeypatch, visible, granted, place):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    device = own_device(1.0, granted)
    assert device == (torch.device("cuda", place) if place else torch.device("cuda"))
    assert four_cards["current"] == ([place] if place else []), "what torch takes by itself is that card too"
    assert own_device(0, granted).type == "cpu"


def test_a_part_of_a_card_is_a_limit_with_room_for_each_process_itself(four_cards):
    gpu = torch.device("cuda")
    for gpus in (0.25, 1.0, 2.0, 0.01):
        limit_memory(gpu, gpus)
    quarter, whole, two, least = list(four_cards["limits"])
    assert (whole, two, least) == (1.0, 1.0, 0.0)
    # Four such processes: their limits, and what each takes beside them, are one card.
    assert 4 * (quarter * (16 << 30) + CONTEXT_BYTES) == 16 << 30
    limit_memory(torch.device("cuda", 2), 0.5)
    limit_memory(torch.device("cpu"), 0.25)
    assert len(four_cards["limits"]) == 5
