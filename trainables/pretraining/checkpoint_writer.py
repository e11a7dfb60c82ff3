"""When is a checkpoint due, and how is it written while training goes on?"""

import hashlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainables.recipe import Resources

DIGEST_BYTES = 32
CPU = torch.device("cpu")


def snapshot(value: Any, kept: Any = None) -> Any:
    """The same tree of dicts, lists and values with each tensor copied to the CPU: later training cannot change it.

    kept: an earlier snapshot that is needed no longer. Tensors are copied into its own where they fit: new memory
    would cost more than the copy.
    """
    if isinstance(value, Tensor):
        fits = isinstance(kept, Tensor) and _form(kept) == _form(value)
        if value.is_cuda:
            # Of pinned memory, into which a GPU copies by itself: the copy is whole when its stream has come so far.
            place = kept if fits else torch.empty_like(value, device="cpu", pin_memory=True)
            return place.copy_(value.detach(), non_blocking=True)
        return kept.copy_(value.detach()) if fits else value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        kept = kept if isinstance(kept, dict) else {}
        return {name: snapshot(each, kept.get(name)) for name, each in value.items()}
    if isinstance(value, list):
        kept = kept if isinstance(kept, list) and len(kept) == len(value) else [None] * len(value)
        return [snapshot(*pair) for pair in zip(value, kept, strict=True)]
    return value


def _form(tensor: Tensor) -> tuple[torch.Size, torch.dtype, tuple[int, ...]]:
    return tensor.shape, tensor.dtype, tensor.stride()


class Snapshots:
    """Copies of a state that goes on to change, one at a time, in memory that is used again.

    On a GPU by a stream of their own: this process does not wait, and the training's stream does so for as long as the
    copy takes, some 20 ms a GB, since its next step overwrites what is copied.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.copied: Any = None
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.whole: torch.cuda.Event | None = None

    def take(self, state: dict[str, Any]) -> None:
        """Copy a state over the one before, which nobody may read any more."""
        if self.stream is None:
            self.copied = snapshot(state, self.copied)
            return
        training = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(training)
        with torch.cuda.stream(self.stream):
            self.copied = snapshot(state, self.copied)
            self.whole = torch.cuda.Event()
            self.whole.record(self.stream)
        training.wait_event(self.whole)

    def taken(self) -> Any:
        """The copy, when it is whole; for the thread that stores it."""
        if self.whole is not None:
            self.whole.synchronize()
        return self.copied


def _size(value: Any) -> int:
    """Bytes that a state takes at most, if it has no more beside its tensors than is usual."""
    if isinstance(value, Tensor):
        return value.nbytes + 1024  # its name, place and padding in the file
    if isinstance(value, dict):
        return sum(_size(each) for each in value.values()) + 1024
    if isinstance(value, list):
        return sum(map(_size, value)) + 1024
    return len(value) if isinstance(value, str) else 64


class Sealed:
    """The bytes of a state behind their SHA-256, by which a file that was cut or damaged is known.

    Memory is kept for the next one. All long copies and the digest let other threads of Python go on.
    """

    def __init__(self) -> None:
        self.memory = np.empty(0, np.uint8)
        self.length = 0

    def write(self, data: bytes | memoryview) -> int:
        """As of a file."""
        more = np.frombuffer(data, np.uint8)
        end = self.length + len(more)
        if end > len(self.memory):
            larger = np.empty(end, np.uint8)
            np.copyto(larger[: self.length], self.memory[: self.length])
            self.memory = larger
        np.copyto(self.memory[self.length : end], more)
        self.length = end
        return len(more)

    def flush(self) -> None:
        """As of a file; nothing to do."""

    def of(self, state: dict[str, Any]) -> memoryview:
        """The bytes; they are overwritten by the next state's."""
        size = _size(state)
        if size > len(self.memory):  # at once: growing piece by piece would copy all again and again
            self.memory = np.empty(size, np.uint8)
        self.length = 0
        self.write(bytes(DIGEST_BYTES))
        # Not safetensors: an optimiser's state is a tree of numbers and tensors, not one level of named tensors.
        torch.save(state, self)  # type: ignore[arg-type]  # it needs no more of a file than this
        data = self.memory[: self.length].data
        data[:DIGEST_BYTES] = hashlib.sha256(data[DIGEST_BYTES:]).digest()
        return data


def unsealed(content: bytes) -> bytes | None:
    """The bytes behind their SHA-256; None where it differs."""
    data = content[DIGEST_BYTES:]
    return data if hashlib.sha256(data).digest() == content[:DIGEST_BYTES] else None


class CheckpointWriter:
    """Copies the state when a checkpoint is due, and writes the copy in a thread. One is written at a time.

    By time: while one is still being written none is due. By steps: what is due waits for the one before, so that a
    checkpoint is never older than it is promised to be.
    """

    def __init__(
        self, resources: Resources, step: int, write: Callable[[memoryview], None], device: torch.device = CPU
    ):
        """step: of the state that is stored already. write: stores a checkpoint in place of the one before.

        device: where the state is.
        """
        self.every_steps, self.every_seconds = resources.checkpoint_every_steps, resources.checkpoint_every_seconds
        self.write = write
        self.step, self.since = step, time.monotonic()
        self.thread = ThreadPoolExecutor(1, "radsweep-checkpoint")
        self.pending: Future[None] | None = None
        self.snapshots = Snapshots(device)
        self.sealed = Sealed()

    def save_when_due(self, step: int, state: Callable[[], dict[str, Any]]) -> None:
        """state: gives what is to be stored. Raises what went wrong with the checkpoint before."""
        if self.pending is not None and self.pending.done():
            self._finish()
        if self.every_steps is None:
            due = self.pending is None and time.monotonic() - self.since >= self.every_seconds
        else:
            due = step - self.step >= self.every_steps
        if not due:
            return
        self._finish()
        self.step, self.since = step, time.monotonic()
        self.snapshots.take(state())
        self.pending = self.thread.submit(self._store)

    def _store(self) -> None:
        self.write(self.sealed.of(self.snapshots.taken()))

    def _finish(self) -> None:
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Wait for the last one: what is removed after this stays removed. Its errors no longer matter."""
        with suppress(Exception):
            self._finish()
        self.thread.shutdown()
