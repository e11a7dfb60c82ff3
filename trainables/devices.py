"""What was a computation run on: a device's name, as results keep it."""

import torch


def device_name(device: torch.device) -> str:
    """`cpu`, or `cuda: NVIDIA A100-SXM4-80GB`."""
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type
