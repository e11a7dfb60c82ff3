"""A real run whose terminal is shut, or whose reader has gone: does it stop in order, or come to its end?"""

import os
import pty
import subprocess
import time
import uuid
from pathlib import Path

import pytest
from drivers import ENVIRONMENT, ROOT, command
from test_stuck_children import processes, within

from datasets_io.storage.files import TEMPORARY, Files
from sweep.run.chaos import finished
from sweep.store.lease import LEASES

STUDY = "tests/chaos/small_storage.py"
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]


def on_a_terminal(arguments: list[str], mark: str) -> tuple[int, int]:
    """(process, our end of its terminal), of which it is the session's leader, as a shell's command is."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(ROOT)
        os.execvpe(arguments[0], arguments, ENVIRONMENT | {"MARK": mark, "TERM": "xterm"})
    return process, terminal


def read_until(terminal: int, wanted: bytes) -> None:
    seen = b""
    while wanted not in seen:
        seen += os.read(terminal, 4096)


def test_a_terminal_that_is_shut_stops_the_run_in_order(tmp_path):
    """The kernel sends SIGHUP to all of the terminal's processes, and writing to it is an error from then on."""
    mark, storage = uuid.uuid4().hex, tmp_path / "storage"
    process, terminal = on_a_terminal(command(storage, study=STUDY), mark)
    read_until(terminal, b"to do:")
    deadline = time.monotonic() + 300
    while len(finished(storage)) < 3:  # somebody has to read, or the display would wait
        os.read(terminal, 65536)
        assert time.monotonic() < deadline
    before = finished(storage)
    os.close(terminal)
    shut = time.monotonic()
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 130
    busy = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
    assert time.monotonic() - shut < 10 * busy
    assert within(75, lambda: not processes(mark)), processes(mark)  # two of Ray's own, as after a kill
    assert Files(str(storage)).list(LEASES) == [] and before.items() <= finished(storage).items()
    again = subprocess.run(
        command(storage, study=STUDY), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=850
    )
    assert again.returncode == 0, again.stdout[-3000:] + again.stderr[-3000:]
    assert before.items() <= finished(storage).items()


def test_a_run_whose_reader_has_gone_comes_to_its_end(tmp_path):
    """As behind `| head -1`, and where `| tee` was killed: what it computes is worth more than what it prints."""
    storage = tmp_path / "storage"
    process = subprocess.Popen(
        command(storage, study=STUDY), cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(850) == 0
    assert len(finished(storage)) == 12 and (storage / "reports" / "tiny" / "report.html").exists()
    assert not [path for path in Path(storage).rglob(f"*{TEMPORARY}*") if path.is_file()]
