"""A pretraining that is killed and resumed publishes the bits of one that was never interrupted."""

import functools
import math
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from small_pretraining import NUM_EPOCHS, STEPS_PER_EPOCH, pretrain, published, recipe_of
from worker_processes import run_workers

from datasets_io.storage.artefacts import is_done
from datasets_io.storage.files import Files
from trainables.networks.text import WordTokenizer
from trainables.pretraining import task
from trainables.pretraining.encoder_job import CHECKPOINT, finite_or_null
from trainables.pretraining.task import Pretraining, check_sizes, validation_batch_size
from trainables.training import optim
from trainables.training.checkpoint import weights_from_bytes

LATE_BEST_SEED = 1  # with seed 0 the first epoch is CLIP's best, with this one the last
METHODS = ("clip", "mocov2", "clip+simclr")
Result = tuple[bytes, bytes, list]


def result_of(storage: Path) -> Result:
    """Published weights of backbone and objective, and the history of losses."""
    found = published(storage)
    return found.read("backbone.safetensors"), found.read("objective.safetensors"), found.result["history"]


@functools.cache
def uninterrupted(method: str) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        pretrain(method, folder)
        return result_of(Path(folder))


def killed_then_resumed(method: str, storage: Path, step: int, checkpoint_every_steps: int, seed: int = 0) -> Result:
    with pytest.raises(SystemExit) as ended:
        pretrain(method, storage, checkpoint_every_steps=checkpoint_every_steps, fail_at_step=step, seed=seed)
    assert ended.value.code == 13 and not is_done(Files(str(storage)), "encoder")
    torch.manual_seed(991)  # a new process has other states of chance
    torch.rand(5)
    pretrain(method, storage, checkpoint_every_steps=checkpoint_every_steps, seed=seed)
    return result_of(storage)


@pytest.mark.parametrize(
    ("step", "every"),
    [(1, 1), (3, 2), (STEPS_PER_EPOCH, 1), (STEPS_PER_EPOCH + 2, 1), (STEPS_PER_EPOCH + 3, 6)],
    ids=["after one step", "one step again", "at the end of an epoch", "in the second epoch", "two steps again"],
)
@pytest.mark.parametrize("method", METHODS)
def test_killed_and_resumed_gives_the_same_bits(method, step, every, tmp_path):
    assert killed_then_resumed(method, tmp_path, step, every) == uninterrupted(method)


@pytest.mark.parametrize("method", METHODS)
def test_two_uninterrupted_runs_give_the_same_bits(method, tmp_path):
    pretrain(method, tmp_path, checkpoint_every_steps=500)
    assert result_of(tmp_path) == uninterrupted(method)
    assert not Files(str(tmp_path)).exists(f"encoder/{CHECKPOINT}"), "a checkpoint is left behind"


def test_the_best_epoch_may_come_after_the_stop(tmp_path):
    pretrain("clip", tmp_path / "whole", seed=LATE_BEST_SEED)
    assert published(tmp_path / "whole").result["best_epoch"] == NUM_EPOCHS - 1
    resumed = killed_then_resumed("clip", tmp_path / "killed", STEPS_PER_EPOCH + 2, 1, LATE_BEST_SEED)
    assert resumed == result_of(tmp_path / "whole")


def test_memory_that_runs_out_is_said_with_what_to_do(tmp_path, monkeypatch):
    def out_of_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(Pretraining, "backward", out_of_memory)
    with pytest.raises(
        RuntimeError, match=r"out of GPU memory \(CUDA.*2.00 GiB\).*pretrain_workers.*gradient_cache_chunk"
    ):
        pretrain("simclr", tmp_path)


def test_another_seed_gives_other_bits(tmp_path):
    pretrain("clip", tmp_path, seed=1)
    assert result_of(tmp_path)[0] != uninterrupted("clip")[0]


def _die(_: int, storage: str) -> None:
    torch.set_num_threads(1)
    pretrain("clip+mocov2", storage, fail_at_step=4)


def test_a_process_that_ends_is_resumed_by_another(tmp_path):
    with pytest.raises(torch.multiprocessing.ProcessExitedException) as ended:
        run_workers(_die, (str(tmp_path / "killed"),), 1)
    assert ended.value.exit_code == 13
    for folder in ("killed", "whole"):
        pretrain("clip+mocov2", tmp_path / folder)
    assert result_of(tmp_path / "killed") == result_of(tmp_path / "whole")


# Pretrains again and again in a forked process that is killed at a random moment, until it comes through; then the
# next storage, until so many were killed. The longest time goes up with each kill and down with each that comes
# through, so that both happen about as often, however busy the machine is. Prints how many there were of each.
KILLER = """
import os, random, signal, sys, time
from pathlib import Path
import torch._dynamo, transformers.models.bert.modeling_bert  # once, not in every process: they take seconds
from small_pretraining import pretrain
storages, method, wanted = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
chance, killed, number, longest = random.Random(method), 0, 0, 1.0
while killed < wanted:
    child = os.fork()
    if child == 0:
        pretrain(method, storages / str(number))
        os._exit(0)
    deadline, ended = time.monotonic() + chance.uniform(0, longest), 0
    while not ended and time.monotonic() < deadline:
        time.sleep(0.01)
        ended, code = os.waitpid(child, os.WNOHANG)
    if ended:
        assert code == 0, code
        number += 1
        longest /= 1.3
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        killed += 1
        longest *= 1.3
pretrain(method, storages / str(number))
print(killed, number + 1)
"""


@pytest.mark.chaos
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("method", METHODS)
def test_killed_at_random_moments_gives_the_same_bits(method, tmp_path, times):
    """SIGKILL from outside, in the middle of a step, a checkpoint's writing or the publishing."""
    paths = [Path(__file__).parents[1], Path(__file__).resolve().parents[3]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    words = [sys.executable, "-c", KILLER, str(tmp_path), method, str(times(10, 70))]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    killed, runs = map(int, done.stdout.split())
    print(f"{method}: {killed} kills of {runs} pretrainings")
    assert killed >= times(10, 70) and runs > times(2, 20)
    assert all(result_of(tmp_path / str(number)) == uninterrupted(method) for number in range(runs))


def test_a_damaged_checkpoint_is_not_used(tmp_path):
    with pytest.raises(SystemExit):
        pretrain("clip", tmp_path, fail_at_step=3)
    path = next(tmp_path.rglob(CHECKPOINT))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    pretrain("clip", tmp_path)
    assert result_of(tmp_path) == uninterrupted("clip")


def _go_on_together(rank: int, folder: str) -> None:
    """One of two workers: what each cannot use is in the name of the storage."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    load_state = Pretraining.load_state

    def unusable(self, data):
        load_state(self, data)  # half a state is taken over
        raise ValueError("of another form")

    for name in ("no checkpoint", "unusable for 0", "unusable for 1", "unusable for 0 and 1"):
        Pretraining.load_state = unusable if str(rank) in name else load_state
        pretrain("simclr", f"{folder}/{name}", checkpoint_every_steps=500)
    Pretraining.load_state = lambda self, data: replace(load_state(self, data), step=3 + rank)
    with pytest.raises(RuntimeError, match=r"checkpoints of different steps, \[3, 4\]"):
        pretrain("simclr", f"{folder}/different")
    torch.distributed.destroy_process_group()


def test_two_workers_begin_alike_whatever_one_of_them_could_not_use(tmp_path):
    names = ("unusable for 0", "unusable for 1", "unusable for 0 and 1", "different")
    for name in names:
        with pytest.raises(SystemExit):
            pretrain("simclr", tmp_path / name, fail_at_step=3)
    run_workers(_go_on_together, (str(tmp_path),), 2)
    kept = {
        name: [path.rpartition("/")[2] for path in Files(str(tmp_path / name)).list("quarantine")] for name in names
    }
    assert [CHECKPOINT in kept[name] for name in names] == [True, False, True, False]
    assert Files(str(tmp_path / "different")).exists(f"encoder/{CHECKPOINT}")
    expected = result_of(tmp_path / "no checkpoint")
    assert all(result_of(tmp_path / name) == expected for name in names[:3])


@pytest.mark.parametrize("forgotten", ["queue_ssl_1", "pointer", "step", "key_head.first.weight"])
def test_a_forgotten_part_of_mocos_state_would_be_noticed(forgotten, tmp_path, monkeypatch):
    """Mutation: the checkpoint lacks one tensor of the objective, as a bank that is not persistent does."""
    original = torch.nn.Module.load_state_dict

    def forgetful(self, state, *arguments, **options):
        kept = {name: value for name, value in state.items() if name != f"objective.{forgotten}"}
        return original(self, kept, strict=False)

    monkeypatch.setattr(torch.nn.Module, "load_state_dict", forgetful)
    assert killed_then_resumed("mocov2", tmp_path, 3, 1) != uninterrupted("mocov2")


def chance_not_restored(monkeypatch):
    """Dropout goes on with the generator as it is."""
    monkeypatch.setattr(task, "seed_step", lambda seed, device: None)


def one_batch_again(monkeypatch):
    original = Pretraining.stream
    monkeypatch.setattr(Pretraining, "stream", lambda self, step: original(self, max(step - 1, 0)))


def views_counted_from_the_resume(monkeypatch):
    original = Pretraining.stream

    def stream(self, start_step):
        views = self.make_batch
        self.make_batch = lambda raw, purpose, step, size: views(raw, purpose, step - start_step, size)
        return original(self, start_step)

    monkeypatch.setattr(Pretraining, "stream", stream)


def resumed_with(monkeypatch, **changes):
    original = Pretraining.load_state
    monkeypatch.setattr(Pretraining, "load_state", lambda self, data: replace(original(self, data), **changes))


def best_epoch_forgotten(monkeypatch):
    resumed_with(monkeypatch, best_score=-math.inf)


def stale_best_epoch(monkeypatch):
    """What was best before the stop stays best."""
    resumed_with(monkeypatch, best_score=math.inf)


def optimizer_begins_anew(monkeypatch):
    monkeypatch.setattr(optim._Adam, "load_state_dict", lambda self, state: None)


def sums_of_the_epoch_are_lost(monkeypatch):
    resumed_with(monkeypatch, sums={})


@pytest.mark.parametrize(
    "plant",
    [
        chance_not_restored,
        one_batch_again,
        views_counted_from_the_resume,
        best_epoch_forgotten,
        stale_best_epoch,
        optimizer_begins_anew,
        sums_of_the_epoch_are_lost,
    ],
    ids=lambda plant: plant.__name__,
)
def test_a_planted_bug_is_noticed(plant, tmp_path, monkeypatch):
    """The bug alone changes nothing of a run that nothing interrupts, or changes it in the same way."""
    plant(monkeypatch)
    torch.manual_seed(17)
    seed = LATE_BEST_SEED if plant is stale_best_epoch else 0
    pretrain("clip", tmp_path / "whole", seed=seed)
    resumed = killed_then_resumed("clip", tmp_path / "killed", STEPS_PER_EPOCH + 2, 1, seed)
    assert resumed != result_of(tmp_path / "whole")


def test_history_names_each_part_and_its_gradient_at_the_backbone():
    history = uninterrupted("clip+simclr")[2]
    assert len(history) == NUM_EPOCHS
    parts = [f"{kind}_{name}" for kind in ("train", "val", "gradient_norm") for name in ("clip", "simclr")]
    assert history[0].keys() == {"epoch", "score", "val_loss", *parts}
    assert all(entry[name] > 0 for entry in history for name in parts)
    assert all(entry["val_loss"] == pytest.approx(entry["val_clip"] + entry["val_simclr"]) for entry in history)


def test_heads_and_text_tower_are_published_without_queue_and_momentum_copy(tmp_path):
    pretrain("clip+mocov2", tmp_path)
    found = published(tmp_path)
    assert WordTokenizer.from_json(found.read("tokenizer.json").decode()).vocabulary_size > 3
    names = weights_from_bytes(found.read("objective.safetensors"))
    assert any(name.startswith("image_text.text.bert.") for name in names)
    assert any(name.startswith("image_image.head.") for name in names)
    assert not any("queue" in name or "key_backbone" in name or "key_head" in name for name in names)


def test_gradient_caching_pretrains_too(tmp_path):
    pretrain("clip", tmp_path, recipe_of("clip", gradient_cache_chunk=4))
    assert len(result_of(tmp_path)[2]) == NUM_EPOCHS
    assert result_of(tmp_path)[0] != uninterrupted("clip")[0], "batch norm saw the whole batch"


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((64, 40, 20, 1), "40 training images that take part, fewer than global_batch_size 64"),
        ((8, 40, 1, 1), "1 validation images"),
        ((8, 40, 20, 3), r"global_batch_size 8 / 3 workers = 2.66667 images"),
        ((8, 40, 3, 4), r"validation batch 2 / 4 workers = 0.5 images"),
    ],
)
def test_sizes_that_do_not_come_out_even_are_refused_with_the_equation(sizes, message):
    with pytest.raises(ValueError, match=message):
        check_sizes(*sizes)


def test_an_epoch_whose_validation_overflowed_is_published_as_null():
    assert finite_or_null([{"epoch": 0, "val_loss": float("nan")}]) == [{"epoch": 0, "val_loss": None}]


def test_validation_takes_the_training_batch_or_the_largest_power_of_two():
    assert [validation_batch_size(32, n) for n in (100, 32, 31, 17, 2)] == [32, 32, 16, 16, 2]
