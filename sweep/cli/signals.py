"""Has the user asked the command to stop? Noticed from its first line on, and also where a library catches it."""

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

EXIT_INTERRUPTED = 130
AGAIN_SECONDS = 0.01
SIGNALS = (signal.SIGINT, signal.SIGTERM)
_read_end, _write_end = os.pipe()
for _descriptor in (_read_end, _write_end):
    os.set_blocking(_descriptor, False)
_own_process = False


def install_handlers() -> None:
    """For a command's first line, before the libraries, which take a while: nothing has begun, so a signal ends it."""
    global _own_process
    _own_process = True
    _set_handlers(_exit_before_start)


@contextmanager
def interruptible() -> Iterator[None]:
    """A signal raises KeyboardInterrupt, again where a callback catches it, else where `raise_if_interrupted` is."""
    _set_handlers(signal.default_int_handler)
    # Python writes each signal's number there, whoever's handler answers it: Ray has its own while it starts.
    descriptor = signal.set_wakeup_fd(_write_end, warn_on_full_buffer=False)
    hook = sys.unraisablehook

    def raise_again(unraisable) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            again = signal.SIGTERM if signal.getsignal(signal.SIGINT) == signal.SIG_IGN else signal.SIGINT
            main = threading.main_thread().ident
            threading.Timer(AGAIN_SECONDS, signal.pthread_kill, [main, again]).start()
        else:
            hook(unraisable)

    sys.unraisablehook = raise_again
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.set_wakeup_fd(descriptor)
        _received_signals()


def raise_if_interrupted() -> None:
    """For what goes on for long. Raises KeyboardInterrupt where a signal came and the work went on all the same."""
    if threading.current_thread() is not threading.main_thread():
        return  # it would end that thread alone
    if _received_signals() & set(SIGNALS):
        raise KeyboardInterrupt


def end_process() -> None:
    """End a command that was interrupted, has left everything in order and has said so; in another process do nothing.

    Taking the libraries down one by one, and waiting for threads whose work nobody wants, would take seconds.
    """
    if _own_process:
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # whoever read it has gone
                stream.flush()
        os._exit(EXIT_INTERRUPTED)


def ignore_signals() -> None:
    """For a command that is about to end: another signal changes nothing."""
    if _own_process:
        _set_handlers(signal.SIG_IGN)


def _received_signals() -> set[int]:
    """Those since the last look."""
    try:
        return set(os.read(_read_end, 4096))
    except BlockingIOError:
        return set()


def _set_handlers(handler) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as SIGINT is for a shell's background job
            signal.signal(number, handler)


def _exit_before_start(number: int, frame: FrameType | None) -> None:
    os.write(2, b"\nInterrupted before anything had begun.\n")
    os._exit(EXIT_INTERRUPTED)
