"""How many bytes does a training step hold? Measured with a few images, scaled to the batch."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

OPTIMIZER_COPIES = 2  # Adam's and AdamW's two moments of each trained parameter


@dataclass
class SavedBytes:
    """Bytes that autograd kept for the backward pass."""

    total: int = 0


@contextmanager
def saved_for_backward(kept: Iterable[Tensor]) -> Iterator[SavedBytes]:
    """Count what a forward pass saves for its backward pass. kept: parameters and inputs, which are there anyway."""
    counted, found = {tensor.untyped_storage().data_ptr() for tensor in kept}, SavedBytes()

    # autograd holds each tensor until backward, so that no two storages that are counted have one address.
    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in counted:
            counted.add(storage.data_ptr())
            found.total += storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


def step_bytes(network: nn.Module, saved: int, measured_images: int, step_images: int) -> int:
    """Parameters and buffers, gradients, moments of the optimiser, and what a step of so many images saves.

    saved: bytes that were saved for measured_images. In float32: half precision needs less.
    """
    parameters = list(network.parameters())
    trained = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    stored = sum(t.numel() * t.element_size() for t in (*parameters, *network.buffers()))
    return stored + (1 + OPTIMIZER_COPIES) * trained + saved * step_images // measured_images
