"""Workers of one training: gathering with gradient, means over workers, and the wrapper that averages gradients."""

import warnings
from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

BUCKET_BYTES = 25 * 2**20  # of gradients in one exchange, as DistributedDataParallel has it


def world_size() -> int:
    """How many workers train together; 1 where no process group was made."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This worker's number, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def all_rows(local: Tensor) -> Tensor:
    """(b, ...) on each worker -> (B, ...) on all, in one exchange and straight into its place. Without gradient."""
    everyone = local.new_empty((world_size() * len(local), *local.shape[1:]))
    # Torch renames it in 2.14, and earlier ones know only the other name.
    gather_into = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    gather_into(everyone, local.contiguous())
    return everyone


class _Gather(torch.autograd.Function):
    """All workers' rows, in the order of their ranks; the gradient of every worker's loss flows back."""

    @staticmethod
    def forward(ctx: FunctionCtx, local: Tensor) -> Tensor:
        ctx.rows = len(local)  # type: ignore[attr-defined]  # a context takes any attribute, its class declares none
        return all_rows(local)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        # Every worker's loss depends on these rows: their gradients are summed, and each takes those of its own rows.
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        rows: int = ctx.rows  # type: ignore[attr-defined]  # as above
        return total[rank() * rows : (rank() + 1) * rows]


def gather_with_grad(local: Tensor) -> Tensor:
    """(b, ...) on each worker -> (B, ...) on all. Every worker must have the same b.

    With losses whose mean over workers is the global loss, averaged parameter gradients equal those of one
    worker with the whole batch.
    """
    return local if world_size() == 1 else _Gather.apply(local)


@torch.no_grad()
def gather(local: Tensor) -> Tensor:
    """(b, ...) -> (B, ...) as gather_with_grad, without gradient: for keys, targets and identities."""
    return local if world_size() == 1 else all_rows(local)


def mean(value: Tensor) -> Tensor:
    """Mean over workers of a tensor of any shape, equal on all workers, without gradient."""
    if world_size() == 1:
        return value.detach()
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / world_size()


def means(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Means over workers of named scalars, without gradient, in one exchange."""
    if world_size() == 1:
        return {name: value.detach() for name, value in values.items()}
    # Stacked to one vector: a collective costs its latency, not its few bytes.
    return dict(zip(values, mean(torch.stack(list(values.values()))).unbind(), strict=True))


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over workers. Every worker must have gradients of the same parameters.

    Many at once: an exchange costs its latency, and a network has hundreds of parameters. With two workers the bits are
    those of one exchange a parameter; with more, a library may add the workers of an element in another order.
    """
    if world_size() == 1:
        return
    for bucket in _buckets(p.grad for p in parameters if p.grad is not None):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        flat /= world_size()
        parts = flat.split([gradient.numel() for gradient in bucket])
        torch._foreach_copy_(bucket, [part.view(g.shape) for part, g in zip(parts, bucket, strict=True)])


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type each, in their order; a bucket ends with the tensor that fills BUCKET_BYTES."""
    bucket: list[Tensor] = []
    size = 0
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or size >= BUCKET_BYTES):
            yield bucket
            bucket, size = [], 0
        bucket.append(tensor)
        size += tensor.nbytes
    if bucket:
        yield bucket


def broadcast_int(value: int) -> int:
    """Worker 0's number on every worker."""
    if world_size() == 1:
        return value
    shared = torch.tensor([value], device=_device_of_group())
    dist.broadcast(shared, src=0)
    return int(shared.item())


def int_of_each(value: int) -> list[int]:
    """Every worker's number, in the order of their ranks, on every worker."""
    if world_size() == 1:
        return [value]
    found: list[int] = all_rows(torch.tensor([value], device=_device_of_group())).tolist()
    return found


def _device_of_group() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"  # NCCL moves tensors of GPUs only


def barrier() -> None:
    """Wait until every worker is here."""
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
        # Gradients lie in the buckets that are exchanged: no copy of them, and no memory for two. The graph is static:
        # each step takes a gradient of the same parameters, once each.
        return nn.parallel.DistributedDataParallel(
            model, device_ids=ids, broadcast_buffers=False, gradient_as_bucket_view=True, static_graph=True
        )
