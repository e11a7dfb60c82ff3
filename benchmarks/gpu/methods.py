"""Is one step of every method on the device that of float64 on the CPU?"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from benchmarks.gpu.bench import Bench, check, relative
from benchmarks.gpu.made_up import moved, pretraining, pretraining_recipe, raw_batch, small_size
from benchmarks.shared.made_up_corpus import made_up_corpus
from trainables.batch import Batch
from trainables.pretraining.task import Model, Pretraining
from trainables.recipe import Resources
from trainables.registry import METHODS
from trainables.training.optim import build_optimizer
from trainables.training.precision import Compute, resolve

CPU = torch.device("cpu")
# float32 on a card sums in another order than on a CPU, and convolves by other algorithms: it may be so many times as
# far from float64, and less than FLOOR is not asked of it. A term that is wrong is off by percents.
WORSE_THAN_CPU, FLOOR = 30.0, {"loss": 1e-5, "gradient": 1e-4, "update": 1e-4}
HALF = {"bfloat16": (0.03, 0.95), "float16": (0.03, 0.95)}  # of the loss, relative; cosine of the gradients


def task_of(method: str, bench: Bench) -> tuple[Pretraining, Batch]:
    """On the CPU, in float32, with the batch that all sides see: views of the device would differ by their rounding."""
    backbone, side, batch, text = small_size(bench)
    corpus = made_up_corpus(4 * batch, side)
    recipe = pretraining_recipe(method, backbone, side, batch, text)
    task = pretraining(recipe, corpus, CPU, Resources(precision="float32"))
    return task, task.make_batch(raw_batch(corpus, batch), "views", 0, batch)


def gradients(model: nn.Module, batch: Batch, compute: Compute) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch, and each parameter's gradient, which stays on the model too."""
    torch.manual_seed(0)
    with compute.autocast():
        losses = model(batch)
    loss = torch.stack([value.double() for value in losses.values()]).sum()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def flat(tensors: dict[str, Tensor]) -> Tensor:
    return torch.cat([value.detach().cpu().double().flatten() for value in tensors.values()])


def on(model: Model, device: torch.device, dtype: torch.dtype) -> Model:
    """A copy, in training mode."""
    return copy.deepcopy(model).to(device=device, dtype=dtype).train()


def update(task: Pretraining, exact: dict[str, Tensor], device: torch.device, dtype: torch.dtype) -> Tensor:
    """What the optimiser's step and what follows it change, by the gradients of float64: one vector.

    By the same gradients: Adam's first step has the length of the rate whatever the gradient's, and where that is 0
    but for rounding its sign is chance.
    """
    model = on(task.model, device, dtype)
    before = copy.deepcopy(dict(model.named_parameters()))
    optimizer = build_optimizer(task.recipe.optimizer, [model])
    for name, parameter in model.named_parameters():
        if name in exact:
            parameter.grad = exact[name].to(device, dtype)
    optimizer.step()
    model.objective.after_step(model.backbone)
    return flat({name: p.detach() - before[name].detach() for name, p in model.named_parameters()})


def section(bench: Bench) -> Iterator[dict]:
    """Loss, gradients and update of each method in float32, the gradients also of the device's half precisions."""
    here_in_full = resolve("float32", bench.device)
    for method in METHODS:
        task, batch = task_of(method, bench)
        exact_loss, exact = gradients(
            on(task.model, CPU, torch.float64), moved(batch, CPU, torch.float64), Compute(CPU)
        )
        cpu_loss, cpu = gradients(on(task.model, CPU, torch.float32), batch, Compute(CPU))
        there = moved(batch, bench.device, torch.float32)
        loss, found = gradients(on(task.model, bench.device, torch.float32), there, here_in_full)
        assert exact.keys() == cpu.keys() == found.keys()
        sides = {"loss": (loss, cpu_loss, exact_loss), "gradient": (flat(found), flat(cpu), flat(exact))}
        sides["update"] = (
            update(task, exact, bench.device, torch.float32),
            update(task, exact, CPU, torch.float32),
            update(task, exact, CPU, torch.float64),
        )
        for name, (here, of_cpu, reference) in sides.items():
            allowed = max(FLOOR[name], WORSE_THAN_CPU * relative(of_cpu, reference))
            yield check(f"{method}_{name}_from_float64", "relative", relative(here, reference), allowed)


def precision(bench: Bench) -> Iterator[dict]:
    """Do bfloat16 and float16 point where float64 does: loss and gradient of a part of each kind and of a joint one?"""
    for method in ("clip", "simclr", "vicreg", "clip+mocov2"):
        task, batch = task_of(method, bench)
        exact_loss, exact = gradients(
            on(task.model, CPU, torch.float64), moved(batch, CPU, torch.float64), Compute(CPU)
        )
        there = moved(batch, bench.device, torch.float32)
        for kind, (of_loss, cosine) in HALF.items():
            model = on(task.model, bench.device, torch.float32)
            loss, found = gradients(model, there, resolve(kind, bench.device))
            yield check(f"{method}_{kind}_loss_from_float64", "relative", relative(loss, exact_loss), of_loss)
            apart = 1 - float(torch.cosine_similarity(flat(found), flat(exact), dim=0))
            yield check(f"{method}_{kind}_gradient_from_float64", "1 - cosine", apart, 1 - cosine)
