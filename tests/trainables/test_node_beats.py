"""Does one process of a node speak for all that are not stopped, whoever stops or ends?"""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from datasets_io.storage.processes import started
from trainables.node_beats import STILL_SECONDS, NodeBeats, folder_of


class Node:
    """Processes that are only numbers, and a clock that a test moves."""

    def __init__(self, folder: Path | None):
        self.now = 0.0
        self.beats = {pid: NodeBeats(folder, pid, "7", lambda: self.now) for pid in (101, 102, 103)}

    def beat(self, *pids: int) -> dict[int, list[int]]:
        """Who speaks -> for whom, after these have beaten in this order, five seconds later."""
        self.now += 5.0
        said = {pid: [one for one, _ in self.beats[pid].beat()] for pid in pids}
        return {pid: processes for pid, processes in said.items() if processes}


@pytest.fixture
def node(tmp_path) -> Node:
    return Node(tmp_path / "beats")


def test_one_speaks_for_all(node):
    node.beat(103, 102, 101)  # before they have seen each other
    for order in ((101, 102, 103), (103, 101, 102), (102, 103, 101)):
        assert node.beat(*order) == {101: [101, 102, 103]}


def test_one_that_is_stopped_is_spoken_for_no_longer_and_the_next_speaks_where_it_was_the_speaker(node):
    for _ in range(2):
        node.beat(101, 102, 103)
    said = [node.beat(102, 103) for _ in range(int(STILL_SECONDS / 5) + 2)]
    assert said[0] == {} and said[-1] == {102: [102, 103]}
    said = [node.beat(102) for _ in range(int(STILL_SECONDS / 5) + 2)]
    assert said[0] == {102: [102, 103]} and said[-1] == {102: [102]}
    node.beat(101, 102)
    assert node.beat(102, 101) == {101: [101, 102]}, "it goes on"


def test_no_process_is_unheard_for_longer_than_a_stopped_speaker_is_waited_for(node):
    heard = dict.fromkeys(node.beats, 0.0)
    node.beat(101, 102, 103)
    for step in range(40):
        beating = [pid for pid in (101, 102, 103) if not (pid == 101 and 3 <= step % 20 < 12)]
        for processes in node.beat(*beating).values():
            heard |= dict.fromkeys(processes, node.now)
        assert all(node.now - heard[pid] <= STILL_SECONDS + 10 for pid in beating if pid != 101), step


def test_files_of_ended_processes_are_removed_and_those_of_stopped_ones_stay(tmp_path):
    now = [0.0]
    beats, sleeping = NodeBeats(tmp_path, 1, "7", lambda: now[0]), subprocess.Popen(["sleep", "1000"])
    mine = f"{sleeping.pid}-{started(sleeping.pid)}"
    for name in (mine, f"{sleeping.pid}-1", "no number", "999999999-3"):
        (tmp_path / name).touch()
    assert len(beats.beat()) == 4
    now[0] += STILL_SECONDS + 1
    assert beats.beat() == [(1, "7")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["1-7", mine, "no number"])
    sleeping.kill()
    sleeping.wait()


@pytest.mark.parametrize("folder", ["a file", None])
def test_where_they_cannot_beat_each_speaks_for_itself(tmp_path, folder):
    (tmp_path / "a file").touch()
    node = Node(folder and tmp_path / folder)
    assert node.beat(101, 102, 103) == {101: [101], 102: [102], 103: [103]}


def test_a_folder_that_a_cleaner_removes_is_made_again(node, tmp_path):
    node.beat(101, 102)
    for path in (tmp_path / "beats").iterdir():
        path.unlink()
    (tmp_path / "beats").rmdir()
    node.beat(101, 102)
    assert node.beat(101, 102) == {101: [101, 102]}


def test_a_folder_that_others_could_have_made_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = tmp_path / f"radsweep-beats-{os.getuid()}"
    assert folder_of("node", "01") == place / "node-01"
    (place / "node-00").mkdir()
    (place / "node-02").mkdir()
    (place / "node-02" / "1-7").touch()
    (place / "other-00").mkdir()
    folder_of("node", "01")
    assert sorted(path.name for path in place.iterdir()) == ["node-02", "other-00"]
    place.chmod(0o777)
    assert folder_of("node", "01") is None
    place.rename(tmp_path / "elsewhere").chmod(0o700)
    place.symlink_to(tmp_path / "elsewhere")
    assert folder_of("node", "01") is None
