"""What of Tables 1 to 9 does the page show: sections of rows whose cells carry text, sort value and emphasis."""

from collections.abc import Sequence
from dataclasses import dataclass

from sweep.report.tables.finding_rows import FindingEntry, counts_of, reference_of
from sweep.report.tables.finding_table import MEAN_ROWS, FindingTable
from sweep.report.tables.main_table import Entry, Table, grouped, reference_rows
from sweep.report.tables.table_text import NO_VALUE, percent

MOST_ROWS = 400  # of a table: more would make the page slow to open, and the CSV file has them
ALL_METHODS = "All methods"  # page.html asks for this text too


@dataclass(frozen=True)
class PageCell:
    """mean and interval are printed apart, so that they can be set apart; value is what sorting goes by."""

    mean: str
    interval: str = ""
    value: float | None = None
    best: bool = False
    mark: str = ""
    title: str = ""


@dataclass(frozen=True)
class PageRow:
    """name: the row's head; references: (label, texts) of the published values and the differences."""

    name: str
    cells: tuple[PageCell, ...]
    references: tuple[tuple[str, tuple[str, ...]], ...] = ()
    is_mean: bool = False


@dataclass(frozen=True)
class PageSection:
    """One table element. groups: (title, rows); hidden_rows: how many more the CSV file has."""

    title: str
    header: tuple[str, ...]
    groups: tuple[tuple[str, tuple[PageRow, ...]], ...]
    hidden_rows: int = 0


@dataclass(frozen=True)
class PageTable:
    """One numbered table. variant: what tells it from another one of the same name, empty where there is none.

    id: of its HTML elements; tab: the title of its tab; files: names of its files in the report's folder.
    """

    id: str
    tab: str
    title: str
    caption: str
    sections: tuple[PageSection, ...]
    notes: tuple[str, ...]
    latex: str
    files: tuple[str, ...]
    variant: str = ""


def page_tables(
    tables: Sequence[Table], per_finding: Sequence[FindingTable], all_methods: Sequence[FindingTable]
) -> tuple[PageTable, ...]:
    """In the order of their numbers; a per-finding table comes twice where the paper's columns are not all methods."""
    pages = [_macro(table) for table in tables]
    for narrow, full in zip(per_finding, all_methods, strict=True):
        two_variants = len(narrow.methods) < len(full.methods)
        pages.append(_findings(narrow, "The paper's methods" if two_variants else ""))
        if two_variants:
            pages.append(_findings(full, ALL_METHODS))
    order = {table.file_stem: i for i, table in enumerate(per_finding)}
    return tuple(sorted(pages, key=lambda page: _place(page, order)))


def _place(page: PageTable, order: dict[str, int]) -> tuple[int, bool]:
    """What tables are sorted by: the number, then the variant; tables of other datasets, without a number, are last."""
    stem = page.files[0].rsplit(".", 1)[0]
    # The paper has nine tables: from 100 on there is no clash with its numbers.
    # Table 1b comes between 1 and 2: a sort that keeps equal places apart, since tables come in that order.
    number = int(stem.removeprefix("table").removesuffix("b")) if stem.startswith("table") else 100 + order[stem]
    return number, page.variant == ALL_METHODS


def _macro(table: Table) -> PageTable:
    sections = []
    for section in table.sections:
        groups: list[tuple[str, tuple[PageRow, ...]]] = []
        left = MOST_ROWS  # of a section, over its groups
        for title, rows in grouped(section.rows):
            shown = rows[: max(0, left)]
            left -= len(shown)
            if shown:  # a group without rows would be a title alone
                made = tuple(
                    PageRow(
                        row.display,
                        tuple(map(_cell, row.entries)),
                        tuple((name, tuple(texts)) for name, texts in reference_rows(row)),
                    )
                    for row in shown
                )
                groups.append((title, made))
        header = ("Method", *table.layout.column_titles)
        hidden = max(0, len(section.rows) - MOST_ROWS)
        sections.append(PageSection(section.display, header, tuple(groups), hidden))
    what = {1: "macro AUROC", 8: "macro AUROC, global batch 1,024", 9: "macro AUROC, global batch 2,048"}
    stem = f"table{table.name}"
    beside = ", other means of the same cells" if table.is_second else ""
    return PageTable(
        stem,
        f"Table {table.name}",
        f"Table {table.name}: {what[table.number]}{beside}",
        table.caption,
        tuple(sections),
        table.footnotes,
        table.latex(),
        (f"{stem}.md", f"{stem}.csv", f"{stem}.tex"),
    )


def _cell(entry: Entry | FindingEntry) -> PageCell:
    s = entry.summary
    if s.mean is None:
        return PageCell(NO_VALUE, mark=entry.mark)
    spread = "" if s.sd is None else f", sd {100 * s.sd:.2f}"
    value = round(100 * s.mean, 6)  # finer than what is printed, so that what prints the same is sorted too
    return PageCell(percent(s.mean), percent(s.ci95), value, entry.best, entry.mark, f"n = {s.n}{spread}")


def _findings(table: FindingTable, variant: str) -> PageTable:
    rows = []
    for row in table.rows[:MOST_ROWS]:
        prevalence, n_pos = counts_of(row)
        # The row of means has no counts: both texts are empty there, and so is what sorting goes by.
        counts = (
            PageCell(prevalence, value=row.prevalence),
            PageCell(n_pos, value=row.n_pos[0] if row.n_pos else None),
        )
        cells = (*counts, *map(_cell, row.entries))
        references = tuple((name, tuple(texts)) for name, texts in reference_of(row))
        rows.append(PageRow(row.display, cells, references, row.display in MEAN_ROWS))
    share = f"FT ({table.label_percent}%)"
    name = f"Table {table.number}" if table.number else "Findings"
    hidden = max(0, len(table.rows) - MOST_ROWS)
    section = PageSection(table.dataset_display, table.header, (("", tuple(rows)),), hidden)
    stem = table.file_stem
    return PageTable(
        f"{stem}-all" if variant == ALL_METHODS else stem,
        f"{name}: {table.dataset_display}, {table.label_percent}%",
        f"{name}: AUROC of each finding, {table.dataset_display}, {share}",
        table.caption,
        (section,),
        table.footnotes,
        table.latex(),
        (f"{stem}.md", f"{stem}.csv", f"{stem}.tex"),
        variant,
    )
