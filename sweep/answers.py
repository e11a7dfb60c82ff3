"""Which pretraining wins where, at a glance: for each dataset and column the best row, its lead and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass

from sweep.studies import BASELINE
from sweep.words import ALPHA, Block, against_baseline, reference_of


@dataclass(frozen=True)
class Answer:
    """One column of one dataset. Numbers in percent or points; None where they cannot be had.

    tied: rows that print the same mean. lead: over the next row. difference, p: over the baseline, p after Holm's
    correction over the methods of the column. n: seeds in the mean; wanted: seeds that were asked for.
    """

    column: str
    winner: str
    tied: tuple[str, ...]
    mean: float
    ci95: float | None
    n: int
    complete: bool
    next_row: str | None
    lead: float | None
    baseline: str | None
    difference: float | None
    p: float | None

    @property
    def sure(self) -> bool:
        return self.p is not None and self.p < ALPHA


def answers(blocks: Sequence[Block]) -> list[tuple[str, list[Answer]]]:
    """Display name of each dataset that has a finished cell -> its columns' answers."""
    found = []
    for block in blocks:
        tests = against_baseline(block)
        columns = [_answer(block, column, tests) for column in block.layout.columns]
        if any(columns):
            found.append((block.display, [answer for answer in columns if answer]))
    return found


def _answer(block: Block, column: tuple[str, int], tests: dict) -> Answer | None:
    rows = [name for name, _, _ in block.layout.rows]
    best = block.best(column, rows)
    if not best:
        return None
    winner, summary = best[0], block.summaries[best[0], column]
    rivals = [r for r in rows if r not in best and block.summaries[r, column].n == summary.n]
    rival = max(rivals, key=lambda r: block.summaries[r, column].mean, default=None)
    reference = reference_of(block)
    test = tests.get((winner, column))
    is_baseline = winner in block.rows(BASELINE)
    return Answer(
        block.title(column), block.name(winner), tuple(map(block.name, best[1:])), 100 * summary.mean,
        None if summary.ci95 is None else 100 * summary.ci95, summary.n, summary.complete,
        block.name(rival) if rival else None,
        100 * (summary.mean - block.summaries[rival, column].mean) if rival else None,
        block.name(reference) if reference and not is_baseline else None,
        100 * test.difference if test and test.difference is not None else None,
        test.p_holm if test else None,
    )
