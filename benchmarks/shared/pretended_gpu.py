"""A GPU that computes nothing: tensors of torch's `meta` device, and a mode that refuses what would wait for a GPU.

What a real one refuses under torch.cuda.set_sync_debug_mode("error") is told from the operators that a step calls.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainables.networks import normalisation, text
from trainables.training import distributed

GPU = torch.device("meta")
# Operators whose result, or the size of it, the host must know.
WAITING = (
    "_local_scalar_dense", "nonzero", "nonzero_numpy", "equal", "masked_select", "_unique", "_unique2", "unique_dim",
    "unique_consecutive", "unique_dim_consecutive", "bincount", "is_nonzero", "histc", "repeat_interleave",
)  # fmt: skip
Shapes = tuple[torch.Size, ...]


class Waits(AssertionError):
    """An operator that would wait for the GPU."""


class OperatorCount(TorchDispatchMode):
    """Counts the operators that are called, by name."""

    def __init__(self, seen: Counter):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[str(function)] += 1
        return function(*args, **(kwargs or {}))


class NoWaiting(OperatorCount):
    """Counts the operators that get or make a tensor of the GPU; raises Waits at one that the host would wait for.

    strict: False for a first step, which may wait for what is kept after it.
    """

    def __init__(self, seen: Counter, strict: bool = True):
        super().__init__(seen)
        self.strict = strict
        self.numbers = _NoNumbers(self)

    def __enter__(self) -> "NoWaiting":
        self.numbers.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.numbers.__exit__(*error)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        to = kwargs.get("device")
        if not any(tensor.is_meta for tensor in given) and (to is None or torch.device(to) != GPU):
            return function(*args, **kwargs)
        name = function.overloadpacket.__name__
        self.seen[name] += 1
        if name in WAITING and not (name == "repeat_interleave" and kwargs.get("output_size") is not None):
            raise Waits(f"{function} asks the GPU for its values")
        if name == "_to_copy":
            return self._copied(function, args, kwargs)
        if name == "copy_":
            self._check_copy(args[0].is_meta, args[1].is_meta, args[2] if len(args) > 2 else kwargs.get("non_blocking"))
            return function(*args, **kwargs) if args[0].is_meta else args[0].zero_()
        if name.startswith(("index", "_index_put")) and any(tensor.dtype == torch.bool for tensor in given[1:]):
            raise Waits(f"{function} is given a mask, and asks the GPU how many values it has")
        if any(tensor.ndim and not tensor.is_meta for tensor in given):
            raise Waits(f"{function} is given tensors of the CPU: they are sent, and waited for")
        return KERNELS[name](*args) if name in KERNELS else function(*args, **kwargs)

    def _copied(self, function: Any, args: Any, kwargs: Any) -> Tensor:
        from_gpu = args[0].is_meta
        to_gpu = from_gpu if kwargs.get("device") is None else torch.device(kwargs["device"]) == GPU
        self._check_copy(to_gpu, from_gpu, kwargs.get("non_blocking"))
        if from_gpu and not to_gpu:
            return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        return function(*args, **kwargs)

    def _check_copy(self, to_gpu: bool, from_gpu: bool, non_blocking: bool | None) -> None:
        if self.strict and to_gpu != from_gpu and not non_blocking:
            raise Waits(f"a copy {'to' if to_gpu else 'from'} the GPU is waited for: it must be non_blocking")


class _NoNumbers(TorchFunctionMode):
    """torch.tensor is no operator: it makes a tensor of numbers on the CPU, copies it, and waits."""

    def __init__(self, mode: NoWaiting):
        super().__init__()
        self.mode = mode

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        to = (kwargs or {}).get("device")
        if self.mode.strict and function in (torch.tensor, torch.as_tensor) and to is not None:
            self.mode._check_copy(torch.device(to) == GPU, False, None)
        return function(*args, **(kwargs or {}))


def _columns(x: Tensor, count: int) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape[1], dtype=torch.float32) for _ in range(count))


# Those that torch knows no shapes of.
KERNELS: dict[str, Any] = {
    "batch_norm_stats": lambda x, eps: _columns(x, 2),
    "batch_norm_gather_stats_with_counts": lambda x, *more: _columns(x, 2),
    "batch_norm_elemt": lambda x, *more: torch.empty_like(x),
    "batch_norm_backward_reduce": lambda gradient, x, *more: _columns(x, 4),
    "batch_norm_backward_elemt": lambda gradient, x, *more: torch.empty_like(x),
}


@contextmanager
def pretended_gpu(workers: int = 1) -> Iterator[None]:
    """What asks for the kind of a device takes `meta` for a GPU. workers: of a group in which nobody answers."""
    plain = torch.autocast

    def autocast(kind: str, **more: Any) -> AbstractContextManager:
        return nullcontext() if kind == "meta" else plain(kind, **more)  # it knows no meta device

    with ExitStack() as stack:
        for where, name, value in (
            (normalisation, "has_fused_kernels", lambda x: x.is_meta),
            (torch, "autocast", autocast),
            # Nor do fused optimisers, though their kernels know its shapes.
            (sys.modules[torch.optim.Adam.__module__], "_device_dtype_check_for_fused", lambda parameter: None),
        ):
            stack.enter_context(patch.object(where, name, value))
        stack.enter_context(patch.dict(text.CALL_PRODUCTS, {"meta": text.CALL_PRODUCTS["cuda"]}))
        if workers > 1:
            stack.enter_context(_silent_group(workers))
        yield


@contextmanager
def _silent_group(workers: int) -> Iterator[None]:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=workers)
    try:
        # DistributedDataParallel's C++ part keeps buckets on a device, and there is none.
        with patch.object(distributed, "wrap", lambda model, device: model):
            yield
    finally:
        dist.destroy_process_group()
