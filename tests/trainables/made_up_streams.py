"""Streams of a GPU that is not there: they write down who waits for what."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

CUDA = torch.device("cuda:0")


class Stream:
    """Writes down what it waits for."""

    def __init__(self, name: str, log: list[str]):
        self.name, self.log = name, log

    def wait_event(self, event: "Event") -> None:
        self.log.append(f"{self.name} waits for {event.marks}")

    def wait_stream(self, stream: "Stream") -> None:
        self.log.append(f"{self.name} waits for all of {stream.name}")


class Event:
    """Marks the last line that was written when it was recorded."""

    marks = ""

    def record(self, stream: Stream) -> None:
        self.marks, self.log = f"{stream.log[-1]} on {stream.name}", stream.log

    def synchronize(self) -> None:
        self.log.append(f"the host waits for {self.marks}")


@contextmanager
def made_up_streams(side: str) -> Iterator[list[str]]:
    """The lines of a training stream and of one that is called `side`; streams are chosen by thread, as torch's are."""
    lines: list[str] = []
    chosen = threading.local()
    training = Stream("training", lines)

    @contextmanager
    def choose(stream: Stream) -> Iterator[None]:
        before = getattr(chosen, "stream", training)
        chosen.stream = stream
        try:
            yield
        finally:
            chosen.stream = before

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "Stream", lambda device: Stream(side, lines))
        patch.setattr(torch.cuda, "Event", Event)
        patch.setattr(torch.cuda, "stream", choose)
        patch.setattr(torch.cuda, "current_stream", lambda device=None: getattr(chosen, "stream", training))
        yield lines
