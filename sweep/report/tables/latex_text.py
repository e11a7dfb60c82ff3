"""How is text set in LaTeX: what stands for each character in plain LaTeX, and how wide is it?"""

import re
import unicodedata
from functools import cache

# Widths in thousandths of the type size, of Computer Modern Roman at 8 pt: its file of metrics, cmr8.tfm (Knuth). At
# larger sizes its letters are narrower than that, and Times, which many classes set, is narrower still.
WIDTHS = {
    char: width
    for width, chars in (
        (295, "!',.:;il`[]|"),
        (325, "fj"),
        (354, " -"),
        (383, "I_"),
        (420, "()rst"),
        (472, "cez"),
        (531, '"$*/0123456789?ago~^\\{}'),
        (561, "kqvxy"),
        (590, "Sbdhnpu"),
        (664, "LZ"),
        (723, "EFJP"),
        (767, "BCTw"),
        (796, "AHNRUVXY"),
        (834, "&+<=>@DGKOQ"),
        (885, "#%m"),
        (973, "M"),
        (1091, "W"),
    )
    for char in chars
}
KERN = 30  # some pairs of lower-case letters, such as "oe", stand 0.028 of the size apart; most stand closer
BOLD, BOLD_NUMBER = 1.27, 1.16  # a bold character is at most this much wider, one of a number much less: cmbx8.tfm

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "`": "{`}",  # two of them would be one quotation mark
    "[": "{[}",  # a row that begins with [ would be the optional argument of the \\ before it
    "\u00a0": "~",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "‘": "{`}",
    "’": "'",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "…": r"\dots{}",
}
# Combining character -> accent of plain LaTeX, which needs no font beside the default one.
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0323": "d",
    "\u0327": "c",
    "\u0331": "b",
}
_GREEK = {"ALPHA", "BETA", "EPSILON", "ZETA", "ETA", "IOTA", "KAPPA", "MU", "NU", "RHO", "TAU", "CHI"}
# These have a macro for the capital too: the others look like Latin letters.
_GREEK_CAPITALS = {"GAMMA", "DELTA", "THETA", "LAMDA", "XI", "PI", "SIGMA", "UPSILON", "PHI", "PSI", "OMEGA"}
_MATH = {
    "±": r"\pm",
    "×": r"\times",
    "−": "-",
    "·": r"\cdot",
    "°": r"^{\circ}",
    "≤": r"\leq",
    "≥": r"\geq",
    "≠": r"\neq",
    "≈": r"\approx",
    "→": r"\rightarrow",
    "←": r"\leftarrow",
    "∞": r"\infty",
    "µ": r"\mu",
    **{chr(ord("₀") + i): f"_{{{i}}}" for i in range(10)},
    **{char: f"^{{{i}}}" for i, char in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}
_WIDE = {"→", "←", "∞", "—", "…"}  # an em each; the other signs from other fonts are at most 0.9 of one


@cache
def _glyph(char: str) -> tuple[str, int]:
    """What stands for one character, in ASCII, and its width in thousandths of the type size."""
    if char in _MATH:
        return f"${_MATH[char]}$", 1100 if char in _WIDE else 830 if char in "±×−" else 900
    if char in _ESCAPES:
        return _ESCAPES[char], WIDTHS.get(char, 1250 if char in _WIDE else 900)
    if " " < char <= "~":
        return char, WIDTHS[char] + (KERN if char.islower() else 0)
    if greek := _greek(char):
        return f"${greek}$", 900
    category = unicodedata.category(char)
    if category in ("Zs", "Zl", "Zp") or char in " \t\r\n":
        return " ", WIDTHS[" "]
    if category in ("Cc", "Cf"):  # control characters are not seen anywhere
        return "", 0
    decomposed = unicodedata.normalize("NFD", char)
    base, marks = decomposed[0], decomposed[1:]
    if marks and base.isascii() and all(mark in _ACCENTS for mark in marks):
        text, width = _glyph(base)
        for mark in marks:
            text = f"\\{_ACCENTS[mark]}{{{text}}}"
        return text, max(width, WIDTHS["o"])
    plain = unicodedata.normalize("NFKD", char)
    # What plain LaTeX cannot set at all is named, so that the document compiles and nothing is lost.
    parts = list(map(_glyph, plain if plain.isascii() else f"[U+{ord(char):04X}]"))
    return "".join(text for text, _ in parts), sum(width for _, width in parts)


def _greek(char: str) -> str:
    """The macro of a Greek letter without accents, `\\alpha`; empty for other characters."""
    found = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", unicodedata.name(char, ""))
    if not found or not (found[2] in _GREEK_CAPITALS or (found[1] == "SMALL" and found[2] in _GREEK)):
        return ""
    name = found[2].lower().replace("lamda", "lambda")
    return "\\" + (name.capitalize() if found[1] == "CAPITAL" else name)


def latex(text: str) -> str:
    """Text as LaTeX that needs no package, in ASCII: special characters are escaped, and others are written out."""
    # Composed first: a letter and a combining accent after it are one character then.
    # Hyphens in a row would become a dash.
    return re.sub(r"-(?=-)", "-{}", "".join(_glyph(char)[0] for char in unicodedata.normalize("NFC", text)))


def breakable(text: str, longest: int = 24) -> str:
    """`latex` for a paragraph: a word longer than `longest` may be broken where it would run over the margin."""
    words = (
        r"\allowbreak{}".join(latex(piece) for piece in pieces(word)) if len(word) > longest else latex(word)
        for word in text.split()
    )
    return " ".join(words)


def latex_label(*parts: str) -> str:
    """What LaTeX takes as the name of a label: letters and digits of ASCII, `-` and `_`."""
    return "-".join(re.sub(r"[^A-Za-z0-9_-]", "", part) or "study" for part in parts)


def width_of(text: str, bold: bool = False) -> float:
    """An upper bound of the width of text, in units of the type size."""
    composed = unicodedata.normalize("NFC", text)
    return sum(_glyph(char)[1] * (_bold(char) if bold else 1) for char in composed) / 1000


def _bold(char: str) -> float:
    """How much wider a character is when set bold, at most; what comes from the fonts of mathematics is not bold."""
    return 1 if _glyph(char)[0].startswith("$") else BOLD_NUMBER if char in "0123456789. ()-" else BOLD


def pieces(word: str, most: int = 12) -> list[str]:
    """A word cut where it may be broken: behind signs such as - and _, and inside of what is longer than `most`."""
    found = []
    for part in re.findall(r"[^-_/+,:;.=&|]*[-_/+,:;.=&|]+|[^-_/+,:;.=&|]+", word):
        # A full line of what has no sign to break at: as many characters as fit, never fewer than one.
        found += [part[i : i + most] for i in range(0, len(part), most)]
    return found


def wrap(text: str, limit: float, bold: bool = False) -> tuple[str, ...]:
    """Text in lines of at most `limit` type sizes: broken at spaces, else behind a sign, else anywhere."""
    lines = [""]
    for word in text.split():
        space = " " if lines[-1] else ""
        if width_of(lines[-1] + space + word, bold) <= limit:
            lines[-1] += space + word
            continue
        # A word that fits on a line of its own is not broken at its signs, unless it has a hyphen that shows it.
        parts = _fitting(word, limit, bold)
        if lines[-1] and width_of(lines[-1] + space + parts[0], bold) > limit:
            lines.append("")
            space = ""
        for part in parts:
            if lines[-1] and width_of(lines[-1] + space + part, bold) > limit:
                lines.append("")
                space = ""
            lines[-1] += space + part
            space = ""
    return tuple(lines)


def _fitting(word: str, limit: float, bold: bool) -> list[str]:
    """The word in pieces that each fit into `limit`; single characters where nothing else does."""
    if width_of(word, bold) <= limit:
        return [word]
    found = []
    for part in pieces(word, len(word)):
        found += [part] if width_of(part, bold) <= limit else list(part)
    return found
