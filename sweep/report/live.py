"""How does the table stand while a sweep runs: one for each dataset, means with their count."""

from collections.abc import Sequence

from sweep.cli.display import TableRows
from sweep.report.tables.table_text import mean_and_interval, percent
from sweep.statistics.summaries import Summaries, study_summaries
from sweep.statistics.summary import Summary
from sweep.store.records import CellResult
from sweep.studies.layout import TableLayout
from sweep.studies.plan import Plan
from sweep.studies.study import Study


def live_table(means: Summaries, dataset: str) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Header and rows of one dataset as they stand: a mean with its count until every seed is there."""
    layout = means.layout
    rows = [
        (display, *(_live_entry(means.of(name, dataset, column), layout) for column in layout.columns))
        for name, display, _ in layout.rows
    ]
    return ("Methods", *layout.column_titles), tuple(rows)


def _live_entry(summary: Summary, layout: TableLayout) -> str:
    if summary.complete:
        return mean_and_interval(summary.mean, summary.ci95)
    # `71.50 (2/3)`: without the count a mean of two seeds would look like one of all.
    failed = f"{len(summary.failed)} failed" if summary.failed else ""
    undefined = "undefined" if summary.undefined else ""
    # In cells, not `summary.n`: with several pretraining seeds that is the number of these alone.
    wanted = len(layout.seeds) * len(layout.pretrain_seeds)
    have = wanted - len(summary.missing) - len(summary.failed) - len(summary.undefined)
    counted = f"{percent(summary.mean)} ({have}/{wanted})" if have else ""
    return " ".join(part for part in (counted, failed, undefined) if part)


def live_tables(study: Study, plan: Plan, results: Sequence[CellResult]) -> tuple[TableRows, ...]:
    """The table as it stands, one for each dataset."""
    tables, means = [], study_summaries(study, plan, results)
    for source, display in means.layout.datasets:
        header, rows = live_table(means, source)
        tables.append(TableRows(f"{display}: macro AUROC (%) ± 95% interval over seeds", header, rows))
    return tuple(tables)
