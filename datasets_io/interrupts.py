"""Has the user asked the command to stop? Noticed from its first line on, and also where a library catches it."""

import atexit
import ctypes
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

EXIT_INTERRUPTED = 130
AGAIN_SECONDS = 0.01
# How long a call of a library may hold up a signal. Python answers one between two of its own steps only: a read of a
# network drive that is away may never return, and only the process's end ends it.
STUCK_SECONDS = 8.0
POLL_SECONDS = 0.25
END_OF_WORK = 0  # in the pipe of signals: no signal has this number
SHOW_CURSOR = b"\x1b[?25h"  # a progress display has hidden it
# SIGHUP: the terminal was closed. `nohup` ignores it, and so does whatever it starts.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Handler = Callable[[int, FrameType | None], object] | signal.Handlers


class Interrupts:
    """SIGINT, SIGTERM and SIGHUP of this process: what they do to a command, and how long work learns that one came.

    Handlers of signals belong to a process, so a process has one object, INTERRUPTS. Its life, in a command:

    1. `install`, before the libraries are imported: nothing has begun, so a signal ends the process at once.
    2. `interruptible`, around the work: a signal raises KeyboardInterrupt, and long work asks `raise_if_received` in
       case a library has caught that. Only while it lasts is there a pipe of signals that came, and a thread that
       ends the process where a library's call keeps the main thread from noticing one (STUCK_SECONDS).
    3. `ignore`, once the command is about to end because of a signal: another one changes nothing.
    4. `end_process`, when everything is in order and has been said.

    In a process that is not a command's own, as a test's, `install` was not called: then 3 and 4 do nothing.
    All but `raise_if_received` is for the main thread, the only one in which Python sets handlers.
    """

    def __init__(self) -> None:
        self._own_process = False
        self._received: int | None = None  # the pipe's end to read from, while the work is interruptible
        self._arrived: set[int] = set()  # taken from the pipe, and not yet asked for
        self._reading = threading.Lock()
        self._noticed = threading.Event()  # the main thread has learnt of a signal
        self._last: int | None = None  # number of the last signal that was noticed

    def install(self) -> None:
        """For a command's first line, before the libraries, which take a while."""
        self._own_process = True
        _set_handlers(_exit_before_start)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A signal raises KeyboardInterrupt: again where a callback drops it, else at `raise_if_received`."""
        self._noticed.clear()
        _set_handlers(self._interrupt)
        ends = os.pipe()
        for end in ends:
            os.set_blocking(end, False)
        outer, self._received = self._received, ends[0]
        # Python writes each signal's number there, whoever's handler answers it: Ray has its own while it starts.
        wakeup = signal.set_wakeup_fd(ends[1], warn_on_full_buffer=False)
        hook = sys.unraisablehook

        # Python drops what a destructor or a callback of C raises and tells this hook, where raising would be in vain.
        def raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
            if issubclass(unraisable.exc_type, KeyboardInterrupt):
                _send_again_soon()
            else:
                hook(unraisable)

        sys.unraisablehook = raise_again
        watch = threading.Thread(target=self._end_where_stuck, args=(ends[0],), daemon=True)
        watch.start()
        try:
            yield
        finally:
            sys.unraisablehook = hook
            signal.set_wakeup_fd(wakeup)
            self._received = outer  # before they are closed: their numbers may be another file's at once
            with suppress(BlockingIOError):  # full of signals, of which each ends the thread as well
                os.write(ends[1], bytes([END_OF_WORK]))
            watch.join()
            self._arrived.clear()
            for end in ends:
                os.close(end)

    def raise_if_received(self) -> None:
        """For what goes on for long. Raises KeyboardInterrupt where a signal came and the work went on all the same."""
        if threading.current_thread() is not threading.main_thread():
            return  # it would end that thread alone
        if received := self._take_received() & set(SIGNALS):
            self._last = max(received)  # of several, SIGHUP has the lowest number
            self._noticed.set()
            raise KeyboardInterrupt

    @property
    def why(self) -> str:
        """What stopped the work, for a sentence."""
        return "The terminal was closed" if self._last == signal.SIGHUP else "Interrupted"

    def ignore(self) -> None:
        """For a command that is about to end: another signal changes nothing."""
        if self._own_process:
            _set_handlers(signal.SIG_IGN)

    def end_process(self) -> None:
        """End a command that was interrupted, has left everything in order and has said so: exit code 130.

        In a process that is not a command's own it returns, and the caller exits in the ordinary way.
        """
        if not self._own_process:
            return
        # An ordinary exit first joins every thread, whose work nobody wants any more, and then takes the libraries down
        # one by one: seconds. Exit functions do run, as Ray's and those of temporary files; Python has no public name
        # for running them without the rest.
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, AttributeError):  # whoever read it has gone; None where it was closed at the start
                stream.flush()
        os._exit(EXIT_INTERRUPTED)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self._last = number
        self._noticed.set()
        raise KeyboardInterrupt

    def _take_received(self) -> set[int]:
        """Numbers of the signals that came since this was last asked."""
        if self._received is None:
            return set()
        self._read_pipe(self._received)
        with self._reading:
            arrived, self._arrived = self._arrived, set()
        return arrived

    def _read_pipe(self, pipe: int) -> set[int]:
        with self._reading:
            try:
                new = set(os.read(pipe, 4096))
            except BlockingIOError:  # none came
                return set()
            self._arrived |= new
            return new

    def _end_where_stuck(self, pipe: int) -> None:
        """In a thread: after a signal that the main thread has not noticed for STUCK_SECONDS, end the process.

        After a further one also where it noticed the first, and is stuck as it puts things in order. What is finished
        is in the storage, and leases of a process that is gone hold nothing up.
        """
        main, again = threading.main_thread().ident, False
        while True:
            select.select([pipe], [], [])
            if END_OF_WORK in self._read_pipe(pipe):
                return
            place, since = _place(main), time.monotonic()
            noticed = threading.Event() if again else self._noticed
            while not noticed.wait(POLL_SECONDS) and _place(main) == place:
                if END_OF_WORK in self._read_pipe(pipe):
                    return
                if time.monotonic() - since > STUCK_SECONDS and self._own_process:
                    with suppress(OSError):  # of a terminal that was shut
                        os.write(2, SHOW_CURSOR * os.isatty(2) + b"\nInterrupted. What is finished is kept.\n")
                    os._exit(EXIT_INTERRUPTED)
            again = True


INTERRUPTS = Interrupts()


def end_with_parent() -> None:
    """In a child: have the kernel end it with the thread that started it, however that ends. Linux alone does so."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


def _set_handlers(handler: Handler) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as SIGINT is for a shell's background job
            signal.signal(number, handler)


def _place(thread: int | None) -> tuple[int, int] | None:
    """Where in its code a thread is; the same for as long as a call of a library does not return."""
    frame = sys._current_frames().get(thread or 0)
    return frame and (id(frame), frame.f_lasti)


def _send_again_soon() -> None:
    """Send this process the signal once more, from a thread, when whatever dropped its exception has returned."""
    number = signal.SIGTERM if signal.getsignal(signal.SIGINT) == signal.SIG_IGN else signal.SIGINT
    main = threading.main_thread().ident
    threading.Timer(AGAIN_SECONDS, signal.pthread_kill, [main, number]).start()


def _exit_before_start(number: int, frame: FrameType | None) -> None:
    # No print and no sys.exit: a handler may run in the middle of an import, or of another print.
    what = b"The terminal was closed" if number == signal.SIGHUP else b"Interrupted"
    with suppress(OSError):  # of the terminal that is gone
        os.write(2, b"\n" + what + b" before anything had begun.\n")
    os._exit(EXIT_INTERRUPTED)
