"""Which known word did somebody mean who typed an unknown one?"""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`; did you mean 'paper'?` for `papr`: the end of a sentence that refuses a word. Empty where none is near.

    Capitals make no difference: `lp` is near `LP`. known: all words that would have been allowed.
    """
    found = nearest(word, known)
    return "" if found is None else f"; did you mean {found!r}?"


def nearest(word: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that is most like this one; None where none is. cutoff: share of letters in common, 0 to 1."""
    spelt = {name.casefold(): name for name in known}
    close = get_close_matches(str(word).casefold(), spelt, 1, cutoff)
    return spelt[close[0]] if close else None
