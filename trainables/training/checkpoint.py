"""How tensors become bytes and come back without running code: safetensors for weights, weights_only for state."""

import io
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from datasets_io.storage.artefacts import Artefacts, CorruptArtefact
from datasets_io.untrusted import sentence

# What a file of weights raises whose header is not true of it: of safetensors, and of torch as it makes the tensors.
NOT_WEIGHTS = (SafetensorError, ValueError, KeyError, TypeError, OverflowError, RuntimeError, MemoryError)


def weights_to_bytes(tensors: dict[str, Tensor]) -> bytes:
    """safetensors bytes of named tensors, on the CPU and contiguous."""
    return save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})


def weights_from_bytes(data: bytes, path: str = "the file of weights") -> dict[str, Tensor]:
    """Named tensors of safetensors bytes, on the CPU. No code in them is run. path: how an error names the file.

    Raises CorruptArtefact for bytes that are no such file. Without a folder to be put into quarantine: these are the
    bytes that were sealed, so that whoever compares hashes finds nothing to move.
    """
    try:
        return load(data)
    except NOT_WEIGHTS as error:
        raise CorruptArtefact(f"{path} holds no weights ({_short(error)})", advice=_remove_its_folder(path)) from error


def read_weights(artefacts: Artefacts, name: str) -> dict[str, Tensor]:
    """Named tensors of a finished folder's file, on the CPU. Raises CorruptArtefact where they cannot be read."""
    return weights_from_bytes(artefacts.read(name), f"{artefacts.folder}/{name}")


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: str) -> None:
    """Give a module all of its tensors, which were read from path.

    Raises CorruptArtefact where one is missing, too many or of another shape.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        what = f"{path} has other tensors than its network ({_short(error)})"
        raise CorruptArtefact(what, advice=_remove_its_folder(path)) from error


def _short(error: BaseException) -> str:
    return sentence(" ".join(f"{type(error).__name__}: {error}".split()))[:300]


def _remove_its_folder(path: str) -> str:
    folder = path.rpartition("/")[0]
    return f"remove the folder {folder} to compute it again" if folder else "write it again"


def state_from_bytes(data: bytes) -> dict[str, Any]:
    """What torch.save was given, on the CPU. Raises pickle.UnpicklingError for anything but plain values."""
    # On the CPU whatever device it was saved from: the machine that goes on may have other GPUs.
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state


def copy_state(module: nn.Module) -> dict[str, Tensor]:
    """A module's tensors as they are now, on the CPU, safe from later training."""
    return {name: value.detach().to("cpu", copy=True) for name, value in module.state_dict().items()}
