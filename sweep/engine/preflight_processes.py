"""How are preflight checks run so that a network that crashes, hangs or takes all memory costs its own verdict only?

A process of its own imports timm and transformers once, and forks one for each check; it ends with the last.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

from datasets_io.granted import cores
from datasets_io.interrupts import end_with_parent
from trainables.networks.backbones import HUGGING_FACE, OWN_BACKBONES
from trainables.preflight.check import run_check
from trainables.preflight.hub import work_offline_if_out_of_reach
from trainables.preflight.verdict import PreflightCheck, Verdict

MOST_AT_ONCE = 4  # each holds a network and its gradients
TIME_LIMIT_SECONDS = 180.0
POLL_SECONDS = 0.2
END_SECONDS = 3.0


def run_in_processes(
    checks: Sequence[PreflightCheck], show: Callable[[int], None], limit_seconds: float = TIME_LIMIT_SECONDS
) -> list[Verdict]:
    """The verdict on each check, in their order. show: is told how many are made, several times a second.

    What `show` raises ends the processes. A check that cannot be sent to another process is made in this one.
    """
    sent = [place for place, check in enumerate(checks) if _can_be_sent(check)]
    lost = Verdict(warning="could not be tried: the process for it ended", lasting=False)
    found = dict.fromkeys(sent, lost)
    if sent:
        answered = 0
        with _server([checks[place] for place in sent], limit_seconds) as (process, connection), suppress(EOFError):
            while answered < len(sent):
                show(answered)
                if connection.poll(POLL_SECONDS):
                    place, verdict = connection.recv()
                    found[sent[place]] = verdict
                    answered += 1
                elif not process.is_alive() and not connection.poll():
                    break
    for place, check in enumerate(checks):
        if place not in found:
            show(len(found))
            found[place] = run_check(check)
    return [found[place] for place in range(len(checks))]


def _can_be_sent(check: PreflightCheck) -> bool:
    """Not where a class of a study's own file is in it, which another process does not have."""
    try:
        ForkingPickler.dumps(check)
    except Exception:
        return False
    return True


@contextmanager
def _server(checks: Sequence[PreflightCheck], limit_seconds: float) -> Iterator[tuple[BaseProcess, Connection]]:
    # A fork of this process, which has threads, may wait for ever: a new interpreter, which forks before it has any.
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    granted = cores()
    at_once = max(1, min(granted, MOST_AT_ONCE, len(checks)))
    process = context.Process(target=_serve, args=(tuple(checks), there, at_once, granted // at_once, limit_seconds))
    # Blocked in it too, as it inherits the mask: of Ctrl-C the command hears, and ends this process.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    there.close()  # else this end would keep it open after the process's end
    try:
        yield process, here
    finally:
        process.terminate()  # its answers are all here, or nobody needs them; it ends its own first
        process.join(END_SECONDS)
        process.kill()  # where a library's call keeps it; its own end with it
        process.join(END_SECONDS)
        here.close()


@dataclass
class _Running:
    place: int
    process: BaseProcess
    answer: Connection
    deadline: float


def _serve(
    checks: Sequence[PreflightCheck], answers: Connection, at_once: int, threads: int, limit_seconds: float
) -> None:
    """Run in the process of its own: fork one for each check, and send (place, verdict) of each as it is made."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    _silence()
    work_offline_if_out_of_reach(checks)
    _import_libraries(checks)
    parent = multiprocessing.parent_process()
    assert parent is not None, "this function is for a process that was started"
    context = multiprocessing.get_context("fork")
    waiting = list(enumerate(checks))
    running: list[_Running] = []
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                place, check = waiting.pop(0)
                running.append(_start(context, place, check, threads, limit_seconds))
            patience = max(0.0, min(one.deadline for one in running) - time.monotonic())
            if parent.sentinel in wait([parent.sentinel, *(one.answer for one in running)], patience):
                return  # the command is gone
            for one in list(running):
                if (verdict := _verdict(one, limit_seconds)) is not None:
                    running.remove(one)
                    answers.send((one.place, verdict))
    finally:
        for one in running:
            one.process.kill()


def _start(context: ForkContext, place: int, check: PreflightCheck, threads: int, limit_seconds: float) -> _Running:
    answer, end = context.Pipe(duplex=False)
    process = context.Process(target=_one, args=(check, end, threads), daemon=True)
    process.start()
    end.close()
    return _Running(place, process, answer, time.monotonic() + limit_seconds)


def _verdict(one: _Running, limit_seconds: float) -> Verdict | None:
    """What came of it; None while it goes on."""
    verdict: Verdict | None = None
    if one.answer.poll():
        try:
            verdict = one.answer.recv()
        except EOFError:
            one.process.join()
            verdict = _of_death(one.process.exitcode or 0)
    elif time.monotonic() >= one.deadline:
        verdict = Verdict(warning=f"could not be tried within {limit_seconds:g} s on a CPU")
    if verdict is not None:
        one.process.kill()
        one.process.join()
        one.answer.close()
    return verdict


def _of_death(code: int) -> Verdict:
    """Of a process that ended without an answer. code: as of multiprocessing, negative for a signal."""
    if code == -signal.SIGKILL:  # by the kernel, most often for memory, of which other machines may have more
        return Verdict(warning="could not be tried: its process was killed, perhaps for memory", lasting=False)
    name = f"exit code {code}"
    with suppress(ValueError):
        name = signal.Signals(-code).name if code < 0 else name
    return Verdict(misfit=f"ends the process that builds and runs it ({name})", lasting=False)


def _one(check: PreflightCheck, end: Connection, threads: int) -> None:
    """Run in a process of one check."""
    import torch

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent()
    with suppress(OSError):  # where memory is short, this process goes and not another
        Path("/proc/self/oom_score_adj").write_text("1000")
    torch.set_num_threads(max(1, threads))
    end.send(run_check(check))


def _silence() -> None:
    """What libraries print is not for the user: a verdict says what matters."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)


def _import_libraries(checks: Sequence[PreflightCheck]) -> None:
    """Once, before the forks. None of them starts a thread when it is imported."""
    import trainables.preflight.encoder
    import trainables.preflight.pretraining  # noqa: F401, for the forks

    names = {check.recipe.backbone.name for check in checks}
    if HUGGING_FACE in names or any(getattr(check.recipe, "text", None) is not None for check in checks):
        with suppress(ImportError):
            from transformers import AutoModel  # noqa: F401, for the forks
    if names - {HUGGING_FACE, *OWN_BACKBONES}:
        with suppress(ImportError):
            import timm  # noqa: F401, for the forks
