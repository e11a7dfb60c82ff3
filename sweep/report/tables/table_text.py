"""How is a table's text written: numbers in percent, Markdown cells whose special signs are escaped."""

from collections.abc import Iterable

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
