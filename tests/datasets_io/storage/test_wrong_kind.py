"""A folder, a pipe or a link that leads nowhere under a file's name, and the reverse: damage as any other."""

import os
import socket
from pathlib import Path

import pytest
from made_up_study import plan_of, small
from typer.testing import CliRunner

from datasets_io.storage.artefacts import (
    CorruptArtefact,
    is_done,
    open_artefacts,
    problems,
    publish,
    quarantine,
    record_failure,
)
from datasets_io.storage.disk import WrongKind
from datasets_io.storage.files import Files
from sweep.report.__main__ import app as report
from sweep.status.__main__ import app as status
from sweep.store.damage import Damage
from sweep.store.lease import Lease
from sweep.store.shard_checks import whole_manifest
from sweep.store.store import ReadStore, Store

CELL = plan_of(small(("random",))).cells[0]
FOLDER = ReadStore.folder(CELL)
RESULT = {"macro_auroc": 0.5, "findings": []}


def folder(path: Path) -> None:
    path.mkdir()


def full_folder(path: Path) -> None:
    (path / "within").mkdir(parents=True)
    (path / "within" / "a.txt").write_text("x")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def circle(path: Path) -> None:
    path.symlink_to(path)


def link_to_nowhere(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def link_to_a_folder(path: Path) -> None:
    path.symlink_to(path.parent)


def socket_file(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path has at most 108 bytes
    try:
        socket.socket(socket.AF_UNIX).bind(path.name)
    finally:
        os.chdir(here)


KINDS = (folder, full_folder, pipe, circle, link_to_nowhere, link_to_a_folder, socket_file)
every_kind = pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(str(tmp_path))


def finish(files: Files) -> None:
    publish(files, FOLDER, {"a.bin": b"abc"}, RESULT)


def replaced(files: Files, path: str, make) -> None:
    files.remove(path)
    full = Path(files.full(path))
    full.parent.mkdir(parents=True, exist_ok=True)
    make(full)


def assert_computed_again(files: Files) -> None:
    finish(files)
    assert is_done(files, FOLDER) and problems(files, FOLDER) == []
    assert open_artefacts(files, FOLDER).read("a.bin") == b"abc"


@every_kind
def test_under_the_name_of_a_result(files, make):
    finish(files)
    replaced(files, f"{FOLDER}/result.json", make)
    assert not is_done(files, FOLDER)
    with pytest.raises((CorruptArtefact, FileNotFoundError)) as caught:
        open_artefacts(files, FOLDER)
    assert isinstance(caught.value, FileNotFoundError) == (make is link_to_nowhere)
    ReadStore(files.root, thorough=True).open_whole(CELL, {})
    assert_computed_again(files)
    assert len(files.folders("quarantine")) == 1


@every_kind
def test_under_the_name_of_an_artefact(files, make):
    finish(files)
    replaced(files, f"{FOLDER}/{open_artefacts(files, FOLDER).result['files']['a.bin']['path']}", make)
    with pytest.raises(CorruptArtefact):
        open_artefacts(files, FOLDER).read("a.bin")
    reader = ReadStore(files.root, thorough=True)
    assert isinstance(reader.open_whole(CELL, reader.sizes()), Damage)
    store = Store(files.root)
    assert store.open_whole(CELL, store.sizes()) is None and not is_done(files, FOLDER)
    assert_computed_again(files)


@every_kind
def test_under_the_name_of_an_artefact_that_is_to_be_written(files, make):
    finish(files)
    path = f"{FOLDER}/{open_artefacts(files, FOLDER).result['files']['a.bin']['path']}"
    files.remove(f"{FOLDER}/result.json")
    replaced(files, path, make)
    assert_computed_again(files)
    assert quarantine(files, FOLDER) is None


def file(path: Path) -> None:
    path.write_text("x")


@pytest.mark.parametrize("make", [file, circle, link_to_nowhere, pipe], ids=lambda make: make.__name__)
def test_in_place_of_an_items_folder(files, make):
    replaced(files, FOLDER, make)
    assert not is_done(files, FOLDER)
    assert_computed_again(files)
    assert len(files.folders("quarantine")) == 1


@every_kind
def test_under_the_name_of_a_failure(files, make):
    replaced(files, f"{FOLDER}/failed.json", make)
    failure = ReadStore(files.root).failure(CELL)
    assert failure is None or "is damaged" in failure["error"]
    record_failure(files, FOLDER, "ValueError: no", "")
    assert ReadStore(files.root).failure(CELL)["error"] == "ValueError: no"


@every_kind
def test_among_the_leases_it_stops_nobody(files, make):
    clock = [0.0]
    for name in ("a.json", "b.txt", "c.json"):
        replaced(files, f"leases/{name}", make)
    files.write("leases/c.txt", b"x")
    with Lease(files, seconds=30, clock=lambda: clock[0]) as lease:
        assert lease.claim({"x"}) == ({"x"}, {})
        clock[0] += 31
        assert lease.living() == [] and lease.claim({"x"}) == ({"x"}, {})


@every_kind
def test_in_place_of_a_manifest_it_is_one_sentence(files, make):
    replaced(files, "data/chexpert-1/manifest.json", make)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        whole_manifest(files, "data/chexpert-1")
    assert isinstance(caught.value, FileNotFoundError) == (make is link_to_nowhere)
    for app, more in ((status, []), (report, ["--quick"])):
        done = CliRunner().invoke(app, ["--storage", files.root, "--study", "demo", *more])
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("name", ["cells", "encoders", "data", "reports", "quarantine"])
def test_in_place_of_a_folder_of_the_storage_it_is_one_sentence(files, name):
    """A link to a disk that is not mounted now: nothing is moved, and nothing computed."""
    link_to_nowhere(Path(files.root, name))
    for app in (status, report):
        done = CliRunner().invoke(app, ["--storage", files.root, "--study", "demo"])
        assert done.exit_code == 2 and f"{name} in it is a file, or a link to a place" in done.output
        assert done.output.count("\n") == 1
    with pytest.raises(ValueError, match="not there"):
        Store(files.root)


def test_a_write_says_what_is_in_the_way(files):
    folder(Path(files.root, "x.json"))
    with pytest.raises(WrongKind, match="a folder stands where a file belongs"):
        files.write("x.json", b"1")
    files.write("y", b"1")
    with pytest.raises(WrongKind, match="a file or a broken link stands where a folder belongs"):
        files.write("y/z", b"1")
    assert sorted(os.listdir(files.root)) == ["x.json", "y"]
