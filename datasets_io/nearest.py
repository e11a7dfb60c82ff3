"""Which known word did somebody mean who typed an unknown one?"""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`; did you mean 'paper'?` for `papr`: the end of a sentence that refuses a word. Empty where none is near.

    Capitals make no difference: `lp` is near `LP`. Where none is near it is the only one that begins so: `nih_cxr14`
    for `nih`. known: all words that would have been allowed.
    """
    names = list(known)
    found = nearest(word, names) or _begun(word, names)
    return "" if found is None else f"; did you mean {found!r}?"


def nearest(word: object, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that is most like this one; None where none is. cutoff: share of letters in common, 0 to 1."""
    spelt = {name.casefold(): name for name in known}
    close = get_close_matches(str(word).casefold(), spelt, 1, cutoff)
    return spelt[close[0]] if close else None


def _begun(word: object, known: Iterable[str]) -> str | None:
    """The one known word that begins with this; None where none does, or several."""
    start = str(word).casefold()
    found = {name for name in known if start and name.casefold().startswith(start)}
    return found.pop() if len(found) == 1 else None
