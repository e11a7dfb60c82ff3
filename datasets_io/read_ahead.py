"""How are thousands of small files of a disk read while others are checked? By a process that reads ahead.

It says what it has read, byte for byte, and how large the files beside it are; it judges nothing. Where it is not sure,
or has ended, whoever asked reads the file himself, as without it. What it says is some hundred files old: nothing is to
be removed by it. It takes a core of its own, and is no gain where all are busy.

Protocol: a length, then the root, the file's name and the folders go to the child's stdin at once, with a NUL behind
each. Its stdout begins with GREETING. For each folder, in this order, two lengths follow, the file's bytes and the
sizes of the folder's files as JSON. It imports next to nothing, so it is there after some twenty milliseconds.
"""

import fcntl
import json
import os
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

LEAST = 5000  # files that are worth a process: they take a quarter of a second
MOST_BYTES = 1 << 24  # of a file; a larger one is left to whoever asked
END_SECONDS = 2.0  # that a killed child may take to go
UNKNOWN = (-1, -1)  # the lengths of what the child leaves to whoever asked
PIPE_BYTES = 1 << 20  # some 700 results: neither process waits for each of the other's
GREETING = b"radsweep reads ahead\n"  # a start script of Python's may print something else
_LENGTH, _LENGTHS = struct.Struct("<q"), struct.Struct("<qq")


class ReadFile(NamedTuple):
    """A file of a folder, and then the sizes of the files there: name -> bytes."""

    data: bytes
    sizes: dict[str, int]


def read_ahead(root: str, folders: Sequence[str], name: str) -> Generator[ReadFile | None]:
    """The file of this name in each folder below the root; None for one that whoever asks is to read himself.

    The process ends with the generator: close it.
    """
    child = _start([root, name, *folders])
    if child is None:
        yield from (None for _ in folders)
        return
    assert child.stdout is not None  # a pipe
    try:
        answers = _answers(child.stdout)
        yield from (next(answers, None) for _ in folders)
    finally:
        child.kill()
        child.stdout.close()
        with suppress(subprocess.TimeoutExpired):  # one that waits for a disk that is away goes when its call returns
            child.wait(END_SECONDS)


def _start(words: list[str]) -> subprocess.Popen[bytes] | None:
    """A child that has been told what to read; None where there can be none."""
    if "python" not in Path(sys.executable or "").name.lower():  # Python within another program
        return None
    told = b"".join(os.fsencode(word) + b"\0" for word in words)
    # -I, -S: nothing of the environment or the working directory is imported.
    command = [sys.executable, "-I", "-S", __file__]
    try:
        # A session of its own: Ctrl-C in the terminal reaches the parent alone.
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=1 << 18,
            start_new_session=True,
        )
    except OSError:
        return None
    assert child.stdin is not None and child.stdout is not None  # pipes
    with suppress(AttributeError, OSError):  # not of Linux, or more than a user may have: a small one is slower
        fcntl.fcntl(child.stdout, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    with suppress(BrokenPipeError), child.stdin:  # a child that has ended answers nothing
        child.stdin.write(_LENGTH.pack(len(told)) + told)
    return child


def _answers(stream: IO[bytes]) -> Iterator[ReadFile | None]:
    """What the child says of one folder after the other, until it ends."""
    if stream.read(len(GREETING)) != GREETING:
        return
    while len(head := stream.read(_LENGTHS.size)) == _LENGTHS.size:
        lengths = _LENGTHS.unpack(head)
        if lengths == UNKNOWN:
            yield None
            continue
        data, sizes = map(stream.read, lengths)
        if (len(data), len(sizes)) != lengths:
            return
        yield ReadFile(data, json.loads(sizes))


def _read(folder: str, name: str) -> tuple[bytes, bytes] | None:
    """The bytes of a regular file, then the sizes of all in its folder as JSON; None where anything is unusual."""
    try:
        # Without O_NONBLOCK the process would wait at a pipe for somebody who writes into it.
        file = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            state = os.fstat(file)
            if not stat.S_ISREG(state.st_mode) or state.st_size > MOST_BYTES:
                return None
            data = os.read(file, state.st_size + 1)
        finally:
            os.close(file)
        if len(data) != state.st_size:
            return None
        sizes = {}
        with os.scandir(folder) as found:
            for one in found:
                of_one = one.stat()
                if stat.S_ISREG(of_one.st_mode):
                    sizes[one.name] = of_one.st_size
        return data, json.dumps(sizes).encode()
    except OSError:
        return None


def serve(asked: bytes, answers: IO[bytes]) -> None:
    """The child: answer for all folders, until nobody reads any more."""
    answers.write(GREETING)
    root, name, *folders = map(os.fsdecode, asked.split(b"\0")[:-1])
    for folder in folders:
        read = _read(f"{root}/{folder}", name)
        if read is None:
            answers.write(_LENGTHS.pack(*UNKNOWN))
        else:
            answers.write(b"".join((_LENGTHS.pack(*map(len, read)), *read)))
    answers.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the parent has ended: so does this
    given = sys.stdin.buffer
    # Not to the end: a process that the parent forks meanwhile holds the other end open as long as it lives.
    length = _LENGTH.unpack(given.read(_LENGTH.size))[0]
    serve(given.read(length), os.fdopen(1, "wb", 1 << 18))
