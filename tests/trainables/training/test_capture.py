"""Is a CUDA graph captured in the order that torch asks for, and is all put right where a capture is broken off?

What a GPU answers is asked by tests/gpu; here torch's own functions write down that they were called.
"""

import inspect
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from trainables.training.capture import CaptureRefused, CudaGraphs

GPU = torch.device("cuda")


class CalledTorch:
    """What of torch.cuda a capture calls: `calls` in their order, the stream of now by its name, the sync mode."""

    def __init__(self):
        self.calls: list[str] = []
        self.now = NamedStream(self, "first")
        self.mode: int | str = 0
        self.breaks = False

    @contextmanager
    def on(self, stream: "NamedStream") -> Iterator[None]:
        before, self.now = self.now, stream
        yield
        self.now = before

    @contextmanager
    def graph(self, graph: object, *, stream: "NamedStream", capture_error_mode: str) -> Iterator[None]:
        self.calls.append(f"capture on {stream.name}, {capture_error_mode}")
        before, self.now = self.now, stream
        yield
        if self.breaks:  # torch then leaves the stream as it is
            raise RuntimeError("operation failed due to a previous error during capture")
        self.now = before

    def set_sync_debug_mode(self, mode: int | str) -> None:
        self.mode = mode
        # As torch does, which says it once a process.
        warnings.warn("Synchronization debug mode is a prototype feature and does not yet detect all", stacklevel=1)

    def step(self) -> None:
        self.calls.append(f"step on {self.now.name}, mode {self.mode}")


class NamedStream:
    def __init__(self, of: CalledTorch, name: str):
        self.of, self.name = of, name

    def wait_stream(self, other: "NamedStream") -> None:
        self.of.calls.append(f"{self.name} waits for {other.name}")


class NamedGraph:
    def __init__(self, of: CalledTorch):
        self.of = of

    def replay(self) -> None:
        self.of.calls.append(f"replay on {self.of.now.name}")


class NamedGenerator:
    def __init__(self, of: CalledTorch):
        self.of = of

    def clone_state(self) -> str:
        return "a new state"

    def graphsafe_set_state(self, state: str) -> None:
        self.of.calls.append(f"generator gets {state}")


@pytest.fixture
def called(monkeypatch) -> CalledTorch:
    of = CalledTorch()
    for name, function in {
        "current_stream": lambda device: of.now,
        "Stream": lambda device: NamedStream(of, "side"),
        "stream": of.on,
        "set_stream": lambda stream: setattr(of, "now", stream),
        "CUDAGraph": lambda: NamedGraph(of),
        "graph": of.graph,
        "get_sync_debug_mode": lambda: of.mode,
        "set_sync_debug_mode": of.set_sync_debug_mode,
        "current_device": lambda: 0,
        "default_generators": (NamedGenerator(of),),
    }.items():
        monkeypatch.setattr(torch.cuda, name, function)
    return of


WARM_UP = [
    "side waits for first", "step on side, mode 0", "step on side, mode 0", "step on side, mode error",
    "first waits for side",
]  # fmt: skip
CAPTURE = ["capture on side, thread_local", "step on side, mode 0"]


def test_a_step_is_warmed_up_beside_the_stream_and_captured(called):
    replay = CudaGraphs(GPU).capture(called.step)
    assert called.calls == [*WARM_UP, *CAPTURE] and called.now.name == "first"
    replay()
    assert called.calls[-1] == "replay on first", "on the stream that is the current one then"


def test_a_step_that_waits_is_refused_before_any_capture(called):
    def waits() -> None:
        called.step()
        if called.mode == "error":
            raise RuntimeError("called a synchronizing CUDA operation")

    with pytest.raises(CaptureRefused, match=r"waits for the GPU inside its step \(called a synchronizing"):
        CudaGraphs(GPU).capture(waits)
    assert called.calls == WARM_UP, "what was begun is waited for"
    assert called.mode == 0


def test_of_what_torch_warns_only_its_own_prototype_is_not_said(called):
    def warns() -> None:
        called.step()
        warnings.warn(f"a layer warns, mode {called.mode}", stacklevel=1)

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        CudaGraphs(GPU).capture(warns)
    modes = [str(warning.message).rpartition(" ")[2] for warning in said]
    assert modes == ["0", "0", "error", "0"], "the network's own warnings, of the warm-up and of the capture"


def test_memory_that_is_too_small_is_not_taken_for_a_wait(called):
    def too_large() -> None:
        called.step()
        if called.mode == "error":
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        CudaGraphs(GPU).capture(too_large)
    assert called.calls == WARM_UP and called.mode == 0


def test_after_a_capture_that_is_broken_off_stream_and_generator_are_as_before(called):
    called.breaks = True
    with pytest.raises(RuntimeError, match="previous error during capture"):
        CudaGraphs(GPU).capture(called.step)
    assert called.calls == [*WARM_UP, *CAPTURE, "generator gets a new state"] and called.now.name == "first"


def test_torch_has_what_a_capture_calls():
    taken = inspect.signature(torch.cuda.graph).parameters
    assert {"cuda_graph", "stream", "capture_error_mode"} <= set(taken)
    assert "thread_local" in (torch.cuda.graph.__doc__ or "")
    for name in ("Stream", "stream", "set_stream", "current_stream", "CUDAGraph", "get_sync_debug_mode"):
        assert callable(getattr(torch.cuda, name))
    for name in ("mem_get_info", "memory_allocated", "memory_reserved", "get_per_process_memory_fraction"):
        assert callable(getattr(torch.cuda, name))
    assert callable(torch.Generator.clone_state) and callable(torch.Generator.graphsafe_set_state)
    assert issubclass(torch.OutOfMemoryError, RuntimeError)
