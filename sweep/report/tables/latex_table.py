"""How is a table written in LaTeX so that it fits a page, over several parts where it does not fit on one?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, zip_longest
from math import ceil

from sweep.report.tables.latex_layout import (
    GAP,
    LEADING,
    TEXT_HEIGHT,
    TEXT_WIDTH,
    TYPE_SIZE,
    Block,
    LatexCell,
    LatexRow,
    LatexSection,
    LatexTable,
    blocks_of,
    evenly,
)
from sweep.report.tables.latex_text import breakable, latex, width_of, wrap

NEEDS = (
    r"% Needs \usepackage{booktabs} and nothing else. Fits \documentclass{article} on letter or A4 paper,",
    rf"% {TEXT_WIDTH:.0f} pt by {TEXT_HEIGHT:.0f} pt of text; the smallest type is {TYPE_SIZE:.0f} pt, but for the "
    "letters of footnotes.",
)
# Heights in pt, above what TeX makes of them at 10 pt.
CAPTION_TYPE, CAPTION_LEADING, CAPTION_SKIPS = 10.0, 12.0, 14.0
RULE, ROW_SKIP, NOTE_SKIP, TABULAR_SKIP = 4.5, 2.0, 3.5, 8.0
SPARE_HEIGHT = 15.0
MOST_FLOATS = 12  # LaTeX holds 18 floats that wait for a page, newer ones 52
FILLED = 0.88  # of a line that is not justified, on average
SENTENCE = re.compile(r"(?<=\.) (?=[A-Z])")
MARKED = re.compile(r"\[([a-z]+)\] (.*)", re.DOTALL)


@dataclass(frozen=True)
class _Piece:
    """A row in one block of columns, with the lines that stand below it: never parted.

    place: numbers of its block and section; header: the lines of a header above it; marks: of its footnotes.
    """

    place: tuple[int, int]
    columns: int
    header: tuple[str, ...]
    group: str
    lines: tuple[str, ...]
    height: float
    marks: frozenset[str]


@dataclass(frozen=True)
class _Part:
    """What stands in one `table` environment. marked: mark -> its footnote."""

    pieces: tuple[_Piece, ...]
    marked: dict[str, str]
    notes: tuple[str, ...] = ()

    @property
    def height(self) -> float:
        """In pt, at most, without the caption."""
        height = sum(map(_note_height, self.all_notes))
        before = None
        for piece in self.pieces:
            new_block = before is None or before.place[0] != piece.place[0]
            if new_block:
                height += TABULAR_SKIP
            if before is None or before.place != piece.place:
                height += len(piece.header) * LEADING + 2 * RULE
            if before is None or (before.place, before.group) != (piece.place, piece.group):
                height += RULE
            height += piece.height
            before = piece
        return height

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The footnotes of the letters in this part, as one paragraph, and the other notes."""
        used = {mark for piece in self.pieces for mark in piece.marks}
        texts = [f"[{mark}] {text.rstrip('.')}." for mark, text in self.marked.items() if mark in used]
        return (" ".join(texts), *self.notes) if texts else self.notes


def latex_table(table: LatexTable) -> str:
    """One `table` environment, or several with one number, for a document that loads booktabs."""
    caption, rest = caption_and_notes(table.caption)
    pieces = [
        _piece(block, section, row, (i, j))
        for i, block in enumerate(blocks_of(table))
        for j, section in enumerate(table.sections)
        for row in section.rows
    ]
    found = [MARKED.fullmatch(note) for note in table.footnotes]
    used = {mark for piece in pieces for mark in piece.marks}
    marked = {mark[1]: mark[2] for mark in found if mark and mark[1] in used}
    notes = [note for note, mark in zip(table.footnotes, found, strict=True) if not mark or mark[1] not in marked]
    # Beside the caption and what is said below; a part of the notes alone would be as high.
    room = TEXT_HEIGHT - SPARE_HEIGHT - _caption_height(f"{caption} Part 10 of 10.")
    notes = [rest, *notes] if rest else notes
    parts = evenly(lambda limit: _with_notes(_parts(pieces, marked, limit), notes, room), room)
    texts = [_environment(table, caption, i, parts) for i in range(len(parts))]
    return "\n".join([*NEEDS, *texts]) + "\n"


def caption_and_notes(caption: str) -> tuple[str, str]:
    """The sentences up to the one that says what the numbers are, `Study ...`, and those after it."""
    sentences = SENTENCE.split(caption)
    what = next((i for i, sentence in enumerate(sentences) if sentence.startswith("Study ")), 0)
    return " ".join(sentences[: what + 1]), " ".join(sentences[what + 1 :])


def _piece(block: Block, section: LatexSection, row: LatexRow, place: tuple[int, int]) -> _Piece:
    columns = slice(block.first, block.last)
    lines = _lines([list(map(latex, block.label_lines(row))), *(_value(block, cell) for cell in row.cells[columns])])
    for label, texts in row.references:
        values = [[latex(minus(line)) for line in block.cell_lines(text)] for text in texts[columns]]
        labels = [rf"\enspace {latex(line)}" for line in block.reference_lines(label)]
        lines += _lines([labels, *values])
    several = len(lines) > 1  # rows of several lines need a space between them
    return _Piece(
        place,
        len(block.widths),
        tuple(_header(block, section)),
        row.group,
        (*lines, r"\addlinespace[2pt]") if several else tuple(lines),
        len(lines) * LEADING + ROW_SKIP * several,
        frozenset(cell.mark for cell in row.cells[columns] if cell.mark),
    )


def _value(block: Block, cell: LatexCell) -> list[str]:
    lines = [latex(minus(line)) for line in block.cell_lines(cell.text)]
    lines = [rf"\textbf{{{line}}}" if cell.best else line for line in lines]
    return [lines[0] + (rf"$^{{{cell.mark}}}$" if cell.mark else ""), *lines[1:]]


def _lines(columns: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a tabular: columns of different heights side by side, their tops on one line."""
    return [" & ".join(cells) + r" \\" for cells in zip_longest(*columns, fillvalue="")]


def _header(block: Block, section: LatexSection) -> list[str]:
    header = block.header_lines(section)
    height = max(map(len, header))
    # The lowest lines of headers stand beside each other, above the numbers.
    lines = _lines([[""] * (height - len(column)) + list(map(latex, column)) for column in header])
    if not section.title:
        return lines
    num = len(block.widths)
    titles = [rf" & \multicolumn{{{num}}}{{c}}{{{latex(line)}}} \\" for line in wrap(section.title, block.span)]
    return [*titles, rf"\cmidrule(l){{2-{num + 1}}}", *lines]  # columns count from 1, and the first holds the labels


def _parts(pieces: Sequence[_Piece], marked: dict[str, str], limit: float) -> list[_Part]:
    """The rows in parts of at most `limit` pt, in order. A section begins a new part if that keeps it in one."""
    parts = [_Part((), marked)]
    for _, section in groupby(pieces, lambda piece: piece.place):
        rows = tuple(section)
        if replace(parts[-1], pieces=parts[-1].pieces + rows).height <= limit:
            parts[-1] = replace(parts[-1], pieces=parts[-1].pieces + rows)
            continue
        if parts[-1].pieces and _Part(rows, marked).height <= limit:
            parts.append(_Part(rows, marked))
            continue
        for row in rows:
            longer = replace(parts[-1], pieces=(*parts[-1].pieces, row))
            if parts[-1].pieces and longer.height > limit:
                parts.append(_Part((row,), marked))
            else:
                parts[-1] = longer
    return parts


def _with_notes(parts: list[_Part], notes: Sequence[str], limit: float) -> list[_Part]:
    """The last part with the notes below it; those that do not fit there are parts of their own."""
    *parts, last = parts
    for note in notes:
        for piece in _halves(note, limit):
            longer = replace(last, notes=(*last.notes, piece))
            if longer.height > limit:
                parts.append(last)
                longer = _Part((), {}, (piece,))
            last = longer
    return [*parts, last]


def _halves(note: str, limit: float) -> list[str]:
    """A note in pieces of at most a page: broken between words, and inside of one that is higher than a page."""
    if _note_height(note) <= limit or len(note) < 2:  # `evenly` also tries what is lower than a line
        return [note]
    middle = note.rfind(" ", 0, len(note) // 2)
    middle = middle if middle > 0 else len(note) // 2
    return _halves(note[:middle].strip(), limit) + _halves(note[middle:].strip(), limit)


def _caption_height(caption: str) -> float:
    lines = ceil(width_of(f"Table 10: {caption}") * CAPTION_TYPE / (FILLED * TEXT_WIDTH))
    return lines * CAPTION_LEADING + CAPTION_SKIPS


@cache
def _note_height(note: str) -> float:
    return ceil(width_of(note) * TYPE_SIZE / (FILLED * TEXT_WIDTH)) * LEADING + NOTE_SKIP


def _environment(table: LatexTable, caption: str, i: int, parts: Sequence[_Part]) -> str:
    """Part i as a `table` environment: caption, tabulars, notes."""
    title, label = table.title, table.label
    if len(parts) > 1:
        which = f"Part {i + 1} of {len(parts)}."
        caption, title = f"{caption} {which}", f"{title}, part {i + 1} of {len(parts)}"
    lines = [r"\clearpage"] if i and i % MOST_FLOATS == 0 else []
    lines += [r"\begin{table}[tp]", r"\centering"]
    # Parts have one number. \ContinuedFloat is of the package caption, and right where hyperref is loaded too.
    lines += [r"\ifdefined\ContinuedFloat\ContinuedFloat\else\addtocounter{table}{-1}\fi"] if i else []
    lines += [
        rf"\caption[{{{latex(title)}}}]{{\raggedright {breakable(caption)}}}",
        rf"\label{{tab:{label}{f'-part{i + 1}' if i else ''}}}",
        rf"\fontsize{{{TYPE_SIZE:g}}}{{{LEADING:g}}}\selectfont\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}",
    ]
    for k, (_, tabular) in enumerate(groupby(parts[i].pieces, lambda piece: piece.place[0])):
        lines += [r"\par\medskip"] if k else [r"\smallskip"]
        lines += _tabular(tuple(tabular))
    lines += [rf"\par\smallskip{{\raggedright {_note(note)}\par}}" for note in parts[i].all_notes]
    return "\n".join([*lines, r"\end{table}"])


def _tabular(pieces: Sequence[_Piece]) -> list[str]:
    lines = [rf"\begin{{tabular}}{{@{{}}l{'c' * pieces[0].columns}@{{}}}}", r"\toprule"]
    for k, (_, rows) in enumerate(groupby(pieces, lambda piece: piece.place)):
        lines += [r"\midrule"] if k else []
        for n, (_, group) in enumerate(groupby(rows, lambda piece: piece.group)):
            members = tuple(group)
            lines += [] if n else members[0].header
            lines += [r"\midrule", *(line for piece in members for line in piece.lines)]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _note(note: str) -> str:
    """A note whose letters, `[a] `, are raised as they are in the cells."""
    return re.sub(r"\{\[\}([a-z]+)\](?= )", r"$^{\1}$", breakable(note))


def minus(text: str) -> str:
    """A negative number with a minus sign; `-` alone, for no value, stays as it is."""
    return re.sub(r"^-(?=[\d.])", "\N{MINUS SIGN}", text)
