"""How do a study's Tables 1, 8 and 9 look: the paper's layout as Markdown, CSV and LaTeX."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweep.report.published import SOURCE, PublishedMean, published_mean
from sweep.report.table_text import (
    NO_VALUE,
    latex,
    latex_label,
    latex_notes,
    latex_number,
    latex_row,
    latex_value,
    letter,
    markdown,
    markdown_row,
    markdown_value,
    mean_and_interval,
    percent,
)
from sweep.statistics.summaries import Summaries
from sweep.statistics.summary import Summary, defined_findings
from sweep.store.csv_files import csv_text
from sweep.store.records import CellResult, Place
from sweep.store.status_names import Status
from sweep.studies.layout import TableLayout, what_varies

GROUP_TITLES = {
    "baseline": "Baselines",
    "image-text": "Multi-modal",
    "image-image": "Self-supervised",
    "joint": "Joint",
}


@dataclass(frozen=True)
class Entry:
    """One place of the table: our number, whether it is its column's best, its footnote, and the paper's number."""

    summary: Summary
    best: bool
    mark: str
    published: PublishedMean | None

    @property
    def text(self) -> str:
        return mean_and_interval(self.summary.mean, self.summary.ci95)

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, in percentage points."""
        if self.published is None or self.summary.mean is None:
            return None
        return 100 * self.summary.mean - self.published.mean


@dataclass(frozen=True)
class Row:
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
    published: bool = False,
    notes: tuple[str, ...] = (),
    number: int = 1,
) -> "Table":
    """The table of a study: Table 1, or 8 and 9 in the same form.

    layout: the rows and columns that are shown, where they are not all. published: print the paper's values and the
    differences below ours.
    """
    layout = means.layout if layout is None else layout
    summaries: dict[Place, Summary] = {
        (name, dataset, *column): means.of(name, dataset, column)
        for dataset, _ in layout.datasets
        for name, _, _ in layout.rows
        for column in layout.columns
    }
    marks = marks_of(summaries.values())
    blocks = tuple(_block(*dataset, layout, summaries, marks, published) for dataset in layout.datasets)
    footnotes = tuple(f"[{mark}] {text}" for text, mark in marks.items()) + tuple(notes)
    if published:
        footnotes += (
            f"Published: {SOURCE}, Table {number}, as printed, for reference. Its text does not say whether its "
            "intervals are t or z. Difference: ours minus published, in percentage points.",
        )
    return Table(_caption(layout, means.results), layout, blocks, footnotes, published, number)


def absence(summary: Summary, undefined: str = "no finding defined") -> str:
    """What is not in the mean, in words; empty for a complete one."""
    missing = tuple(seed for seed in summary.missing if seed not in summary.damaged)
    parts = (
        (Status.MISSING, missing),
        (Status.DAMAGED, summary.damaged),
        (Status.FAILED, summary.failed),
        (undefined, summary.undefined),
    )
    text = "; ".join(f"{what}: seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}" for what, seeds in parts if seeds)
    return f"{text}; mean of the other n = {summary.n}" if text and summary.n else text


def marks_of(summaries: Iterable[Summary]) -> dict[str, str]:
    """Footnote text -> its letter, one for each distinct reason."""
    texts = dict.fromkeys(text for text in map(absence, summaries) if text)
    return {text: letter(i) for i, text in enumerate(texts)}


def _block(
    dataset: str,
    display: str,
    layout: TableLayout,
    summaries: dict[Place, Summary],
    marks: dict[str, str],
    published: bool,
) -> TableSection:
    best = {
        column: best_of([summaries[name, dataset, *column] for name, _, _ in layout.rows]) for column in layout.columns
    }
    rows = []
    for name, row_display, group in layout.rows:
        entries = []
        for column in layout.columns:
            summary = summaries[name, dataset, *column]
            entries.append(
                Entry(
                    summary,
                    best=(summary.n, percent(summary.mean)) == best[column],
                    mark=marks.get(absence(summary), ""),
                    published=published_value(layout, dataset, name, *column) if published else None,
                )
            )
        rows.append(Row(name, row_display, group, tuple(entries)))
    return TableSection(dataset, display, tuple(rows))


def published_value(
    layout: TableLayout, dataset: str, name: str, protocol: str, label_percent: int
) -> PublishedMean | None:
    """The paper's value for a row and column of a table; None where it has none."""
    method, batch = layout.paper_names([name])[name]
    return published_mean(dataset, method, protocol, label_percent, batch)


def best_of(summaries: list[Summary]) -> tuple[int, str] | None:
    """Largest n and, among those that have it, the highest mean as printed: a mean of fewer seeds does not compete."""
    return max(((s.n, percent(s.mean)) for s in summaries if s.n), key=lambda x: (x[0], float(x[1])), default=None)


def _caption(layout: TableLayout, results: Sequence[CellResult]) -> str:
    counts = defined_findings(results)
    findings = "; ".join(
        f"{display} {low if low == high else f'{low} to {high}'} of {total}"
        for dataset, display in layout.datasets
        if dataset in counts
        for low, high, total in [counts[dataset]]
    )
    return (
        f"Study {layout.study}: macro AUROC in percent, mean ± half-width of the 95% {layout.interval}-interval "
        f"over {what_varies(layout)}. "
        f"Findings in each mean (those with both classes in the test images): {findings or 'none yet'}. "
        "LP and LPFT use all labels. Bold: best of a column, among the means over the most seeds. "
        "Standard deviations are in the CSV."
    )


@dataclass(frozen=True)
class Table:
    """A finished table. Its three forms hold the same numbers; the CSV has sd, n and full precision besides."""

    caption: str
    layout: TableLayout
    blocks: tuple[TableSection, ...]
    footnotes: tuple[str, ...]
    published: bool
    number: int = 1

    def markdown(self) -> str:
        width = len(self.layout.columns)
        lines = [self.caption, ""]
        for block in self.blocks:
            lines += [f"### {block.display} (AUROC)", ""]
            lines.append(markdown_row(("Methods", *self.layout.column_titles)))
            lines.append(markdown_row((":--", *["--:"] * width)))
            for group, rows in grouped(block.rows):
                lines.append(markdown_row((f"*{markdown(group)}*", *[""] * width)))
                for row in rows:
                    values = [markdown_value(entry.text, entry.best, entry.mark) for entry in row.entries]
                    lines.append(markdown_row((markdown(row.display), *values)))
                    if self.published:
                        lines += [markdown_row((f"&nbsp;&nbsp;{name}", *texts)) for name, texts in reference_rows(row)]
            lines.append("")
        lines += [f"- {markdown(note)}" for note in self.footnotes]
        return "\n".join(lines).rstrip() + "\n"

    def csv(self) -> str:
        """One row a dataset and method; for each column mean, ci95 and sd in percent, n, and what is absent."""
        fields = ["mean", "ci95", "sd", "n", "missing", "failed", "undefined"]
        fields += ["published_mean", "published_ci95", "difference"] if self.published else []
        header = ["dataset", "group", "method", "display_name"]
        header += [f"{title} {field}" for title in self.layout.column_titles for field in fields]
        rows = []
        for block in self.blocks:
            for row in block.rows:
                values = [value for entry in row.entries for value in _csv_entry(entry, self.published)]
                rows.append([block.dataset, row.group, row.name, row.display, *values])
        return csv_text(header, rows)

    def latex(self) -> str:
        """A table environment that needs \\usepackage{booktabs} and nothing else."""
        width = len(self.layout.columns)
        label = latex_label(self.layout.study, f"table{self.number}")
        lines = [
            r"% \usepackage{booktabs}",
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{latex(self.caption)}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{tabular}}{{@{{}}l{'c' * width}@{{}}}}",
            r"\toprule",
        ]
        for i, block in enumerate(self.blocks):
            lines += [r"\midrule"] if i else []
            lines.append(rf"Methods & \multicolumn{{{width}}}{{c}}{{{latex(block.display)} (AUROC)}} \\")
            lines.append(rf"\cmidrule(l){{2-{width + 1}}}")
            lines.append(latex_row(("", *map(latex, self.layout.column_titles))))
            for _, rows in grouped(block.rows):
                lines.append(r"\midrule")
                for row in rows:
                    values = [latex_value(entry.text, entry.best, entry.mark) for entry in row.entries]
                    lines.append(latex_row((latex(row.display), *values)))
                    if self.published:
                        for name, texts in reference_rows(row):
                            lines.append(latex_row((rf"\quad {name}", *map(latex_number, texts))))
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += latex_notes(self.footnotes)
        return "\n".join([*lines, r"\end{table}"]) + "\n"


def grouped(rows: tuple[Row, ...]) -> list[tuple[str, list[Row]]]:
    """Rows in the order of their groups' first appearance, with the groups' titles."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    return [(GROUP_TITLES.get(group, group), members) for group, members in groups.items()]


def reference_rows(row: Row) -> list[tuple[str, list[str]]]:
    """Published values and differences of a row; nothing where the paper has no such row."""
    if all(entry.published is None for entry in row.entries):
        return []
    published = [f"{e.published.mean:.2f} ± {e.published.ci95:.2f}" if e.published else NO_VALUE for e in row.entries]
    differences = [NO_VALUE if e.difference is None else f"{e.difference:+.2f}" for e in row.entries]
    return [("published", published), ("difference", differences)]


def _csv_entry(entry: Entry, published: bool) -> list:
    s = entry.summary
    values = [None if value is None else 100 * value for value in (s.mean, s.ci95, s.sd)]
    values += [s.n, *(" ".join(seeds) for seeds in (s.missing, s.failed, s.undefined))]
    if published:
        p = entry.published
        values += [p.mean, p.ci95, entry.difference] if p else [None, None, None]
    return values
