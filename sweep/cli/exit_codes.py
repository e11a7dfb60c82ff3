"""How does a command end: exit codes, and a sentence instead of a traceback for what users can mend."""

import errno
import os
import shlex
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NoReturn

import typer

from datasets_io.interrupts import EXIT_INTERRUPTED, INTERRUPTS
from datasets_io.storage.disk import WrongKind
from datasets_io.storage.patience import is_passing
from datasets_io.storage.schema_version import NewerSchema
from datasets_io.storage.secrets import without_secrets
from datasets_io.untrusted import printable_lines
from sweep.cli.lines import echo

EXIT_OK, EXIT_BAD_INPUT, EXIT_SOME_FAILED, EXIT_SOME_UNFIT = 0, 2, 3, 4


def storage_error_message(error: OSError, storage: str) -> str | None:
    """A sentence where the storage is full, read-only, forbidden or unreachable; None for any other error."""
    if not _is_of_storage(error):
        return None
    if error.errno is None:  # of an object store: its message names the file, but not the storage
        return f"storage {storage} cannot be reached ({' '.join(str(error).split())}). What is finished is kept"
    if isinstance(error, WrongKind):
        return f"{error.strerror}: {error.filename}: move it away. What is finished is kept"
    return f"{os.strerror(error.errno)}: {error.filename or storage}. What is finished is kept"


def _is_of_storage(error: OSError) -> bool:
    """Whether a user or an administrator can mend it. Any other is a fault of the program, and keeps its traceback."""
    if error.errno is None:
        # pyarrow raises OSError itself for an object store; subclasses without errno are of other libraries' servers.
        return type(error) is OSError and is_passing(error)
    if isinstance(error, WrongKind):
        return True
    if error.errno == errno.EPIPE:  # whoever read our output has closed it
        return False
    lasting = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
    return error.errno in lasting or is_passing(error)


def not_writable(error: OSError) -> bool:
    """Whether a folder is one that may not be written at all, not only now."""
    return error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)


class ClusterLost(RuntimeError):
    """The cluster went away under the driver. What is finished is kept."""


@contextmanager
def handled_errors(module: str, storage: str, bad_input: type[Exception], advice: str = "") -> Iterator[None]:
    """Exit codes and sentences for what stops a command; the same command goes on after most of it.

    130 for an interrupt, 3 for a lost cluster or storage, 2 for `bad_input`. Other errors pass, with their traceback.
    advice: what is said of going on, in brackets, where the storage stopped it.
    """
    command = command_of(module)
    sys.excepthook = _print_without_secrets
    try:
        with INTERRUPTS.interruptible():
            yield
    except KeyboardInterrupt:
        INTERRUPTS.ignore()  # before the sentence: a second Ctrl-C must not cut it off
        echo(f"\n{INTERRUPTS.why}. What is finished is kept; go on with:\n  {command}", err=True)
        INTERRUPTS.end_process()
        raise typer.Exit(EXIT_INTERRUPTED) from None  # in a process that is not the command's own
    except ClusterLost as error:
        _exit(cluster_lost_message(error, module), EXIT_SOME_FAILED)
    except (bad_input, NewerSchema) as error:
        _exit(f"error: {error}", EXIT_BAD_INPUT)
    except OSError as error:
        if (trouble := storage_error_message(error, storage)) is None:
            raise
        hint = f" ({advice})" if advice else ""
        _exit(f"error: {trouble}; when that is mended{hint}, go on with:\n  {command}", EXIT_SOME_FAILED)


@contextmanager
def errors_as_sentences(storage: str, *bad_input: type[Exception], advice: str = "") -> Iterator[None]:
    """For a command that is simply given again, without work to go on with: a sentence and an exit code for each end.

    2 for `bad_input` and for what cannot be written at all, 3 for a storage that is full or away, 130 for an interrupt.
    storage: what is named where an OSError names no file; advice: what follows the sentence about such an error.
    """
    refused: tuple[type[Exception], ...] = (*bad_input, NewerSchema)
    sys.excepthook = _print_without_secrets
    try:
        with INTERRUPTS.interruptible():
            yield
    except KeyboardInterrupt:
        INTERRUPTS.ignore()
        echo(f"\n{INTERRUPTS.why}.", err=True)
        INTERRUPTS.end_process()
        raise typer.Exit(EXIT_INTERRUPTED) from None  # in a process that is not the command's own
    except refused as error:
        _exit(f"error: {error}", EXIT_BAD_INPUT)
    except OSError as error:
        if (trouble := storage_error_message(error, storage)) is None:
            raise
        _exit(f"error: {trouble}{advice}", EXIT_BAD_INPUT if not_writable(error) else EXIT_SOME_FAILED)


def cluster_lost_message(error: ClusterLost, module: str) -> str:
    """The sentence for a lost cluster, with the command that goes on."""
    return f"error: {error}. What is finished is kept; go on with:\n  {command_of(module)}"


def command_of(module: str) -> str:
    """This process's command, as a shell takes it. module: whose command it is, also below `radsweep`."""
    program = Path(sys.argv[0])
    if program.name == "radsweep":
        start = ["radsweep"]
    elif program.parent.name == "radsweep":  # its own __main__.py
        start = ["python", "-m", "sweep.radsweep"]
    else:
        start = ["python", "-m", module]
    return without_secrets(shlex.join([*start, *sys.argv[1:]]))


def _print_without_secrets(kind: type[BaseException], error: BaseException, trace: TracebackType | None, /) -> None:
    """As sys.excepthook: a traceback of a fault of the program."""
    print(
        printable_lines(without_secrets("".join(traceback.format_exception(kind, error, trace)))),
        end="",
        file=sys.stderr,
    )


def _exit(sentence: str, code: int) -> NoReturn:
    echo(sentence, err=True)
    raise typer.Exit(code) from None
