"""Batch norm over the global batch, and over fixed groups of it (MoCo's key encoder)."""

from functools import lru_cache

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from trainables.training import distributed

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# What folding a tensor's groups into channels and back moves, four times its bytes at 3 TB/s, is worth the 20 launches
# of 3 us that eight groups one after the other cost more: stated, not measured.
FOLDED_BYTES = 2**25


class _SumOverWorkers(torch.autograd.Function):
    """The sum over workers; its gradient is the sum of theirs, since each worker's loss depends on the sum."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def has_fused_kernels(x: Tensor) -> bool:
    """Whether torch has kernels of its own there for the statistics of several workers: on GPUs only."""
    return x.is_cuda


@lru_cache(maxsize=256)
def _counts(values: int, workers: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """How many values of a channel each worker has, as floats and as integers: the kernels want both on the device.

    Kept: making them would be two more launches for each layer and step.
    """
    counts = torch.full((workers,), float(values), device=device)
    return counts, counts.to(torch.int32)


class _FusedGlobalBatchNorm(torch.autograd.Function):
    """Batch norm over workers by the kernels of torch's SyncBatchNorm: one exchange forward, one backward.

    Not that module: it asks the device in each layer whether any worker had no rows, which waits for it. Here all have
    equally many.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, weight: Tensor | None, bias: Tensor | None, norm: "GlobalBatchNorm"
    ) -> Tensor:
        x, workers, channels = _dense(x), distributed.world_size(), x.shape[1]
        counts, whole_counts = _counts(x.numel() // channels, workers, x.device)
        mean, inverse = torch.batch_norm_stats(x, norm.eps)
        means, inverses = distributed.all_rows(torch.cat([mean, inverse])).view(workers, 2, channels).unbind(1)
        # It moves the running statistics too, the variance unbiased by the count of all workers.
        mean, inverse = torch.batch_norm_gather_stats_with_counts(
            x, means, inverses, norm.running_mean, norm.running_var, norm.momentum, norm.eps,
            counts.to(norm.running_mean.dtype),
        )  # fmt: skip
        ctx.save_for_backward(x, weight, mean, inverse, whole_counts)  # type: ignore[arg-type]  # it takes None too
        return torch.batch_norm_elemt(x, weight, bias, mean, inverse, norm.eps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight, mean, inverse, counts = ctx.saved_tensors  # type: ignore[attr-defined]  # torch types forward's side only
        of_input, of_weight, of_bias, _ = ctx.needs_input_grad  # type: ignore[attr-defined]  # as above
        gradient = _dense(gradient)
        sums, products, weight_gradient, bias_gradient = torch.batch_norm_backward_reduce(
            gradient, x, mean, inverse, weight, of_input, of_weight, of_bias
        )
        found = None
        if of_input:
            both = torch.cat([sums, products])
            dist.all_reduce(both)
            scale = None if weight is None else weight.to(mean.dtype)
            found = torch.batch_norm_backward_elemt(
                gradient, x, mean, inverse, scale, both[: len(sums)], both[len(sums) :], counts
            )
        # Those of weight and bias are of this worker's loss: they are averaged as all parameters' are.
        return found, weight_gradient if of_weight else None, bias_gradient if of_bias else None, None


def _dense(x: Tensor) -> Tensor:
    """The same values in one of the two memory formats that the kernels read."""
    return x if x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last) else x.contiguous()


class _BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch norm that keeps the dropout and activation of timm's fused layers, under their names in timm.

    So the state of a converted network has the names of the plain one. `_replace` makes these only of batch norms that
    track running statistics and have a momentum, so neither is None.
    """

    momentum: float
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def followed(self, out: Tensor) -> Tensor:
        """What timm's fused layer does behind its batch norm: dropout, then activation, where it has them."""
        for part in ("drop", "act"):
            if hasattr(self, part):
                out = getattr(self, part)(out)
        return out


class GlobalBatchNorm(_BatchNorm):
    """Batch norm with the statistics of all workers' rows, with gradient; torch's SyncBatchNorm refuses the CPU.

    (N, C, ...) -> the same. Equal to nn.BatchNorm on the concatenated batch. On a GPU by fused kernels, elsewhere by
    the formula; every worker must have equally many rows.
    """

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 2:
            raise ValueError(f"batch norm takes (N, C, ...), got {tuple(x.shape)}")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same; in training by the statistics of the rows of all workers, else by the running ones.

        Raises ValueError for fewer than two axes.
        """
        self._check_input_dim(x)
        if not self.training or distributed.world_size() == 1:
            return self.followed(super().forward(x))
        if has_fused_kernels(x):
            self.num_batches_tracked += 1
            return self.followed(_FusedGlobalBatchNorm.apply(x, self.weight, self.bias, self))
        axes = [0, *range(2, x.ndim)]  # all but the channels
        wide = x if x.dtype == torch.float64 else x.float()
        # Values of one channel on all workers, which have equally many rows.
        count = wide.numel() / wide.shape[1] * distributed.world_size()
        mean = _SumOverWorkers.apply(wide.sum(axes)) / count
        shape = [1, -1, *[1] * (x.ndim - 2)]
        # Two passes, and not the mean of squares minus the square of the mean, which cancels in float32.
        centred = wide - mean.view(shape)
        # The gradient through both sums is what makes this equal to batch norm over the concatenated batch.
        variance = _SumOverWorkers.apply(centred.pow(2).sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            # As torch: the running variance is unbiased (n - 1), what the batch is divided by is not (n).
            unbiased = variance * (count / (count - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        out = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return self.followed(out.to(x.dtype))


class SplitBatchNorm(_BatchNorm):
    """Batch norm of `groups` contiguous parts of the rows, each with its own statistics.

    So a single worker's key encoder sees what that many workers without synchronisation would
    (He et al., 2020, shuffled batch norm). Running statistics are the mean over the groups.
    """

    groups: int = 1

    def _check_input_dim(self, x: Tensor) -> None:
        if len(x) % self.groups:
            raise ValueError(f"split batch norm: {len(x)} rows do not divide into {self.groups} groups")

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same; in training N must be a multiple of `groups`, else ValueError is raised."""
        if not self.training or self.groups == 1:
            return self.followed(super().forward(x))
        self._check_input_dim(x)
        groups, channels = self.groups, x.shape[1]
        # batch_norm updates what it is given: here G copies, whose mean becomes the one that is kept.
        mean, variance = self.running_mean.repeat(groups), self.running_var.repeat(groups)
        by_group = has_fused_kernels(x) and x.nbytes >= FOLDED_BYTES and not torch.is_grad_enabled()
        out = (self._by_group if by_group else self._folded)(x, mean, variance)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.copy_(mean.view(groups, channels).mean(0))
            self.running_var.copy_(variance.view(groups, channels).mean(0))
        return self.followed(out)

    def _folded(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Groups become channels, and one call of batch norm keeps them apart: two copies of x."""
        groups, channels, rest = self.groups, x.shape[1], x.shape[2:]
        # (G n, C, ...) -> (n, G C, ...)
        split = x.view(groups, -1, channels, *rest).transpose(0, 1).reshape(-1, groups * channels, *rest)
        weight = self.weight.repeat(groups) if self.affine else None
        bias = self.bias.repeat(groups) if self.affine else None
        out = functional.batch_norm(split, mean, variance, weight, bias, True, self.momentum, self.eps)
        return out.view(-1, groups, channels, *rest).transpose(0, 1).reshape(x.shape)

    def _by_group(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Each group's rows into their place of the result: no copy of x, three passes over it in place of seven.

        Without gradient, which an operator with a given result has none of; keys take none.
        """
        out = torch.empty_like(x)
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        saved = torch.empty(2, x.shape[1], dtype=wide, device=x.device)
        weight, bias = (self.weight, self.bias) if self.affine else (None, None)
        parts = (whole.chunk(self.groups) for whole in (x, mean, variance, out))
        for rows, group_mean, group_variance, into in zip(*parts, strict=True):
            torch.native_batch_norm(
                rows, weight, bias, group_mean, group_variance, True, self.momentum, self.eps, out=(into, *saved)
            )
        return out


def _replace(module: nn.Module, kind: type[_BatchNorm], groups: int | None) -> nn.Module:
    """Exchange every plain batch norm below `module`, in place, for one of `kind` that shares its parameters, buffers
    and options. Raises ValueError for a batch norm that averages over all batches (momentum None).
    """
    for name, child in module.named_children():
        if isinstance(child, BATCH_NORMS):
            if child.momentum is None:
                raise ValueError(
                    f"batch norm {name!r} has momentum None, a cumulative average; give it a number, as the paper's "
                    "networks have"
                )
            # The same tensors and not copies: an optimiser that was built before keeps its parameters.
            new = kind(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
            new.weight, new.bias = child.weight, child.bias
            for buffer in ("running_mean", "running_var", "num_batches_tracked"):
                setattr(new, buffer, getattr(child, buffer))
            new.train(child.training)
            for part in ("drop", "act"):
                if hasattr(child, part):
                    setattr(new, part, getattr(child, part))
            if groups is not None and isinstance(new, SplitBatchNorm):
                new.groups = groups
            setattr(module, name, new)
        else:
            _replace(child, kind, groups)
    return module


def convert_to_global(module: nn.Module) -> nn.Module:
    """Plain batch norms become global ones; split ones stay."""
    return _replace(module, GlobalBatchNorm, None)


def convert_to_split(module: nn.Module, groups: int) -> nn.Module:
    """Plain batch norms become split ones with `groups` groups on this worker."""
    return _replace(module, SplitBatchNorm, groups)


@torch.no_grad()
def average_running_statistics(module: nn.Module) -> None:
    """Make running statistics equal on all workers; they are linear in the batches, so the mean is exact."""
    if distributed.world_size() == 1:
        return
    buffers = [b for m in module.modules() if isinstance(m, SplitBatchNorm) for b in (m.running_mean, m.running_var)]
    if not buffers:
        return
    flat = distributed.mean(torch.cat([b.flatten() for b in buffers]))
    for buffer, part in zip(buffers, flat.split([b.numel() for b in buffers]), strict=True):
        buffer.copy_(part.view_as(buffer))
