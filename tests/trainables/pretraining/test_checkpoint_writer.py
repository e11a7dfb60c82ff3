"""Is a checkpoint of the moment at which it was due, written beside the training, and never two at a time?"""

import threading
import time

import pytest
import torch
from made_up_streams import CUDA, made_up_streams

from trainables.pretraining.checkpoint_writer import (
    DIGEST_BYTES,
    CheckpointWriter,
    Sealed,
    Snapshots,
    snapshot,
    unsealed,
)
from trainables.recipe import Resources
from trainables.training.checkpoint import state_from_bytes

EVERY_STEP, ALWAYS = Resources(checkpoint_every_steps=1), Resources(checkpoint_every_seconds=0.0)


def state_of(data: bytes | memoryview) -> dict:
    return state_from_bytes(unsealed(bytes(data)))


def test_a_snapshot_stays_what_it_was_while_training_goes_on():
    weight, moments = torch.ones(3), {0: {"exp_avg": torch.zeros(2)}}
    kept = snapshot({"model": {"weight": weight}, "optimizer": {"state": moments, "groups": [{"lr": 0.1}]}, "step": 7})
    weight.add_(1)
    moments[0]["exp_avg"].fill_(9)
    assert torch.equal(kept["model"]["weight"], torch.ones(3))
    assert torch.equal(kept["optimizer"]["state"][0]["exp_avg"], torch.zeros(2))
    assert kept["optimizer"]["groups"] == [{"lr": 0.1}] and kept["step"] == 7


def test_a_later_snapshot_takes_the_memory_of_an_earlier_one_where_it_fits():
    state = {"model": {"w": torch.arange(6.0).view(2, 3)}, "parts": [torch.zeros(2)], "sums": {}}
    first = snapshot(state)
    state["model"]["w"] = state["model"]["w"].t() * 2  # another form of the same name
    state["parts"][0] += 5
    state["sums"] = {"new": torch.ones(1)}
    second = snapshot(state, first)
    assert second["parts"][0].data_ptr() == first["parts"][0].data_ptr() != state["parts"][0].data_ptr()
    assert torch.equal(second["model"]["w"], torch.arange(6.0).view(2, 3).t() * 2)
    assert torch.equal(second["parts"][0], torch.full((2,), 5.0)) and torch.equal(second["sums"]["new"], torch.ones(1))


def test_memory_of_a_larger_state_holds_a_smaller_one_whole():
    sealed = Sealed()
    for count in (5, 50_000, 7):
        assert len(state_of(sealed.of({"weight": torch.ones(count)}))["weight"]) == count


def test_what_is_sealed_comes_back_and_any_changed_byte_is_seen():
    content = bytes(Sealed().of({"weight": torch.arange(5.0), "loop": {"step": 3, "best": -1.5}}))
    found = state_of(content)
    assert torch.equal(found["weight"], torch.arange(5.0)) and found["loop"] == {"step": 3, "best": -1.5}
    for place in (0, DIGEST_BYTES, len(content) // 2, len(content) - 1):
        changed = bytearray(content)
        changed[place] ^= 1
        assert unsealed(bytes(changed)) is None
    assert unsealed(content[:-1]) is None and unsealed(b"") is None


def test_on_a_gpu_the_next_step_waits_for_the_copy_there_and_the_thread_that_stores_it_here():
    with made_up_streams("copies") as log:
        snapshots = Snapshots(CUDA)
        snapshots.take({"weight": torch.ones(2)})
        log.append("next step")
        assert torch.equal(snapshots.taken()["weight"], torch.ones(2))
    begins = "copies waits for all of training"
    assert log == [
        begins,
        f"training waits for {begins} on copies",
        "next step",
        f"the host waits for {begins} on copies",
    ]


class SlowStorage:
    """Writes take until they are let go on. stored: steps of what was stored, in its order."""

    def __init__(self) -> None:
        self.go_on, self.began, self.stored, self.at_once = threading.Event(), threading.Event(), [], 0

    def write(self, data: memoryview) -> None:
        self.at_once += 1
        assert self.at_once == 1, "two writes at once"
        self.began.set()
        assert self.go_on.wait(30)
        self.stored.append(state_of(data)["step"])
        self.at_once -= 1


def test_by_time_training_goes_on_while_one_is_written_and_the_next_is_of_later():
    storage = SlowStorage()
    writer = CheckpointWriter(ALWAYS, 0, storage.write)
    for step in range(1, 6):
        writer.save_when_due(step, lambda step=step: {"step": step})
        assert storage.began.wait(30)
    storage.go_on.set()
    writer._finish()
    writer.save_when_due(6, lambda: {"step": 6})
    writer.close()
    assert storage.stored == [1, 6]


def test_by_steps_what_is_due_waits_for_the_one_before():
    storage = SlowStorage()
    writer = CheckpointWriter(Resources(checkpoint_every_steps=2), 4, storage.write)
    threading.Timer(0.2, storage.go_on.set).start()
    for step in range(5, 11):
        writer.save_when_due(step, lambda step=step: {"step": step})
    writer.close()
    assert storage.stored == [6, 8, 10]


def test_nothing_is_copied_before_it_is_due():
    writer = CheckpointWriter(Resources(checkpoint_every_seconds=3600), 0, lambda data: None)
    writer.save_when_due(10_000, lambda: pytest.fail("copied"))
    writer.close()


def test_a_write_that_fails_ends_the_training_at_its_next_step():
    def fails(data: memoryview) -> None:
        raise OSError(28, "No space left on device")

    writer = CheckpointWriter(EVERY_STEP, 0, fails)
    writer.save_when_due(1, lambda: {"step": 1})
    with pytest.raises(OSError, match="No space left"):
        writer.save_when_due(2, lambda: {"step": 2})
    writer.close()


def test_closing_waits_for_what_is_being_written():
    stored = []

    def slow(data: memoryview) -> None:
        time.sleep(0.2)
        stored.append(state_of(data)["step"])

    writer = CheckpointWriter(EVERY_STEP, 0, slow)
    writer.save_when_due(1, lambda: {"step": 1})
    writer.close()
    assert stored == [1]
    assert "radsweep-checkpoint" not in {thread.name.rpartition("_")[0] for thread in threading.enumerate()}
