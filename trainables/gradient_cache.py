"""Large batches on small devices: the gradient of the whole batch's loss in two passes over chunks (Gao et al., 2021).

Exact for the loss. Batch norm sees a chunk at a time, as it would on unsynchronised workers.
"""

import torch
from torch import Tensor, nn

from trainables import distributed
from trainables.batch import Batch
from trainables.precision import scaled_sum


def chunks_of(batch: Batch, size: int) -> list[Batch]:
    """Slices of `size` rows."""
    if size < 1:
        raise ValueError(f"gradient_cache_chunk is {size}; it must be at least 1 image")
    count = len(next(iter(batch.views.values())))

    def cut(tensor: Tensor | None, start: int) -> Tensor | None:
        return None if tensor is None else tensor[start : start + size]

    return [
        Batch({k: cut(v, s) for k, v in batch.views.items()}, cut(batch.input_ids, s), cut(batch.attention_mask, s))
        for s in range(0, count, size)
    ]


def cached_backward(
    model: nn.Module, batch: Batch, chunk: int, scaler: torch.amp.GradScaler | None = None
) -> dict[str, Tensor]:
    """Add the gradient of sum(losses(embed(batch))) to the parameters; the losses, detached.

    model: a module with `backbone` and `objective`, not wrapped: gradients are averaged over workers here, since
    DistributedDataParallel does so only after its own forward. Pass one embeds without graph; the loss is
    differentiated at the embeddings; pass two embeds again, with the same dropout and the same batch-norm state,
    and carries the gradients on. Parameters of the loss itself (a learnable temperature) get theirs in between.
    """
    parts = chunks_of(batch, chunk)
    states, embedded = [], []
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    with torch.no_grad():
        for part in parts:
            states.append(_random_state(part))
            embedded.append(model.objective.embed(model.backbone, part))
    leaves = {name: _leaf(torch.cat([e[name] for e in embedded])) for name in embedded[0]}
    losses = model.objective.precise_losses(leaves)
    scaled_sum(losses, scaler).backward()
    with torch.no_grad():
        for name, value in model.named_buffers():
            value.copy_(buffers[name])
    for number, (part, state) in enumerate(zip(parts, states, strict=True)):
        _restore(state, part)
        again = model.objective.embed(model.backbone, part)
        rows = slice(number * chunk, number * chunk + len(next(iter(part.views.values()))))
        # What has no graph (momentum keys, identities of reports) takes no gradient.
        wanted = [n for n, leaf in leaves.items() if leaf.grad is not None and again[n].requires_grad]
        torch.autograd.backward([again[n] for n in wanted], [leaves[n].grad[rows] for n in wanted])
    distributed.average_gradients(model.parameters())
    return {name: value.detach() for name, value in losses.items()}


def _leaf(value: Tensor) -> Tensor:
    return value.requires_grad_() if value.is_floating_point() else value


def _random_state(part: Batch) -> tuple[Tensor, Tensor | None]:
    on_gpu = next(iter(part.views.values())).is_cuda
    return torch.get_rng_state(), torch.cuda.get_rng_state() if on_gpu else None


def _restore(state: tuple[Tensor, Tensor | None], part: Batch) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
