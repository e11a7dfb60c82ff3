"""Do commands that only read leave a storage as it is, and name what is damaged instead of dying or hiding it?"""

import csv
import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from trained_storage import small_study, train
from typer.testing import CliRunner

from datasets_io.artefacts import QUARANTINE, CorruptArtefact, open_artefacts, quarantine
from datasets_io.files import Disk
from datasets_io.manifest import MANIFEST
from datasets_io.read import read_manifest
from sweep import export, report, status, training_free
from sweep import list as list_names
from sweep.aggregate import DAMAGED, DONE, summarise
from sweep.damage import Damage
from sweep.doctor import __main__ as doctor_main
from sweep.passes import Work
from sweep.report_extras import extras_of
from sweep.results import ResultReader
from sweep.shards import damaged_shards, open_sources
from sweep.store import ReadStore, Store
from sweep.tables import absence
from sweep.watchers import Watching

ROOT = Path(__file__).resolve().parents[2]
STUDY = '''
from dataclasses import replace
from trained_storage import small_study

def study():
    return replace(small_study(protocols=("LP",), rows=("imagenet", "simclr")), training_free=("knn",))
'''
WRITING = ("write", "write_once", "move", "remove", "remove_leftovers")


class Whole:
    """A trained storage, and the file that its study is defined in. Never changed: tests take copies."""

    def __init__(self, folder: Path):
        self.study_file = folder / "small.py"
        self.study_file.write_text(STUDY)
        study = small_study(protocols=("LP",), rows=("imagenet", "simclr"))
        made = train(replace(study, training_free=("knn",)), folder)
        self.plan, self.folders = made.plan, made.data_folders
        self.storage = Path(made.store.files.root)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Whole:
    return Whole(tmp_path_factory.mktemp("reading"))


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
        app, arguments = {
            "report": (report.app, [*storage, *study]),
            "status": (status.app, [*storage, *study]),
            "export": (export.app, ["simclr", *storage, *study, "--to", str(self.out)]),
            "training_free": (training_free.app, [*storage, *study]),
            "doctor": (doctor_main.app, [*storage, *study]),
            "list": (list_names.app, ["studies"]),
        }[command]
        done = CliRunner().invoke(app, [*arguments, *more], env={"COLUMNS": "400", "NO_COLOR": "1"})
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert "Traceback" not in done.output
        return done


@pytest.fixture
def case(whole, tmp_path) -> Case:
    return Case(whole, tmp_path)


@pytest.fixture
def quick_figures(monkeypatch):
    """`sweep.report` as without --quick, all files read, but no figure drawn and no patient resampled."""
    monkeypatch.setattr(report, "extras_of", lambda data, folder, quick: extras_of(data, folder, quick=True))


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


# -- a storage that cannot be written ------------------------------------------------------------------------------


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


@pytest.fixture
def read_only(case, monkeypatch) -> Case:
    monkeypatch.setattr("datasets_io.files.DISK", ReadOnly(case.storage))
    case.begin()
    return case


def test_a_store_that_reads_has_no_call_that_writes(case):
    case.damage(f"{case.folder(case.cell)}/result.json", flip)
    case.begin()
    store = ReadStore(str(case.storage))
    assert not [name for name in WRITING if hasattr(store.files, name)]
    assert all(hasattr(Store(str(case.storage)).files, name) for name in WRITING)
    assert not hasattr(store, "put_damaged_aside") and not hasattr(store, "forget_failure")
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
    done = read_only.run("doctor", "--json")
    found = {check["name"]: check for check in json.loads(done.stdout)}
    assert done.exit_code == 3 and "Read-only file system" in found["storage"]["found"]
    assert {found[f"shards {source}"]["status"] for source in read_only.whole.folders} == {"ok"}
    assert not read_only.changed()


UNDER_A_MOUNT = """
import json, sys
from typer.testing import CliRunner
from sweep import report, status
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
        ["unshare", "-m", "sh", "-c", mount, "sh", str(case.storage), sys.executable, UNDER_A_MOUNT,
         str(case.whole.study_file), str(tmp_path / "elsewhere")],
        capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths},
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
        "seal": lambda: case.damage(result, flip), "not json": lambda: case.damage(result, lambda data: b"\xff{"),
        "cut weights": lambda: case.damage(weights, cut), "lost weights": lambda: case.damage(weights, None),
    }[what]()
    case.begin()
    done = case.run("status", "--json")
    seen = json.loads(done.stdout)
    assert [(d["name"], d["folder"]) for d in seen["damaged"]] == [("simclr-p0", case.folder(case.encoder))]
    assert path in seen["damaged"][0]["error"] and "run sweep.run again" in seen["damaged"][0]["error"]
    assert (seen["encoders"]["done"], seen["encoders"]["left"], seen["encoders"]["blocked"]) == (1, 1, 0)
    assert len(lines_with(case.run("status").output, "damaged simclr-p0: ")) == 1
    done = case.run("export")
    assert done.exit_code == 2 and done.output.count("\n") == 1 and path in done.output and not case.out.exists()
    assert not case.changed()
    done = case.run("report", "--quick")
    assert done.exit_code == 0 and len(lines_with(done.output, path)) == 1, done.output
    assert lines_with(left_out(case), path) == lines_with(left_out(case), "- damaged: simclr-p0: ")
    failures = json.loads((case.storage / "reports" / "small" / "failures.json").read_text())
    assert failures["simclr-p0"]["status"] == DAMAGED and path in failures["simclr-p0"]["error"]
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
    assert lines_with(done.output, path), done.output
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
        "seal": lambda: case.damage(result, flip), "not json": lambda: case.damage(result, lambda data: b""),
        "cut predictions": lambda: case.damage(values, cut), "lost predictions": lambda: case.damage(values, None),
        "one byte": lambda: case.damage(values, flip),
    }[what]()
    case.begin()
    if what != "one byte":  # status compares sizes, as sweep.run does
        seen = json.loads(case.run("status", "--json").stdout)
        assert [d["name"] for d in seen["damaged"]] == [str(case.cell)] and path in seen["damaged"][0]["error"]
        assert (seen["cells"]["done"], seen["cells"]["left"]) == (7, 1)
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
    cell = type("Made", (), {"pretrain_seed": 0, "seed": 1, "status": DAMAGED, "macro_auroc": 0.9})
    other = type("Made", (), {"pretrain_seed": 0, "seed": 0, "status": DONE, "macro_auroc": 0.5})
    found = summarise([cell, other], (0, 1, 2))
    assert (found.mean, found.n, found.damaged, found.missing, found.complete) == (0.5, 1, ("1",), ("1", "2"), False)
    assert absence(found) == "missing: seed 2; damaged: seed 1; mean of the other n = 1"


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


# -- damaged data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["cut", "lost", "one byte"])
def test_a_damaged_shard_is_named_by_each_command(case, what, quick_figures):
    how = {"cut": lambda data: data[: len(data) // 2], "lost": None, "one byte": flip}[what]
    path = case.damage(case.shard(), how)
    case.begin()
    if what != "one byte":
        seen = json.loads(case.run("status", "--json").stdout)
        assert [d["name"] for d in seen["damaged"]] == ["data chexpert"] and path in seen["damaged"][0]["error"]
        assert f"remove {case.whole.folders['chexpert']}" in seen["damaged"][0]["error"]
        assert seen["cells"]["done"] == 8, "what was computed before stays done"
        done = case.run("export")
        assert done.exit_code == 0 and len(lines_with(done.output, path)) == 1
        checks = {c["name"]: c for c in json.loads(case.run("doctor", "--json").stdout)}
        assert checks["shards chexpert"]["status"] == "fail" and path in checks["shards chexpert"]["found"]
    assert not case.changed()
    done = case.run("report")
    assert done.exit_code == 0 and len(lines_with(done.output, path)) == 1, done.output
    assert len(lines_with(left_out(case), path)) == 1 and "8 of 8 cells done" in done.output
    assert case.changed() == {"reports"}
    done = case.run("training_free")
    assert len(lines_with(done.output, path)) >= 1 and "Traceback" not in done.output
    rows = (case.storage / "reports" / "small" / "training_free.csv").read_text()
    assert "nih_cxr14" in rows and "chexpert" not in rows
    assert case.changed() == {"reports", "training_free"}


@pytest.mark.parametrize("what", ["cut", "not text", "another shard", "no counts"])
def test_a_damaged_manifest_is_named_by_each_command(case, what):
    def change(data: bytes) -> bytes:
        value = json.loads(data)
        if what == "no counts":
            del value["counts"]["splits"]["val"]
        else:
            value["shards"][0]["sha256"] = "0" * 64
        return json.dumps(value).encode()

    how = {"cut": cut, "not text": lambda data: b"\xff\xfe" + data}.get(what, change)
    path = case.damage(f"{case.whole.folders['chexpert']}/{MANIFEST}", how)
    case.begin()
    seen = json.loads(case.run("status", "--json").stdout)
    assert [d["name"] for d in seen["damaged"]] == ["data chexpert"] and path in seen["damaged"][0]["error"]
    assert any("counts as left" in note for note in seen["notes"]) and seen["cells"]["done"] == 4
    assert not any("not built" in note for note in seen["notes"])
    done = case.run("export")
    assert done.exit_code == 0 and len(lines_with(done.output, path)) == 1, done.output
    checks = {c["name"]: c for c in json.loads(case.run("doctor", "--json").stdout)}
    assert checks["shards chexpert"]["status"] == "fail" and path in checks["shards chexpert"]["found"]
    assert not case.changed()
    done = case.run("report", "--quick")
    assert done.exit_code == 0 and len(lines_with(done.output, path)) == 1, done.output
    assert len(lines_with(left_out(case), path)) == 1
    page = (case.storage / "reports" / "small" / "report.html").read_text()
    assert "damaged: see what was left out" in page and "not built yet" not in page
    assert case.changed() == {"reports"}
    assert path in case.run("training_free").output


def test_shards_that_were_whole_are_not_looked_at_again(case):
    store, known = ReadStore(str(case.storage)), set()
    folders = case.whole.folders
    assert open_sources(store, folders, known).damage == () and len(known) >= 3
    case.damage(case.shard(), None)
    assert open_sources(store, folders, known).damage == ()
    assert [damage.name for damage in open_sources(store, folders).damage] == ["data chexpert"]
    manifest = read_manifest(store.files, folders["chexpert"])
    assert len(damaged_shards(store.files, folders["chexpert"], manifest.shards, False, set())) == 1


# -- numbers without training ---------------------------------------------------------------------------------------


def test_a_damaged_number_without_training_is_computed_again_or_named(case):
    assert case.run("training_free").exit_code == 0
    table = (case.storage / "reports" / "small" / "training_free.csv").read_bytes()
    (item,) = [path for path in (case.storage / "training_free").iterdir() if "simclr-p0-chexpert" in path.name]
    result = item / "result.json"
    content = result.read_bytes()
    result.write_bytes(flip(content))
    assert case.run("training_free").exit_code == 0
    assert (case.storage / "reports" / "small" / "training_free.csv").read_bytes() == table
    result.write_bytes(flip(result.read_bytes()))
    encoder = case.damage(f"{case.folder(case.encoder)}/result.json", flip)
    done = case.run("training_free")
    assert done.exit_code == 3 and lines_with(done.output, encoder) and lines_with(done.output, item.name)
    kept = (case.storage / "reports" / "small" / "training_free.csv").read_text()
    assert "simclr,0,knn,nih_cxr14" in kept and "simclr,0,knn,chexpert" not in kept
    assert "left out, damaged: knn of simclr-p0 on chexpert: " in (
        case.storage / "reports" / "small" / "training_free.md"
    ).read_text()


# -- who writes ----------------------------------------------------------------------------------------------------


def work_of(case: Case) -> Work:
    store = Store(str(case.storage))
    study = replace(small_study(protocols=("LP",), rows=("imagenet", "simclr")), training_free=("knn",))
    reader = ResultReader(study, case.plan, store)
    return Work(case.plan, store, case.whole.folders, {}, study.resources, reader, None, lambda: None, Watching())


def test_the_sweep_itself_puts_what_is_damaged_aside_and_computes_it_again(case):
    assert work_of(case).left()[0].nothing
    case.damage(f"{case.folder(case.encoder)}/result.json", flip)
    case.damage(f"{case.folder(case.cell)}/result.json", flip)
    for _ in range(2):  # also a second command, should the first have been killed meanwhile
        left, _ = work_of(case).left()
        assert (left.encoders, left.cells) == ((case.encoder,), (case.cell,))
    assert not (case.storage / case.folder(case.encoder)).exists() and (case.storage / QUARANTINE).is_dir()
    seen = json.loads(case.run("status", "--json").stdout)
    assert (seen["encoders"]["left"], seen["cells"]["left"], seen["damaged"]) == (1, 1, [])


def test_a_damaged_encoder_is_computed_again_also_where_all_of_its_cells_are_done(case):
    case.damage(case.file_of(case.encoder, "backbone.safetensors"), cut)
    left, _ = work_of(case).left()
    assert (left.encoders, left.cells) == ((case.encoder,), ())
    shutil.copytree(case.whole.storage / case.folder(case.encoder), case.storage / case.folder(case.encoder))
    assert work_of(case).left()[0].nothing, "once it is there again"


def test_a_sweep_that_reads_everything_finds_one_changed_byte(case):
    weights, values = case.file_of(case.encoder, "backbone.safetensors"), case.file_of(case.cell, "predictions.parquet")
    case.damage(weights, flip)
    case.damage(values, flip)
    store = Store(str(case.storage))
    store.put_damaged_aside((*case.plan.encoders, *case.plan.cells))
    assert not (case.storage / QUARANTINE).exists()
    store.put_damaged_aside((*case.plan.encoders, *case.plan.cells), thorough=True)
    left, _ = work_of(case).left()
    assert (left.encoders, left.cells) == ((case.encoder,), (case.cell,))
    with pytest.raises(FileNotFoundError):
        store.open(case.encoder)


def test_damage_says_what_is_wrong_apart_from_what_to_do(case):
    path = case.damage(f"{case.folder(case.cell)}/result.json", flip)
    with pytest.raises(CorruptArtefact) as caught:
        ReadStore(str(case.storage)).open(case.cell)
    assert caught.value.what == f"{path} is damaged (its seal differs)"
    assert str(caught.value) == f"{caught.value.what}; {caught.value.advice}"
