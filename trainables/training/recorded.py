"""A captured step on a CPU: its operators are recorded once, and replayed on the same memory, by the rules of a graph.

What it is for: a step that a CUDA graph would freeze or refuse is wrong here too, so tests without a GPU see it. Python
is not run again at a replay; each operator reads and writes the tensors of the recording. It is slower than the step.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainables.training.capture import CaptureRefused

# Operators that copy a number to Python, which on a GPU waits for it, and that make a tensor from numbers of Python,
# which on a GPU is a copy out of memory that is gone at the replay.
READS = ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero", "aten::unique_dim")
FROM_PYTHON = ("aten::lift_fresh", "aten::lift_fresh_copy", "aten::lift")


@dataclass(frozen=True)
class _Call:
    """One operator as it was called. outputs: what it made, in memory of its own; empty where it only wrote."""

    operator: Any  # torch's class of operators has no public name
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Tensor, ...]

    def again(self) -> None:
        """Call it with the same tensors, and put what it makes where it was put first."""
        made = self.operator(*self.args, **self.kwargs)
        if self.outputs:
            for kept, new in zip(self.outputs, _tensors(made), strict=True):
                kept.copy_(new)


@dataclass
class _Recording(TorchDispatchMode):
    """Records what runs below it. made: addresses of memory that it made; read: what it read before having written it.

    kept: tensors of all addresses, so that none is given to another tensor meanwhile.
    """

    calls: list[_Call] = field(default_factory=list)
    made: set[int] = field(default_factory=set)
    read: set[int] = field(default_factory=set)
    kept: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name in READS:
            raise CaptureRefused(f"the step reads a number out of a tensor ({func}): on a GPU it would wait for it")
        if name in FROM_PYTHON:
            raise CaptureRefused(f"the step makes a tensor from numbers of Python ({func}): make it before, once")
        result = func(*args, **kwargs)
        self._note(func, args, kwargs, result)
        return result

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        inputs, outputs = _tensors((args, kwargs)), _tensors(result)
        self.kept += [*inputs, *outputs]
        written = {_address(kwargs[a.name]) for a in func._schema.arguments if a.is_out and a.name in kwargs}
        known = self.made | written
        self.read |= {_address(tensor) for tensor in inputs} - known
        self.made |= written | ({_address(tensor) for tensor in outputs} - self.read)
        if not outputs and not func._schema.is_mutable:
            return  # of the profiler
        if func._schema.is_mutable:
            self.calls.append(_Call(func, args, kwargs, ()))
        elif func._schema.name.startswith(("aten::empty", "aten::new_empty")):
            return  # memory without values, which stays as it is
        elif not {_address(tensor) for tensor in outputs} & {_address(tensor) for tensor in inputs}:
            self.calls.append(_Call(func, args, kwargs, tuple(outputs)))
        # else a view, which sees what is written into its memory


class RecordedSteps:
    """As StepCapture, by recorded operators, on a CPU."""

    def capture(self, step: Callable[[], None]) -> Callable[[], None]:
        """What replays the step, which is run three times before.

        Raises CaptureRefused for a step that reads a number, makes a tensor from one, or reads a tensor that was not
        there the last time: it would be this one for ever.
        """
        step()  # what is made once, such as the optimiser's state, is made here
        before, recording = _recorded(step), _recorded(step)
        if fresh := recording.read - before.read:
            shapes = {tuple(tensor.shape) for tensor in recording.kept if _address(tensor) in fresh}
            raise CaptureRefused(f"the step reads tensors that are made anew each time, of shapes {sorted(shapes)}")
        calls = recording.calls

        def replay() -> None:
            with torch.no_grad():
                for call in calls:
                    call.again()

        return replay


def _recorded(step: Callable[[], None]) -> _Recording:
    with _Recording() as recording:
        step()
    return recording


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _address(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
