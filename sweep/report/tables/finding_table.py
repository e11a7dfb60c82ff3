"""A study's Tables 2 to 7: AUROC of each finding under FT, with prevalence and n_pos, as Markdown, CSV and LaTeX."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sweep.report.partial import captioned, partial_note
from sweep.report.published import (
    SOURCE,
    SWAPPED_TABLES,
    PublishedFinding,
    Shown,
    is_shown,
    published_findings,
    source_of,
)
from sweep.report.published_values import MEANS, PER_FINDING_COLUMNS, PER_FINDING_ROWS
from sweep.report.tables.finding_rows import FindingEntry, FindingRow, counts_of, reference_of, shown_range
from sweep.report.tables.latex_layout import LatexCell, LatexRow, LatexSection, LatexTable, short_names
from sweep.report.tables.latex_table import latex_table
from sweep.report.tables.latex_text import latex_label
from sweep.report.tables.main_table import PATIENTS_CAPTION, absence, no_interval_notes
from sweep.report.tables.table_text import letter, markdown, markdown_row, markdown_value
from sweep.statistics.over_patients import OverPatients
from sweep.statistics.summaries import Summaries
from sweep.statistics.summary import FEW_POSITIVES, MACRO_10_POSITIVES, MACRO_DEFINED, Summary, best_of
from sweep.statistics.value_names import MEAN_NAMES, in_words
from sweep.store.csv_files import csv_text
from sweep.store.records import CellResult, Place
from sweep.studies.layout import PAPER_BATCH_SIZE, TableLayout, what_varies

PROTOCOL = "FT"  # the paper prints findings under fine-tuning alone
# (dataset, label_percent) -> the paper's number.
TABLE_NUMBERS = {column: number for number, column in PER_FINDING_COLUMNS.items()}
UNDEFINED = "undefined, one class only in the test images"
MEAN_ROW, MEAN_ROW_10 = MEAN_NAMES[MACRO_DEFINED], MEAN_NAMES[MACRO_10_POSITIVES]
MEAN_ROWS = {MEAN_ROW: "macro", MEAN_ROW_10: MACRO_10_POSITIVES}  # display -> name in the CSV


def paper_columns(layout: TableLayout) -> tuple[str, ...]:
    """The rows of Table 1 that Tables 2 to 7 show: the paper's four and those that the paper does not have at all."""
    names = [name for name, _, _ in layout.rows]
    # Table 1 has the same rows on both of the paper's datasets: one of them tells which rows the paper has.
    known = MEANS[1]["chexpert"]
    chosen = tuple(name for name in names if name in PER_FINDING_ROWS or name not in known)
    # A table of one method compares nothing: a study without the paper's four shows all that it has.
    return chosen if len(chosen) > 1 else tuple(names)


def finding_tables(
    means: Summaries, published: Shown = False, patients: OverPatients | None = None
) -> tuple["FindingTable", ...]:
    """A table of all methods for each dataset and percentage of FT: the paper's six, and those of other datasets.

    published: where the paper's values and the differences stand below ours. The paper's numbering runs over
    percentages first, so 100% comes before 10% and 1%. patients: the intervals over patients.
    """
    patients = OverPatients() if patients is None else patients
    columns = sorted((share for protocol, share in means.layout.columns if protocol == PROTOCOL), reverse=True)
    return tuple(
        _table(means, dataset, display, label_percent, published, patients)
        for label_percent in columns
        for dataset, display in means.layout.datasets
    )


def _table(
    means: Summaries, dataset: str, display: str, label_percent: int, published: Shown, patients: OverPatients
) -> "FindingTable":
    # Rows are the findings of the cells that are done, so that a table before the first one is empty.
    layout, column = means.layout, (PROTOCOL, label_percent)
    methods = tuple((name, shown) for name, shown, _ in layout.rows)
    source = source_of(published, dataset)
    beside = published_findings(source, label_percent) if is_shown(published, dataset) else ()
    reference = {row.finding: row for row in beside}
    counts = _counts(means.cells(name, dataset, column) for name, _ in methods)
    marks: dict[str, str] = {}  # footnote text -> its letter, in order of first use; _entries adds to it
    rows: list[FindingRow] = []
    for finding, found in counts.items():
        summaries = {name: means.of(name, dataset, column, finding) for name, _ in methods}
        rows.append(_row(finding, summaries, found, layout, marks, reference.get(finding)))
    if rows:
        macro = {name: means.of(name, dataset, column) for name, _ in methods}
        rows.append(FindingRow("", MEAN_ROW, None, None, _entries(macro, marks, {})))
        if any(row.few for row in rows):
            macro_10 = {name: means.of(name, dataset, column, MACRO_10_POSITIVES) for name, _ in methods}
            if any(summary.mean is not None for summary in macro_10.values()):
                rows.append(FindingRow("", MEAN_ROW_10, None, None, _entries(macro_10, marks, {})))
    footnotes = tuple(f"[{mark}] {text}" for text, mark in marks.items())
    # The paper's number goes to the use of a source that has its name: two uses are two tables, and two files.
    number = TABLE_NUMBERS.get((dataset, label_percent))
    footnotes += _notes(rows, TABLE_NUMBERS.get((source, label_percent)) if reference else None)
    rows = [_with_patients(row, methods, (dataset, *column), patients.intervals) for row in rows]
    # The mean's reason names each of its findings that has no interval of its own.
    places = [(name, dataset, *column) for name, _ in methods]
    no_intervals = no_interval_notes(patients.why_none(places, MACRO_DEFINED))
    caption = _caption(layout, display, label_percent, bool(patients.intervals))
    caption = captioned(caption, partial_note(layout, means.results))
    return FindingTable(
        number,
        dataset,
        display,
        label_percent,
        methods,
        tuple(rows),
        caption,
        footnotes + no_intervals,
        no_intervals,
        bool(reference),
        layout.study,
    )


def _with_patients(
    row: FindingRow,
    methods: Sequence[tuple[str, str]],
    place: tuple[str, str, int],
    intervals: Mapping[tuple[Place, str], tuple[float, float]],
) -> FindingRow:
    """place: dataset, protocol, label_percent."""
    value = row.finding or (MACRO_10_POSITIVES if row.display == MEAN_ROW_10 else MACRO_DEFINED)
    entries = (
        replace(entry, patients=intervals.get(((name, *place), value)))
        for (name, _), entry in zip(methods, row.entries, strict=True)
    )
    return replace(row, entries=tuple(entries))


def narrowed(table: "FindingTable", names: Sequence[str]) -> "FindingTable":
    """The same table with some of its methods: the best of a row is the best of these."""
    marks: dict[str, str] = {}  # lettered again: footnotes of the methods that are left out go with them
    rows = []
    for row in table.rows:
        kept = {name: entry for (name, _), entry in zip(table.methods, row.entries, strict=True) if name in names}
        summaries = {name: entry.summary for name, entry in kept.items()}
        published = {name: entry.published for name, entry in kept.items()}
        shown = zip(_entries(summaries, marks, published), kept.values(), strict=True)
        rows.append(replace(row, entries=tuple(replace(entry, patients=own.patients) for entry, own in shown)))
    footnotes = tuple(f"[{mark}] {text}" for text, mark in marks.items())
    footnotes += _notes(rows, table.number if table.published else None) + table.no_intervals
    methods = tuple(method for method in table.methods if method[0] in names)
    return replace(table, methods=methods, rows=tuple(rows), footnotes=footnotes)


def _counts(groups: Iterable[Iterable[CellResult]]) -> dict[str, set[tuple[int, int]]]:
    """Finding -> each (n_pos, n_neg) that a cell has; one of them where all cells have the same test labels."""
    counts: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for group in groups:
        for cell in group:
            for f in cell.findings:  # none of a cell that is not done
                counts[f.finding].add((f.n_pos, f.n_neg))
    return counts


def _row(
    finding: str,
    summaries: Mapping[str, Summary],
    counts: set[tuple[int, int]],
    layout: TableLayout,
    marks: dict[str, str],
    printed: PublishedFinding | None,
) -> FindingRow:
    published: dict[str, float | None] = {}
    if printed is not None:
        # Tables 2 to 7 are of batch 256: rows of another batch have no value to be laid beside.
        names = layout.paper_names(summaries).items()
        published = {name: printed.auroc.get(method) for name, (method, batch) in names if batch == PAPER_BATCH_SIZE}
    n_pos, n_neg = zip(*counts, strict=True)
    return FindingRow(
        finding,
        in_words(finding),
        (min(n_pos), max(n_pos)),
        (min(n_neg), max(n_neg)),
        _entries(summaries, marks, published),
        printed.prevalence if printed else None,
    )


def _entries(
    summaries: Mapping[str, Summary], marks: dict[str, str], published: Mapping[str, float | None]
) -> tuple[FindingEntry, ...]:
    """marks: footnote text -> its letter; the table's, so new texts are added to it."""
    best = best_of(list(summaries.values()))
    entries = []
    for (name, summary), is_best in zip(summaries.items(), best, strict=True):
        text = absence(summary, UNDEFINED)
        mark = marks.setdefault(text, letter(len(marks))) if text else ""
        entries.append(FindingEntry(summary, is_best, mark, published.get(name)))
    return tuple(entries)


def _caption(layout: TableLayout, display: str, label_percent: int, patients: bool) -> str:
    return (
        f"Study {layout.study}: AUROC in percent of each finding on {display}, fine-tuned with {label_percent}% of "
        f"the labels, mean ± half-width of the 95% {layout.interval}-interval over {what_varies(layout)}. "
        f"{PATIENTS_CAPTION if patients else ''}Prevalence: "
        "positives among the test images whose label is known, in percent; n_pos: their number. Bold: highest of a "
        "row, among the means over the most seeds. All methods, standard deviations and n_neg are in the CSV."
    )


def _notes(rows: Sequence[FindingRow], published: int | None) -> tuple[str, ...]:
    """published: the paper's number of the table whose values stand below ours; None without them."""
    notes = []
    if not rows:
        notes.append("No cell of this table is finished: there is no number to show.")
    few = [row.display for row in rows if row.few]
    if few:
        notes.append(f"Fewer than {FEW_POSITIVES} positive test images, so single images decide: {', '.join(few)}.")
    # Without any known label the prevalence is undefined, which is no difference between cells.
    known = [row for row in rows if row.n_pos is not None and row.n_neg is not None and any(row.n_pos + row.n_neg)]
    differing = [row.display for row in known if row.prevalence is None]
    if differing:
        notes.append(f"Test labels differ between cells, so there is no one prevalence: {', '.join(differing)}.")
    if published is not None:
        notes.append(_published_note(published))
    return tuple(notes)


def _published_note(number: int) -> str:
    """What the paper's values are of: Tables 2, 4 and 6 of one seed (docs/paper-forensics.md), of others it is open."""
    text = f"Published: {SOURCE}, Table {number}, as printed"
    if PER_FINDING_COLUMNS[number][0] == "chexpert":
        text += ": of one seed, most likely. The row printed as Fracture is most likely Support Devices"
    else:
        text += ", over its seeds by its text; the mean of its findings is not that of its Table 1"
    if number in SWAPPED_TABLES:
        text += ". It prints the prevalences of Lung Lesion and Lung Opacity in each other's row; here each has its own"
    return f"{text}. Difference: ours minus published, in percentage points."


@dataclass(frozen=True)
class FindingTable:
    """A finished table of findings by methods. `number` is the paper's, None where the paper has no such table.

    methods: (row, display name) of each column; no_intervals: those of the footnotes that say why values have no
    interval over patients; published: whether the paper's values stand below ours.
    """

    number: int | None
    dataset: str
    dataset_display: str
    label_percent: int
    methods: tuple[tuple[str, str], ...]
    rows: tuple[FindingRow, ...]
    caption: str
    footnotes: tuple[str, ...]
    no_intervals: tuple[str, ...]
    published: bool
    study: str

    @property
    def file_stem(self) -> str:
        """Name of its files without ending: `table2`, `findings_own_FT100`."""
        return f"table{self.number}" if self.number else f"findings_{self.dataset}_{PROTOCOL}{self.label_percent}"

    @property
    def header(self) -> tuple[str, ...]:
        """Titles of the printed columns."""
        return ("Finding", "Prevalence", "n_pos", *(display for _, display in self.methods))

    def markdown(self) -> str:
        """Caption, table, footnotes."""
        lines = [self.caption, "", f"### {self.dataset_display}, FT ({self.label_percent}%)", ""]
        lines.append(markdown_row(map(markdown, self.header)))
        lines.append(markdown_row((":--", *["--:"] * (len(self.header) - 1))))
        for row in self.rows:
            values = [markdown_value(entry.text, entry.best, entry.mark) for entry in row.entries]
            lines.append(markdown_row((markdown(row.display), *counts_of(row), *values)))
            lines += [markdown_row((f"&nbsp;&nbsp;{name}", *texts)) for name, texts in reference_of(row)]
        lines += ["", *(f"- {markdown(note)}" for note in self.footnotes)]
        return "\n".join(lines).rstrip() + "\n"

    def latex(self) -> str:
        """For a document that loads booktabs: as many `table` environments as the page of an article asks for."""
        return latex_table(self.for_latex())

    def for_latex(self) -> LatexTable:
        """What the LaTeX form says: headers are short, and what is left out of them stands in notes."""
        methods, notes = short_names([display for _, display in self.methods])
        rows = tuple(
            LatexRow(
                row.display,
                (
                    *map(LatexCell, counts_of(row)),
                    *(LatexCell(entry.text, entry.best, entry.mark) for entry in row.entries),
                ),
                "findings" if row.finding else "mean",
                tuple((name, tuple(texts)) for name, texts in reference_of(row)),
            )
            for row in self.rows
        )
        # The caption has the whole word: it is wider than the numbers below it.
        header = (self.header[1].replace("Prevalence", "Prev."), self.header[2], *methods)
        return LatexTable(
            latex_label(self.study, self.file_stem),
            f"Study {self.study}: AUROC of each finding, {self.dataset_display}, FT ({self.label_percent}%)",
            self.caption,
            (LatexSection("", self.header[0], header, rows),),
            (*self.footnotes, *notes),
        )

    def csv(self) -> str:
        """One row a finding and method: mean, ci95 and sd in percent, n, and what is absent."""
        header = ["dataset", "protocol", "label_percent", "finding", "prevalence", "n_pos", "n_neg"]
        header += ["method", "display_name", "mean", "ci95", "sd", "n", "missing", "failed", "undefined"]
        header += ["published", "difference", "published_prevalence"] if self.published else []
        header += ["patients_low", "patients_high"]
        lines: list[list[object]] = []
        for row in self.rows:
            # A row of the means has no finding: its lines are found by the names of MEAN_ROWS.
            finding = row.finding or MEAN_ROWS[row.display]
            place: list[object] = [self.dataset, PROTOCOL, self.label_percent, finding, row.prevalence]
            for (name, display), entry in zip(self.methods, row.entries, strict=True):
                s = entry.summary
                values = [None if v is None else 100 * v for v in (s.mean, s.ci95, s.sd)]
                absent = [" ".join(seeds) for seeds in (s.missing, s.failed, s.undefined)]
                line: list[object] = [
                    *place,
                    shown_range(row.n_pos),
                    shown_range(row.n_neg),
                    name,
                    display,
                    *values,
                    s.n,
                    *absent,
                ]
                line += [entry.published, entry.difference, row.published_prevalence] if self.published else []
                line += [100 * end for end in entry.patients] if entry.patients else [None, None]
                lines.append(line)
        return csv_text(header, lines)
