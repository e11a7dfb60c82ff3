"""A trained storage to be read: copies of it, damage done to them, each command on them, and what it has changed."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

from trained_storage import small_study, train
from typer.testing import CliRunner

from datasets_io.corpus.read import read_manifest
from datasets_io.storage.artefacts import open_artefacts
from datasets_io.storage.disk import Disk
from sweep import list as list_names
from sweep.doctor import __main__ as doctor_main
from sweep.engine.driver import Work
from sweep.export import __main__ as export
from sweep.monitoring.sinks import SinkOptions
from sweep.report import __main__ as report
from sweep.run import __main__ as run
from sweep.status import __main__ as status
from sweep.store.results import ResultReader
from sweep.store.store import ReadStore, Store
from sweep.training_free import __main__ as training_free

STUDY = """
from dataclasses import replace
from trained_storage import small_study

def study():
    return replace(small_study(protocols=("LP",), rows=("imagenet", "simclr")), training_free=("knn",))
"""


class Whole:
    """A trained storage, and the file that its study is defined in. Never changed: tests take copies."""

    def __init__(self, folder: Path):
        self.study_file = folder / "small.py"
        self.study_file.write_text(STUDY)
        study = small_study(protocols=("LP",), rows=("imagenet", "simclr"))
        made = train(replace(study, training_free=("knn",)), folder)
        self.plan, self.folders, self.raw = made.plan, made.data_folders, made.raw
        self.storage = Path(made.store.files.root)


@cache
def whole_storage(base: Path) -> Whole:
    """Trained once for all files of tests of a process. base: the run's own temporary folder."""
    folder = base / "reading"
    folder.mkdir()
    return Whole(folder)


class Case:
    """A copy of the storage, the commands on it, and what of it has changed since `begin`."""

    def __init__(self, whole: Whole, folder: Path):
        self.whole, self.plan, self.out = whole, whole.plan, folder / "out"
        self.storage = Path(shutil.copytree(whole.storage, folder / "storage"))
        self.encoder = next(run for run in self.plan.encoders if run.row == "simclr")
        self.cell = next(c for c in self.plan.cells if c.encoder.row == "simclr" and c.dataset == "chexpert")

    def begin(self) -> None:
        self.before = tree(self.storage)

    def changed(self) -> set[str]:
        """First folder of every file or folder below the storage that is new, gone or another."""
        after = tree(self.storage)
        paths = {path for path in self.before.keys() | after.keys() if self.before.get(path) != after.get(path)}
        return {path.split("/")[0] for path in paths}

    def folder(self, item) -> str:
        return ReadStore.folder(item)

    def file_of(self, item, name: str) -> str:
        result = open_artefacts(ReadStore(str(self.storage)).files, self.folder(item)).result
        return f"{self.folder(item)}/{result['files'][name]['path']}"

    def shard(self, source: str = "chexpert", split: str = "val") -> str:
        folder = self.whole.folders[source]
        manifest = read_manifest(ReadStore(str(self.storage)).files, folder)
        return f"{folder}/{next(s.path for s in manifest.shards if s.split == split)}"

    def damage(self, path: str, how: Callable[[bytes], bytes] | None) -> str:
        """None removes the file."""
        place = self.storage / path
        if how is None:
            place.unlink()
        else:
            place.write_bytes(how(place.read_bytes()))
        return path

    def run(self, command: str, *more: str):
        study = ["--study", str(self.whole.study_file)]
        storage = ["--storage", str(self.storage)]
        # Of synthetic archives elsewhere the command cannot know which shards are theirs.
        raw = [text for source, path in self.whole.raw.items() for text in ("--raw", f"{source}={path}")]
        app, arguments = {
            "report": (report.app, [*storage, *study]),
            "status": (status.app, [*storage, *study]),
            "export": (export.app, ["simclr", *storage, *study, "--to", str(self.out)]),
            "training_free": (training_free.app, [*storage, *study]),
            "doctor": (doctor_main.app, [*storage, *study]),
            "dry_run": (run.app, [*storage, *study, *raw, "--dry-run"]),
            "list": (list_names.app, ["studies"]),
        }[command]
        done = CliRunner().invoke(app, [*arguments, *more], env={"COLUMNS": "400", "NO_COLOR": "1"})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert "Traceback" not in done.output
        return done


def tree(root: Path) -> dict[str, object]:
    """Path -> bytes and time of a file, None for a folder."""
    return {
        path.relative_to(root).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
        for path in root.rglob("*")
    }


def flip(data: bytes) -> bytes:
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def cut(data: bytes) -> bytes:
    return data[:-7]


def lines_with(text: str, part: str) -> list[str]:
    return [line for line in text.splitlines() if part in line]


def left_out(case: Case) -> str:
    text = (case.storage / "reports" / "small" / "report.md").read_text()
    return text.split("## Left out")[1].split("## What was run")[0]


class ReadOnly(Disk):
    """A disk whose every writing call fails below one folder, as on a read-only mount."""

    def __init__(self, root: Path):
        self.root = str(root)

    def _refuse(self, path: str) -> None:
        if path.startswith(self.root):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

    def make_folder(self, path):
        self._refuse(path)
        super().make_folder(path)

    def create(self, path, data):
        self._refuse(path)
        super().create(path, data)

    def rename(self, path, target):
        self._refuse(target)
        super().rename(path, target)

    def link(self, path, target):
        self._refuse(target)
        super().link(path, target)

    def unlink(self, path):
        self._refuse(path)
        super().unlink(path)

    def remove_tree(self, path):
        self._refuse(path)
        super().remove_tree(path)


def work_of(case: Case) -> Work:
    store = Store(str(case.storage))
    study = replace(small_study(protocols=("LP",), rows=("imagenet", "simclr")), training_free=("knn",))
    reader = ResultReader(study, case.plan, store)
    return Work(case.plan, store, case.whole.folders, {}, study.resources, reader, None, lambda: None, SinkOptions())
