"""Does a command whose reader has gone end, or go on, without a traceback?"""

import io
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from sweep.cli.display import Display

ROOT = Path(__file__).resolve().parents[2]
GOES_ON = "Nobody reads what is printed any more; the command goes on to its end.\n"
PRINTS = """
import sys
from datasets_io.closed_output import survive_closed_output
survive_closed_output(goes_on=sys.argv[1] == "goes on")
print("first")
sys.stdin.readline()
for number in range(3):
    print("more", number)
    print("and on stderr", file=sys.stderr)
with open(sys.argv[2], "w") as end:
    end.write("came to its end")
"""


def begin(tmp_path: Path, kind: str, stdout: int, stderr: int) -> subprocess.Popen:
    arguments = [sys.executable, "-c", PRINTS, kind, str(tmp_path / "end")]
    return subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, text=True)


@pytest.mark.parametrize(("kind", "code"), [("ends", 141), ("goes on", 0)])
def test_a_pipe_that_is_closed(tmp_path, kind, code):
    process = begin(tmp_path, kind, subprocess.PIPE, subprocess.PIPE)
    assert process.stdout.readline() == "first\n"
    process.stdout.close()
    process.stdin.close()
    said = process.stderr.read()
    assert "Traceback" not in said and process.wait(60) == code
    assert said.count(GOES_ON) == (kind == "goes on") and "error" not in said.replace("stderr", "")
    assert (tmp_path / "end").exists() is (kind == "goes on")
    process.stderr.close()


def test_both_streams_closed_leave_the_exit_code(tmp_path):
    process = begin(tmp_path, "goes on", subprocess.PIPE, subprocess.STDOUT)
    process.stdout.readline()
    process.stdout.close()
    process.stdin.close()
    assert process.wait(60) == 0 and (tmp_path / "end").exists()


@pytest.mark.parametrize(("kind", "code"), [("ends", 3), ("goes on", 0)])
def test_a_log_on_a_full_disk(tmp_path, kind, code):
    """What computes is not stopped by its log, and the storage is not blamed for it."""
    with open("/dev/full", "w") as full:
        process = begin(tmp_path, kind, full.fileno(), subprocess.PIPE)
    process.stdin.close()
    said = process.stderr.read()
    assert said.startswith("error: what is printed cannot be written: No space left on device")
    assert said.count("No space left") == 1 and "Traceback" not in said and process.wait(60) == code
    assert (tmp_path / "end").exists() is ("the command goes on" in said) is (kind == "goes on")
    process.stderr.close()


def test_a_terminal_that_is_shut(tmp_path):
    """Where SIGHUP is ignored, as by nohup or a shell's disown: writing to that terminal is an error from then on."""
    ours, theirs = pty.openpty()
    process = begin(tmp_path, "goes on", theirs, theirs)
    os.close(theirs)
    assert os.read(ours, 100).startswith(b"first")
    os.close(ours)
    process.stdin.close()
    assert process.wait(60) == 0 and (tmp_path / "end").exists()


def test_a_descriptor_that_was_closed_at_the_start_is_no_files(tmp_path):
    """Else the first file that is opened is descriptor 1, and what a library prints there gets into it."""
    code = (
        "import os\nfrom datasets_io.closed_output import survive_closed_output\nsurvive_closed_output(goes_on=True)\n"
        f"stored = open({str(tmp_path / 'file')!r}, 'w')\nos.write(1, b'from a library')\nprint('x')\nstored.close()"
    )
    done = subprocess.run(["sh", "-c", '"$0" -c "$1" >&- 2>&-', sys.executable, code], cwd=ROOT)
    assert done.returncode == 0 and (tmp_path / "file").read_text() == ""


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("kind", ["ends", "goes on"])
def test_streams_that_a_shell_closed_are_written_to_all_the_same(tmp_path, closed, kind):
    """Python has None for each, and rich, tqdm, faulthandler and whoever flushes one would end the command."""
    code = (
        "import sys, faulthandler\nfrom datasets_io.closed_output import survive_closed_output\n"
        f"survive_closed_output(goes_on={kind == 'goes on'})\n"
        "from sweep.cli.display import Display\n"
        "with Display() as display:\n    display.say('x \\xe9'); display.bar('b', 1, 2)\n"
        "sys.stdout.flush(); sys.stderr.write('y'); faulthandler.enable()\n"
        f"open({str(tmp_path / 'end')!r}, 'w').close()\nsys.exit(4)"
    )
    done = subprocess.run(["sh", "-c", f'"$0" -c "$1" {closed}', sys.executable, code], cwd=ROOT)
    assert done.returncode == 4 and (tmp_path / "end").exists()


@pytest.mark.parametrize("stderr", [None, io.StringIO()])
def test_a_display_needs_no_stdout(monkeypatch, stderr):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", stderr)
    for console in (None, Console(stderr=True)):
        with Display(console) as display:
            display.say("said")
    assert stderr is None or stderr.getvalue() == "said\n"


def test_each_command_knows_whether_it_goes_on():
    working = {"run": True, "tune": True, "training_free": True}
    places = [path for path in (ROOT / "sweep").glob("*/__main__.py") if path.parent.name != "radsweep"]  # it has none
    for path in places:
        wanted = "WorkingCommand" if working.get(path.parent.name) else "Command"
        assert f"cls={wanted}," in path.read_text(encoding="utf-8"), path


COMMANDS = {
    "sweep.list": ["methods", "--json"],
    "sweep.status": ["--help"],
    "sweep.report": ["--help"],
    "sweep.export": ["--help"],
    "sweep.doctor": ["--help"],
    "sweep.training_free": ["--help"],
    "sweep.run": ["--help"],
    "sweep.tune": ["--help"],
    "datasets_io.build": ["--help"],
}


QUICK = ("sweep.list", "sweep.status", "sweep.run", "datasets_io.build")  # the others import torch first


@pytest.mark.parametrize(
    "module", [name if name in QUICK else pytest.param(name, marks=pytest.mark.chaos) for name in COMMANDS]
)
def test_no_command_ends_with_a_traceback(module):
    """Whose reader has gone before it prints its first line. Those that store results are not ended by that."""
    reader, writer = os.pipe()
    os.close(reader)
    arguments = [sys.executable, "-m", module, *COMMANDS[module]]
    done = subprocess.run(arguments, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    works = module in ("sweep.run", "sweep.tune", "sweep.training_free", "datasets_io.build")
    assert done.stderr == (GOES_ON if works else "") and done.returncode == (0 if works else 128 + signal.SIGPIPE)
