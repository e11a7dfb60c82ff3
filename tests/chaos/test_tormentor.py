"""Does the tormentor see what a stopped driver does wrong, and only that?"""

import sys

import pytest

from sweep.chaos import Tormentor

# The first time it is there to be stopped; the second time it comes through.
DRIVER = """
import os, pathlib, signal, sys, time
again = pathlib.Path(sys.argv[1])
if again.exists():
    sys.exit(0)
again.touch()
{answer}
time.sleep(600)
"""
ANSWERS = {
    "not yet": ("", []),
    "as promised": ("signal.signal(signal.SIGTERM, lambda *_: os._exit(130))", []),
    "another code": ("signal.signal(signal.SIGTERM, lambda *_: os._exit(5))", ["driver SIGTERM: exit code 5, not 130"]),
    "without a word": (
        "signal.signal(signal.SIGTERM, lambda *_: (signal.signal(15, signal.SIG_DFL), os.kill(os.getpid(), 15)))",
        ["driver SIGTERM: exit code -15, not 130"],
    ),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_driver_that_has_begun_answers_sigterm_with_130(answer, tmp_path):
    code, problems = ANSWERS[answer]
    words = [sys.executable, "-c", DRIVER.format(answer=code), str(tmp_path / "again")]
    tormentor = Tormentor(words, tmp_path / "storage", 2, print)
    tormentor.faults = ("driver SIGTERM",)
    account = tormentor.run(1, 2.0, 3.0)
    assert account.faults == ["driver SIGTERM"] and account.problems == problems
