"""Workers of one training: gathering with gradient, means over workers, and the wrapper that averages gradients."""

import warnings
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


class _Gather(torch.autograd.Function):
    """All workers' rows, in the order of their ranks; the gradient of every worker's loss flows back."""

    @staticmethod
    def forward(ctx, local: Tensor) -> Tensor:
        ctx.rows = len(local)
        parts = [torch.empty_like(local) for _ in range(world_size())]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total[rank() * ctx.rows : (rank() + 1) * ctx.rows]


def gather_with_grad(local: Tensor) -> Tensor:
    """(b, ...) on each worker -> (B, ...) on all. Every worker must have the same b.

    With losses whose mean over workers is the global loss, averaged parameter gradients equal those of one
    worker with the whole batch.
    """
    return local if world_size() == 1 else _Gather.apply(local)


@torch.no_grad()
def gather(local: Tensor) -> Tensor:
    """The same without gradient."""
    if world_size() == 1:
        return local
    parts = [torch.empty_like(local) for _ in range(world_size())]
    dist.all_gather(parts, local.contiguous())
    return torch.cat(parts)


def mean(value: Tensor) -> Tensor:
    """Mean over workers, without gradient."""
    if world_size() == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def means(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Means over workers of named scalars, without gradient, in one exchange."""
    if world_size() == 1:
        return {name: value.detach() for name, value in values.items()}
    return dict(zip(values, mean(torch.stack(list(values.values()))).unbind(), strict=True))


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over workers. Every worker must have gradients of the same parameters."""
    if world_size() == 1:
        return
    for parameter in parameters:
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= world_size()


def broadcast_int(value: int) -> int:
    """Worker 0's number on every worker."""
    if world_size() == 1:
        return value
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    shared = torch.tensor([value], device=device)
    dist.broadcast(shared, src=0)
    return int(shared)


def barrier() -> None:
    if world_size() > 1:
        dist.barrier()


def wrap(model: nn.Module, device: torch.device) -> nn.Module:
    """The module whose backward averages gradients over workers; the module itself where there is one worker."""
    if world_size() == 1:
        return model
    ids = [device.index or 0] if device.type == "cuda" else None
    # Buffers agree by construction: every worker builds from one seed, batch statistics are global, queues gathered.
    with warnings.catch_warnings():
        # Newer torch renames the option, older ones know only this name.
        warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
        return nn.parallel.DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)
