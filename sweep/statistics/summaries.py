"""What is the mean of each place of a study, and how sure is it over seeds: made once, handed to whoever prints it."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from datasets_io.fingerprint import canonical_json
from sweep.statistics.summary import (
    MACRO_10_POSITIVES,
    MACRO_DEFINED,
    MACROS,
    STUDY_MACROS,
    Summary,
    by_place,
    macro_auroc,
    summarise,
)
from sweep.store.records import CellResult, Place, without_nan
from sweep.store.status_names import Status
from sweep.studies.layout import TableLayout, layout_of
from sweep.studies.plan import Plan
from sweep.studies.study import Study
from trainables.evaluation.metrics import FindingAuroc

Column = tuple[str, int]  # protocol, label_percent
# With the name of a split behind it: the macro over the defined findings of its images, and over those of them with at
# least 10 positives there.
ALSO_TEST, ALSO_TEST_10 = "macro_also_test_", "macro_10_positives_also_test_"


@dataclass(frozen=True)
class Summaries:
    """The means of a study with the layout's kind of interval (`Study.interval`) and the seeds that it asks for.

    results: those of the layout's cells, none with NaN (`make_summaries` ensures both). Tables, sentences, statistics
    and figures take their means from here, so that none can ask for other seeds or another interval.
    """

    layout: TableLayout
    results: tuple[CellResult, ...]
    # A report needs each mean several times, a live table few of them: made at the first question, then kept.
    _made: dict[tuple[Place, str], Summary] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def places(self) -> dict[Place, list[CellResult]]:
        """Place -> its cells of all seeds, failed and missing ones included."""
        return by_place(self.results)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the layout and every result: while it stays, so does what is made from these alone."""
        # Names and display texts are in the layout; of a result only what a mean is made from.
        results = [
            [
                [r.key, r.status, r.macro_auroc, [[f.finding, f.auroc, f.n_pos, f.n_neg] for f in r.findings]],
                [
                    [how, [[f.finding, f.auroc, f.n_pos, f.n_neg] for f in found]]
                    for how, found in (*r.studies, *r.also_test)
                ],
            ]
            for r in self.results
        ]
        return hashlib.sha256(canonical_json([self.layout, results]).encode()).hexdigest()

    def cells(self, row: str, dataset: str, column: Column) -> Sequence[CellResult]:
        """All cells of a place, failed and missing ones included; empty for a place that was not asked for."""
        return self.places.get((row, dataset, *column), ())

    def finished(self, dataset: str, column: Column) -> list[CellResult]:
        """The cells of a column that are done, in the table's order."""
        cells = (cell for row, _, _ in self.layout.rows for cell in self.cells(row, dataset, column))
        return [cell for cell in cells if cell.status == Status.DONE]

    def findings(self, dataset: str, column: Column) -> tuple[FindingAuroc, ...]:
        """The findings with their counts, from any finished cell: all cells of a dataset have the same test images."""
        return next((cell.findings for cell in self.finished(dataset, column)), ())

    def of(self, row: str, dataset: str, column: Column, value: str = MACRO_DEFINED) -> Summary:
        """The mean AUROC of a place over its seeds, in [0, 1]. value: as of `auroc_of`."""
        key = (row, dataset, *column), value
        if key not in self._made:
            self._made[key] = self.over_seeds(row, dataset, column, lambda cell: auroc_of(cell, value))
        return self._made[key]

    def over_seeds(
        self, row: str, dataset: str, column: Column, value: Callable[[CellResult], float | None]
    ) -> Summary:
        """The mean over seeds of any value of a done cell, such as one from its predictions; not kept.

        value: None where it is undefined.
        """
        layout = self.layout
        cells = self.cells(row, dataset, column)
        return summarise(cells, layout.seeds, layout.pretrain_seeds, layout.interval, value)

    def complete(self, dataset: str, column: Column, value: str = MACRO_DEFINED) -> dict[str, float]:
        """Row -> its mean AUROC in [0, 1], of the rows that have every seed: only these are ranked."""
        found = {row: self.of(row, dataset, column, value) for row, _, _ in self.layout.rows}
        return {row: s.mean for row, s in found.items() if s.mean is not None and s.complete}

    def of_encoder(self, row: str, pretrain_seed: int, network_seed: int | None = None) -> "Summaries":
        """The summaries of one encoder: its pretraining does not vary, so a mean is over its downstream seeds.

        network_seed: the one downstream seed of a network that a seed draws (EncoderRun).
        """
        seeds = self.layout.seeds if network_seed is None else (network_seed,)
        own = (r for r in self.results if (r.encoder, r.pretrain_seed) == (row, pretrain_seed) and r.seed in seeds)
        return Summaries(replace(self.layout, pretrain_seeds=(pretrain_seed,), seeds=seeds), tuple(own))


def make_summaries(layout: TableLayout, results: Iterable[CellResult]) -> Summaries:
    """Summaries of the results of a layout's cells. Results that hold NaN count as failed."""
    return Summaries(layout, tuple(without_nan(results)[0]))


def study_summaries(study: Study, plan: Plan, results: Iterable[CellResult]) -> Summaries:
    """Summaries of all rows and columns of a plan."""
    return make_summaries(layout_of(study, plan), results)


def auroc_of(cell: CellResult, value: str) -> float | None:
    """A finished cell's AUROC in [0, 1] of a finding or of a macro; None where it is undefined.

    value: a finding, or one of MACROS or STUDY_MACROS, or ALSO_TEST or ALSO_TEST_10 with a second test split behind.
    """
    # The macro over the defined findings is stored with the result, the others are computed from its findings.
    if value == MACRO_DEFINED:
        return cell.macro_auroc
    if value in MACROS:
        return macro_auroc(value, cell.findings)
    if value in STUDY_MACROS:
        return macro_auroc(MACRO_DEFINED, dict(cell.studies).get(STUDY_MACROS[value], ()))
    for prefix, kind in ((ALSO_TEST, MACRO_DEFINED), (ALSO_TEST_10, MACRO_10_POSITIVES)):
        if value.startswith(prefix):
            return macro_auroc(kind, dict(cell.also_test).get(value.removeprefix(prefix), ()))
    return next((finding.auroc for finding in cell.findings if finding.finding == value), None)
