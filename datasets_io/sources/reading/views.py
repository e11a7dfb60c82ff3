"""Which view position is meant by a word of somebody's own csv?

A word that is not understood must not pass for a frontal view in silence: the caller counts it.
"""

import re

from datasets_io.schema import known_view

# Words that say how the patient stood or lay, or that it is a radiograph at all: they change no view position.
_BESIDES = re.compile(
    r"views?|positions?|projection|chest|thorax|cxr|xray|x|ray|radiograph|film|image|erect|upright|standing|sitting|seated|"
    r"supine|portable|mobile|bedside|semi|semierect|semiupright|horizontal|vertical|inspiration|expiration"
)
_SIDES = frozenset(("left", "right", "l", "r"))
_LATERAL = frozenset(("lateral", "lat", "laterale", "lateralis", "profile", "profil"))
_TABLE = frozenset(("cross", "table", "crosstable", "xtable"))
_ALONE = {
    ("l",): "LATERAL",  # PadChest and BRAX
    ("ll",): "LL",
    ("rl",): "RL",
    ("frontal",): "FRONTAL",
    ("front",): "FRONTAL",
    ("pa",): "PA",
    ("p", "a"): "PA",
    ("posteroanterior",): "PA",
    ("postero", "anterior"): "PA",
    ("posterior", "anterior"): "PA",
    ("posterioranterior",): "PA",
    ("ap",): "AP",
    ("a", "p"): "AP",
    ("anteroposterior",): "AP",
    ("antero", "posterior"): "AP",
    ("anterior", "posterior"): "AP",
    ("anteriorposterior",): "AP",
}


def view_code(text: str | None) -> str | None:
    """One of VIEW_POSITIONS for a word of a csv ('lat', 'Left lateral', 'P.A. erect'); None where none is meant.

    A cross-table lateral view is LATERAL, which every recipe knows as such. None as well for words that mean two views.
    """
    known = known_view(text)
    if known is not None:
        return "LATERAL" if known.endswith("LATERAL") else known
    tokens = [token for token in re.split(r"[^a-z]+", (text or "").lower()) if token]
    tokens = [token for token in tokens if not _BESIDES.fullmatch(token)] or tokens
    if (code := _ALONE.get(tuple(tokens))) is not None:
        return code
    words = set(tokens)
    if words & _LATERAL and "decubitus" in words and words <= _LATERAL | _SIDES | {"decubitus"}:
        # On the side, yet seen from the front: its side is part of the name.
        return "LLD" if words & {"left", "l"} else "RLD" if words & {"right", "r"} else None
    if words & _LATERAL and words <= _LATERAL | _SIDES | _TABLE:
        return "LATERAL"
    return None
