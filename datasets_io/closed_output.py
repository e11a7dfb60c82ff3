"""What becomes of a command whose output nobody takes: a closed pipe, a shut terminal, a log on a full disk?"""

import errno
import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

EXIT_OUTPUT_CLOSED = 141  # what a shell shows of a command that SIGPIPE ended
EXIT_OUTPUT_LOST = 3  # as where a storage is full


class _Stream(io.FileIO):
    """A descriptor, after whose reader's end what is written goes nowhere. ends: whether the command ends by that."""

    def __init__(self, descriptor: int, ends: bool):
        super().__init__(descriptor, "w", closefd=False)
        self._ends, self._terminal = ends, os.isatty(descriptor)

    def write(self, data: Any, /) -> int:
        """As of FileIO. Raises SystemExit where it can be written no longer and the command ends by that."""
        try:
            return super().write(data)
        except OSError as error:
            # EIO is what a terminal says that was closed, and on a disk a fault to be told of.
            gone = error.errno == errno.EPIPE or (error.errno == errno.EIO and self._terminal)
            why = error.strerror
        if self.fileno() == 1 and (said := self._sentence(gone, why)):  # of stderr there is nowhere to say it
            with suppress(OSError):
                os.write(2, said.encode())
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)
        if self._ends:
            raise SystemExit(EXIT_OUTPUT_CLOSED if gone else EXIT_OUTPUT_LOST)
        return super().write(data)

    def _sentence(self, gone: bool, why: str | None) -> str:
        """For stderr. Empty where a command that only prints has no reader: whoever typed `| head` meant it so."""
        if gone:
            return "" if self._ends else "Nobody reads what is printed any more; the command goes on to its end.\n"
        outcome = "" if self._ends else "; from here on it is lost, and the command goes on"
        return f"error: what is printed cannot be written: {why}{outcome}\n"


def survive_closed_output(goes_on: bool) -> None:
    """For a command, before it prints: what happens where nobody reads it any more, as behind `| head -1`.

    goes_on: for what works and stores results, of which the output is only a display. Anything else ends with
    EXIT_OUTPUT_CLOSED as soon as stdout has no reader, and with EXIT_OUTPUT_LOST where it cannot be written, as to a
    full disk; one of stderr alone may always go. Streams that were replaced, as by a test, are left alone.
    """
    _open_missing()
    if sys.stdout is sys.__stdout__:
        sys.stdout = _replaced(sys.stdout, 1, ends=not goes_on)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _replaced(sys.stderr, 2, ends=False)


def _replaced(stream: Any, descriptor: int, ends: bool) -> TextIO:
    """stream: None where the descriptor was closed at the start; libraries expect one all the same."""
    if stream is not None:
        stream.flush()
        descriptor = stream.fileno()
    return io.TextIOWrapper(
        io.BufferedWriter(_Stream(descriptor, ends)),
        encoding=stream.encoding if stream is not None else "utf-8",
        errors=stream.errors if stream is not None else "backslashreplace",
        line_buffering=True,  # so that it is noticed where something is printed, and not when Python ends
    )


def _open_missing() -> None:
    """Where a descriptor was closed at the start, the next file would have its number, and what is printed in it."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
