"""The optimiser and the learning rate of every step."""

import inspect
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from datasets_io.nearest import did_you_mean
from trainables.recipe import OptimizerSpec

ADAM_EPSILON = 1e-8  # of Kingma and Ba (2015)


class _Adam(torch.optim.Adam):
    """An optimiser that is in no compiled function: compiled are image networks alone.

    torch wraps these methods for its compiler's sake, and the first call of one imports the compiler: a second of a
    core and 150 MB in each process of a sweep. Here they are what torch wraps, and nothing else.
    """

    add_param_group = inspect.unwrap(torch.optim.Adam.add_param_group)
    load_state_dict = inspect.unwrap(torch.optim.Adam.load_state_dict)
    state_dict = inspect.unwrap(torch.optim.Adam.state_dict)
    zero_grad = inspect.unwrap(torch.optim.Adam.zero_grad)
    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class _AdamW(_Adam, torch.optim.AdamW):
    pass


KINDS: dict[str, type[torch.optim.Adam]] = {"adamw": _AdamW, "adam": _Adam}


def build_optimizer(
    spec: OptimizerSpec, modules: Iterable[nn.Module], capturable: bool = False
) -> torch.optim.Optimizer:
    """AdamW or Adam over all parameters that require a gradient, in torch's fused implementation.

    Kingma and Ba (2015); AdamW's decoupled decay: Loshchilov and Hutter (2019). Raises ValueError for another name.
    capturable: its step can be part of a captured one: the learning rate is a tensor on the parameters' device, which
    the step reads anew each time.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": parameters, "weight_decay": spec.weight_decay}]
    if spec.exclude_norm_bias:
        groups = [
            # Biases and the scales of norms have one dimension, weights of layers two or more.
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": spec.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
    kind = _kind(spec)
    optimizer = kind(
        groups, lr=spec.learning_rate, betas=spec.betas, eps=ADAM_EPSILON, fused=True, capturable=capturable
    )
    if capturable:
        rate = _rate_tensor(spec.learning_rate, parameters[0].device)
        for group in optimizer.param_groups:  # here, since the class would ask a GPU whether it is above 0
            group["lr"] = rate
    return optimizer


def _rate_tensor(rate: float, device: torch.device) -> Tensor:
    # torch's fused kernels of CUDA read a float32; those of the CPU any, and a float64 is the number that it was.
    return torch.tensor(rate, dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)


def _kind(spec: OptimizerSpec) -> type[torch.optim.Adam]:
    check_optimizer(spec)
    return KINDS[spec.name]


def check_optimizer(spec: OptimizerSpec) -> None:
    """Raise ValueError for a name that there is not, with those that there are."""
    if spec.name not in KINDS:
        hint = did_you_mean(spec.name, KINDS)
        raise ValueError(f"unknown optimiser {spec.name!r}; allowed: {', '.join(sorted(KINDS))}{hint}")


class HeadsOptimizer:
    """The optimiser of many small heads at once, without an Optimizer: that would cost more than its step.

    weight and bias have a leading axis of S heads, and are changed in place by what `gradients` hold, two tensors of
    their shapes. own_rates: each head has a learning rate of its own, `set_rate_scales`; else all have that of spec.
    """

    def __init__(self, spec: OptimizerSpec, weight: Tensor, bias: Tensor, own_rates: bool = False):
        self.spec, self.decoupled = spec, issubclass(_kind(spec), torch.optim.AdamW)
        self.gradients = (torch.zeros_like(weight), torch.zeros_like(bias))
        # torch's function takes one rate a call. Heads that share it are one tensor, others a view each: what is in the
        # lists below begins with the weights, and ends with as many biases.
        self._parameters, self._gradients = (_views(pair, own_rates) for pair in ((weight, bias), self.gradients))
        # Adam's running means of the gradients and of their squares.
        self._means, self._squares = ([torch.zeros_like(p) for p in self._parameters] for _ in range(2))
        self._num_steps = [torch.zeros((), device=weight.device) for _ in self._parameters]
        self._rates = [spec.learning_rate] * (len(self._parameters) // 2)

    def set_rate_scales(self, scales: Sequence[float]) -> None:
        """What each head's learning rate is multiplied by from now on. The optimiser must have own_rates."""
        assert len(scales) == len(self._rates), "an optimiser with own_rates has one rate a head"
        self._rates = [self.spec.learning_rate * scale for scale in scales]

    def step(self) -> None:
        """One step of Adam or AdamW by what `gradients` hold."""
        spared = self.spec.exclude_norm_bias and self.spec.weight_decay != 0
        for place, rate in enumerate(self._rates):
            weight, bias = place, len(self._rates) + place
            if spared:
                self._step([weight], rate, self.spec.weight_decay)
                self._step([bias], rate, 0.0)
            else:
                self._step([weight, bias], rate, self.spec.weight_decay)

    def _step(self, places: Sequence[int], rate: float, decay: float) -> None:
        # The function behind torch.optim.Adam; the empty list would be amsgrad's maxima.
        adam(
            [self._parameters[i] for i in places],
            [self._gradients[i] for i in places],
            [self._means[i] for i in places],
            [self._squares[i] for i in places],
            [],
            [self._num_steps[i] for i in places],
            fused=True,
            amsgrad=False,
            maximize=False,
            decoupled_weight_decay=self.decoupled,
            weight_decay=decay,
            eps=ADAM_EPSILON,
            beta1=self.spec.betas[0],
            beta2=self.spec.betas[1],
            lr=rate,
        )


def _views(pair: tuple[Tensor, Tensor], one_a_head: bool) -> list[Tensor]:
    """Weights and biases as two tensors, or as one view for each head."""
    return [view for tensor in pair for view in (tensor.unbind() if one_a_head else (tensor,))]


def learning_rate(peak: float, step: int, total_steps: int, schedule: str, warmup_steps: int = 0) -> float:
    """Rate used in step `step` (from 0) of `total_steps`: linear warm-up, then a cosine to zero.

    Without warm-up this is torch's CosineAnnealingLR(T_max=total_steps) stepped once a step
    (Loshchilov and Hutter, 2017).
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if schedule == "constant":
        return peak
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * progress))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Of all parameter groups, for the steps from now on."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)  # in place: a captured step reads this tensor
        else:
            group["lr"] = rate
