"""A storage that a newer version wrote: each command says so in one sentence, and changes nothing."""

import importlib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from datasets_io.storage.artefacts import RESULT, publish, seal, unseal
from datasets_io.storage.schema_version import NewerSchema
from sweep.cli.exit_codes import handled_errors
from sweep.store.store import Store
from sweep.studies import demo
from sweep.studies.plan import make_plan


def newer(storage: Path, kind: str) -> Store:
    """A storage with one result of schema_version 2, of the demo whose data is not built."""
    study, store = demo(), Store(str(storage))
    plan = make_plan(study, {build.label: "not built" for build in study.data_builds()}, {})
    folder = store.folder(plan.cells[0] if kind == "cell" else plan.encoders[0])
    publish(store.files, folder, {"a.bin": b"abc"}, {"macro_auroc": 0.5, "findings": []})
    path = f"{folder}/{RESULT}"
    store.files.write(path, seal({**unseal(store.files.read(path), path), "schema_version": 2}))
    return store


def content(storage: Path) -> dict[str, bytes]:
    return {str(path.relative_to(storage)): path.read_bytes() for path in storage.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["cell", "encoder"])
@pytest.mark.parametrize(
    ("command", "more"), [("report", ("--quick",)), ("status", ()), ("training_free", ("--kind", "knn"))]
)
def test_a_command_that_reads_refuses_it_in_a_sentence(tmp_path, command, more, kind):
    storage = tmp_path / "results"
    newer(storage, kind)
    before = content(storage)
    app = importlib.import_module(f"sweep.{command}.__main__").app
    done = CliRunner().invoke(app, ["--storage", str(storage), "--study", "demo", *more])
    assert done.exit_code == 2, done.output
    assert "has schema_version 2 and this radsweep reads up to 1" in " ".join(done.output.split())
    assert "Traceback" not in done.output and content(storage) == before


def test_a_command_that_computes_does_too(capsys):
    class OtherError(Exception):
        pass

    with pytest.raises(typer.Exit) as end, handled_errors("sweep.run", "results", OtherError):
        raise NewerSchema("cells/c/result.json has schema_version 2")
    assert end.value.exit_code == 2 and capsys.readouterr().err == "error: cells/c/result.json has schema_version 2\n"
