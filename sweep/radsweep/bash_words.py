"""What has been typed, where bash asks for proposals? It splits words at `=` too, and completes the last part alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO

ASKED = "complete_bash"  # the value of the variable by which typer is asked


@contextmanager
def whole_words() -> Iterator[None]:
    """Give typer each word whole, and bash of each proposal the part that it puts in the place of its own last word.

    Typed as `--only method=cl`, bash gives `--only`, `method`, `=` and `cl`, and replaces `cl` by what is proposed.
    """
    words, current = os.environ["COMP_WORDS"].split("\n"), int(os.environ["COMP_CWORD"])
    whole, place = joined(words, current)
    front, equals, _ = whole[place].rpartition("=") if place < len(whole) and place != current else ("", "", "")
    os.environ |= {"COMP_WORDS": "\n".join(whole), "COMP_CWORD": str(place)}
    proposed = StringIO()
    try:
        with redirect_stdout(proposed):
            yield
    finally:
        for line in proposed.getvalue().splitlines():
            print(line.removeprefix(front + equals))


def joined(words: list[str], current: int) -> tuple[list[str], int]:
    """Words that were split at `=`, whole again, and the place of the one at `current`; words has it, or ends there."""
    whole: list[str] = []
    place = len(words)
    for number, word in enumerate(words):
        if number > 1 and (word == "=" or words[number - 1] == "="):
            whole[-1] += word
        else:
            whole.append(word)
        if number == current:
            place = len(whole) - 1
    return whole, place if current < len(words) else len(whole)
