"""How do results become CSV: the rows of results.csv and findings.csv, and the text of any such file."""

import csv
import io
import re
from collections.abc import Iterable, Sequence

from sweep.store.records import CellResult
from sweep.store.status_names import Status

# What spreadsheets take for a formula: names of methods and findings may come from anywhere. A number is none, nor is a
# sign alone.
_FORMULA = re.compile(r"[=@\t\r]|[+\-](?![\d.]*$)")
_LINE_END = "\r\n"
Value = str | int | float | None

# New columns come last, so that whoever reads columns by number still finds them.
RESULTS_HEADER = (
    "method",
    "dataset",
    "protocol",
    "label_percent",
    "seed",
    "macro_auroc",
    "status",
    "key",
    "pretrain_seed",
    "num_defined_findings",
    "display_name",
    "precision",
)
FINDINGS_HEADER = (
    "method",
    "dataset",
    "protocol",
    "label_percent",
    "seed",
    "finding",
    "auroc",
    "n_pos",
    "n_neg",
    "key",
    "pretrain_seed",
    "display_name",
)


def _in_order(results: Iterable[CellResult]) -> list[CellResult]:
    """Sorted by their fields, so that files do not depend on what finished first."""
    return sorted(
        results, key=lambda r: (r.dataset, r.encoder, r.protocol, r.label_percent, r.pretrain_seed, r.seed, r.key)
    )


def results_rows(results: Iterable[CellResult]) -> list[tuple[Value, ...]]:
    """One row a cell, as RESULTS_HEADER; AUROCs in [0, 1], None where there is no number.

    precision: the number format of the cell's network, such as `bfloat16`.
    """
    return [
        (
            r.encoder,
            r.dataset,
            r.protocol,
            r.label_percent,
            r.seed,
            r.macro_auroc,
            r.status,
            r.key,
            r.pretrain_seed,
            r.num_defined if r.status == Status.DONE else None,
            r.method,
            r.precision,
        )
        for r in _in_order(results)
    ]


def findings_rows(results: Iterable[CellResult]) -> list[tuple[Value, ...]]:
    """One row a done cell and finding, as FINDINGS_HEADER, undefined findings included with auroc None.

    n_pos, n_neg: test images with the label 1 and 0.
    """
    return [
        (
            r.encoder,
            r.dataset,
            r.protocol,
            r.label_percent,
            r.seed,
            f.finding,
            f.auroc,
            f.n_pos,
            f.n_neg,
            r.key,
            r.pretrain_seed,
            r.method,
        )
        for r in _in_order(results)
        for f in r.findings
    ]


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV with a line feed after each row; floats in the shortest form that reads back equal, None empty.

    A text that a spreadsheet would compute, such as `=cmd|...`, has an apostrophe before it: see `csv_value`.
    """
    # newline="": the writer ends its rows itself, and Python would make them two line ends on some systems.
    stream = io.StringIO(newline="")
    # The writer quotes a value with a character of its own line end: of "\n" alone, a lone carriage return in a name
    # would stand unquoted, and end the row for whoever reads the file.
    writer = csv.writer(_Rows(stream), lineterminator=_LINE_END)
    writer.writerow(map(_inert, header))
    writer.writerows(map(_inert, row) for row in rows)
    return stream.getvalue()


class _Rows:
    """What the writer of csv takes for a file: it gets a row a call, whose line end becomes a line feed."""

    def __init__(self, stream: io.StringIO):
        self.stream = stream

    def write(self, row: str) -> int:
        return self.stream.write(row.removesuffix(_LINE_END) + "\n")


def csv_value(text: str) -> str:
    """A text as it was before `csv_text` wrote it."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text[1:]) else text


def _inert(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def results_csv(results: Iterable[CellResult]) -> str:
    """The text of results.csv."""
    return csv_text(RESULTS_HEADER, results_rows(results))


def findings_csv(results: Iterable[CellResult]) -> str:
    """The text of findings.csv."""
    return csv_text(FINDINGS_HEADER, findings_rows(results))
