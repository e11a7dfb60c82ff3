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

# Operators that copy a number to Python, for which a GPU is waited for.
READS = ("aten::_local_scalar_dense", "aten::is_nonzero", "aten::equal", "aten::nonzero", "aten::unique_dim")
# And that make a tensor of Python's memory, which a graph reads when it is gone; it may be written to.
FROM_PYTHON = ("aten::lift_fresh", "aten::lift_fresh_copy", "aten::lift")


@dataclass(frozen=True)
class _Call:
    """One operator as it was called. outputs: what it gave; None where that lies in the memory of what it was given."""

    operator: Any  # torch's class of operators has no public name
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    outputs: tuple[Tensor | None, ...]

    def again(self) -> None:
        """Call it with the same tensors, and put what it makes where it was put first."""
        made = self.operator(*self.args, **self.kwargs)
        for kept, new in zip(self.outputs, _tensors(made), strict=True):
            if kept is not None:
                kept.copy_(new)


@dataclass
class _Recording(TorchDispatchMode):
    """Records what runs below it. made: addresses of memory that it made; read: what it read before having written it.

    foreign: of memory that Python gave meanwhile. kept: tensors of all addresses, so that none is given to another.
    """

    calls: list[_Call] = field(default_factory=list)
    made: set[int] = field(default_factory=set)
    read: set[int] = field(default_factory=set)
    foreign: set[int] = field(default_factory=set)
    kept: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name in READS:
            raise CaptureRefused(f"the step reads a number out of a tensor ({func}): on a GPU it would wait for it")
        result = func(*args, **kwargs)
        if name in FROM_PYTHON:
            self.kept.append(result)
            self.foreign.add(_address(result))
        else:
            self._note(func, args, kwargs, result)
        return result

    def _note(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        inputs, outputs = _tensors((args, kwargs)), _tensors(result)
        self.kept += [*inputs, *outputs]
        given = {_address(tensor) for tensor in inputs}
        written = {_address(kwargs[a.name]) for a in func._schema.arguments if a.is_out and a.name in kwargs}
        self.read |= given - self.made - written
        if self.read & self.foreign:
            raise CaptureRefused(
                f"the step makes a tensor from numbers of Python, read by {func}: make it before, once"
            )
        self.made |= written | ({_address(tensor) for tensor in outputs} - self.read)
        if func._schema.name.startswith(("aten::empty", "aten::new_empty")):
            return  # memory without values, which stays as it is
        made = tuple(None if _address(tensor) in given else tensor for tensor in outputs)
        # Else a view, which sees what is written into its memory, or nothing at all, as of the profiler.
        if func._schema.is_mutable or any(tensor is not None for tensor in made):
            self.calls.append(_Call(func, args, kwargs, made))


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
