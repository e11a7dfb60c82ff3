"""Do commands that only read leave a storage as it is, and name a damaged encoder or cell instead of dying of it?"""

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from reading_case import Case, ReadOnly, cut, flip, left_out, lines_with, whole_storage
from typer.testing import CliRunner

from datasets_io.storage.artefacts import quarantine
from sweep.report import write
from sweep.report.cached_parts import cached_parts_of
from sweep.report.tables.main_table import absence
from sweep.statistics.summary import summarise
from sweep.status import __main__ as status
from sweep.store.damage import Damage
from sweep.store.results import ResultReader
from sweep.store.status_names import Status
from sweep.store.store import ReadStore, Store

ROOT = Path(__file__).resolve().parents[3]
WRITING = (
    "write", "write_once", "move", "remove", "remove_orphans", "orphans", "orphans_of", "stage", "put_in_place",
    "sync", "discard",
)  # fmt: skip


@pytest.fixture
def case(tmp_path_factory, tmp_path) -> Case:
    return Case(whole_storage(tmp_path_factory.getbasetemp()), tmp_path)


@pytest.fixture
def quick_figures(monkeypatch):
    """`sweep.report` as without --quick, all files read, but no figure drawn and no patient resampled."""
    monkeypatch.setattr(
        write, "cached_parts_of", lambda data, compared, folder, quick: cached_parts_of(data, compared, folder, True)
    )


# -- a storage that cannot be written ------------------------------------------------------------------------------


@pytest.fixture
def read_only(case, monkeypatch) -> Case:
    monkeypatch.setattr("datasets_io.storage.files.DISK", ReadOnly(case.storage))
    case.begin()
    return case


def test_a_store_that_reads_has_no_call_that_writes(case):
    case.damage(f"{case.folder(case.cell)}/result.json", flip)
    case.begin()
    store = ReadStore(str(case.storage))
    assert not [name for name in WRITING if hasattr(store.files, name)]
    assert all(hasattr(Store(str(case.storage)).files, name) for name in WRITING)
    assert not hasattr(store, "quarantine_damaged") and not hasattr(store, "forget_failure")
    found = store.open_whole(case.cell, store.sizes())
    assert isinstance(found, Damage) and found.name == str(case.cell)
    with pytest.raises(AttributeError):
        quarantine(store.files, case.folder(case.cell))
    assert not case.changed()


def test_a_report_that_cannot_be_written_is_one_sentence_before_any_result_is_read(read_only, monkeypatch):
    monkeypatch.setattr(ResultReader, "collect", lambda self: pytest.fail("results were read"))
    done = read_only.run("report")
    assert done.exit_code == 2 and done.output.count("\n") == 1
    assert "error: Read-only file system" in done.output and "--to writes the report elsewhere" in done.output
    assert not read_only.changed()


def test_a_report_is_written_elsewhere_and_by_nothing_else(read_only, quick_figures, tmp_path):
    done = read_only.run("report", "--to", str(tmp_path / "elsewhere"))
    assert done.exit_code == 0, done.output
    assert "Nothing: no failure" in (tmp_path / "elsewhere" / "report.md").read_text()
    assert not read_only.changed()


def test_a_folder_of_ones_own_that_cannot_be_written_is_named_too(read_only):
    done = read_only.run("report", "--to", str(read_only.storage / "mine"), "--quick")
    assert done.exit_code == 2 and str(read_only.storage / "mine") in done.output
    done = read_only.run("training_free")
    assert done.exit_code == 2 and done.output.count("\n") == 1 and "a --storage that can be written" in done.output
    assert not read_only.changed()


def test_the_others_read_a_storage_that_cannot_be_written(read_only):
    assert "8 of 8 done" in read_only.run("status").output
    done = read_only.run("export")
    assert done.exit_code == 0 and (read_only.out / "model.safetensors").exists(), done.output
    assert read_only.run("list").exit_code == 0
    assert "8 in all, 8 done, 0 left" in read_only.run("dry_run").output
    done = read_only.run("doctor", "--json")
    found = {check["name"]: check for check in json.loads(done.stdout)}
    assert done.exit_code == 3 and "Read-only file system" in found["storage"]["found"]
    assert {found[f"shards {source}"]["status"] for source in read_only.whole.folders} == {"ok"}
    assert not read_only.changed()


UNDER_A_MOUNT = """
import json, sys
from typer.testing import CliRunner
from sweep.report import __main__ as report
from sweep.status import __main__ as status
storage, study, out = sys.argv[1:]
given = ["--storage", storage, "--study", study]
runs = {"status": (status.app, given), "report": (report.app, given),
        "elsewhere": (report.app, [*given, "--quick", "--to", out])}
found = {name: CliRunner().invoke(*run) for name, run in runs.items()}
print(json.dumps({name: [done.exit_code, repr(done.exception), done.output] for name, done in found.items()}))
"""


def test_a_mount_that_is_read_only(case, tmp_path):
    """The real thing: the kernel refuses, also to root and to what does not go through Files."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    mount = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$1" "$4" "$5"'
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "sweep")])
    case.begin()
    done = subprocess.run(
        [
            "unshare",
            "-m",
            "sh",
            "-c",
            mount,
            "sh",
            str(case.storage),
            sys.executable,
            UNDER_A_MOUNT,
            str(case.whole.study_file),
            str(tmp_path / "elsewhere"),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": paths},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: code for name, (code, _, _) in found.items()} == {"status": 0, "report": 2, "elsewhere": 0}, found
    assert "Read-only file system" in found["report"][2] and found["report"][2].count("\n") == 1
    assert not case.changed()


# -- a damaged encoder ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["seal", "not json", "cut weights", "lost weights"])
def test_a_damaged_encoder_is_named_by_each_command(case, what):
    result, weights = f"{case.folder(case.encoder)}/result.json", case.file_of(case.encoder, "backbone.safetensors")
    path = {
        "seal": lambda: case.damage(result, flip),
        "not json": lambda: case.damage(result, lambda data: b"\xff{"),
        "cut weights": lambda: case.damage(weights, cut),
        "lost weights": lambda: case.damage(weights, None),
    }[what]()
    case.begin()
    done = case.run("status", "--json")
    seen = json.loads(done.stdout)
    assert [(d["name"], d["folder"]) for d in seen["damaged"]] == [("simclr-p0", case.folder(case.encoder))]
    assert path in seen["damaged"][0]["error"] and "run sweep.run again" in seen["damaged"][0]["error"]
    assert (seen["encoders"]["done"], seen["encoders"]["left"], seen["encoders"]["blocked"]) == (1, 1, 0)
    assert len(lines_with(case.run("status").output, "damaged simclr-p0: ")) == 1
    done = case.run("dry_run")
    assert done.exit_code == 0 and len(lines_with(done.output, f"damaged: simclr-p0: {path}")) == 1, done.output
    assert "encoder runs: 2 in all, 1 done, 1 left" in done.output and "cells: 8 in all, 8 done, 0 left" in done.output
    done = case.run("export")
    assert done.exit_code == 2 and done.output.count("\n") == 1 and path in done.output and not case.out.exists()
    assert not case.changed()
    done = case.run("report", "--quick")
    assert done.exit_code == 0 and len(lines_with(done.output, path)) == 1, done.output
    assert lines_with(left_out(case), path) == lines_with(left_out(case), "- damaged: simclr-p0: ")
    failures = json.loads((case.storage / "reports" / "small" / "failures.json").read_text())
    assert failures["simclr-p0"]["status"] == Status.DAMAGED and path in failures["simclr-p0"]["error"]
    assert case.changed() == {"reports"}
    done = case.run("training_free")
    assert done.exit_code == 3 and len(lines_with(done.output, path)) == 1, done.output
    assert "simclr" not in (case.storage / "reports" / "small" / "training_free.csv").read_text()
    assert case.changed() == {"reports", "training_free"}


def test_one_changed_byte_of_an_encoder_is_named_by_who_reads_it(case, quick_figures):
    path = case.damage(case.file_of(case.encoder, "backbone.safetensors"), flip)
    case.begin()
    done = case.run("export")
    assert done.exit_code == 2 and path in done.output and "--retry-failed" in done.output and not case.out.exists()
    done = case.run("report")
    assert done.exit_code == 0 and len(lines_with(done.output, path)) == 1, done.output
    assert len(lines_with(left_out(case), path)) == 1 and "--retry-failed" in left_out(case)
    assert "8 of 8 cells done" in done.output, "its cells' numbers are whole"
    assert case.changed() == {"reports"}
    done = case.run("training_free")
    assert done.exit_code == 3 and lines_with(done.output, path), done.output
    assert case.changed() == {"reports", "training_free"}


def test_a_whole_report_with_figures_comes_through_damage_of_each_kind(case):
    weights = case.damage(case.file_of(case.encoder, "backbone.safetensors"), flip)
    cell = case.damage(f"{case.folder(case.cell)}/result.json", flip)
    shard = case.damage(case.shard("nih_cxr14", "test"), flip)
    case.begin()
    for _ in range(2):  # the second one finds what the first one drew
        done = case.run("report")
        assert done.exit_code == 0, done.output
        for path in (weights, cell, shard):
            assert len(lines_with(done.output, path)) == len(lines_with(left_out(case), path)) == 1, path
        assert case.changed() == {"reports"}
        (case.storage / "reports" / "small" / "extras.json").write_text("{")  # nor does damage of its own end it


# -- a damaged cell ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["seal", "not json", "cut predictions", "lost predictions", "one byte"])
def test_a_damaged_cell_is_named_and_in_no_mean(case, what, quick_figures):
    result, values = f"{case.folder(case.cell)}/result.json", case.file_of(case.cell, "predictions.parquet")
    path = {
        "seal": lambda: case.damage(result, flip),
        "not json": lambda: case.damage(result, lambda data: b""),
        "cut predictions": lambda: case.damage(values, cut),
        "lost predictions": lambda: case.damage(values, None),
        "one byte": lambda: case.damage(values, flip),
    }[what]()
    case.begin()
    if what != "one byte":  # status compares sizes, as sweep.run does
        seen = json.loads(case.run("status", "--json").stdout)
        assert [d["name"] for d in seen["damaged"]] == [str(case.cell)] and path in seen["damaged"][0]["error"]
        assert (seen["cells"]["done"], seen["cells"]["left"]) == (7, 1)
        done = case.run("dry_run")
        assert len(lines_with(done.output, f"damaged: {case.cell}: {path}")) == 1, done.output
        assert "cells: 8 in all, 7 done, 1 left" in done.output
        done = case.run("export")
        assert done.exit_code == 0 and len(lines_with(done.output, path)) == 1
        card = (case.out / "README.md").read_text()
        assert "| 1 of 2 |" in card and "| 2 of 2 |" in card
    assert not case.changed()
    done = case.run("report")
    assert done.exit_code == 0 and len(lines_with(done.output, path)) == 1, done.output
    assert len(lines_with(left_out(case), path)) == 1
    folder = case.storage / "reports" / "small"
    with (folder / "results.csv").open() as stream:
        rows = {row["key"]: row for row in csv.DictReader(stream)}
    assert (rows[case.cell.key]["status"], rows[case.cell.key]["macro_auroc"]) == ("damaged", "")
    assert [row["status"] for row in rows.values()].count("done") == 7
    assert f"damaged: seed {case.cell.seed}; mean of the other n = 1" in (folder / "table1.md").read_text()
    assert "7 of 8 cells are finished, 1 are damaged" in (folder / "report.md").read_text()
    page = json.loads((folder / "report.html").read_text().split('id="data">')[1].split("</script>")[0])
    assert page["cells"]["status"][case.plan.cells.index(case.cell)] == 3
    assert case.cell.key in page["cells"]["failures"]["of"]
    assert case.changed() == {"reports"}


def test_a_damaged_cell_is_not_averaged_over():
    cell = type("Made", (), {"pretrain_seed": 0, "seed": 1, "status": Status.DAMAGED, "macro_auroc": 0.9})
    other = type("Made", (), {"pretrain_seed": 0, "seed": 0, "status": Status.DONE, "macro_auroc": 0.5})
    found = summarise([cell, other], (0, 1, 2))
    assert (found.mean, found.n, found.damaged, found.missing, found.complete) == (0.5, 1, ("1",), ("1", "2"), False)
    assert absence(found) == "missing: seed 2; damaged: seed 1; mean of the other n = 1"
    many = absence(replace(found, missing=tuple(map(str, range(1000)))))
    assert len(many) < 200 and many.startswith("missing: seeds 0, 2, 3,") and "29, 30 and 969 more; damaged" in many


def test_a_whole_storage_without_a_study_names_damage_too(case):
    path = case.damage(f"{case.folder(case.cell)}/result.json", flip)
    case.begin()
    done = CliRunner().invoke(status.app, ["--storage", str(case.storage), "--json"])
    seen = json.loads(done.stdout)
    assert done.exit_code == 0 and seen["cells"]["done"] == 7 and path in seen["damaged"][0]["error"]
    assert not case.changed()


def test_a_damaged_reason_of_a_failure_is_a_sentence(case):
    folder = case.storage / case.folder(case.cell)
    (folder / "result.json").unlink()
    (folder / "failed.json").write_bytes(b"\xff[")
    case.begin()
    assert lines_with(case.run("status").output, "failed.json is damaged")
    assert case.run("report", "--quick").exit_code == 0 and "failed.json is damaged" in left_out(case)
    assert case.changed() == {"reports"}
