"""The command: a search from raw archives to a study file, taken up again, and its encoder used by sweep.run."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from datasets_io.storage.files import Files
from sweep.run.__main__ import app as run_app
from sweep.store.lease import Lease
from sweep.store.store import Store
from sweep.tune.__main__ import app
from sweep.tune.trial_store import TrialState, TrialStore

ROOT = Path(__file__).resolve().parents[3]
STUDY = """
from dataclasses import replace
import sys
sys.path.insert(0, {folder!r})
from small_study import study as small

def study():
    base = small()
    rows = [replace(r, recipe=replace(r.recipe, num_epochs=3)) if r.name == "simclr" else r for r in base.rows]
    return replace(base, rows=tuple(rows))
"""


def tune(*arguments: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "sweep.tune", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=800, env=environment)


def search_folder(storage: Path) -> Path:
    (folder,) = (storage / "reports" / "small").glob("tune-simclr-*")
    return folder


def rows_of(storage: Path) -> list[dict[str, str]]:
    with open(search_folder(storage) / "trials.csv") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> tuple[Path, list[str], subprocess.CompletedProcess]:
    folder = tmp_path_factory.mktemp("search")
    study = folder / "three_epochs.py"
    study.write_text(STUDY.format(folder=str(ROOT / "tests/sweep")))
    arguments = [
        "--study",
        str(study),
        "--method",
        "simclr",
        "--storage",
        str(folder / "storage"),
        "--out",
        str(folder / "tuned.py"),
    ]
    return folder, arguments, tune(*arguments, "--trials", "3")


def test_a_search_ends_with_a_table_a_figure_and_a_study(searched):
    folder, _, done = searched
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    rows = rows_of(folder / "storage")
    assert len(rows) == 3 and "0.1" in {row["simclr.temperature"] for row in rows}  # the study's own value is tried
    assert "done" in {row["state"] for row in rows} <= {"done", "pruned"}
    assert all(0.01 <= float(row["simclr.temperature"]) <= 1 for row in rows)
    best = max(float(row["val_auroc"]) for row in rows if row["state"] == "done")
    assert f"validation macro AUROC {best:.4f}" in done.stdout
    assert {path.name for path in search_folder(folder / "storage").iterdir()} == {
        "trials",
        "trials.csv",
        "search.svg",
        "search.png",
    }
    names = [path.name for path in (folder / "storage").rglob("*")]
    assert not [name for name in names if "checkpoint" in name or ".tmp-" in name]


def test_the_same_command_again_does_nothing_and_a_larger_one_goes_on(searched):
    folder, arguments, _ = searched
    storage = folder / "storage"
    before = rows_of(storage)
    again = CliRunner().invoke(app, [*arguments, "--trials", "3"])
    assert again.exit_code == 0 and "at once" not in again.output and rows_of(storage) == before
    trial_store = TrialStore(Store(str(storage)), "small", search_folder(storage).name)
    cut_off = {"simclr.temperature": 0.25}  # as a killed driver leaves it
    trial_store.begin(cut_off, "encoders/unknown-to-it")
    more = tune(*arguments, "--trials", "4")
    assert more.returncode == 0, more.stdout[-3000:] + more.stderr[-3000:]
    after = rows_of(storage)
    assert after[:3] == before and [row["number"] for row in after] == ["0", "1", "2", "3"]
    assert float(after[3]["simclr.temperature"]) == 0.25 and after[3]["state"] != TrialState.BEGUN


def test_a_second_command_on_a_search_that_goes_on_is_refused(searched):
    folder, arguments, _ = searched
    files, name = Files(str(folder / "storage")), search_folder(folder / "storage").name
    before = rows_of(folder / "storage")
    with Lease(files) as lease:
        assert lease.claim({name}) == ({name}, {})
        second = CliRunner().invoke(app, [*arguments, "--trials", "9"])
    assert second.exit_code == 2 and f"process {os.getpid()} on " in second.output, second.output
    assert "makes this search already" in second.output and rows_of(folder / "storage") == before


def test_the_tuned_study_finds_its_encoder_done(searched):
    folder, _, _ = searched
    arguments = ["--study", str(folder / "tuned.py"), "--storage", str(folder / "storage"), "--only", "method=simclr"]
    plan = CliRunner().invoke(run_app, [*arguments, "--dry-run"])
    assert plan.exit_code == 0, plan.output
    assert "study small-tuned" in plan.output and "encoder runs: 2 in all, 2 done, 0 left" in plan.output


def test_every_trial_is_a_file_that_can_be_read(searched):
    folder, _, _ = searched
    trials = [json.loads(path.read_text()) for path in (search_folder(folder / "storage") / "trials").iterdir()]
    assert all(trial["rungs"] for trial in trials) and TrialState.DONE in {trial["state"] for trial in trials}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "clap"], "pretrains no method 'clap'"),
        (["--method", "vicreg"], "nothing to tune"),
        (["--method", "clip", "--study", "papr"], "unknown study"),
        (["--method", "clip", "--study", "paper"], "needs mimic_cxr"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(tmp_path, arguments, message):
    done = CliRunner().invoke(app, [*arguments, "--storage", str(tmp_path / "new")])
    assert done.exit_code == 2 and message in done.output and done.output.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_help_teaches():
    done = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "160", "NO_COLOR": "1"})
    for text in ("--study", "--method", "--storage", "--trials", "--raw", "--out", "TRAINING splits", "log-uniform"):
        assert text in done.output
