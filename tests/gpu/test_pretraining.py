"""Is pretraining on a GPU what it is on a CPU, does no step wait, and does a checkpoint hold the moment it is of?"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
import torch
from torch import Tensor, nn

from benchmarks.gpu import checkpoints, methods, views
from benchmarks.gpu.bench import QUICK, Bench, largest
from benchmarks.gpu.made_up import pretraining, pretraining_recipe, raw_batch, small_size, state_copy
from benchmarks.shared.made_up_corpus import made_up_corpus
from trainables.batch import Batch
from trainables.networks import normalisation
from trainables.networks.normalisation import GlobalBatchNorm, convert_to_split
from trainables.pretraining.checkpoint_writer import Snapshots
from trainables.pretraining.encoder_job import EncoderJob, run_pretraining
from trainables.pretraining.task import Pretraining
from trainables.recipe import Resources
from trainables.registry import METHODS
from trainables.training import distributed
from trainables.training.capture import noticing_waits
from trainables.training.devices import limit_memory
from trainables.training.loop import LoopState, LossWatch, train_step

pytestmark = pytest.mark.gpu
WORKERS = 2
# Of float64 on the CPU: a float32 sum of 24 x 5 x 4 values in another order; half precision keeps 8 or 11 bits.
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}


@pytest.fixture
def bench(card: torch.device) -> Bench:
    return Bench(card, QUICK)


def task_of(bench: Bench, method: str, **resources) -> Pretraining:
    backbone, side, batch, text = small_size(bench)
    corpus = made_up_corpus(4 * batch, side)
    return pretraining(
        pretraining_recipe(method, backbone, side, batch, text), corpus, bench.device, Resources(**resources)
    )


def made(task: Pretraining, first: int = 0) -> Iterator[Batch]:
    size = task.recipe.global_batch_size
    raw = raw_batch(task.corpus, size)
    return (task.make_batch(raw, "views", step, size) for step in count(first))


def train(task: Pretraining, state: LoopState, batches: Iterator[Batch], steps: int) -> None:
    watch = LossWatch()
    for _ in range(steps):
        train_step(task, task.optimizer, task.loop_plan, state, next(batches), watch)


# -- batch norm -------------------------------------------------------------------------------------


@contextmanager
def two_workers_of_the_same_rows() -> Iterator[None]:
    """Every exchange as if a second worker had what this one has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "world_size", lambda: WORKERS)
        patch.setattr(distributed, "all_rows", lambda local: torch.cat([local] * WORKERS))
        patch.setattr(torch.distributed, "all_reduce", lambda tensor: tensor.mul_(WORKERS))
        yield


def normalised(norm: nn.Module, x: Tensor, weights: Tensor) -> dict[str, Tensor]:
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = norm(x)
    (out * weights).sum().backward()
    return {
        "out": out, "input": x.grad, "weight": norm.weight.grad, "bias": norm.bias.grad,
        "mean": norm.running_mean, "variance": norm.running_var,
    }  # fmt: skip


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("shape", ["vectors", "images", "images, channels last"])
def test_batch_norm_over_workers_is_the_formula_in_float64(card, shape, dtype):
    torch.manual_seed(0)
    x, weights = (torch.randn((24, 7) if shape == "vectors" else (24, 7, 5, 4)) for _ in range(2))
    x = (3 * x + 1).to(dtype)
    if shape.endswith("last"):
        x = x.to(memory_format=torch.channels_last)
    exact, norm = GlobalBatchNorm(7).double(), GlobalBatchNorm(7).to(card)
    for each in (exact, norm):
        with torch.no_grad():
            each.weight.copy_(torch.linspace(0.5, 1.5, 7))
            each.bias.copy_(torch.linspace(-1, 1, 7))
    assert normalisation.has_fused_kernels(x.to(card))
    with two_workers_of_the_same_rows():
        expected = normalised(exact, x.double(), weights.double())
        found = normalised(norm, x.to(card), weights.to(card, dtype))
    assert found["out"].dtype == dtype and found["out"].stride() == x.stride()
    for name, value in expected.items():
        apart = (found[name].detach().cpu().double() - value.detach()).abs().max() / value.detach().abs().max()
        assert float(apart) < TOLERANCE[dtype], name


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_groups_one_after_the_other_are_groups_folded_into_channels(card, layout, dtype, monkeypatch):
    x = torch.randn(24, 7, 5, 4, device=card, dtype=dtype).to(memory_format=layout)
    found = []
    for limit in (0, 1 << 60):
        monkeypatch.setattr(normalisation, "FOLDED_BYTES", limit)
        norm = convert_to_split(nn.Sequential(nn.BatchNorm2d(7)), 4)[0].to(card)
        with torch.no_grad():
            found.append({"out": norm(x), "mean": norm.running_mean, "variance": norm.running_var})
    for name, value in found[0].items():
        assert float((value.double() - found[1][name].double()).abs().max()) < 4 * TOLERANCE[dtype], name


# -- steps ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["auto", "float32", "float16"])
@pytest.mark.parametrize("method", METHODS)
def test_no_step_waits_for_the_gpu(bench, method, precision, monkeypatch):
    """Batches made ahead by a thread included: torch refuses what waits, in every thread."""
    monkeypatch.setattr("trainables.training.loop.LOOK_EVERY", 2)
    task, state = task_of(bench, method, precision=precision), LoopState()
    batches = task.feed.batches(made(task), 2)
    train(task, state, batches, 3)  # what is set up once may wait
    bench.wait()
    try:
        with noticing_waits("error"):
            train(task, state, batches, 4)
    finally:
        batches.close()
    assert all(torch.isfinite(value) for value in state.sums.values())


def passed(lines: Iterator[dict]) -> list[dict]:
    found = [line for line in lines if "passed" in line]
    wrong = [f"{line['figure']}: {line['ours']}, allowed {line['allowed']}" for line in found if not line["passed"]]
    assert not wrong
    return found


def test_one_step_of_every_method_is_that_of_float64_on_the_cpu(bench):
    assert len(passed(methods.section(bench))) == 3 * len(METHODS)


def test_half_precisions_point_where_float64_does(bench):
    assert passed(methods.precision(bench))


def test_views_of_the_device_are_the_hosts(bench):
    assert passed(views.section(bench))


# -- streams ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["clip", "mocov2"])
def test_batches_of_their_own_stream_have_the_bits_of_batches_made_on_the_trainings(bench, method):
    """While the training's stream is busy, and takes and gives back memory."""
    task, state = task_of(bench, method), LoopState()
    ahead, plain = task.feed.batches(made(task), 2), made(task)
    for _ in range(6):
        one, other = next(ahead), next(plain)
        train(task, state, iter([one]), 1)
        assert one.views.keys() == other.views.keys()
        assert all(torch.equal(one.views[name], other.views[name]) for name in one.views)
        assert one.input_ids is None or torch.equal(one.input_ids, other.input_ids)
    ahead.close()


def test_two_pretrainings_on_a_stream_each_have_the_bits_of_one_after_the_other(bench):
    def trained(streams: list[torch.cuda.Stream]) -> list[dict[str, Tensor]]:
        tasks = [task_of(bench, method, deterministic=True) for method in ("simclr", "clip+mocov2")]
        states, batches = [LoopState() for _ in tasks], [made(task) for task in tasks]
        bench.wait()  # weights were copied by the stream of now
        for step in range(8):
            for place, stream in enumerate(streams) if step % 2 else reversed(list(enumerate(streams))):
                with torch.cuda.stream(stream):
                    train(tasks[place], states[place], batches[place], 1)
        bench.wait()
        return [state_copy(task.model) for task in tasks]

    now = torch.cuda.current_stream(bench.device)
    alone = trained([now, now])
    together = trained([torch.cuda.Stream(bench.device) for _ in range(2)])
    assert [largest(one, other) for one, other in zip(alone, together, strict=True)] == [0.0, 0.0]


# -- checkpoints ------------------------------------------------------------------------------------


def test_a_snapshot_is_of_its_moment_though_training_goes_on_at_once(bench):
    task, state = task_of(bench, "clip+mocov2"), LoopState()
    batches = made(task)
    train(task, state, batches, 2)
    snapshots = Snapshots(bench.device)
    for _ in range(2):  # the second one in the memory of the first
        bench.wait()
        expected = state_copy(task.model)
        snapshots.take(task.state_tree(state))
        train(task, state, batches, 3)
        taken = snapshots.taken()["model"]
        assert all(value.is_pinned() for value in taken.values())
        assert largest(taken, expected) == 0.0
        assert largest(state_copy(task.model), expected) > 0.0


@pytest.mark.parametrize("method", ["clip+mocov2", "vicreg", "simclr"])
def test_a_run_that_is_resumed_on_the_device_has_the_bits_of_one_that_was_not_stopped(bench, method):
    assert checkpoints.resumed(bench, method) == 0.0


# -- memory -----------------------------------------------------------------------------------------


def test_memory_that_runs_out_is_said_with_what_to_do(bench, tmp_path):
    """By a network of 45 MB on a card of which this process gets no more than it has."""
    _, side, batch, text = small_size(bench)
    recipe = pretraining_recipe("simclr", "resnet18", side, batch, text)
    job, corpus = EncoderJob("simclr", "key", "encoder", recipe, 0), made_up_corpus(4 * batch, side)
    gc.collect()
    torch.cuda.empty_cache()
    limit_memory(bench.device, 0.0)
    try:
        with pytest.raises(RuntimeError, match=r"out of GPU memory .*gradient_cache_chunk"):
            run_pretraining(job, str(tmp_path), corpus, Resources(), bench.device, lambda progress: None)
    finally:
        limit_memory(bench.device, 1.0)
