"""How is a table's text written: numbers in percent, Markdown and LaTeX cells whose special signs are escaped."""

from collections.abc import Iterable, Sequence

NO_VALUE = "-"


def percent(value: float | None) -> str:
    """A value in [0, 1] as percent with two decimals."""
    return NO_VALUE if value is None else f"{100 * value:.2f}"


def mean_and_interval(mean: float | None, ci95: float | None) -> str:
    """`70.00 ± 2.48` for values in [0, 1]; `70.00 ± -` without an interval, `-` without a mean."""
    return NO_VALUE if mean is None else f"{percent(mean)} ± {percent(ci95)}"


def patients_range(interval: tuple[float, float] | None) -> str:
    """`68.10 to 71.90`, an interval over patients of values in [0, 1]; `-` without one."""
    return NO_VALUE if interval is None else f"{percent(interval[0])} to {percent(interval[1])}"


def letter(i: int) -> str:
    """The mark of footnote i: 0 -> a, 25 -> z, 26 -> aa."""
    # Bijective base 26: there is no digit zero, so what stands before the last letter counts from -1.
    return (letter(i // 26 - 1) if i >= 26 else "") + chr(ord("a") + i % 26)


def markdown(text: str) -> str:
    """Text for a cell of a Markdown table, which ends at a bar or a line break."""
    return text.replace("|", "\\|").replace("\n", " ")


def markdown_row(cells: Iterable[str]) -> str:
    """One line of a Markdown table; the cells are escaped already."""
    return "| " + " | ".join(cells) + " |"


def markdown_value(text: str, best: bool, mark: str) -> str:
    """A number: bold where it is the best, with the letter of its footnote where it has one."""
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
        "[": "{[}",  # a row that begins with [ would be the optional argument of the \\ before it
        "\n": " ",
    }
)


def latex(text: str) -> str:
    """Text with LaTeX's special characters escaped, needing no package."""
    return text.translate(LATEX_ESCAPES)


def latex_number(text: str) -> str:
    """A number as text, its sign a minus instead of a hyphen; `-` alone, for no value, stays as it is."""
    return "$-$" + latex(text[1:]) if text.startswith("-") and text != NO_VALUE else latex(text)


def latex_row(cells: Iterable[str]) -> str:
    """One line of a tabular; the cells are escaped already."""
    return " & ".join(cells) + r" \\"


def latex_value(text: str, best: bool, mark: str) -> str:
    """As `markdown_value`; the text is escaped here."""
    text = latex(text)
    if best:
        text = rf"\textbf{{{text}}}"
    return rf"{text}$^{{{mark}}}$" if mark else text


def latex_label(*parts: str) -> str:
    """What LaTeX takes as the name of a label."""
    return "-".join("".join(c for c in part if c.isalnum() or c in "-_") or "study" for part in parts)


def latex_notes(notes: Sequence[str]) -> list[str]:
    """Footnotes below a tabular, a small paragraph each."""
    return [rf"\par\smallskip{{\footnotesize\raggedright {latex(note)}\par}}" for note in notes]
