"""Does a process that reads ahead say what the disk has, leave out what it is not sure of, and end?"""

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from benchmarks.shared.process_tree import processes_below, stat_of
from datasets_io import read_ahead as module
from datasets_io.read_ahead import read_ahead

NAME = "result.json"


def folder(root: Path, name: str, files: dict[str, bytes]) -> str:
    place = root / "cells" / name
    place.mkdir(parents=True)
    for file, data in files.items():
        (place / file).write_bytes(data)
    return f"cells/{name}"


def test_it_says_the_bytes_and_the_sizes_of_a_folder(tmp_path):
    odd = os.fsdecode(b"on\na line \xff")
    whole = folder(tmp_path, odd, {NAME: b"\0{\n}" * 999, "head.safetensors": b"12345", odd: b"1"})
    empty = folder(tmp_path, "empty", {NAME: b""})
    (tmp_path / whole / "folder").mkdir()
    os.mkfifo(tmp_path / whole / "pipe")
    (tmp_path / whole / "link").symlink_to("head.safetensors")
    linked = folder(tmp_path, "linked", {})
    (tmp_path / linked / NAME).symlink_to(tmp_path / whole / NAME)
    assert list(read_ahead(str(tmp_path), [whole, empty, linked, whole], NAME)) == [
        (b"\0{\n}" * 999, {NAME: 3996, "head.safetensors": 5, odd: 1, "link": 5}),
        (b"", {NAME: 0}),
        (b"\0{\n}" * 999, {NAME: 3996}),
        (b"\0{\n}" * 999, {NAME: 3996, "head.safetensors": 5, odd: 1, "link": 5}),
    ]
    assert list(read_ahead(str(tmp_path), [], NAME)) == []


def test_what_is_unusual_is_left_to_whoever_asked(tmp_path):
    """A pipe would make it wait, a link in a circle has no size, a bomb no room."""
    none, last = folder(tmp_path, "none", {}), folder(tmp_path, "last", {NAME: b"{}"})
    pipe, place, circle = (folder(tmp_path, name, {}) for name in ("pipe", "place", "circle"))
    os.mkfifo(tmp_path / pipe / NAME)
    (tmp_path / place / NAME).mkdir()
    (tmp_path / circle / NAME).write_bytes(b"{}")
    (tmp_path / circle / "x").symlink_to("x")
    large = folder(tmp_path, "large", {NAME: b""})
    os.truncate(tmp_path / large / NAME, module.MOST_BYTES + 1)
    file = folder(tmp_path, "file", {})
    (tmp_path / file).rmdir()
    (tmp_path / file).write_bytes(b"{}")
    asked = [none, pipe, place, circle, large, file, "cells/gone", last]
    assert list(read_ahead(str(tmp_path), asked, NAME)) == [None] * 7 + [(b"{}", {NAME: 2})]


@pytest.fixture
def started(monkeypatch) -> list[subprocess.Popen]:
    """The processes that were started."""
    processes, start = [], subprocess.Popen

    def keep(*words, **options):
        processes.append(start(*words, **options))
        return processes[-1]

    monkeypatch.setattr(module.subprocess, "Popen", keep)
    return processes


def many(tmp_path: Path) -> list[str]:
    """More than a pipe and the buffers hold."""
    return [folder(tmp_path, "one", {NAME: b"x" * 1000})] * 20_000


def test_a_process_that_is_killed_leaves_the_rest_to_whoever_asked(tmp_path, started):
    found = read_ahead(str(tmp_path), many(tmp_path), NAME)
    first = [next(found) for _ in range(10)]
    started[0].kill()
    rest = list(found)
    known = [one is not None for one in rest]
    assert all(first) and len(rest) == 19_990 and not known[-1]
    assert known == sorted(known, reverse=True), "nothing is told of a folder that is another's"
    assert {one for one in rest if one is not None and one.data != b"x" * 1000} == set()


def test_where_no_process_starts_all_is_left_to_whoever_asked(tmp_path, monkeypatch):
    asked = [folder(tmp_path, "one", {NAME: b"{}"})] * 3
    monkeypatch.setattr(module.sys, "executable", str(tmp_path / "gone"))
    assert list(read_ahead(str(tmp_path), asked, NAME)) == [None] * 3
    monkeypatch.setattr(module.sys, "executable", None)
    assert list(read_ahead(str(tmp_path), asked, NAME)) == [None] * 3
    monkeypatch.setattr(module.sys, "executable", "/bin/echo")  # of a program with a Python in it
    assert list(read_ahead(str(tmp_path), asked, NAME)) == [None] * 3


@pytest.mark.parametrize(
    "script", ["exit 1", f"echo Loading python; exec '{sys.executable}' \"$@\"", "head -c 100000 /dev/zero"]
)
def test_a_start_script_that_says_something_of_its_own_is_not_believed(tmp_path, monkeypatch, script):
    asked = [folder(tmp_path, "one", {NAME: b"{}"})]
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o700)
    monkeypatch.setattr(module.sys, "executable", str(python))
    for count in (3, 100_000):  # more than a pipe holds
        assert list(read_ahead(str(tmp_path), asked * count, NAME)) == [None] * count


def test_it_does_not_wait_for_a_process_that_was_forked_while_it_was_told_what_to_read(tmp_path, monkeypatch):
    """Such a process holds the pipe's end open as long as it lives."""
    held, start = [], subprocess.Popen

    def then_held(*words, **options):
        child = start(*words, **options)
        held.append(os.dup(child.stdin.fileno()))
        return child

    monkeypatch.setattr(module.subprocess, "Popen", then_held)
    assert list(read_ahead(str(tmp_path), [folder(tmp_path, "one", {NAME: b"{}"})], NAME)) == [(b"{}", {NAME: 2})]
    os.close(held[0])


def test_it_ends_with_whoever_wants_no_more(tmp_path, started):
    found = read_ahead(str(tmp_path), many(tmp_path), NAME)
    assert next(found) is not None
    found.close()
    assert started[0].returncode is not None


def test_it_ends_with_a_parent_that_is_killed(tmp_path):
    program = f"""
from datasets_io.read_ahead import read_ahead
found = read_ahead({str(tmp_path)!r}, {many(tmp_path)[:1]!r} * 20_000, {NAME!r})
print(next(found) is not None, flush=True)
input()
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"True\n"
    (child,) = (stat_of(pid) for pid in processes_below(parent.pid) - {parent.pid})
    parent.kill()
    parent.communicate()
    until = time.monotonic() + 60
    while (still := stat_of(child.pid)) is not None and still.started == child.started and not _has_ended(child.pid):
        assert time.monotonic() < until, "it goes on"
        time.sleep(0.05)


def _has_ended(pid: int) -> bool:
    """Also where nobody has asked for its exit code yet."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
