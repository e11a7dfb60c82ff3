"""The optimiser and the learning rate of every step."""

import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from datasets_io.nearest import did_you_mean
from trainables.recipe import OptimizerSpec

ADAM_EPSILON = 1e-8  # of Kingma and Ba (2015)
CACHE_LINE = 16  # numbers of 4 bytes


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

    weights, biases: of each head, all of one shape. `weights` and `biases` are copies, which `step` changes by what
    lies in `by_weight` and `by_bias`. A head takes the same steps, bit by bit, whichever others are beside it.
    """

    def __init__(self, spec: OptimizerSpec, weights: Sequence[Tensor], biases: Sequence[Tensor]):
        self.spec, self.decoupled = spec, issubclass(_kind(spec), torch.optim.AdamW)
        self._of_weights, self._of_biases = _State(weights), _State(biases)
        self.weights, self.by_weight = self._of_weights.parameters, self._of_weights.gradients
        self.biases, self.by_bias = self._of_biases.parameters, self._of_biases.gradients
        self._num_steps = 0
        self.set_rate_scales([1.0] * len(weights))

    def set_rate_scales(self, scales: Sequence[float]) -> None:
        """What each head's learning rate is multiplied by from now on."""
        assert len(scales) == len(self.weights), "there is one rate a head"
        decay = self.spec.weight_decay
        if self.spec.exclude_norm_bias and decay != 0:
            groups = [([self._of_weights], decay), ([self._of_biases], 0.0)]
        else:
            groups = [([self._of_weights, self._of_biases], decay)]
        # torch's function takes one rate a call: heads that share theirs are stepped together.
        by_scale = {scale: [i for i, s in enumerate(scales) if s == scale] for scale in scales}
        self._calls = [
            self._call([tensors for state in states for tensors in state.of(heads)], scale, decay)
            for scale, heads in by_scale.items()
            for states, decay in groups
        ]

    def step(self) -> None:
        """One step of Adam or AdamW of every head."""
        for call in self._calls:
            call()
        self._num_steps += 1

    def _call(self, tensors: Sequence[Sequence[Tensor]], scale: float, decay: float) -> Callable[[], None]:
        """The function behind torch.optim.Adam, of these tensors with their gradients and running means."""
        parameters, gradients, means, squares = zip(*tensors, strict=True)
        taken = [torch.tensor(float(self._num_steps), device=p.device) for p in parameters]
        return partial(
            adam,
            *(list(parameters), list(gradients), list(means), list(squares)),
            [],  # amsgrad's maxima
            taken,
            fused=True,
            amsgrad=False,
            maximize=False,
            decoupled_weight_decay=self.decoupled,
            weight_decay=decay,
            eps=ADAM_EPSILON,
            beta1=self.spec.betas[0],
            beta2=self.spec.betas[1],
            lr=self.spec.learning_rate * scale,
        )


class _State:
    """A tensor of each head with its gradient and Adam's running means, each kind in one tensor with a row a head.

    A row is filled up with zeros to whole lines of a processor's cache. The fused kernel takes those 16 numbers at a
    time, and what is over one by one, which can differ in the last bit: then a head's bits would depend on its place.
    """

    def __init__(self, tensors: Sequence[Tensor]):
        shape, size = tensors[0].shape, tensors[0].numel()
        width = math.ceil(size / CACHE_LINE) * CACHE_LINE
        parameters = tensors[0].new_zeros(len(tensors), width)
        # Beside the gradients Adam's running means of them, and of their squares.
        self.whole = [parameters, *(torch.zeros_like(parameters) for _ in range(3))]
        self.parameters, self.gradients = ([row[:size].view(shape) for row in whole] for whole in self.whole[:2])
        for parameter, tensor in zip(self.parameters, tensors, strict=True):
            parameter.copy_(tensor)

    def of(self, heads: Sequence[int]) -> list[list[Tensor]]:
        """Parameters, gradients and running means of these heads: of all of them as they lie, else row by row."""
        if len(heads) == len(self.parameters):
            return [self.whole]
        return [[whole[i] for whole in self.whole] for i in heads]


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
