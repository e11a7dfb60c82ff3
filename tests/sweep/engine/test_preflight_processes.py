"""Does a network that crashes, hangs or is killed cost its own verdict, and neither the command nor the others?"""

import multiprocessing
import os
import signal
import time

import pytest

from sweep.engine.preflight_processes import run_in_processes
from trainables.preflight.verdict import EncoderCheck, Verdict
from trainables.recipe import BackboneSpec, RandomInit
from trainables.views.evaluation_spec import EvalSpec

FITS = RandomInit(BackboneSpec("demo_cnn", 32))


class Crashing(tuple):
    def __iter__(self):
        os.abort()


class Killed(tuple):
    def __iter__(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Hanging(tuple):
    def __iter__(self):
        time.sleep(600)


class Ending(tuple):
    def __iter__(self):
        os._exit(7)


def test_each_gets_the_verdict_that_is_its_own():
    class Local(tuple):
        """Cannot be sent to another process."""

    datasets = (("CheXpert", EvalSpec(32)),)
    kinds = (Crashing, Hanging, tuple, Killed, Ending, Local)
    counts: list[int] = []
    verdicts = run_in_processes(
        [EncoderCheck(FITS, kind(datasets)) for kind in kinds], counts.append, limit_seconds=3.0
    )
    crashed, hung, fits, killed, ended, local = verdicts
    assert crashed == Verdict("ends the process that builds and runs it (SIGABRT)", lasting=False)
    assert hung == Verdict(warning="could not be tried within 3 s on a CPU")
    assert killed.misfit is None and "killed" in killed.warning and not killed.lasting
    assert ended == Verdict("ends the process that builds and runs it (exit code 7)", lasting=False)
    assert fits == local == Verdict()
    assert counts[0] == 0 and counts == sorted(counts)


def test_an_interrupt_ends_the_processes():
    def interrupted(done: int) -> None:
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_in_processes([EncoderCheck(FITS, Hanging((1,)))], interrupted)
    assert time.monotonic() - started < 60
    assert multiprocessing.active_children() == []
