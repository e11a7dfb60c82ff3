"""What workers exchange: rows, their gradients, means, and the statistics of global batch norm."""

import functools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from gpu_kernels import fused_kernels
from torch import Tensor, nn
from worker_processes import run_workers

from trainables.networks.normalisation import GlobalBatchNorm
from trainables.training import distributed

WORLD, ROWS, TOLERANCE = 2, 3, 1e-12
NORMS = {"vectors": (nn.BatchNorm1d, ()), "images": (nn.BatchNorm2d, (3, 2))}
Found = dict[str, Tensor]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def share(whole: Tensor, rank: int) -> Tensor:
    return whole[rank * ROWS : (rank + 1) * ROWS]


def weights(rank: int) -> Tensor:
    """Of the rows in a worker's loss; other ones on each worker."""
    return draw(WORLD * ROWS, 4, seed=10 + rank)


def gathered(rank: int, gather: Callable[[Tensor], Tensor]) -> Found:
    local = share(draw(WORLD * ROWS, 4), rank).clone().requires_grad_()
    everyone = gather(local)
    # The local term gives a graph where the gather has none.
    ((everyone * weights(rank)).sum() + local.sum()).backward()
    return {"rows": everyone.detach(), "gradient": local.grad}


def normalised(kind: str, rank: int, make: Callable[[int], nn.Module]) -> Found:
    """One training pass of this worker's rows through a batch norm, and what it leaves behind."""
    shape = (WORLD * ROWS, 5, *NORMS[kind][1])
    norm = make(5).double()
    with torch.no_grad():
        norm.weight.copy_(draw(5, seed=2))
        norm.bias.copy_(draw(5, seed=3))
    local = share(draw(*shape), rank).clone().requires_grad_()
    out = norm(local)
    (out * share(draw(*shape, seed=1), rank)).sum().backward()
    state = {"running_mean": norm.running_mean, "running_var": norm.running_var}
    return {"out": out.detach(), "input": local.grad, "weight": norm.weight.grad, "bias": norm.bias.grad, **state}


def fused(kind: str, rank: int) -> Found:
    """As `normalised` by the kernels of a GPU; and how many exchanges that took."""
    with fused_kernels(), counted_exchanges() as exchanges:
        found = normalised(kind, rank, GlobalBatchNorm)
    return {**found, "exchanges": torch.tensor(exchanges)}


@contextmanager
def counted_exchanges() -> Iterator[list[int]]:
    """How many values each exchange of workers takes."""
    sizes: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in ("all_reduce", "all_gather_single", "all_gather_into_tensor"):
            if (function := getattr(dist, name, None)) is not None:

                def exchange(tensor, *more, function=function):
                    sizes.append(tensor.numel())
                    return function(tensor, *more)

                patch.setattr(dist, name, exchange)
        yield sizes


def averaged(rank: int) -> Found:
    """Of two parameters, one without a gradient."""
    first, second = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    first.grad = torch.tensor([1.0, 2.0]) * (rank + 1)
    distributed.average_gradients([first, second])
    assert second.grad is None
    return {"gradient": first.grad}


def averaged_in_buckets(rank: int) -> Found:
    """Gradients of several shapes, types and memory formats; how many values each exchange had."""
    shapes = [(3, 4), (5,), (2, 3, 2, 2), (7,), (6,)]
    parameters = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    parameters[3].data = parameters[3].data.double()
    for number, parameter in enumerate(parameters):
        parameter.grad = draw(*parameter.shape, seed=100 * rank + number).to(parameter.dtype)
    parameters[2].grad = parameters[2].grad.to(memory_format=torch.channels_last)
    alone = [parameter.grad.clone() for parameter in parameters]
    for gradient in alone:
        dist.all_reduce(gradient)
        gradient /= WORLD
    with pytest.MonkeyPatch.context() as patch, counted_exchanges() as exchanges:
        patch.setattr(distributed, "BUCKET_BYTES", 4 * 13)
        distributed.average_gradients(parameters)
    same = [torch.equal(p.grad, gradient) for p, gradient in zip(parameters, alone, strict=True)]
    assert parameters[2].grad.is_contiguous(memory_format=torch.channels_last)
    return {"same": torch.tensor(same), "exchanges": torch.tensor(exchanges)}


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    value = torch.tensor(1.0 + rank, requires_grad=True)
    means = distributed.means({"a": value, "b": 10 * value})
    found = {
        "identity": {"rank": torch.tensor(distributed.rank()), "world_size": torch.tensor(distributed.world_size())},
        "gather": {"rows": distributed.gather(share(draw(WORLD * ROWS, 4), rank))},
        "with gradient": gathered(rank, distributed.gather_with_grad),
        "without gradient": gathered(rank, distributed.gather),
        "means": {"mean": distributed.mean(value), **means},
        "averaged": averaged(rank),
        "buckets": averaged_in_buckets(rank),
        "broadcast": {"value": torch.tensor(distributed.broadcast_int(7 + rank))},
        "of each": {"value": torch.tensor(distributed.int_of_each(7 + rank))},
        **{f"global {kind}": normalised(kind, rank, GlobalBatchNorm) for kind in NORMS},
        **{f"fused {kind}": fused(kind, rank) for kind in NORMS},
        **{f"local {kind}": normalised(kind, rank, NORMS[kind][0]) for kind in NORMS},
    }
    assert not any(tensor.requires_grad for tensor in found["means"].values())
    distributed.barrier()
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@functools.cache
def workers() -> list[dict[str, Found]]:
    """One launch serves all tests of this file."""
    with tempfile.TemporaryDirectory() as folder:
        run_workers(_worker, (folder,), WORLD)
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


def close(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and float((one - other).abs().max()) < TOLERANCE


# -- rows and numbers ------------------------------------------------------------------------------


def check_gathered(name: str) -> None:
    """All rows in the order of ranks; each row's gradient is the sum of all workers' losses'."""
    expected = sum(weights(rank) for rank in range(WORLD)) + 1
    for rank, found in enumerate(workers()):
        assert torch.equal(found[name]["rows"], draw(WORLD * ROWS, 4))
        assert close(found[name]["gradient"], share(expected, rank))


def test_gathering_keeps_the_order_and_brings_every_workers_gradient():
    check_gathered("with gradient")


def test_gathering_without_gradient_is_noticed():
    assert all(torch.equal(found["gather"]["rows"], draw(WORLD * ROWS, 4)) for found in workers())
    with pytest.raises(AssertionError):
        check_gathered("without gradient")


def test_every_worker_knows_its_rank():
    assert [tuple(int(v) for v in found["identity"].values()) for found in workers()] == [(0, 2), (1, 2)]


def test_means_are_over_workers_one_by_one_or_together():
    for found in workers():
        assert {name: float(value) for name, value in found["means"].items()} == {"mean": 1.5, "a": 1.5, "b": 15.0}


def test_gradients_are_averaged_where_there_are_any():
    assert all(found["averaged"]["gradient"].tolist() == [1.5, 3.0] for found in workers())


def test_gradients_are_averaged_in_buckets_with_the_bits_of_one_by_one():
    """The first bucket is full with its second gradient; the double one in between is of another type."""
    for found in workers():
        assert found["buckets"]["same"].all()
        assert found["buckets"]["exchanges"].tolist() == [17, 24, 7, 6]


def test_the_first_workers_number_counts():
    assert [int(found["broadcast"]["value"]) for found in workers()] == [7, 7]


def test_each_worker_knows_the_numbers_of_all():
    assert [found["of each"]["value"].tolist() for found in workers()] == [[7, 8], [7, 8]]


def test_one_worker_exchanges_nothing():
    local = draw(3, 2).requires_grad_()
    assert distributed.gather_with_grad(local) is local and distributed.gather(local) is local
    assert (distributed.rank(), distributed.world_size(), distributed.broadcast_int(4)) == (0, 1, 4)
    assert distributed.int_of_each(4) == [4]
    assert torch.equal(distributed.mean(local), local) and not distributed.mean(local).requires_grad
    assert not distributed.means({"a": local.sum()})["a"].requires_grad
    module = nn.Linear(2, 1)
    assert distributed.wrap(module, torch.device("cpu")) is module


# -- global batch norm -----------------------------------------------------------------------------


def whole_batch(kind: str) -> Found:
    """torch's batch norm on all rows."""
    norm = NORMS[kind][0](5).double()
    with torch.no_grad():
        norm.weight.copy_(draw(5, seed=2))
        norm.bias.copy_(draw(5, seed=3))
    shape = (WORLD * ROWS, 5, *NORMS[kind][1])
    x = draw(*shape).requires_grad_()
    out = norm(x)
    (out * draw(*shape, seed=1)).sum().backward()
    state = {"running_mean": norm.running_mean, "running_var": norm.running_var}
    return {"out": out.detach(), "input": x.grad, "weight": norm.weight.grad, "bias": norm.bias.grad, **state}


def check_normalised(name: str, kind: str) -> None:
    found, expected = [worker[f"{name} {kind}"] for worker in workers()], whole_batch(kind)
    for part in ("out", "input"):
        assert close(torch.cat([one[part] for one in found]), expected[part]), part
    for part in ("weight", "bias"):
        assert close(sum(one[part] for one in found), expected[part]), part
    for part in ("running_mean", "running_var"):
        assert all(close(one[part], expected[part]) for one in found), part


@pytest.mark.parametrize("kind", NORMS)
def test_global_batch_norm_is_torchs_on_the_whole_batch(kind):
    check_normalised("global", kind)


@pytest.mark.parametrize("kind", NORMS)
def test_on_a_gpu_it_is_so_too_with_one_exchange_forward_and_one_backward(kind):
    check_normalised("fused", kind)
    # Means and deviations of both workers, gathered, and the two sums of the gradient: twice 5 channels.
    assert [found[f"fused {kind}"]["exchanges"].tolist() for found in workers()] == [[20, 10]] * WORLD


@pytest.mark.parametrize("kind", NORMS)
def test_local_batch_norm_is_noticed(kind):
    with pytest.raises(AssertionError):
        check_normalised("local", kind)
