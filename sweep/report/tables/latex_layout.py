"""Which columns of a table stand beside each other in LaTeX, and how are its cells broken, so that it fits a page?"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from sweep.report.tables.latex_text import pieces, width_of, wrap

# What a plain \documentclass{article} has at 10 pt, on letter paper and on A4, which is higher; in pt. It has more at
# 11 and 12 pt. The type is set in pt too, so that what fits at 10 pt fits at these.
TEXT_WIDTH, TEXT_HEIGHT = 345.0, 550.0
TYPE_SIZE, LEADING = 8.0, 9.5  # nothing is set smaller, but for the letters of footnotes
GAP = 4.0  # pt between two columns
SPARE = 1.0  # pt of a line that are not planned with: TeX rounds
LEAST_LABEL, MOST_WORD = 48.0 / TYPE_SIZE, 80.0 / TYPE_SIZE  # labels: broken inside of words that are wider than this
LEAST_HEADER = 34.0 / TYPE_SIZE  # headers are broken at spaces and signs into lines not narrower than this
MARK = 0.8  # width of a footnote's letter
INDENT = 0.55  # \enspace, before the labels of the lines below a row
MOST_LABEL_LINES = 2  # beyond, what a label has in parentheses goes into a note
# Where a cell such as `70.00 ± 2.48 (± 1.30)` may be broken into lines; the first that fits best is taken.
BREAKS = (r"(?!)", r" (?=\(|to )", r" (?=±)", r" (?=\(|to |±)")


@dataclass(frozen=True)
class LatexCell:
    """A value: best is set bold, mark is the letter of its footnote, empty without one."""

    text: str
    best: bool = False
    mark: str = ""


@dataclass(frozen=True)
class LatexRow:
    """label and cells, one for each column; references: (label, a text for each column) of the lines below them.

    Rows of different groups are set apart by a rule.
    """

    label: str
    cells: tuple[LatexCell, ...]
    group: str = ""
    references: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class LatexSection:
    """Rows below one header. title stands above it, over all columns; empty for none."""

    title: str
    label_header: str
    header: tuple[str, ...]
    rows: tuple[LatexRow, ...]


@dataclass(frozen=True)
class LatexTable:
    """What a table says, before it is known how it fits a page. Texts are plain; `latex_table.py` escapes them.

    label: of its \\label; title: for the list of tables. Sections have the same number of columns. A footnote that
    begins with a cell's mark, `[a] `, stands below the part that has the cell, the others below the last part.
    """

    label: str
    title: str
    caption: str
    sections: tuple[LatexSection, ...]
    footnotes: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """Columns first to last - 1 of a table, beside the labels. Widths in type sizes; broken: the pattern of breaks."""

    first: int
    last: int
    label_width: float
    widths: tuple[float, ...]
    broken: str

    @cached_property
    def span(self) -> float:
        """Width of all columns but the labels'."""
        return sum(self.widths) + (len(self.widths) - 1) * GAP / TYPE_SIZE

    def label_lines(self, row: LatexRow) -> tuple[str, ...]:
        """The label as it is broken."""
        return wrap(row.label, self.label_width)

    def reference_lines(self, label: str) -> tuple[str, ...]:
        """The label of a line below a row, which is indented, as it is broken."""
        return wrap(label, self.label_width - INDENT)

    def header_lines(self, section: LatexSection) -> list[tuple[str, ...]]:
        """The header of each column, of the labels' first, as it is broken."""
        columns = zip(section.header[self.first : self.last], self.widths, strict=True)
        return [wrap(section.label_header, self.label_width), *(wrap(text, width) for text, width in columns)]

    def cell_lines(self, text: str) -> list[str]:
        """A value in lines."""
        return re.split(self.broken, text)

    def lines_of(self, row: LatexRow) -> int:
        """How many lines a row and what stands below it take."""
        cells = [len(self.cell_lines(cell.text)) for cell in row.cells[self.first : self.last]]
        references = [
            max(len(self.reference_lines(label)), *(len(self.cell_lines(t)) for t in texts[self.first : self.last]))
            for label, texts in row.references
        ]
        return max(len(self.label_lines(row)), *cells) + sum(references)


def blocks_of(table: LatexTable) -> list[Block]:
    """The table's columns in as few lines as possible: in one block, or in several of which each has all rows."""
    found = [_blocks(table, broken) for broken in BREAKS]
    return min(found, key=lambda blocks: _lines(table, blocks))  # of equal ones the first, which breaks least


def _lines(table: LatexTable, blocks: Sequence[Block]) -> int:
    lines = 0
    for block in blocks:
        for section in table.sections:
            lines += max(map(len, block.header_lines(section))) + sum(map(block.lines_of, section.rows))
    return lines


def _blocks(table: LatexTable, broken: str) -> list[Block]:
    num_columns = max((len(section.header) for section in table.sections), default=0)
    widths = [_column_width(table, i, broken) for i in range(num_columns)]
    natural = max(_label_widths(table), default=0.0)
    least = min(natural, max(LEAST_LABEL, _widest_word(table)))
    available = (TEXT_WIDTH - SPARE) / TYPE_SIZE
    gap = GAP / TYPE_SIZE
    sizes = [width + gap for width in widths]
    runs = evenly(lambda limit: _runs(sizes, limit), available - least)
    blocks = []
    for first, last in runs:
        left = available - sum(widths[first:last]) - (last - first) * gap
        # A single column that is wider than a page is left as it is: values are not that long.
        label_width = max(min(natural, left), least)
        blocks.append(Block(first, last, label_width, tuple(widths[first:last]), broken))
    return blocks


def _label_widths(table: LatexTable) -> Iterator[float]:
    for section in table.sections:
        yield width_of(section.label_header)
        for row in section.rows:
            yield width_of(row.label)
            yield from (INDENT + width_of(label) for label, _ in row.references)


def _widest_word(table: LatexTable) -> float:
    """Of what a label is not broken inside of, unless it is wider than MOST_WORD."""
    texts = [
        text for section in table.sections for text in (section.label_header, *(row.label for row in section.rows))
    ]
    texts += [label for section in table.sections for row in section.rows for label, _ in row.references]
    words = [part for text in texts for word in text.split() for part in pieces(word, len(word))]
    return min(MOST_WORD, INDENT + max(map(width_of, words), default=0.0))


def _column_width(table: LatexTable, column: int, broken: str) -> float:
    cells = 0.0
    for section in table.sections:
        for row in section.rows:
            cell = row.cells[column]
            cells = max(cells, _cell_width(cell.text, broken, cell.best, cell.mark))
            cells = max(cells, *(_cell_width(texts[column], broken) for _, texts in row.references), 0.0)
    # A header is broken rather than that it widens its column.
    limit = max(cells, LEAST_HEADER)
    headers = (wrap(section.header[column], limit) for section in table.sections)
    return max(cells, *(width_of(line) for lines in headers for line in lines))


def _cell_width(text: str, broken: str, best: bool = False, mark: str = "") -> float:
    lines = [width_of(line, best) for line in re.split(broken, text)]
    lines[0] += MARK * len(mark)
    return max(lines)


Run = TypeVar("Run")


def evenly(cut: Callable[[float], list[Run]], limit: float) -> list[Run]:
    """What `cut` makes with the lowest limit that gives no more runs than `limit` does: runs of about one size."""
    runs, low, high = cut(limit), 0.0, limit
    while high - low > 0.01 * limit:
        middle = (low + high) / 2
        tried = cut(middle)
        if len(tried) <= len(runs):
            runs, high = tried, middle
        else:
            low = middle
    return runs


def _runs(sizes: Sequence[float], limit: float) -> list[tuple[int, int]]:
    """(first, last + 1) of runs whose sums are at most limit; a size above it has a run of its own."""
    runs, first, total = [], 0, 0.0
    for i, size in enumerate(sizes):
        if i > first and total + size > limit:
            runs.append((first, i))
            first, total = i, 0.0
        total += size
    return [*runs, (first, len(sizes))]


def short_names(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names as labels, and notes: what a long name has in parentheses at its end goes into a note, if that is enough.

    Names that would be alike without it keep it.
    """
    short = [_without_parentheses(name) for name in names]
    labels = [
        new if short.count(new) == 1 and new not in names else name for name, new in zip(names, short, strict=True)
    ]
    notes = [
        f"{label}: {name[len(label) :].strip()[1:-1]}."
        for name, label in zip(names, labels, strict=True)
        if label != name
    ]
    return tuple(labels), tuple(dict.fromkeys(notes))


def _without_parentheses(name: str) -> str:
    found = re.fullmatch(r"(.*\S) \([^()]+\)", name)
    return found[1] if found and len(wrap(name, MOST_WORD)) > MOST_LABEL_LINES else name
