"""Faults within a job: damaged encoders and shards, losses that are not numbers, memory that runs out, two at once."""

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from small_storage import Small, small

import trainables.evaluation.cell_job
import trainables.training.parents
from datasets_io.build.verify import verify
from datasets_io.corpus.read import read_manifest
from datasets_io.storage.artefacts import QUARANTINE, is_done, open_artefacts, problems
from datasets_io.storage.files import Files
from sweep.engine.jobs import encoder_job
from sweep.store.results import ResultReader
from trainables.evaluation.cell_job import SeedTarget, _failed
from trainables.pretraining.encoder_job import EncoderJob, count_attempt, last_error, note_error
from trainables.recipe import OptimizerSpec


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Small:
    made = small(tmp_path_factory.mktemp("small"))
    made.make_encoders()
    return made


@pytest.fixture
def storage(prepared: Small, tmp_path: Path) -> Small:
    """A copy that a test may damage."""
    shutil.copytree(prepared.files.root, tmp_path / "storage")
    trainables.evaluation.cell_job._parts.cache_clear()
    trainables.training.parents.manifest_of.cache_clear()
    return replace(prepared, store=type(prepared.store)(str(tmp_path / "storage")))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_every_artefact_names_its_recipe_and_its_parents(storage):
    job = storage.job("random", "LP", 100)
    assert [outcome.status for outcome in storage.run(job)] == ["done"]
    target = storage.job("random", "LPFT", 100).targets[0]
    assert [outcome.status for outcome in storage.run(storage.job("random", "LPFT", 100))] == ["done"]
    result = open_artefacts(storage.files, target.folder).result
    for parent in (job.encoder_folder, job.targets[0].folder):
        assert result["parents"][parent] == open_artefacts(storage.files, parent).content_sha256
    assert result["parents"][job.data_folder] == read_manifest(storage.files, job.data_folder).fingerprint
    assert len(result["recipe"]) == 12 and problems(storage.files, target.folder) == []


@pytest.mark.parametrize("name", ["backbone.safetensors", "result.json"])
def test_a_damaged_encoder_goes_to_quarantine_and_comes_out_the_same(storage, name):
    job = storage.job("random", "FT", 1)
    whole = open_artefacts(storage.files, job.encoder_folder)
    path = name if name == "result.json" else whole.result["files"][name]["path"]
    flip(Path(storage.files.full(f"{job.encoder_folder}/{path}")))
    assert [outcome.status for outcome in storage.run(job)] == ["waiting"]
    assert not is_done(storage.files, job.encoder_folder) and storage.files.list(QUARANTINE)
    assert not storage.files.exists(f"{job.targets[0].folder}/failed.json"), "the cell has not failed: it waits"
    storage.make_encoders()
    assert open_artefacts(storage.files, job.encoder_folder).content_sha256 == whole.content_sha256
    assert [outcome.status for outcome in storage.run(job)] == ["done"]


def test_of_two_jobs_on_a_damaged_encoder_the_later_one_waits_too(tmp_path):
    """The first has put it into quarantine: the second finds nothing there."""
    files, said = Files(str(tmp_path)), []
    target = SeedTarget("cell", "key", 0, "cells/c", None)
    _failed(SimpleNamespace(encoder_folder="encoders/e"), files, target, FileNotFoundError("gone"), said.append)
    assert [outcome.status for outcome in said] == ["waiting"] and files.list() == []


def test_a_damaged_starting_cell_costs_its_own_followers_only(storage):
    probe, tuned = storage.job("random", "LP", 100), storage.job("random", "LPFT", 100)
    storage.run(probe)
    head = open_artefacts(storage.files, probe.targets[0].folder).result["files"]["head.safetensors"]["path"]
    flip(Path(storage.files.full(f"{probe.targets[0].folder}/{head}")))
    assert [outcome.status for outcome in storage.run(tuned)] == ["waiting"]
    assert not is_done(storage.files, probe.targets[0].folder) and is_done(storage.files, probe.encoder_folder)
    storage.run(probe)
    assert [outcome.status for outcome in storage.run(tuned)] == ["done"]


def test_a_damaged_result_is_missing_and_not_a_number(storage):
    job = storage.job("random", "FT", 1)
    storage.run(job)
    folder = job.targets[0].folder
    reader = ResultReader(storage.study, storage.plan, storage.store)
    before = {r.key: r.macro_auroc for r in reader.collect() if r.status == "done"}
    assert len(before) == 1
    flip(Path(storage.files.full(f"{folder}/result.json")))
    reader = ResultReader(storage.study, storage.plan, storage.store)
    assert {r.status for r in reader.collect()} == {"missing"} and not is_done(storage.files, folder)
    storage.run(job)
    assert {r.key: r.macro_auroc for r in reader.collect() if r.status == "done"} == before


def test_a_lost_or_short_artefact_is_seen_by_its_size(storage):
    job = storage.job("random", "FT", 1)
    storage.run(job)
    entry = open_artefacts(storage.files, job.targets[0].folder).result["files"]["predictions.parquet"]
    path = Path(storage.files.full(f"{job.targets[0].folder}/{entry['path']}"))
    path.write_bytes(path.read_bytes()[:-1])
    assert {r.status for r in ResultReader(storage.study, storage.plan, storage.store).collect()} == {"missing"}


@pytest.mark.parametrize("fault", ["flipped", "missing"])
def test_a_damaged_or_missing_shard_fails_its_cells_by_name(storage, fault):
    job = storage.job("random", "FT", 1)
    manifest = read_manifest(storage.files, job.data_folder)
    shard = Path(storage.files.full(f"{job.data_folder}/{manifest.shards[0].path}"))
    flip(shard) if fault == "flipped" else shard.unlink()
    (outcome,) = storage.run(job)
    assert outcome.status == "failed" and manifest.shards[0].path in outcome.error
    assert verify(storage.files, job.data_folder, manifest), "the check of a corpus names it too"


@pytest.mark.parametrize("protocol", ["FT", "LP"])
def test_a_loss_that_is_no_number_fails_the_cell_and_never_gives_one(storage, protocol):
    job = storage.job("random", protocol, 100)
    wild = OptimizerSpec("adam", 1e38, (0.9, 0.999))
    recipe = replace(job.recipe, optimizer=wild, linear_probe_optimizer=wild, num_epochs=3, linear_probe_epochs=6)
    outcomes = storage.run(replace(job, recipe=recipe))
    assert [outcome.status for outcome in outcomes] == ["failed"] and outcomes[0].macro_auroc is None
    assert "not finite" in outcomes[0].error and ("step" in outcomes[0].error or "epoch" in outcomes[0].error)
    assert "last epoch" in outcomes[0].error and not is_done(storage.files, job.targets[0].folder)


def test_memory_that_runs_out_once_is_tried_again_with_the_same_batch(storage, monkeypatch):
    job, whole = storage.job("random", "FT", 1), trainables.evaluation.cell_job.Supervised.run
    calls = []

    def run(self):
        calls.append(self.recipe.batch_size)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self)

    monkeypatch.setattr(trainables.evaluation.cell_job.Supervised, "run", run)
    assert [outcome.status for outcome in storage.run(job)] == ["done"]
    assert calls == [job.recipe.batch_size] * 2


def test_memory_that_runs_out_twice_is_a_failure_with_what_to_do(storage, monkeypatch):
    def run(self):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainables.evaluation.cell_job.Supervised, "run", run)
    (outcome,) = storage.run(storage.job("random", "FT", 1))
    assert outcome.status == "failed" and "gpus_per_cell=1" in outcome.error


def test_a_cell_that_two_processes_compute_at_once_is_recorded_once(storage):
    """No lease at all: what holds is that both compute the same, and that the first write stands."""
    job = storage.job("imagenet", "FT", 10)
    outcomes: list = []
    threads = [threading.Thread(target=lambda: outcomes.append(storage.run(job))) for _ in range(2)]
    torch.set_num_threads(1)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    results = [p for p in Path(storage.files.full(job.targets[0].folder)).iterdir() if p.name == "result.json"]
    assert len(results) == 1 and problems(storage.files, job.targets[0].folder) == []


def test_attempts_end_and_say_why_and_a_damaged_count_only_starts_again(storage):
    job: EncoderJob = encoder_job(storage.plan.encoders[0], {})
    assert [count_attempt(storage.files, job) for _ in range(3)] == [1, 2, 3]
    assert last_error(storage.files, job) == "its worker died"
    note_error(storage.files, job, RuntimeError("NCCL timed out"))
    assert count_attempt(storage.files, job) == 4 and last_error(storage.files, job) == "RuntimeError: NCCL timed out"
    for damaged in (b"\xff\x00", b"[]", b"[" * 100_000, b'{"attempts": Infinity}', b'{"attempts": null}'):
        storage.files.write(f"{job.folder}/attempts.json", damaged)
        note_error(storage.files, job, RuntimeError("an error that this must not hide"))
        storage.files.write(f"{job.folder}/attempts.json", damaged)
        assert last_error(storage.files, job) == "its worker died"
        assert count_attempt(storage.files, job) == 1
