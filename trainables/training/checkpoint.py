"""How tensors become bytes and come back without running code: safetensors for weights, weights_only for state."""

import io
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn


def weights_to_bytes(tensors: dict[str, Tensor]) -> bytes:
    """safetensors bytes of named tensors, on the CPU and contiguous."""
    return save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def weights_from_bytes(data: bytes) -> dict[str, Tensor]:
    """Named tensors of safetensors bytes, on the CPU. No code in them is run."""
    return load(data)


def state_from_bytes(data: bytes) -> dict[str, Any]:
    """What torch.save was given, on the CPU. Raises pickle.UnpicklingError for anything but plain values."""
    # On the CPU whatever device it was saved from: the machine that goes on may have other GPUs.
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


def copy_state(module: nn.Module) -> dict[str, Tensor]:
    """A module's tensors as they are now, on the CPU, safe from later training."""
    return {name: value.detach().to("cpu", copy=True) for name, value in module.state_dict().items()}
