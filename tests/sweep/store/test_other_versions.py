"""What earlier versions left in a storage: said in a sentence, never used unseen, and left where it lies.

tests/golden/storage_684d111.tar.xz holds a cell, an encoder's result and a manifest of the first demo that ran whole,
made by commit 684d111 with `python -m sweep.run`, before results were sealed.
"""

import importlib
import json
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from datasets_io.storage.artefacts import RESULT, CorruptArtefact, open_artefacts, publish, unseal
from sweep.status.__main__ import app as status
from sweep.store.other_keys import other_keys_note
from sweep.store.store import Store
from sweep.studies import demo
from sweep.studies.plan import Plan, make_plan

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
CELL = {"macro_auroc": 0.5, "findings": []}


@pytest.fixture(scope="module")
def plan() -> Plan:
    study = demo()
    return make_plan(study, {build.label: "not built" for build in study.data_builds()}, {})


def without_seal(store: Store, folder: str) -> None:
    """As results were written before they were sealed."""
    publish(store.files, folder, {"a.bin": b"abc"}, CELL)
    path = f"{folder}/{RESULT}"
    content = unseal(store.files.read(path), path)
    kept = {name: content[name] for name in ("files", *CELL)}
    store.files.write(path, json.dumps(kept, indent=1, sort_keys=True).encode())


def said(storage: Path, *more: str) -> str:
    done = CliRunner().invoke(status, ["--storage", str(storage), *more], env={"COLUMNS": "300"})
    assert done.exit_code == 0 and "Traceback" not in done.output, done.output
    return " ".join(done.output.split())


def test_results_without_a_seal_are_one_line_and_never_used(tmp_path, plan):
    store = Store(str(tmp_path))
    folders = [store.folder(cell) for cell in plan.cells[:20]]
    for folder in folders:
        without_seal(store, folder)
    with pytest.raises(CorruptArtefact, match=r"has no seal \(results had none before version 0\.1\.0\)"):
        open_artefacts(store.files, folders[0])
    text = said(tmp_path)
    assert text.count("damaged") == 1 and "and 19 more:" in text and "has no seal" in text
    assert "0 done" in text
    assert all(store.files.exists(f"{folder}/{RESULT}") for folder in folders), "status changes nothing"


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"files": {}, "sha256": "0"}', b"[" * 100_000, b"\xff"])
def test_what_is_no_result_of_any_version_is_damaged(content):
    with pytest.raises(CorruptArtefact, match="its seal differs"):
        unseal(content, "cells/c/result.json")


def test_namesakes_with_other_keys_are_counted_and_not_used(tmp_path, plan):
    store = Store(str(tmp_path))
    first, second, *_ = plan.cells
    publish(store.files, f"cells/{first}-0123456789ab", {"a.bin": b"abc"}, CELL)
    publish(store.files, "cells/of-another-study-0123456789ab", {"a.bin": b"abc"}, CELL)
    publish(store.files, store.folder(second), {"a.bin": b"abc"}, CELL)
    publish(store.files, f"cells/{second}-0123456789ab", {"a.bin": b"abc"}, CELL)
    text = said(tmp_path, "--study", "demo")
    assert "1 finished under the same names have other keys" in text and "1 of 650 done" in text
    done, _ = store.done_and_failed()
    assert other_keys_note([second], done) is None and other_keys_note(plan.items, []) is None


def state(storage: Path) -> dict[str, bytes]:
    return {str(path.relative_to(storage)): path.read_bytes() for path in storage.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("command", "more", "says"),
    [
        ("status", (), "and 1 more: "),
        ("status", ("--study", "demo"), "2 finished under the same names have other keys"),
        ("run", ("--study", "demo", "--dry-run"), "2 finished under the same names have other keys"),
        ("report", ("--study", "demo", "--quick", "--to", "{elsewhere}"), "0 of 650 cells done"),
        ("training_free", ("--study", "demo", "--kind", "knn"), ""),
        ("doctor", ("--study", "demo"), "synthetic, to be made"),
    ],
)
def test_the_storage_of_the_first_demo_is_opened_and_nothing_of_it_is_used(tmp_path, command, more, says):
    storage = tmp_path / "results"
    with tarfile.open(GOLDEN / "storage_684d111.tar.xz") as tar:
        tar.extractall(storage, filter="data")
    before = state(storage)
    app = importlib.import_module(f"sweep.{command}.__main__").app
    arguments = [one.format(elsewhere=tmp_path / "elsewhere") for one in more]
    done = CliRunner().invoke(app, [*arguments, "--storage", str(storage)], env={"COLUMNS": "300"})
    text = " ".join(done.output.split())
    # The doctor also says what this machine lacks.
    assert done.exit_code in ((0, 3) if command == "doctor" else (0,)), text
    assert says in text and "Traceback" not in text
    after = state(storage)
    assert {path: after[path] for path in before} == before, "nothing is lost, nothing changed"
