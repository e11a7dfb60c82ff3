"""How do tensors reach an accelerator, and leave it, while nobody waits?

Torch keeps pinned memory that is in flight until its copy has been made and then gives it out again: that is the ring
of buffers from which batches are sent.
"""

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The same values on the device, by a copy that this process does not wait for."""
    # A GPU can read no other memory than pinned by itself.
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
