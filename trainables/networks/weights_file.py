"""Tensors of a file of weights."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor


def read_weights(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Tensors of a .safetensors or a .pth file (read with weights_only, so no code in it runs), on the CPU.

    Raises ValueError where there is no file, or its sha256 is another than the one given.
    """
    if not path.is_file():
        raise ValueError(f"weights file {path} does not exist")
    if sha256 is not None and hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise ValueError(f"weights file {path} is not the one the recipe names: its sha256 differs from {sha256}")
    if path.suffix == ".safetensors":
        return load_file(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    # Training scripts wrap the weights: {"state_dict": {...}, "epoch": ...}, or {"model": {...}}.
    for inner in ("state_dict", "model"):
        content = content.get(inner, content)
    return dict(content)
