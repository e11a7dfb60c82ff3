"""A study's Tables 1, 8 and 9: the paper's layout as Markdown, CSV and LaTeX."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sweep.report.partial import captioned, partial_note
from sweep.report.published import SOURCE, PublishedMean, Shown, is_shown, published_mean, source_of
from sweep.report.tables.latex_layout import LatexCell, LatexRow, LatexSection, LatexTable, short_names
from sweep.report.tables.latex_table import latex_table
from sweep.report.tables.latex_text import latex_label
from sweep.report.tables.table_text import (
    NO_VALUE,
    letter,
    markdown,
    markdown_row,
    markdown_value,
    mean_and_interval,
    patients_range,
)
from sweep.statistics.over_patients import OverPatients
from sweep.statistics.summaries import Summaries
from sweep.statistics.summary import MACRO_DEFINED, Summary, best_of, defined_findings
from sweep.store.csv_files import csv_text
from sweep.store.records import CellResult, Place
from sweep.store.status_names import Status
from sweep.studies.layout import MOST_LISTED, TableLayout, what_varies

OVER_PATIENTS = "over patients"  # the label of the line below a row
PATIENTS_CAPTION = f"Below it, {OVER_PATIENTS}: 95% interval under other test patients, these models being given. "
# What is printed above the rows of a group; a group of a study's own keeps its name.
GROUP_TITLES = {
    "baseline": "Baselines",
    "image-text": "Multi-modal",
    "image-image": "Self-supervised",
    "joint": "Joint",
}


@dataclass(frozen=True)
class Entry:
    """One place of the table: our mean, in [0, 1], and the paper's, in percent, None where it has none.

    best: whether it is its column's highest; mark: the letter of its footnote, empty without one. patients: low and
    high of the mean's interval over patients, in [0, 1], None where there is none.
    """

    summary: Summary
    best: bool
    mark: str
    published: PublishedMean | None
    patients: tuple[float, float] | None = None

    @property
    def text(self) -> str:
        """`70.00 ± 2.48`, in percent; `-` without a mean."""
        return mean_and_interval(self.summary.mean, self.summary.ci95)

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, in percentage points."""
        if self.published is None or self.summary.mean is None:
            return None
        return 100 * self.summary.mean - self.published.mean


@dataclass(frozen=True)
class Row:
    """One encoder row of one dataset. display: the name that is printed; entries: one for each column, in order."""

    name: str
    display: str
    group: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class TableSection:
    """The part of the table that belongs to one dataset."""

    dataset: str
    display: str
    rows: tuple[Row, ...]


def table1(
    means: Summaries,
    layout: TableLayout | None = None,
    published: Shown = False,
    notes: tuple[str, ...] = (),
    number: int = 1,
    patients: OverPatients | None = None,
) -> "Table":
    """The table of a study: Table 1, or 8 and 9 in the same form.

    layout: the rows and columns that are shown, where they are not all. published: where the paper's values and the
    differences stand below ours. notes: further footnotes; number: the paper's number of the table. patients: the
    intervals over patients.
    """
    patients = OverPatients() if patients is None else patients
    layout = means.layout if layout is None else layout
    # All of them before any section: footnotes are lettered in the order of the whole table.
    summaries: dict[Place, Summary] = {
        (name, dataset, *column): means.of(name, dataset, column)
        for dataset, _ in layout.datasets
        for name, _, _ in layout.rows
        for column in layout.columns
    }
    marks = marks_of(summaries.values())
    intervals = patients.intervals
    sections = tuple(section_of(*each, layout, summaries, marks, published, intervals) for each in layout.datasets)
    any_published = any(is_shown(published, dataset) for dataset, _ in layout.datasets)
    footnotes = footnotes_of(marks) + tuple(notes)
    for dataset, display in layout.datasets:
        places = [place for place in summaries if place[1] == dataset]
        footnotes += no_interval_notes(patients.why_none(places, MACRO_DEFINED), f" on {display}")
    footnotes += (published_note(number),) if any_published else ()
    caption = captioned(_caption(layout, means.results, bool(intervals)), partial_note(means.layout, means.results))
    return Table(caption, layout, sections, footnotes, any_published, number)


def published_note(number: int) -> str:
    """What the lines `published` and `difference` are: a footnote."""
    return (
        f"Published: {SOURCE}, Table {number}, as printed, for reference. Its text does not say whether its intervals "
        "are t or z. Difference: ours minus published, in percentage points."
    )


def no_interval_notes(reasons: Iterable[str], where: str = "") -> tuple[str, ...]:
    """Footnotes that say why values have no interval over patients. where: appended to what has none."""
    return tuple(f"No interval over patients{where}: {reason}." for reason in reasons)


def absence(summary: Summary, undefined: str = "no finding defined") -> str:
    """What is not in the mean, as the text of a footnote; empty for a complete one.

    undefined: how a finished cell without a value is called.
    """
    # Summary.missing holds the damaged seeds too, since they are to be computed again: here each is named once.
    missing = tuple(seed for seed in summary.missing if seed not in summary.damaged)
    parts = (
        (Status.MISSING, missing),
        (Status.DAMAGED, summary.damaged),
        (Status.FAILED, summary.failed),
        (undefined, summary.undefined),
    )
    text = "; ".join(f"{what}: seed{'s' * (len(seeds) > 1)} {_named(seeds)}" for what, seeds in parts if seeds)
    return f"{text}; mean of the other n = {summary.n}" if text and summary.n else text


def _named(seeds: Sequence[str]) -> str:
    """Of many the first ones: a footnote of ten thousand fits no page, and results.csv has all."""
    more = f" and {len(seeds) - MOST_LISTED:,} more" if len(seeds) > MOST_LISTED else ""
    return ", ".join(seeds[:MOST_LISTED]) + more


def marks_of(summaries: Iterable[Summary]) -> dict[str, str]:
    """Footnote text -> its letter, one for each distinct reason."""
    texts = dict.fromkeys(text for text in map(absence, summaries) if text)
    return {text: letter(i) for i, text in enumerate(texts)}


def footnotes_of(marks: dict[str, str]) -> tuple[str, ...]:
    """`[a] missing: seed 3`, a text for each mark."""
    return tuple(f"[{mark}] {text}" for text, mark in marks.items())


def section_of(
    dataset: str,
    display: str,
    layout: TableLayout,
    summaries: dict[Place, Summary],
    marks: dict[str, str],
    published: Shown,
    intervals: Mapping[tuple[Place, str], tuple[float, float]],
) -> TableSection:
    """The rows of one dataset, of its summaries. marks: as `marks_of` gives, of the whole table's.

    dataset: its name, or `name/value` for another mean of its cells.
    """
    source, beside = source_of(published, dataset), is_shown(published, dataset)
    best = {
        column: best_of([summaries[name, dataset, *column] for name, _, _ in layout.rows]) for column in layout.columns
    }
    rows = []
    for place, (name, row_display, group) in enumerate(layout.rows):
        entries = []
        for column in layout.columns:
            summary = summaries[name, dataset, *column]
            entries.append(
                Entry(
                    summary,
                    best=best[column][place],
                    mark=marks.get(absence(summary), ""),
                    published=published_value(layout, source, name, *column) if beside else None,
                    patients=intervals.get(((name, dataset, *column), MACRO_DEFINED)),
                )
            )
        rows.append(Row(name, row_display, group, tuple(entries)))
    return TableSection(dataset, display, tuple(rows))


def published_value(
    layout: TableLayout, source: str, name: str, protocol: str, label_percent: int
) -> PublishedMean | None:
    """The paper's value for a row and column of a table; None where it has none."""
    method, batch = layout.paper_names([name])[name]
    return published_mean(source, method, protocol, label_percent, batch)


def _caption(layout: TableLayout, results: Sequence[CellResult], patients: bool) -> str:
    """patients: whether there are intervals over patients."""
    # Few findings with both classes make a macro AUROC uncertain, so the caption says how many there are.
    counts = defined_findings(results)
    findings = "; ".join(
        f"{display} {low if low == high else f'{low} to {high}'} of {total}"
        for dataset, display in layout.datasets
        if dataset in counts
        for low, high, total in [counts[dataset]]
    )
    return (
        f"Study {layout.study}: macro AUROC in percent, mean ± half-width of the 95% {layout.interval}-interval "
        f"over {what_varies(layout)}. {PATIENTS_CAPTION if patients else ''}"
        f"Findings in each mean (those with both classes in the test images): {findings or 'none yet'}. "
        "LP and LPFT use all labels. Bold: highest of a column, among the means over the most seeds; it need not be "
        "told from the others. "
        "Standard deviations are in the CSV."
    )


@dataclass(frozen=True)
class Table:
    """A finished table. Its three forms hold the same numbers; the CSV has sd, n and full precision besides.

    sections: one for each dataset; published: whether the paper's values stand below ours; number: the paper's.
    is_second: whether it stands beside the table of its number, with other means of the same cells (second_table.py).
    """

    caption: str
    layout: TableLayout
    sections: tuple[TableSection, ...]
    footnotes: tuple[str, ...]
    published: bool
    number: int = 1
    is_second: bool = False

    @property
    def name(self) -> str:
        """`1`, or `1b` for the one beside it: what its title and its files end in."""
        return f"{self.number}b" if self.is_second else f"{self.number}"

    def markdown(self) -> str:
        """Caption, a table for each dataset, footnotes."""
        width = len(self.layout.columns)  # besides the first column, of names
        lines = [self.caption, ""]
        for section in self.sections:
            lines += [f"### {section.display} (AUROC)", ""]
            lines.append(markdown_row(("Methods", *self.layout.column_titles)))
            lines.append(markdown_row((":--", *["--:"] * width)))
            for group, rows in grouped(section.rows):
                lines.append(markdown_row((f"*{markdown(group)}*", *[""] * width)))
                for row in rows:
                    values = [markdown_value(entry.text, entry.best, entry.mark) for entry in row.entries]
                    lines.append(markdown_row((markdown(row.display), *values)))
                    lines += [markdown_row((f"&nbsp;&nbsp;{name}", *texts)) for name, texts in reference_rows(row)]
            lines.append("")
        lines += [f"- {markdown(note)}" for note in self.footnotes]
        return "\n".join(lines).rstrip() + "\n"

    def csv(self) -> str:
        """One row a dataset and method; for each column mean, both intervals and sd in percent, n, what is absent."""
        fields = ["mean", "ci95", "sd", "n", "missing", "failed", "undefined"]
        fields += ["published_mean", "published_ci95", "difference"] if self.published else []
        fields += ["patients_low", "patients_high"]
        header = ["dataset", "group", "method", "display_name"]
        # Wide, as the printed table: `FT (1%) mean`, `FT (1%) ci95`, ...; results.csv has the long form.
        header += [f"{title} {field}" for title in self.layout.column_titles for field in fields]
        rows = []
        for section in self.sections:
            for row in section.rows:
                values = [value for entry in row.entries for value in _csv_entry(entry, self.published)]
                rows.append([section.dataset, row.group, row.name, row.display, *values])
        return csv_text(header, rows)

    def latex(self) -> str:
        """For a document that loads booktabs: as many `table` environments as the page of an article asks for."""
        return latex_table(self.for_latex())

    def for_latex(self) -> LatexTable:
        """What the LaTeX form says: labels are short, and what is left out of them stands in notes."""
        labels, notes = short_names([display for _, display, _ in self.layout.rows])
        label_of = {name: label for (name, _, _), label in zip(self.layout.rows, labels, strict=True)}
        sections = tuple(
            LatexSection(
                f"{section.display} (AUROC)",
                "Methods",
                self.layout.column_titles,
                tuple(
                    self._latex_row(row, label_of[row.name], group)
                    for group, rows in grouped(section.rows)  # groups are set apart by rules, without titles
                    for row in rows
                ),
            )
            for section in self.sections
        )
        return LatexTable(
            latex_label(self.layout.study, f"table{self.name}"),
            f"Study {self.layout.study}: macro AUROC",
            self.caption,
            sections,
            (*self.footnotes, *notes),
        )

    def _latex_row(self, row: Row, label: str, group: str) -> LatexRow:
        cells = tuple(LatexCell(entry.text, entry.best, entry.mark) for entry in row.entries)
        references = tuple((name, tuple(texts)) for name, texts in reference_rows(row))
        return LatexRow(label, cells, group, references)


def grouped(rows: tuple[Row, ...]) -> list[tuple[str, list[Row]]]:
    """Rows in the order of their groups' first appearance, with the groups' titles."""
    groups: dict[str, list[Row]] = {}  # rows of a group need not stand together in a study
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return [(GROUP_TITLES.get(group, group), members) for group, members in groups.items()]


def reference_rows(row: Row) -> list[tuple[str, list[str]]]:
    """(label, a text for each column) of intervals over patients, published values and differences, where there are."""
    lines = []
    if any(entry.patients is not None for entry in row.entries):
        lines.append((OVER_PATIENTS, [patients_range(entry.patients) for entry in row.entries]))
    if all(entry.published is None for entry in row.entries):
        return lines
    published = [f"{e.published.mean:.2f} ± {e.published.ci95:.2f}" if e.published else NO_VALUE for e in row.entries]
    differences = [NO_VALUE if e.difference is None else f"{e.difference:+.2f}" for e in row.entries]
    return [*lines, ("published", published), ("difference", differences)]


def _csv_entry(entry: Entry, published: bool) -> list[object]:
    """The CSV fields of one column, in the order of `Table.csv`; means, intervals and differences in percent."""
    s = entry.summary
    values: list[object] = [None if value is None else 100 * value for value in (s.mean, s.ci95, s.sd)]
    values += [s.n, *(" ".join(seeds) for seeds in (s.missing, s.failed, s.undefined))]
    if published:
        p = entry.published
        values += [p.mean, p.ci95, entry.difference] if p else [None, None, None]
    return [*values, *(100 * end for end in entry.patients)] if entry.patients else [*values, None, None]
