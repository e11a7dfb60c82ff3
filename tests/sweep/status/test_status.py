"""Does status tell from a storage alone what is done, failed, running and left; and write TensorBoard's logs?"""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from small_study import study as small_study
from tensorboardX.proto.event_pb2 import Event
from typer.testing import CliRunner

from datasets_io.storage.artefacts import publish, record_failure
from sweep.status import readers
from sweep.status.__main__ import app
from sweep.status.eta import estimate
from sweep.status.readers import open_reader
from sweep.store.lease import Lease
from sweep.store.store import ReadStore, Store, name_of
from sweep.studies.plan import NOT_BUILT, make_plan
from trainables.recipe import Resources
from trainables.tensorboard import write_history

ROOT = Path(__file__).resolve().parents[3]
STUDY = "tests/sweep/small_study.py"
HISTORY = [
    {"epoch": 0, "train_bce": 0.7, "val_loss": 0.6, "score": 0.5},
    {"epoch": 1, "train_bce": 0.4, "val_loss": None},
]


def the_plan():
    return make_plan(small_study(), dict.fromkeys(("mimic_cxr", "chexpert", "nih_cxr14"), NOT_BUILT), {})


def finish(store: Store, item, value: float | None = None, seconds: float = 10.0) -> None:
    result = {"name": str(item), "key": item.key, "history": HISTORY, "seconds": seconds}
    if value is not None:
        result |= {"macro_auroc": value, "findings": [{"finding": "edema", "auroc": value, "n_pos": 3, "n_neg": 4}]}
    publish(store.files, store.folder(item), {}, result)


@pytest.fixture
def storage(tmp_path) -> Path:
    """All initial encoders and simclr done, clip+mocov2 failed; eight cells done, one failed; one LP folder begun."""
    store, plan = Store(str(tmp_path)), the_plan()
    for encoder in plan.encoders:
        if encoder.row == "clip+mocov2":
            record_failure(store.files, store.folder(encoder), "TrainingDiverged: loss is not finite\nmore", "trace")
        else:
            finish(store, encoder)
    cells = [cell for cell in plan.cells if cell.encoder.row == "random" and cell.dataset == "chexpert"]
    for place, cell in enumerate(cells[:8]):
        finish(store, cell, value=0.5 + place / 100)
    record_failure(store.files, store.folder(cells[8]), "CUDA out of memory", "trace")
    begun = next(cell for cell in plan.cells if cell.encoder.row == "simclr" and cell.protocol == "FT")
    store.files.write(f"{store.folder(begun)}/subset.0000.txt", b"ids")
    return tmp_path


def invoke(*arguments: str):
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "160", "NO_COLOR": "1"})


def test_a_study_is_counted_from_the_storage_alone(storage):
    with Lease(Store(str(storage)).files) as lease:
        lease.claim({"an item"})
        done = invoke("--storage", str(storage), "--study", STUDY, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["encoders"] == {"total": 5, "done": 4, "failed": 1, "running": 0, "left": 0, "blocked": 0}
    cells = found["cells"]
    assert (cells["total"], cells["done"], cells["failed"], cells["running"]) == (80, 8, 1, 1)
    assert cells["blocked"] == 20  # all of clip+mocov2: two datasets, five columns, two seeds
    assert cells["left"] == 80 - 8 - 1 - 20
    assert [failure["error"] for failure in found["failures"]] == [
        "CUDA out of memory",
        "TrainingDiverged: loss is not finite",
    ]
    assert found["pace"]["per_hour"] > 0 and found["pace"]["left"] > 0 and 0 <= found["idle"] < 300
    assert found["running"] == ["simclr-p0-chexpert-FT1-s0"]
    after = json.loads(invoke("--storage", str(storage), "--study", STUDY, "--json").stdout)
    assert after["running"] == [] and after["cells"]["running"] == 0, "no command works on it any more"
    assert "50." in str(found["tables"][0]["rows"]) and len(found["tables"]) == 2


@pytest.mark.parametrize(("gpus_per_cell", "places"), [(0.25, 4.0), (0, 1.0)])
def test_results_of_gpus_say_how_many_of_them_were_held(storage, monkeypatch, gpus_per_cell, places):
    """A pretraining of two workers took four GPUs where Resources gives two to each, and a cell a part of one."""
    resources = Resources(gpus_per_worker=2.0, gpus_per_cell=gpus_per_cell)
    study = replace(small_study(), resources=resources)
    store, plan, seen = Store(str(storage)), the_plan(), []
    monkeypatch.setattr(readers, "estimate", lambda pieces, left: seen.append((pieces, left)) or estimate(pieces, left))
    run = next(run for run in plan.encoders if run.row == "clip+mocov2")
    gpu = {"history": [], "seconds": 100.0, "core_seconds": 900.0, "device": "cuda: NVIDIA A100-SXM4-80GB"}
    publish(store.files, store.folder(run), {}, {"name": str(run), "key": run.key, "workers": 2, **gpu})
    cell = next(cell for cell in plan.cells if cell.encoder.key == run.key)
    result = {"name": str(cell), "key": cell.key, "macro_auroc": 0.5, "findings": [], **gpu}
    publish(store.files, store.folder(cell), {}, result)
    readers.StudyStatusReader(study, ReadStore(str(storage)), (), {}).read(time.time())
    ((pieces, _),) = seen
    held = sorted((piece.places, piece.core_seconds) for piece in pieces if piece.seconds == 100.0)
    assert held == [(gpus_per_cell, None), (places, None)]
    assert {piece.places for piece in pieces if piece.seconds != 100.0} == {1.0}, "what ran on cores holds one"


def test_people_see_the_same_with_reasons_and_what_to_do(storage):
    done = invoke("--storage", str(storage), "--study", STUDY)
    assert done.exit_code == 0, done.output
    for text in ("8 of 80 done", "20 blocked", "CUDA out of memory", "--retry-failed", "Random Init.", "an hour"):
        assert text in done.output, text
    assert "\x1b[" not in done.output


def test_a_part_of_a_study(storage):
    found = json.loads(invoke("--storage", str(storage), "--study", STUDY, "--only", "method=random", "--json").stdout)
    assert found["cells"]["total"] == 20 and found["encoders"]["total"] == 2


def test_a_storage_without_a_study_is_counted_too(storage):
    found = json.loads(invoke("--storage", str(storage), "--json").stdout)
    assert (found["cells"]["done"], found["encoders"]["done"], found["cells"]["left"]) == (8, 4, None)
    assert len(found["failures"]) == 2 and found["study"] is None


def test_results_that_land_between_two_readings_are_counted_and_old_ones_not_read_again(storage):
    reader = open_reader(STUDY, str(storage))
    before = reader.read(time.time())
    cell = next(cell for cell in the_plan().cells if cell.encoder.row == "simclr" and cell.protocol == "LP")
    kept = dict(reader.cells.results)
    finish(Store(str(storage)), cell, value=0.9)
    after = reader.read(time.time())
    assert (after.cells.done, after.cells.left) == (before.cells.done + 1, before.cells.left - 1)
    assert all(reader.cells.results[key] is result for key, result in kept.items())


def test_a_folder_that_was_left_long_ago_is_not_running(storage):
    """Not while another command works on the storage either."""
    reader = open_reader(STUDY, str(storage))
    with Lease(Store(str(storage)).files) as lease:
        lease.claim({"an item"})
        (begun,) = storage.glob("cells/*/subset.0000.txt")
        assert len(reader.read(time.time()).running) == 1
        os.utime(begun, times=(time.time() - 1_000,) * 2)
        assert reader.read(time.time()).running == ()


def test_a_damaged_result_is_told_left_where_it_is_and_counted_as_left(storage):
    cell = next(path for path in (storage / "cells").glob("random-*") if (path / "result.json").exists())
    (cell / "result.json").write_text((cell / "result.json").read_text().replace("0.5", "0.9"))
    before = {path: path.read_bytes() for path in storage.rglob("*") if path.is_file()}
    found = json.loads(invoke("--storage", str(storage), "--study", STUDY, "--json").stdout)
    assert (found["cells"]["done"], found["cells"]["left"]) == (7, 80 - 7 - 1 - 20)
    assert any("damaged" in note for note in found["notes"])
    assert before == {path: path.read_bytes() for path in storage.rglob("*") if path.is_file()}
    assert json.loads(invoke("--storage", str(storage), "--json").stdout)["cells"]["done"] == 7


def test_who_works_on_it_is_told_by_leases(storage):
    arguments = ["--storage", str(storage), "--study", STUDY]
    assert "none: go on with the same sweep.run" in invoke(*arguments).output
    with Lease(Store(str(storage)).files) as lease:
        lease.claim({the_plan().cells[-1].key})
        assert f"process {os.getpid()} on" in invoke(*arguments).output
    assert json.loads(invoke(*arguments, "--json").stdout)["drivers"] == []


def test_nothing_is_written_to_the_storage(storage):
    before = {path: path.stat().st_mtime_ns for path in storage.rglob("*")}
    invoke("--storage", str(storage), "--study", STUDY)
    assert before == {path: path.stat().st_mtime_ns for path in storage.rglob("*")}


def test_a_watch_ends_where_nothing_is_left_and_at_ctrl_c(storage):
    store = Store(str(storage))
    command = [sys.executable, "-m", "sweep.status", "--storage", str(storage), "--study", STUDY, "--watch", "0.2"]
    plain = os.environ | {"NO_COLOR": "1"}
    watching = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=plain)
    for line in watching.stdout:
        if "of 80 done" in line:
            break
    watching.send_signal(signal.SIGINT)
    assert watching.wait(timeout=30) == 130
    for cell in the_plan().cells:
        finish(store, cell, value=0.7)
    done = invoke("--storage", str(storage), "--study", STUDY, "--watch", "5")
    assert done.exit_code == 0 and "80 of 80 done" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--storage", "/nowhere/at/all"], "does not exist"),
        (["--study", "papr"], "unknown study"),
        (["--only", "seed=0"], "say which with --study"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(storage, arguments, message):
    done = invoke(*(["--storage", str(storage)] if "--storage" not in arguments else []), *arguments)
    assert done.exit_code == 2 and message in done.output and done.output.count("\n") == 1


def test_help_teaches():
    done = invoke("--help")
    for text in ("--storage", "--study", "--watch", "--json", "--tensorboard", "Without it", "estimated"):
        assert text in done.output


def test_names_lose_their_keys():
    assert name_of("cells/clip-p0-chexpert-LP100-s0-0123456789ab") == "clip-p0-chexpert-LP100-s0"


# -- TensorBoard -----------------------------------------------------------------------------------


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """Read event files by their definition: length, checksum, record, checksum."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            found += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            data = data[16 + length :]
    return found


def test_a_history_becomes_a_scalar_for_each_metric_and_epoch(tmp_path):
    assert write_history(tmp_path / "encoders" / "clip", HISTORY)
    assert not write_history(tmp_path / "encoders" / "clip", HISTORY)
    rounded = [(tag, step, round(value, 6)) for tag, step, value in scalars(tmp_path / "encoders" / "clip")]
    assert rounded == [("bce/train", 0, 0.7), ("loss/val", 0, 0.6), ("score", 0, 0.5), ("bce/train", 1, 0.4)]
    assert [path.name for path in (tmp_path / "encoders").iterdir()] == ["clip"]


def test_every_finished_run_is_logged_once(storage, tmp_path):
    logs = tmp_path / "logs"
    first = invoke("--storage", str(storage), "--study", STUDY, "--tensorboard", str(logs))
    assert "12 runs written" in first.output and "tensorboard --logdir" in first.output
    assert len(list(logs.glob("cells/*"))) == 8 and len(list(logs.glob("encoders/*"))) == 4
    assert "0 runs written" in invoke("--storage", str(storage), "--tensorboard", str(logs)).output
    assert len(scalars(next(logs.glob("cells/*")))) == 4
