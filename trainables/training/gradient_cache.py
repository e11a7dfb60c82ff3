"""Large batches on small devices: the gradient of the whole batch's loss in two passes over chunks (Gao et al., 2021).

Exact for the loss. Batch norm sees a chunk at a time: with chunks of 256 a batch of 1,024 has the batch-norm statistics
of four batches of 256, on any number of workers.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from trainables.batch import Batch
from trainables.training import distributed
from trainables.training.precision import scaled_sum


class EmbeddingObjective(Protocol):
    """What of an objective the two passes use (trainables.objectives.base.Objective)."""

    def embed(self, backbone: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Each view through the backbone and its head: tensors whose first axis is the images."""
        ...

    def precise_losses(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        """Named losses of the embeddings, outside autocast."""
        ...


class EmbeddingModel(Protocol):
    """A module made of a backbone and an objective (trainables.pretraining.task.Model)."""

    @property
    def backbone(self) -> nn.Module:
        """The image network."""
        ...

    @property
    def objective(self) -> EmbeddingObjective:
        """What is minimised on its features."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those of both."""
        ...

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Those of both: batch-norm statistics, queues."""
        ...


def num_chunks(global_batch_size: int, chunk: int, workers: int) -> int:
    """Into how many chunks of `chunk` images a global batch falls. Raises ValueError for what is not even."""
    if chunk < 1 or (chunk < global_batch_size and global_batch_size % chunk):
        raise ValueError(
            f"gradient_cache_chunk is {chunk}: global_batch_size {global_batch_size} must be a multiple of it"
        )
    count = max(1, global_batch_size // chunk)
    if global_batch_size % (workers * count):
        raise ValueError(
            f"global_batch_size {global_batch_size} / {workers} workers / {count} chunks of {chunk} = "
            f"{global_batch_size / workers / count:g} images: it must be a whole number; choose another "
            "gradient_cache_chunk"
        )
    return count


def chunks_of(batch: Batch, count: int) -> list[Batch]:
    """Every count-th row from the first on, from the second on, ...: so the chunks of all workers together are the
    chunks of one worker with the whole batch.
    """

    def cut(start: int) -> Batch:
        ids, mask, lengths = (
            None if one is None else one[start::count]
            for one in (batch.input_ids, batch.attention_mask, batch.text_lengths)
        )
        return Batch({name: view[start::count] for name, view in batch.views.items()}, ids, mask, lengths)

    return [cut(start) for start in range(count)]


def cached_backward(
    model: EmbeddingModel,
    batch: Batch,
    chunk: int,
    scaler: torch.amp.GradScaler | None = None,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> dict[str, Tensor]:
    """Add the gradient of sum(losses(embed(batch))) to the parameters; the losses, detached.

    model: a module with `backbone` and `objective`, not wrapped: gradients are averaged over workers here, since
    DistributedDataParallel does so only after its own forward. chunk: images of the global batch. autocast: the context
    of each pass through the networks. Both backward passes are outside of it, as this call must be: within it gradients
    of the float32 losses would be rounded to half precision.

    Pass one embeds without graph; the loss is differentiated at the embeddings; pass two embeds again, with the
    same dropout and the same batch-norm state, and carries the gradients on. Parameters of the loss itself (a
    learnable temperature) get theirs in between.
    """
    rows = len(next(iter(batch.views.values())))
    count = num_chunks(rows * distributed.world_size(), chunk, distributed.world_size())
    parts = chunks_of(batch, count)
    states: list[tuple[Tensor, Tensor | None]] = []
    embedded: list[dict[str, Tensor]] = []
    # Pass one updates batch-norm statistics as pass two will again: they are put back between the two.
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    with torch.no_grad(), autocast():
        for part in parts:
            states.append(_random_state(part))
            embedded.append(model.objective.embed(model.backbone, part))
    # Stacked beside each other the chunks' rows are in the batch's order again.
    leaves = {name: _leaf(torch.stack([e[name] for e in embedded], dim=1).flatten(0, 1)) for name in embedded[0]}
    # The leaves stand for the embeddings of the whole batch: their gradients are all that pass two needs of the loss.
    losses = model.objective.precise_losses(leaves)
    scaled_sum(losses, scaler).backward()
    with torch.no_grad():
        for name, value in model.named_buffers():
            value.copy_(buffers[name])
    for number, (part, state) in enumerate(zip(parts, states, strict=True)):
        _restore(state, part)
        with autocast():
            again = model.objective.embed(model.backbone, part)
        # What has no graph (momentum keys, identities of reports) takes no gradient.
        given = {n: leaf.grad for n, leaf in leaves.items() if leaf.grad is not None and again[n].requires_grad}
        torch.autograd.backward([again[n] for n in given], [gradient[number::count] for gradient in given.values()])
    # Once for all chunks, since each chunk's gradients are summed in the parameters.
    distributed.average_gradients(model.parameters())
    return {name: value.detach() for name, value in losses.items()}


def _leaf(value: Tensor) -> Tensor:
    return value.requires_grad_() if value.is_floating_point() else value


def _random_state(part: Batch) -> tuple[Tensor, Tensor | None]:
    """The generators' state, of CPU and GPU: a chunk's second pass must draw the dropout of its first."""
    on_gpu = next(iter(part.views.values())).is_cuda
    return torch.get_rng_state(), torch.cuda.get_rng_state() if on_gpu else None


def _restore(state: tuple[Tensor, Tensor | None], part: Batch) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1])
