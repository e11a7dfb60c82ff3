"""Has the user asked the command to stop? Heard from its first line on, and also where a library swallows it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_heard, _written = os.pipe()
for _end in (_heard, _written):
    os.set_blocking(_end, False)


def hear() -> None:
    """For a command's first line, before the libraries, which take a while: nothing has begun, so a signal ends it."""
    _answer_with(_leave)


@contextmanager
def interruptible() -> Iterator[None]:
    """A signal raises KeyboardInterrupt, and `raise_if_interrupted` raises it again if it got lost."""
    _answer_with(signal.default_int_handler)
    # Python writes each signal's number there, whoever's handler answers it: Ray has its own while it starts.
    before = signal.set_wakeup_fd(_written, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        _heard_signals()


def raise_if_interrupted() -> None:
    """For what goes on for long. Raises KeyboardInterrupt where a signal came and the work went on all the same.

    What a signal's handler raises is lost where the handler happens to run in a callback or a destructor.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # it would end that thread alone
    if _heard_signals() & set(SIGNALS):
        raise KeyboardInterrupt


def _heard_signals() -> set[int]:
    """Those since the last look."""
    try:
        return set(os.read(_heard, 4096))
    except BlockingIOError:
        return set()


def _answer_with(handler) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as SIGINT is for a shell's background job
            signal.signal(number, handler)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"\nInterrupted before anything had begun.\n")
    os._exit(EXIT_INTERRUPTED)
