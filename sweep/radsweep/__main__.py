"""The command: radsweep, or python -m sweep.radsweep."""

import os
from contextlib import nullcontext

from datasets_io.interrupts import INTERRUPTS

COMPLETING = "_RADSWEEP_COMPLETE"  # what a shell sets that wants proposals, as typer names it
ONE_LINE = "10000"  # characters: a shell would take the second line of a description for another proposal


def main() -> None:
    """What the installed `radsweep` calls. Never returns: its end is the process's."""
    INTERRUPTS.install()  # before the imports below, in which Ctrl-C would print their traceback
    if COMPLETING in os.environ:
        os.environ["COLUMNS"] = ONE_LINE
    from sweep.radsweep.bash_words import ASKED, whole_words
    from sweep.radsweep.command import app

    with whole_words() if os.environ.get(COMPLETING) == ASKED else nullcontext():
        app()


if __name__ == "__main__":
    main()
