"""Does each command end with a sentence and the documented exit code, and is that decided in one place?"""

import ast
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import sweep
from datasets_io.interrupts import EXIT_INTERRUPTED
from datasets_io.storage.schema_version import NewerSchema
from sweep.cli.exit_codes import EXIT_BAD_INPUT, EXIT_SOME_FAILED, errors_as_sentences, handled_errors
from sweep.studies.bad_input import BadInput

COMMANDS = sorted([*Path(sweep.__file__).parent.glob("*/__main__.py"), Path(sweep.__file__).parent / "list.py"])

# What pyarrow raises where nobody answers at the address of an object store; it has no errno.
NO_SERVER = "AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7, Could not connect to server"


def disk(number: int, path: str | None = None) -> OSError:
    return OSError(number, os.strerror(number), path)


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (BadInput("no such row"), EXIT_BAD_INPUT, "error: no such row\n"),
        (NewerSchema("made by a newer version"), EXIT_BAD_INPUT, "error: made by a newer version\n"),
        (
            disk(errno.EROFS, "/out/a"),
            EXIT_BAD_INPUT,
            "error: Read-only file system: /out/a. What is finished is kept; X\n",
        ),
        (
            disk(errno.ENOSPC),
            EXIT_SOME_FAILED,
            "error: No space left on device: the storage. What is finished is kept; X\n",
        ),
        (
            disk(errno.ETIMEDOUT, "/mnt/a"),
            EXIT_SOME_FAILED,
            "error: Connection timed out: /mnt/a. What is finished is kept; X\n",
        ),
        (
            disk(errno.ECONNREFUSED),
            EXIT_SOME_FAILED,
            "error: Connection refused: the storage. What is finished is kept; X\n",
        ),
        (
            OSError(NO_SERVER),
            EXIT_SOME_FAILED,
            f"error: storage the storage cannot be reached ({NO_SERVER}). What is finished is kept; X\n",
        ),
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "\nInterrupted.\n"),
    ],
)
def test_what_ends_a_command_is_one_sentence_and_an_exit_code(error, code, sentence, capsys):
    with pytest.raises(typer.Exit) as end, errors_as_sentences("the storage", BadInput, advice="; X"):
        raise error
    assert end.value.exit_code == code
    assert capsys.readouterr().err == sentence


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "gone", "a"),
        disk(errno.EPIPE),
        OSError("AWS Error NO_SUCH_BUCKET"),
        ConnectionError("no connection to a server that is not the storage"),
        KeyError("a"),
        ValueError("a"),
    ],
    ids=repr,
)
def test_what_is_an_error_of_ours_is_raised(error):
    with pytest.raises(type(error)), errors_as_sentences("the storage", BadInput):
        raise error


@pytest.mark.parametrize(
    ("number", "why"),
    [(signal.SIGHUP, "The terminal was closed"), (signal.SIGINT, "Interrupted"), (signal.SIGTERM, "Interrupted")],
)
def test_what_stopped_a_command_is_said_with_how_it_goes_on(number, why):
    code = (
        "import os, sys, time\nfrom datasets_io.interrupts import INTERRUPTS\nINTERRUPTS.install()\n"
        "from sweep.cli.exit_codes import handled_errors\n"
        "with handled_errors('sweep.run', 'here', ValueError):\n"
        "    os.kill(os.getpid(), int(sys.argv[1]))\n    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(int(number))], capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_INTERRUPTED
    said = done.stderr.strip().splitlines()
    assert said[0] == f"{why}. What is finished is kept; go on with:" and said[1].startswith("  python -m sweep.run")


def test_a_command_that_goes_on_with_its_work_says_so_where_the_storage_cannot_be_reached(capsys):
    with pytest.raises(typer.Exit) as end, handled_errors("sweep.run", "s3://bucket", BadInput):
        raise OSError(NO_SERVER)
    assert end.value.exit_code == EXIT_SOME_FAILED
    said = capsys.readouterr().err
    assert said.startswith(f"error: storage s3://bucket cannot be reached ({NO_SERVER}). What is finished is kept; ")
    assert "go on with:\n  python -m sweep.run" in said


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.parent.name)
def test_no_command_has_an_ending_of_its_own(path):
    """Whoever catches BadInput or OSError in a command turns it into BadInput and does not exit."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ExceptHandler):
            exits = [
                call for call in ast.walk(node) if isinstance(call, ast.Attribute) and call.attr in ("Exit", "exit")
            ]
            assert not exits, f"{path}, line {node.lineno}: use errors_as_sentences or handled_errors"
