"""How is a step that is the same each time run again without its Python? Captured once as a CUDA graph, then replayed.

A captured step reads and writes the same memory each time: what changes from step to step (which images, the learning
rate) lies in buffers that are filled before. A number that Python computes, a tensor that it makes from one, is what
it was at capture for ever. `recorded.py` holds the same rules on a CPU.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch

# As many as torch's own documentation of CUDA graphs takes: cuDNN has chosen its algorithms by then, and the optimiser
# has made its state.
WARM_UP_STEPS = 3


class CaptureRefused(RuntimeError):
    """This step cannot be captured; the message says why. It can still be run."""


class StepCapture(Protocol):
    """A way to capture a step."""

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """What replays the step. Runs it a few times before: the caller puts back what that changed.

        Raises CaptureRefused, or what torch raises, where the step cannot be captured.
        """
        ...


class CudaGraphs:
    """Steps as CUDA graphs, each with memory of its own, so that several can be replayed at the same time."""

    def __init__(self, device: torch.device):
        self.device = device

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """As StepCapture; the replay goes to the stream that is current then."""
        now = torch.cuda.current_stream(self.device)
        side = torch.cuda.Stream(self.device)
        side.wait_stream(now)
        try:
            with torch.cuda.stream(side):
                for _ in range(WARM_UP_STEPS - 1):
                    step()
                _without_waiting(step)
        finally:
            now.wait_stream(side)  # the caller puts back what these steps change
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: what other threads of this process do meanwhile, such as saying that it is alive, is theirs.
            with torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
                step()
        except Exception:
            # torch leaves neither the stream nor, before 2.13, the random generator where a capture is broken off.
            torch.cuda.set_stream(now)
            _renew_generator(self.device)
            raise
        return graph.replay


@contextmanager
def noticing_waits(mode: str) -> Iterator[None]:
    """What waits for the GPU meanwhile is an error, or a warning; then all is as before. mode: `error` or `warn`."""
    before = torch.cuda.get_sync_debug_mode()
    _set_sync_debug_mode(mode)
    try:
        yield
    finally:
        _set_sync_debug_mode(before)


def _set_sync_debug_mode(mode: int | str) -> None:
    # torch says once a process that this is a prototype, which nobody who trains has asked for.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode(mode)


def _without_waiting(step: Callable[[], None]) -> None:
    """Run a step that may not wait for the GPU: one that does cannot be captured, and is better refused before."""
    try:
        with noticing_waits("error"):
            step()
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise CaptureRefused(f"the network waits for the GPU inside its step ({error})") from error


def _renew_generator(device: torch.device) -> None:
    """After a capture that was broken off the generator may take itself to be in it for ever: it gets another state."""
    index = torch.cuda.current_device() if device.index is None else device.index
    generator = torch.cuda.default_generators[index]
    generator.graphsafe_set_state(generator.clone_state())
