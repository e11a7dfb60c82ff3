"""Everything statistical about a study: from results and saved predictions to rows, notes and CSV files.

Over seeds: the mean of a place and its interval (summaries.py), and paired tests (comparisons.py). Over patients: the
same mean over seeds, from what each test patient moves it by (placements.py, patient_intervals.py). The first says how
far other seeds would move a number, the second how far other patients would; neither contains the other, and whether
two rows differ is asked of both together (combined_test.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from datasets_io.granted import cores
from datasets_io.storage.artefacts import CorruptArtefact
from datasets_io.threads import reading_threads
from sweep.statistics.cell_metrics import MetricReader, TestSet, make_test_set, read_metadata
from sweep.statistics.column_statistics import (
    ColumnStatistics,
    finding_difference_rows,
    interval_rows,
    metric_rows,
    subgroup_rows,
)
from sweep.statistics.comparison_rows import comparison_rows, with_combined_tests
from sweep.statistics.comparisons import Comparisons, Ranks, compare_methods, with_patients
from sweep.statistics.over_patients import over_patients_of
from sweep.statistics.row_types import (
    ComparisonRow,
    FindingDifferenceRow,
    GapRow,
    GroupSizeRow,
    IntervalRow,
    MetricRow,
    RankRow,
    SubgroupRow,
    rows_csv,
)
from sweep.statistics.summaries import study_summaries
from sweep.statistics.summary import FEW_POSITIVES
from sweep.statistics.value_names import in_sentence
from sweep.store.records import CellResult, without_nan
from sweep.store.status_names import Status
from sweep.store.store import ReadStore
from sweep.studies.layout import what_varies
from sweep.studies.plan import Plan
from sweep.studies.study import Dataset, Study
from trainables.evaluation.metrics import FindingAuroc

# Raise it with any change that moves a number, a name or a note of the statistics: here and in summaries, comparisons,
# column_statistics, comparison_rows, combined_test, placements, patient_intervals, cell_metrics, subgroups, inference,
# summary, value_names and trainables.evaluation.metrics. A report keeps what the same version made of the same results.
# 2: intervals over patients by clustered placements, tests over seeds and patients together, logits. 3: no test over
# both where a class has fewer than three patients. 4: notes in words.
VERSION = 4
# Name of a file -> the class of its rows, and the attribute of Analysis that holds them.
FILES: dict[str, tuple[type, str]] = {
    "intervals.csv": (IntervalRow, "intervals"),
    "metrics.csv": (MetricRow, "metrics"),
    "comparisons.csv": (ComparisonRow, "comparisons"),
    "finding_differences.csv": (FindingDifferenceRow, "finding_differences"),
    "ranks.csv": (RankRow, "rank_rows"),
    "subgroups.csv": (SubgroupRow, "subgroups"),
    "subgroup_gaps.csv": (GapRow, "gaps"),
    "subgroup_sizes.csv": (GroupSizeRow, "group_sizes"),
}


@dataclass(frozen=True)
class Analysis:
    """The statistics of a study. varies: what the intervals over seeds cover, for captions.

    notes: sentences that say what is missing, failed or undefined. reference: the row that others are compared with,
    None without a baseline. unusable: (key of a cell, why its predictions were not used), sorted. unread: whether
    predictions or metadata that the storage has could not be read, so that another try may give more.
    ranks: first over all columns, then one for each column. The other fields are the rows of the CSV files.
    """

    study: str
    varies: str
    reference: str | None
    intervals: tuple[IntervalRow, ...] = ()
    metrics: tuple[MetricRow, ...] = ()
    comparisons: tuple[ComparisonRow, ...] = ()
    finding_differences: tuple[FindingDifferenceRow, ...] = ()
    ranks: tuple[Ranks, ...] = ()
    subgroups: tuple[SubgroupRow, ...] = ()
    gaps: tuple[GapRow, ...] = ()
    group_sizes: tuple[GroupSizeRow, ...] = ()
    notes: tuple[str, ...] = ()
    unusable: tuple[tuple[str, str], ...] = ()
    unread: bool = False

    @property
    def rank_rows(self) -> tuple[RankRow, ...]:
        """ranks as rows of ranks.csv: a row for each method that is ranked, best first."""
        return tuple(
            RankRow(
                scope=r.scope,
                blocks_are=r.blocks_are,
                method=method,
                mean_rank=rank,
                num_blocks=r.num_blocks,
                chi2=r.chi2,
                p=r.p,
                critical_difference=r.critical_difference,
                methods_left_out=r.methods_left_out,
                blocks_left_out=r.blocks_left_out,
            )
            for r in self.ranks
            for method, rank in zip(r.methods, r.mean_ranks, strict=True)
        )

    def csv_files(self) -> dict[str, str]:
        """File name -> its text. Each file has its header, also without rows."""
        # FILES is the one list of the files: what is not in it is in no report.
        return {name: rows_csv(kind, getattr(self, field)) for name, (kind, field) in FILES.items()}


def analyse(
    study: Study,
    plan: Plan,
    results: Sequence[CellResult],
    store: ReadStore | None,
    folders: Mapping[str, str] | None = None,
    threads: int | None = None,
    comparisons: Comparisons | None = None,
) -> Analysis:
    """All statistics of the results; those that need predictions only where the store has them.

    store: None leaves out all that is made from predictions. folders: label of a build -> folder of its shards
    in the store, for subgroups. threads: for reading and measuring cells; by default four for each processor, since
    they also wait for the storage. comparisons: of these results, where they are made already.
    Missing, failed and unreadable cells are named in notes and unusable, never raised.
    """
    comparisons = comparisons or compare_methods(study_summaries(study, plan, results))
    layout = comparisons.summaries.layout
    # The comparisons have left NaN out already; here it is for the note on how many there were.
    results, broken = without_nan(results)
    notes = _nan_notes(broken)
    columns: list[tuple[str, tuple[FindingAuroc, ...]]] = []
    unusable: dict[str, str] = {}
    unread = False
    sizes: list[GroupSizeRow] = []
    found = Analysis(study.name, what_varies(layout) if results else "no cell was asked for", comparisons.reference)
    with reading_threads(threads or 4 * cores()) as pool:
        reader = MetricReader(store, {cell.key: cell for cell in plan.cells}, pool) if store is not None else None
        for dataset in (d for d in study.datasets if any(d.instance == name for name, _ in layout.datasets)):
            # One test set for all columns: methods are compared on the same patients.
            own = [result for result in results if result.dataset == dataset.instance]
            label = study.any_build(dataset, folders or {})
            tests, reasons, not_read = _test_set(dataset, own, reader, (folders or {}).get(label or ""))
            unread |= not_read
            notes += [f"{dataset.display}: {reason}" for reason in reasons]
            sizes += _group_sizes(dataset.instance, tests)
            for protocol, percent in layout.columns:
                column, not_used = _column(comparisons, dataset.instance, protocol, percent, tests, reader)
                unusable |= not_used
                found = _with_rows(found, column)
                columns.append(
                    (column.dataset, column.findings)
                )  # not the column: the placements of a large test set take megabytes a cell
    if unusable:
        reason = next(iter(unusable.values()))
        notes.append(f"{len(unusable)} finished cells have predictions that were not used, the first since: {reason}.")
    notes += _count_notes(results, columns, {name: display for name, display in layout.datasets})
    # As a later report has them from the file: one way to them.
    patients = over_patients_of({"comparisons.csv": rows_csv(ComparisonRow, found.comparisons)})
    return replace(
        found,
        comparisons=tuple(with_combined_tests(found.comparisons, with_patients(comparisons, patients))),
        ranks=comparisons.ranks,
        group_sizes=tuple(sizes),
        notes=tuple(notes),
        unusable=tuple(sorted(unusable.items())),
        unread=unread or bool(unusable),
    )


def _nan_notes(broken: Sequence[CellResult]) -> list[str]:
    return [f"{len(broken)} cells have results that are no numbers; they count as failed."] if broken else []


def _test_set(
    dataset: Dataset, results: Sequence[CellResult], reader: MetricReader | None, folder: str | None
) -> tuple[TestSet | None, list[str], bool]:
    """The test set of a dataset, None where no prediction can be read; what is left out, for the notes; and `unread`.

    folder: of its shards, None where they are not there. unread: as in Analysis, of this dataset.
    """
    if reader is None:
        return None, ["without the storage there are no intervals over patients, calibration or subgroups"], False
    done = [result for result in results if result.status == Status.DONE]
    images, unread = reader.find_images(done)
    if images is None:
        reason = "no cell is finished" if not done else "no finished cell has predictions that can be read"
        return None, [reason], unread
    if folder is None:
        return make_test_set(images, None), ["no subgroups: its shards are not in the storage"], unread
    try:
        metadata = read_metadata(reader.store.files, folder, dataset.recipe.splits.test)
    except (OSError, ValueError, CorruptArtefact, pa.ArrowException) as error:
        reason = f"no subgroups: the metadata of its shards cannot be read ({error})"
        return make_test_set(images, None), [reason], True
    return make_test_set(images, metadata), [], unread


def _group_sizes(dataset: str, tests: TestSet | None) -> list[GroupSizeRow]:
    return [
        GroupSizeRow(dataset, a.name, group, images, patients, group in a.compared)
        for a in (tests.attributes if tests is not None else ())
        for group, images, patients in zip(a.groups, a.num_images, a.num_patients, strict=True)
    ]


def _column(
    comparisons: Comparisons,
    dataset: str,
    protocol: str,
    percent: int,
    tests: TestSet | None,
    reader: MetricReader | None,
) -> tuple[ColumnStatistics, dict[str, str]]:
    """A column with what its predictions say, and key -> why a finished cell's were not used."""
    column = ColumnStatistics(comparisons, dataset, protocol, percent, {}, tests)
    if tests is None or reader is None:
        return column, {}
    measures, unusable = reader.measure(tests, [cell for cell in column.cells if cell.status == Status.DONE])
    return replace(column, measures=measures), unusable


def _with_rows(found: Analysis, column: ColumnStatistics) -> Analysis:
    """The statistics with the rows of one more column."""
    subgroups, gaps = subgroup_rows(column)
    return replace(
        found,
        intervals=found.intervals + tuple(interval_rows(column)),
        metrics=found.metrics + tuple(metric_rows(column)),
        comparisons=found.comparisons + tuple(comparison_rows(column)),
        finding_differences=found.finding_differences + tuple(finding_difference_rows(column)),
        subgroups=found.subgroups + tuple(subgroups),
        gaps=found.gaps + tuple(gaps),
    )


def _count_notes(
    results: Sequence[CellResult], columns: Sequence[tuple[str, tuple[FindingAuroc, ...]]], displays: Mapping[str, str]
) -> list[str]:
    """What is missing, failed, undefined or rare, in sentences.

    columns: of each its dataset and findings. displays: dataset -> the name that tables print.
    """
    notes = []
    if not results:
        notes.append("The study has no cell: there is nothing to analyse.")
    for status in (Status.MISSING, Status.FAILED, Status.DAMAGED):
        count = sum(result.status == status for result in results)
        if count:
            notes.append(f"{count} of {len(results)} cells are {status}; means are over the others and name them.")
    # The columns of a dataset share its test images: the first one with a finished cell has the findings.
    by_dataset: dict[str, tuple[FindingAuroc, ...]] = {}
    for dataset, findings in columns:
        by_dataset[dataset] = by_dataset.get(dataset) or findings
    for dataset, findings in by_dataset.items():
        name = displays[dataset]
        undefined = [in_sentence(f.finding) for f in findings if f.auroc is None]
        rare = [
            f"{in_sentence(f.finding)} ({f.n_pos})" for f in findings if f.auroc is not None and f.n_pos < FEW_POSITIVES
        ]
        if undefined:
            notes.append(f"{name}: no AUROC for {', '.join(undefined)}: one class only in the test images.")
        if rare:
            notes.append(f"{name}: fewer than {FEW_POSITIVES} positives: {', '.join(rare)}.")
    return notes
