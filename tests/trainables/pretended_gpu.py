"""A GPU that computes nothing: tensors of torch's `meta` device, and a mode that refuses what would wait for a GPU.

What a real one does under torch.cuda.set_sync_debug_mode("error") is told from the operators that a step calls.
"""

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class OperatorCount(TorchDispatchMode):
    """Counts the operators that are called, by name."""

    def __init__(self, seen: Counter):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[str(function)] += 1
        return function(*args, **(kwargs or {}))
