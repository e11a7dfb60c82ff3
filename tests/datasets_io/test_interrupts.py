"""Does a signal work from the command's first line on, and also where a library catches what it raises?"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# In short pieces: a signal between two steps of Python, before a sleep has begun, is answered after it.
SLOW = "import os, time\nos.write(1, b'importing')\nfor _ in range(600):\n    time.sleep(0.1)\n"
LOST = """
import signal, sys
from datasets_io.interrupts import INTERRUPTS

def catch_it():
    try:
        signal.raise_signal(getattr(signal, sys.argv[1]))
    except BaseException:
        pass

with INTERRUPTS.interruptible():
    if sys.argv[2] == "another's handler":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    INTERRUPTS.raise_if_received()
    print("nothing asked yet")
    catch_it()
    print("the work goes on")
    try:
        INTERRUPTS.raise_if_received()
    except KeyboardInterrupt:
        print("stopped")
    INTERRUPTS.raise_if_received()
    print("asked once, stopped once")
    catch_it()
with INTERRUPTS.interruptible():
    INTERRUPTS.raise_if_received()
    print("another command was not asked")
"""
IN_A_DESTRUCTOR = """
import signal, sys, time
from datasets_io.interrupts import INTERRUPTS

class Swallows:
    def __del__(self):
        signal.raise_signal(getattr(signal, sys.argv[1]))

if sys.argv[2] == "in the background":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
with INTERRUPTS.interruptible():
    try:
        Swallows()
        time.sleep(30)
    except KeyboardInterrupt:
        print("stopped")
"""
IGNORES = """
import signal
from datasets_io.interrupts import INTERRUPTS

signal.signal(signal.SIGINT, signal.SIG_IGN)
INTERRUPTS.install()
with INTERRUPTS.interruptible():
    signal.raise_signal(signal.SIGINT)
    INTERRUPTS.raise_if_received()
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("module", ["sweep.run", "sweep.tune"])
def test_a_signal_before_the_libraries_are_there_ends_it_with_a_word(tmp_path, module, number):
    (tmp_path / "typer.py").write_text(SLOW)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    command = subprocess.Popen(
        [sys.executable, "-m", module], cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert command.stdout.read(9) == b"importing"
    command.send_signal(number)
    _, said = command.communicate(timeout=30)
    assert command.returncode == 130
    what = "The terminal was closed" if number == signal.SIGHUP else "Interrupted"
    assert said.decode().strip() == f"{what} before anything had begun."


@pytest.mark.parametrize("name, handler", [("SIGINT", "ours"), ("SIGHUP", "ours"), ("SIGTERM", "another's handler")])
def test_an_interrupt_that_was_swallowed_is_raised_again(name, handler):
    done = python(LOST, name, handler)
    said = [
        "nothing asked yet",
        "the work goes on",
        "stopped",
        "asked once, stopped once",
        "another command was not asked",
    ]
    assert done.stdout.splitlines() == said, done.stderr


@pytest.mark.parametrize("name, place", [("SIGINT", "before"), ("SIGHUP", "before"), ("SIGTERM", "in the background")])
def test_what_a_destructor_swallows_is_raised_again_at_once(name, place):
    began = time.monotonic()
    done = python(IN_A_DESTRUCTOR, name, place)
    assert done.stdout == "stopped\n" and done.stderr == ""
    assert time.monotonic() - began < 25, "not after the 30 s that it sleeps"


def test_what_ignores_ctrl_c_goes_on_doing_so():
    """A shell's background job, which Ctrl-C at the shell is not meant for."""
    assert python(IGNORES).returncode == 0


OPEN_FILES = """
import os
from datasets_io.interrupts import INTERRUPTS

def count():
    return len(os.listdir("/proc/self/fd"))

before = count()
with INTERRUPTS.interruptible():
    print(count() - before)
    with INTERRUPTS.interruptible():
        print(count() - before)
    INTERRUPTS.raise_if_received()
print(count() - before)
INTERRUPTS.end_process()
INTERRUPTS.ignore()
print("went on")
"""


def test_a_pipe_is_open_only_while_work_is_interruptible_and_another_process_is_not_ended():
    """A pipe has two ends. The last line: of a process that did not call install."""
    done = python(OPEN_FILES)
    assert done.stdout.split() == ["2", "4", "0", "went", "on"], done.stderr


IGNORES_HANGUP = IGNORES.replace("SIGINT", "SIGHUP")
STUCK = """
import ctypes, os, signal, sys, threading, time
from datasets_io import interrupts
from datasets_io.interrupts import INTERRUPTS

interrupts.STUCK_SECONDS = 0.3
INTERRUPTS.install()
mutex = ctypes.create_string_buffer(64)  # pthread_mutex_t, unlocked where all is 0
lock = ctypes.CDLL(None).pthread_mutex_lock
with INTERRUPTS.interruptible():
    threading.Timer(0.2, os.kill, [os.getpid(), getattr(signal, sys.argv[1])]).start()
    lock(mutex)
    if sys.argv[2] == "stuck":
        lock(mutex)  # waits for itself, and no signal ends that
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(1)  # longer than a call may hold a signal up: but this is what it asked for
        if sys.argv[2] == "stuck in the end":  # as where a lease is to be removed from a drive that is away
            threading.Timer(0.2, os.kill, [os.getpid(), getattr(signal, sys.argv[1])]).start()
            lock(mutex)
        print("in order")
"""


def test_what_nohup_starts_goes_on_when_the_terminal_is_closed():
    assert python(IGNORES_HANGUP).returncode == 0


@pytest.mark.parametrize(("name", "where"), [("SIGINT", "stuck"), ("SIGHUP", "stuck"), ("SIGINT", "stuck in the end")])
def test_a_call_of_a_library_that_never_returns_does_not_keep_the_process(name, where):
    began = time.monotonic()
    done = python(STUCK, name, where)
    assert done.returncode == 130 and done.stderr.strip() == "Interrupted. What is finished is kept."
    assert time.monotonic() - began < 25, "not after the 60 s that it would sleep"


def test_what_puts_itself_in_order_after_a_signal_has_its_time():
    done = python(STUCK, "SIGTERM", "not stuck")
    assert done.returncode == 0 and done.stdout == "in order\n", done.stderr
