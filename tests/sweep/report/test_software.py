"""Does a report say which software computed its results, and where more than one did?"""

import subprocess
from types import SimpleNamespace

import pytest

from datasets_io.storage.artefacts import open_artefacts, publish
from datasets_io.storage.files import Files
from datasets_io.storage.made_by import COMMIT, _commit, software
from sweep.report.provenance import software_lines, software_of
from sweep.store.status_names import Status

TODAY = {"radsweep": "0.2", "torch": "2.14.1", COMMIT: "0123456789ab"}


def data_of(*made_by: dict | None, status: Status = Status.DONE) -> SimpleNamespace:
    encoders = [SimpleNamespace(software=made_by[0], status=status)] if made_by else []
    return SimpleNamespace(
        encoders=encoders, cells={number: SimpleNamespace(software=one) for number, one in enumerate(made_by[1:])}
    )


def test_one_software_is_one_line_and_what_is_not_finished_says_nothing():
    assert software_lines(data_of(TODAY, TODAY)) == ["versions: radsweep 0.2, torch 2.14.1, commit 0123456789ab"]
    assert software_of(data_of(None, TODAY, status=Status.MISSING)) == [(TODAY, 1)]


def test_where_they_mix_each_is_named_by_what_differs():
    older = {**TODAY, "torch": "2.10.0", COMMIT: "ba9876543210-dirty"}
    assert software_lines(data_of(TODAY, TODAY, older, None)) == [
        "versions: radsweep 0.2",
        "of 2 finished encoders and cells: torch 2.14.1, commit 0123456789ab",
        "of 1 finished encoders and cells: versions that they do not say",
        "of 1 finished encoders and cells: torch 2.10.0, commit ba9876543210-dirty",
        "these results were not all computed by the same software: differences may be its own",
    ]


def test_results_of_before_say_that_they_do_not_say():
    assert software_lines(data_of(None, None)) == ["versions: the results do not say with which they were computed"]


def test_each_result_keeps_what_computed_it(tmp_path):
    files = Files(str(tmp_path))
    publish(files, "cells/c", {}, {"value": 1})
    assert open_artefacts(files, "cells/c").result["software"] == software()
    assert {"torch", "numpy"} <= software().keys()


def test_a_commit_is_that_of_the_checkout_and_says_where_it_was_changed(tmp_path):
    assert _commit(tmp_path) is None

    def git(*words: str) -> str:
        settings = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", "-C", tmp_path, *settings, *words], capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    (tmp_path / "x").write_text("1")
    git("add", "x")
    git("commit", "-q", "-m", "One")
    if not (head := git("rev-parse", "HEAD")):
        pytest.skip("no git here")
    assert _commit(tmp_path) == head[:12]
    (tmp_path / "x").write_text("2")
    assert _commit(tmp_path) == f"{head[:12]}-dirty"
