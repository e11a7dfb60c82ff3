"""The command, end to end in processes of its own: a whole small study, its second run, its repair, its errors."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from event_files import scalars
from typer.testing import CliRunner

from sweep.run.__main__ import app as run_app
from sweep.run.chaos import Process
from sweep.status.__main__ import app as status_app
from sweep.studies import load_study
from sweep.studies.outlook import outlook

ROOT = Path(__file__).resolve().parents[3]
STUDY = "tests/sweep/small_study.py"


def run(*arguments: str, timeout: float = 600) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "sweep.run", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, env=environment)


def run_here(*arguments: str) -> subprocess.CompletedProcess:
    """As `run` of a command that does no work, in this process, which has its imports: seconds of a core each."""
    done = CliRunner(env={"RAY_ADDRESS": None, "COLUMNS": "200", "NO_COLOR": "1"}).invoke(run_app, arguments)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def finished(finished_study, tmp_path_factory) -> tuple[Path, subprocess.CompletedProcess]:
    """A copy, for these tests to change, and what the command said that ran the study."""
    storage = tmp_path_factory.mktemp("copy") / "storage"
    shutil.copytree(finished_study.storage, storage)
    command = subprocess.CompletedProcess([], finished_study.returncode, finished_study.stdout, finished_study.stderr)
    return storage, command


def rows_of(storage: Path, name: str) -> list[dict[str, str]]:
    with open(storage / "reports" / "small" / name) as stream:
        return list(csv.DictReader(stream))


def test_the_whole_study_runs(finished):
    storage, first = finished
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    assert "Traceback" not in first.stdout + first.stderr and "arning" not in first.stderr
    rows = rows_of(storage, "results.csv")
    assert len(rows) == 4 * 2 * 5 * 2 and {row["status"] for row in rows} == {"done"}
    assert list(rows[0])[:8] == [
        "method",
        "dataset",
        "protocol",
        "label_percent",
        "seed",
        "macro_auroc",
        "status",
        "key",
    ]
    assert all(0 <= float(row["macro_auroc"]) <= 1 for row in rows)
    findings = rows_of(storage, "findings.csv")
    assert len(findings) == len(rows) * 14
    for row in rows:
        values = [float(f["auroc"]) for f in findings if f["key"] == row["key"] and f["auroc"]]
        assert float(row["macro_auroc"]) == pytest.approx(sum(values) / len(values), abs=1e-12)
    for name in ("table1.md", "table1.csv", "table1.tex", "study.json", "failures.json"):
        assert (storage / "reports" / "small" / name).is_file()


def test_it_says_what_it_does_and_ends_with_what_came_of_it(finished):
    lines = finished[1].stdout.splitlines()
    assert lines[0].startswith(f"radsweep: reading study {STUDY} and storage ")
    order = [
        "study small: ",
        "checking networks: 0 of ",
        "synthetic archives: 0 of 348 images",
        "ingest mimic_cxr: 0 of ",
    ]
    order += ["to do: 5 of 5 encoders, 80 of 80 cells", "pretraining: 0%, 0 of 5 encoders done", "cells: 0 of 80 done"]
    order += ["starting Ray on this machine", "pretraining: 100%", "cells: 80 of 80 done", "making the report: "]
    places = [next(i for i, line in enumerate(lines) if line.startswith(start)) for start in order]
    assert places == sorted(places), list(zip(order, places, strict=True))
    assert lines[-1].startswith("80 of 80 cells done in ") and "report.html" in lines[-1]
    assert not [line for line in lines if "/100" in line or line.endswith(("; ", "now"))]


def test_a_cell_is_computed_again_alone_and_the_report_is_left_as_it_is(finished):
    storage, _ = finished
    key = next(r["key"] for r in rows_of(storage, "results.csv") if (r["method"], r["protocol"]) == ("simclr", "FT"))
    reports = {path: path.stat().st_mtime_ns for path in (storage / "reports").rglob("*")}
    done = run("--study", STUDY, "--storage", str(storage), "--redo", key)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    last = done.stdout.splitlines()[-1]
    assert "computed again and equal: macro AUROC" in last and "to do: 0 of 2 encoders, 1 of 1 cells" in done.stdout
    assert "making the report" not in done.stdout and "sweep.report" not in done.stdout, "nothing in it changed"
    assert {path: path.stat().st_mtime_ns for path in (storage / "reports").rglob("*")} == reports


def test_what_is_stored_is_about_what_a_plan_says(finished):
    storage, _ = finished
    planned = {part.what: part.bytes for part in outlook(load_study(STUDY)).storage}
    for what in ("encoders", "cells"):
        stored = sum(path.stat().st_size for path in (storage / what).rglob("*") if path.is_file())
        assert planned[what] == pytest.approx(stored, rel=0.35), what


def test_the_first_word_comes_before_the_libraries(tmp_path):
    """A torch that never comes: the run has said what it does."""
    (tmp_path / "torch.py").write_text("import time\ntime.sleep(600)\n")
    paths = f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    command = [sys.executable, "-m", "sweep.run", "--storage", str(tmp_path / "storage")]
    environment = {**os.environ, "PYTHONPATH": paths}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == f"radsweep: reading study demo and storage {tmp_path / 'storage'}\n"
        process.kill()


def test_nothing_of_a_run_is_left_but_results(finished):
    storage, _ = finished
    names = [path.name for path in storage.rglob("*")]
    assert not [name for name in names if ".tmp-" in name or name == "checkpoint.pt"]


def test_it_is_logged_and_its_storage_tells_its_state(finished, finished_study):
    storage, first = finished
    assert "left out" not in first.stdout
    logs = Path(finished_study.logs)
    (encoder,), cells = logs.glob("encoders/simclr-*"), list(logs.glob("cells/simclr-*"))
    assert {tag for tag, _, _ in scalars(encoder)} >= {"simclr/train", "loss/val"} and len(cells) == 2 * 5 * 2
    asked = ["--study", STUDY, "--storage", str(storage), "--json"]
    seen = json.loads(CliRunner().invoke(status_app, asked).stdout)
    assert (seen["cells"]["done"], seen["cells"]["left"], seen["encoders"]["done"]) == (80, 0, 5)
    assert seen["pace"]["left"] == 0 and seen["notes"] == []


def test_a_second_run_does_nothing_and_says_so_quickly(finished):
    storage, _ = finished
    before = {path: path.stat().st_mtime_ns for path in (storage / "cells").rglob("*") if path.is_file()}
    started = time.monotonic()
    second = run("--study", STUDY, "--storage", str(storage))
    assert second.returncode == 0 and "Nothing left to do" in second.stdout
    assert time.monotonic() - started < 60  # the promise is 15 s on an idle machine; this one may be busy
    assert before == {path: path.stat().st_mtime_ns for path in (storage / "cells").rglob("*") if path.is_file()}


def test_a_lost_cell_is_computed_again_alone_and_comes_out_the_same(repaired_study, finished_study):
    """Two cells, one of them of a damaged encoder."""
    again, cells = repaired_study.command, repaired_study.storage / "cells"
    assert again.returncode == 0 and "2 of 80 cells" in again.stdout, again.stdout[-2000:] + again.stderr[-2000:]
    assert all(path.stat().st_mtime_ns == when for path, when in repaired_study.before.items())
    for lost in ("simclr-p0-chexpert-LPFT100-s1-*", "imagenet-p0-chexpert-FT100-s0-*"):
        assert len(list(cells.glob(f"{lost}/result.json"))) == 1
    results = Path("reports") / "small" / "results.csv"
    assert (repaired_study.storage / results).read_bytes() == (Path(finished_study.storage) / results).read_bytes()


def test_a_dry_run_writes_nothing(tmp_path):
    done = run_here("--study", STUDY, "--storage", str(tmp_path / "new"), "--dry-run")
    assert done.returncode == 0, done.stderr
    for text in ("encoder runs: 5 in all, 0 done, 5 left", "cells: 80 in all, 0 done, 80 left", "images to be read"):
        assert text in done.stdout
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "papr"], "unknown study 'papr'; allowed: demo, paper, released, strict"),
        (["--only", "method=simcrl"], "did you mean 'simclr'"),
        (["--raw", "mimic_cxr=/nowhere/at/all"], "folder /nowhere/at/all does not exist"),
        (["--raw", "mimic=/tmp"], "known: chexlocalize, chexpert, "),
        (["--study", "paper"], "needs mimic_cxr"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, arguments, message):
    of_a_process = run if "papr" in arguments else run_here
    done = of_a_process(*arguments, "--storage", str(tmp_path / "new"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert message in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_half_copied_archive_is_refused_before_any_work(tmp_path, shared_data):
    real = shared_data / "real_cxr"
    half = tmp_path / "NIH-ChestX-ray14"
    half.mkdir()
    for name in ("Data_Entry_2017.csv", "train_val_list.txt", "test_list.txt"):
        shutil.copy(real / "NIH-ChestX-ray14" / name, half)
    (half / "images").mkdir()
    done = run_here(
        "--raw",
        f"mimic_cxr={real}/MIMIC-CXR",
        "--raw",
        f"chexpert={real}/CheXpert-v1.0-small",
        "--raw",
        f"nih_cxr14={half}",
        "--storage",
        str(tmp_path / "new"),
    )
    assert done.returncode == 2 and "finish copying" in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_batch_larger_than_the_corpus_is_refused_before_any_work(tmp_path, shared_data):
    real = shared_data / "real_cxr"
    study = tmp_path / "large.py"
    study.write_text(
        "from dataclasses import replace\nfrom sweep.studies import demo\n\n\ndef study():\n    base = demo()\n"
        "    rows = [r if not hasattr(r.recipe, 'patience') else replace(r, recipe=replace(r.recipe, "
        "global_batch_size=4096)) for r in base.rows if 'mocov2' not in r.name]\n"
        "    return replace(base, rows=tuple(rows))\n"
    )
    raws = [f"mimic_cxr={real}/MIMIC-CXR", f"chexpert={real}/CheXpert-v1.0-small", f"nih_cxr14={real}/NIH-ChestX-ray14"]
    done = run_here(
        "--study", str(study), *[x for raw in raws for x in ("--raw", raw)], "--storage", str(tmp_path / "new")
    )
    assert done.returncode == 2 and "4096 is larger than the corpus" in done.stderr
    assert not (tmp_path / "new").exists()


def test_the_flags_are_those_of_the_readme():
    done = run_here("--help")
    assert done.returncode == 0
    for flag in ("--study", "--storage", "--raw", "--only", "--dry-run", "--retry-failed"):
        assert flag in done.stdout


def test_a_process_that_went_on_is_named_without_its_password():
    command = f"python -m sweep.run --study {'x' * 23} --mlflow http://me:pass-word@host:5000"
    assert command[:80].endswith("pass-word"), "a cut before the @"
    assert "pass-word" not in Process(1, 1, 1, 1, command, True).shown
