"""Batches of a stream of their own: what the training waits for, and which memory is kept for it, by a made-up GPU."""

from collections.abc import Iterator

import pytest
import torch
from made_up_streams import CUDA, Stream, made_up_streams

from trainables.batch import Batch, Pictures
from trainables.pretraining.feed import Feed


class Recorded:
    """A tensor of which only its name matters."""

    def __init__(self, name: str, log: list[str]):
        self.name, self.log = name, log

    def record_stream(self, stream: Stream) -> None:
        self.log.append(f"{self.name} is kept for {stream.name}")


@pytest.fixture
def log() -> Iterator[list[str]]:
    with made_up_streams("batches") as lines:
        yield lines


def made(log: list[str], count: int):
    for number in range(count):
        log.append(f"batch {number} made")
        assert torch.cuda.current_stream().name == "batches"
        yield Batch(
            {"a": Recorded("view", log)},
            Recorded("ids", log),
            Recorded("mask", log),
            torch.zeros(2),
            Pictures(Recorded("pixels", log), lambda *_: None),
        )


@pytest.mark.parametrize("depth", [0, 2])
def test_the_training_waits_for_a_batch_and_keeps_its_memory(log, depth):
    batches = Feed(CUDA).batches(made(log, 2), depth)
    next(batches)
    assert torch.cuda.current_stream().name == "training"
    waits = [line for line in log if "waits" in line]
    assert waits == ["training waits for batch 0 made on batches"]
    kept = [line for line in log if "kept" in line]
    assert kept == [f"{name} is kept for training" for name in ("view", "ids", "mask", "pixels")]
    assert len(list(batches)) == 1


def test_an_error_of_a_batch_reaches_the_training_and_leaves_its_stream(log):
    def broken():
        yield from made(log, 1)
        raise KeyError("no such report")

    batches = Feed(CUDA).batches(broken(), 2)
    next(batches)
    with pytest.raises(KeyError, match="no such report"):
        next(batches)


def test_on_a_cpu_batches_are_what_they_were():
    tensors = [Batch({"a": torch.zeros(1)}) for _ in range(3)]
    found = list(Feed(torch.device("cpu")).batches(iter(tensors), 2))
    assert all(one is other for one, other in zip(found, tensors, strict=True))
