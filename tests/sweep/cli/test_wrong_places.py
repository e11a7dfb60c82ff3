"""Is a place that cannot be a folder refused in a sentence, by every command, before anything is written?"""

import importlib

import pytest
from typer.testing import CliRunner

from sweep.monitoring.sinks import SinkOptions
from sweep.store.report_folder import ReportFolder
from sweep.store.store import ReadStore
from sweep.studies.bad_input import BadInput

COMMANDS = {
    "run": ["--dry-run"],
    "report": [],
    "status": [],
    "tune": ["--method", "clip"],
    "export": ["clip", "--to", "new"],
    "training_free": ["--kind", "knn"],
}


@pytest.mark.parametrize("place", ["file", "file/below"])
@pytest.mark.parametrize(("command", "more"), COMMANDS.items())
def test_a_storage_that_is_a_file_is_refused(command, more, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    app = importlib.import_module(f"sweep.{command}.__main__").app
    done = CliRunner().invoke(app, [*more, "--storage", place])
    assert (
        done.exit_code == 2 and f"--storage {tmp_path}/{place}: {tmp_path}/file is a file; give a folder" in done.output
    )
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("place", ["link", "link/below", "middle/link/below"])
@pytest.mark.parametrize(("command", "more"), COMMANDS.items())
def test_a_storage_behind_a_link_to_nowhere_is_refused(command, more, place, tmp_path, monkeypatch):
    """The disk that it leads to is not mounted now: all would be computed again, on the disk beneath."""
    monkeypatch.chdir(tmp_path)
    link = tmp_path / ("middle/link" if place.startswith("middle") else "link")
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(tmp_path / "disk" / "results")
    app = importlib.import_module(f"sweep.{command}.__main__").app
    done = CliRunner().invoke(app, [*more, "--storage", place])
    assert done.exit_code == 2 and f"{link} is a link to a place that is not there; give a folder" in done.output
    assert not (tmp_path / "disk").exists()


def test_a_uri_with_one_slash_is_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="'s3:/bucket/a' is no URI; did you mean 's3://bucket/a'"):
        ReadStore("s3:/bucket/a")
    assert ReadStore("./s3:/bucket").uri == f"{tmp_path}/s3:/bucket"


def test_other_folders_that_are_files_are_refused_as_well(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput, match=r"--to .*file is a file; give a folder"):
        ReportFolder.elsewhere(str(tmp_path / "file"))
    with pytest.raises(ValueError, match=r"--tensorboard .*file is a file; give a folder"):
        SinkOptions(tensorboard=str(tmp_path / "file")).check()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadInput, match=r"--to .*link is a link to a place that is not there; give a folder"):
        ReportFolder.elsewhere(str(tmp_path / "link"))
    with pytest.raises(ValueError, match=r"--tensorboard .*link is a link to a place that is not there"):
        SinkOptions(tensorboard=str(tmp_path / "link")).check()


@pytest.mark.parametrize("out", ["", "none/mine.py"])
def test_the_file_of_a_tuned_study_can_be_written(out, tmp_path):
    """It is written after the search, which takes hours."""
    app = importlib.import_module("sweep.tune.__main__").app
    arguments = ["--method", "clip", "--storage", str(tmp_path / "new"), "--out", str(tmp_path / out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2 and f"--out {tmp_path / out} cannot be written: give a file" in done.output


@pytest.mark.parametrize(
    ("command", "arguments", "meant"),
    [
        ("run", ["--study", "papr"], "paper"),
        ("run", ["--only", "method=simcrl"], "simclr"),
        ("run", ["--only", "metod=simclr"], "method"),
        ("run", ["--raw", "chexpret=/tmp"], "chexpert"),
        ("doctor", ["--study", "strct"], "strict"),
        ("status", ["--study", "relesed"], "released"),
        ("tune", ["--method", "clp"], "clip"),
        ("export", ["clap", "--to", "new"], "clip"),
        ("training_free", ["--kind", "zeroshot"], "zero_shot"),
        ("report", ["--only", "protocol=lpft"], "LPFT"),
    ],
)
def test_a_word_that_is_not_known_is_refused_with_the_nearest_one(command, arguments, meant, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    app = importlib.import_module(f"sweep.{command}.__main__").app
    done = CliRunner().invoke(app, [*arguments, "--storage", str(tmp_path)])
    assert done.exit_code == 2 and done.output.endswith(f"; did you mean {meant!r}?\n"), done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("export", ["clip", "--to", "s3://KEY:pass-word@bucket/x"]),
        ("tune", ["--method", "clip", "--out", "s3://KEY:pass-word@bucket/x.py"]),
    ],
)
def test_a_uri_in_place_of_a_folder_of_this_machine_is_refused(command, more, tmp_path, monkeypatch):
    """A folder `s3:` was made here, and one in it that had the password for a name."""
    monkeypatch.chdir(tmp_path)
    app = importlib.import_module(f"sweep.{command}.__main__").app
    done = CliRunner().invoke(app, [*more, "--storage", "new"])
    assert done.exit_code == 2 and f"{more[-2]} s3:/***@bucket/x" in done.output and "no URI" in done.output
    assert "pass-word" not in done.output and not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [*COMMANDS, "radsweep"])
def test_a_uri_whose_flag_was_forgotten_is_named_without_its_password(command):
    app = importlib.import_module(
        "sweep.radsweep.command" if command == "radsweep" else f"sweep.{command}.__main__"
    ).app
    done = CliRunner().invoke(
        app, ["s3://KEY:pass-word@bucket/x", "s3://KEY:pass-word@bucket/y"], env={"COLUMNS": "200"}
    )
    assert done.exit_code == 2 and "pass-word" not in done.output
    assert "s3://***@bucket/" in done.output or command in ("tune", "export")  # which lack an option first
    done = CliRunner().invoke(
        app, ["--study", "https://me:pass-word@host/study.py", "--study=x", "https://me:pass-word@h"]
    )
    assert done.exit_code == 2 and "pass-word" not in done.output


def test_a_study_file_at_a_uri_is_named_without_its_password(tmp_path):
    app = importlib.import_module("sweep.run.__main__").app
    place = ["--study", "https://me:pass-word@host/study.py", "--storage", str(tmp_path)]
    done = CliRunner().invoke(app, [*place, "--dry-run"], env={"COLUMNS": "200"})
    assert done.exit_code == 2 and "does not exist" in done.output and "pass-word" not in done.output
