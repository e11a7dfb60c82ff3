"""Does a checkpoint that is whole, but of another training or form, cost no more than its own progress?"""

import copy
import json
import math
from pathlib import PurePosixPath

import pytest
import torch
from small_pretraining import NUM_EPOCHS, STEPS_PER_EPOCH, corpus, pretrain, published, recipe_of

from datasets_io.storage.artefacts import QUARANTINE
from datasets_io.storage.files import Files
from trainables.pretraining.checkpoint_writer import Sealed, unsealed
from trainables.pretraining.encoder_job import CHECKPOINT
from trainables.pretraining.kept_state import is_of_machine
from trainables.pretraining.task import Pretraining
from trainables.recipe import Resources
from trainables.training.checkpoint import state_from_bytes
from trainables.training.loop import LoopState

METHOD, PATH = "simclr", f"encoder/{CHECKPOINT}"
STEP = STEPS_PER_EPOCH + 1  # one epoch has ended: there is a best one, and a history


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """Of a run that was killed after STEP steps."""
    folder = tmp_path_factory.mktemp("killed")
    with pytest.raises(SystemExit):
        pretrain(METHOD, folder, fail_at_step=STEP)
    found = state_from_bytes(unsealed(Files(str(folder)).read(PATH)))
    assert found["loop"]["step"] == STEP and found["loop"]["best_tensors"]
    return found


def resumed_at(storage, state) -> int:
    """The first step that is taken from this checkpoint."""
    files = Files(str(storage))
    files.write(PATH, bytes(Sealed().of(state)))
    for step in (1, STEP + 1):
        try:
            pretrain(METHOD, storage, fail_at_step=step, checkpoint_every_steps=1000)
        except SystemExit:
            return step
    raise AssertionError("no step was taken")


def put(tree, place, value):
    """A copy of the tree with another value at this place."""
    changed = copy.deepcopy(tree)
    *above, last = place
    inner = changed
    for name in above:
        inner = inner[name]
    inner[last] = value
    return changed


def first_mean(state):
    return state["optimizer"]["state"][0]["exp_avg"]


UNUSABLE = {
    "a list": lambda s: [1],
    "an object of a class": lambda s: {**s, "later": PurePosixPath("x")},
    "nothing": lambda s: {},
    "no loop": lambda s: {name: value for name, value in s.items() if name != "loop"},
    "another network": lambda s: put(s, ["model", next(iter(s["model"]))], torch.zeros(3)),
    "a tensor less": lambda s: {**s, "model": dict(list(s["model"].items())[1:])},
    "no optimiser": lambda s: {**s, "optimizer": {}},
    "means of another network": lambda s: put(s, ["optimizer", "state", 0, "exp_avg"], first_mean(s)[:1]),
    "means under other names": lambda s: put(s, ["optimizer", "state", 0], {"momentum_buffer": first_mean(s)}),
    "an option of another kind": lambda s: put(s, ["optimizer", "param_groups", 0, "betas"], "0.9"),
    "a step of text": lambda s: put(s, ["loop", "step"], "6"),
    "no step": lambda s: {**s, "loop": {name: value for name, value in s["loop"].items() if name != "step"}},
    "too many steps": lambda s: put(s, ["loop", "step"], NUM_EPOCHS * STEPS_PER_EPOCH + 1),
    "a field of a later version": lambda s: put(s, ["loop", "later"], 1),
    "no history": lambda s: put(s, ["loop", "history"], "{}"),
    "a history of nothing": lambda s: put(s, ["loop", "history"], "[{}]"),
    "sums of numbers": lambda s: put(s, ["loop", "sums"], {"simclr": 1.0}),
    "a best epoch of another network": lambda s: put(s, ["loop", "best_tensors"], {"backbone": {}}),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_the_run_starts_over_and_what_it_could_not_use_is_kept_aside(name, state, tmp_path):
    assert resumed_at(tmp_path, UNUSABLE[name](state)) == 1
    files = Files(str(tmp_path))
    (why,) = (path for path in files.list(QUARANTINE) if path.endswith(".json"))
    assert "cannot go on from it" in json.loads(files.read(why))["why"]
    assert sum(path.endswith(CHECKPOINT) for path in files.list(QUARANTINE)) == 1 and not files.exists(PATH)


def test_the_state_itself_is_gone_on_with(state, tmp_path):
    assert resumed_at(tmp_path, state) == STEP + 1
    assert Files(str(tmp_path)).list(QUARANTINE) == []


def test_a_run_that_starts_over_publishes_the_bits_of_one_that_had_no_checkpoint(state, tmp_path):
    """What was taken over before the error is in none of its tensors."""
    bad = put(state, ["optimizer", "state", 0, "exp_avg"], first_mean(state)[:1])
    Files(str(tmp_path / "bad")).write(PATH, bytes(Sealed().of(bad)))
    for folder in ("bad", "none"):
        pretrain(METHOD, tmp_path / folder)
    one, other = (published(tmp_path / folder) for folder in ("bad", "none"))
    assert one.read("backbone.safetensors") == other.read("backbone.safetensors")
    assert one.result["history"] == other.result["history"]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
    ],
)
def test_a_machine_without_memory_leaves_the_checkpoint_where_it_is(error, state, tmp_path, monkeypatch):
    assert is_of_machine(error)
    files = Files(str(tmp_path))
    files.write(PATH, bytes(Sealed().of(state)))

    def failing(self, data):
        raise error

    monkeypatch.setattr(Pretraining, "load_state", failing)
    with pytest.raises(RuntimeError):
        pretrain(METHOD, tmp_path)
    assert files.exists(PATH) and files.list(QUARANTINE) == []


@pytest.mark.parametrize(
    "loop", [LoopState(), LoopState(step=STEPS_PER_EPOCH, history=[{"epoch": 0, "val_loss": math.nan}])]
)
def test_a_state_before_the_first_step_and_one_that_never_had_a_score_are_usable(loop):
    task = Pretraining(recipe_of(METHOD), 0, corpus(), Resources(), None, torch.device("cpu"))
    found = task.load_state(unsealed(bytes(Sealed().of(task.state_tree(loop)))))
    assert (found.step, found.best_score, len(found.history)) == (loop.step, -math.inf, len(loop.history))
