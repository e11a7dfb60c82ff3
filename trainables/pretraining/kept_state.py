"""Does a stored state, whole as it is, belong to this training, so that its next step can be taken?

A checkpoint has the key of its recipe, and its form is that of the torch and of the radsweep that wrote it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

NUMBERS: dict[str, tuple[type, ...]] = {
    **{"step": (int,), "best_epoch": (int,), "stopped": (bool,)},
    **{"best_score": (int, float), "rate_scale": (int, float)},
}


def is_of_machine(error: Exception) -> bool:
    """Whether an error, as a state is taken over, tells of this machine's memory or card, and of no state."""
    kinds, words = (torch.OutOfMemoryError, torch.AcceleratorError, MemoryError), ("CUDA error", "allocate memory")
    return isinstance(error, kinds) or any(word in str(error) for word in words)


def check_loop(loop: Mapping[str, Any], history: Any, modules: Mapping[str, nn.Module], total_steps: int) -> None:
    """Raise ValueError for fields of the loop's state that a training of these modules does not have."""
    for name, kinds in NUMBERS.items():
        if name in loop and type(loop[name]) not in kinds:
            raise ValueError(f"its {name} is {loop[name]!r}")
    if not 0 <= loop["step"] <= total_steps:
        raise ValueError(f"it has {loop['step']} steps of {total_steps}")
    if not isinstance(history, list) or not all(isinstance(entry, dict) and "val_loss" in entry for entry in history):
        raise ValueError("its history is no list of epochs")
    if not all(isinstance(value, Tensor) and value.ndim == 0 for value in loop["sums"].values()):
        raise ValueError("its sums are no scalars")
    best = loop["best_tensors"]
    if best and forms(best) != {name: module_forms(module) for name, module in modules.items()}:
        raise ValueError("the tensors of its best epoch are those of another network")


def forms(tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, dict[str, torch.Size]]:
    """The shape of each named tensor of each module."""
    return {name: {each: value.shape for each, value in of.items()} for name, of in tensors.items()}


def module_forms(module: nn.Module) -> dict[str, torch.Size]:
    """As `forms`, of one module."""
    return {name: value.shape for name, value in module.state_dict().items()}


def check_groups(optimizer: torch.optim.Optimizer, stored: Mapping[str, Any]) -> None:
    """Raise ValueError where a stored option of a parameter group is of another kind than this optimiser's."""
    for own, other in zip(optimizer.param_groups, stored["param_groups"], strict=True):
        for name in own.keys() & other.keys() - {"params"}:
            if _kinds(own[name]) != _kinds(other[name]):
                raise ValueError(f"its optimiser's {name} is {other[name]!r}")


def _kinds(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return list(map(_kinds, value))
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def check_means(optimizer: torch.optim.Optimizer) -> None:
    """Raise ValueError where Adam's running means, just loaded, are not those of its parameters: torch loads any."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            kept = optimizer.state.get(parameter)
            if not kept:  # before the first step
                continue
            means = [kept["exp_avg"].shape, kept["exp_avg_sq"].shape]
            if means != [parameter.shape] * 2 or kept["step"].numel() != 1:
                raise ValueError(f"its optimiser has means of {list(means[0])} for {list(parameter.shape)}")
