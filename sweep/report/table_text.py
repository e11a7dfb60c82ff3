"""How is a table's text written: numbers in percent, Markdown and LaTeX cells whose special signs are escaped."""

from collections.abc import Iterable, Sequence

NO_VALUE = "-"


def percent(value: float | None) -> str:
    """A value in [0, 1] as percent with two decimals."""
    return NO_VALUE if value is None else f"{100 * value:.2f}"


def mean_and_interval(mean: float | None, ci95: float | None) -> str:
    return NO_VALUE if mean is None else f"{percent(mean)} ± {percent(ci95)}"


def letter(i: int) -> str:
    """0 -> a, 25 -> z, 26 -> aa: the mark of a footnote."""
    return (letter(i // 26 - 1) if i >= 26 else "") + chr(ord("a") + i % 26)


def markdown(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def markdown_value(text: str, best: bool, mark: str) -> str:
    text = f"**{text}**" if best else text
    return f"{text} [{mark}]" if mark else text


LATEX_ESCAPES = str.maketrans(
    {
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
        "±": r"$\pm$",
        "×": r"$\times$",
        "<": "$<$",
        ">": "$>$",
        "[": "{[}",
        "\n": " ",
    }
)


def latex(text: str) -> str:
    return text.translate(LATEX_ESCAPES)


def latex_number(text: str) -> str:
    return "$-$" + latex(text[1:]) if text.startswith("-") and text != NO_VALUE else latex(text)


def latex_row(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def latex_value(text: str, best: bool, mark: str) -> str:
    text = latex(text)
    if best:
        text = rf"\textbf{{{text}}}"
    return rf"{text}$^{{{mark}}}$" if mark else text


def latex_label(*parts: str) -> str:
    """What LaTeX takes as the name of a label."""
    return "-".join("".join(c for c in part if c.isalnum() or c in "-_") or "study" for part in parts)


def latex_notes(notes: Sequence[str]) -> list[str]:
    return [rf"\par\smallskip{{\footnotesize\raggedright {latex(note)}\par}}" for note in notes]
