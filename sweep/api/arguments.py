"""Are arguments what they are to be, and how does an error that was written for a command name them in Python?"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sweep.studies.bad_input import BadInput

_NAMES = "storage|study|raw|only|machines"  # of flags that are arguments under the same name
_WITH_VALUE = re.compile(rf"(?<![\w/-])--({_NAMES}) ([^\s'\",;:()]+=[^\s'\";:()]+)")
_ALONE = re.compile(rf"(?<![\w/-])--({_NAMES})\b(?!-)")


def listed(name: str, given: Any, example: str, kinds: tuple[type, ...] = (str,)) -> tuple[Any, ...]:
    """An argument that is a list of texts, or of other kinds. Raises ValueError for anything else, one text too."""
    found = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (None,)
    if not all(isinstance(one, kinds) for one in found):
        raise ValueError(f"{name} is {given!r}: give a list of texts, such as {name}=[{example!r}]")
    return found


@contextmanager
def in_words_of_python() -> Iterator[None]:
    """What commands say of their flags, as ValueErrors that name arguments: `--only seed=0` is `only=['seed=0']`."""
    try:
        yield
    except (BadInput, ValueError) as error:
        said = with_arguments(str(error))
        if isinstance(error, ValueError) and said == str(error):
            raise
        raise ValueError(said) from None


def with_arguments(text: str) -> str:
    """A sentence for the command line, for who calls a function. A flag of no argument, as --retry-failed, stays."""
    return _ALONE.sub(r"\1", _WITH_VALUE.sub(r"\1=['\2']", text))
