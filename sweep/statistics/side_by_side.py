"""How far are two studies apart, place by place: rows and columns matched by meaning, differences paired by seed.

Both studies' cells become rows of one study, `here/clip` beside `there/clip`, so that means, tests and intervals are
those of `Comparisons` and `ColumnStatistics`, as within a study. The tests of all places are one family.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from datasets_io.granted import cores
from datasets_io.threads import reading_threads
from sweep.statistics.cell_metrics import CellMetrics, MetricReader, TestSet, make_test_set
from sweep.statistics.column_statistics import ColumnStatistics, on_shared_seeds
from sweep.statistics.combined_test import ErrorPart
from sweep.statistics.comparisons import Comparisons, compare_pairs, with_patients
from sweep.statistics.matching import Match, matched_datasets, matched_rows
from sweep.statistics.over_patients import OverPatients, Pair
from sweep.statistics.patient_intervals import NOT_AT_HAND, PatientInterval
from sweep.statistics.row_types import SideBySideRow
from sweep.statistics.summaries import Column, Summaries, make_summaries
from sweep.statistics.summary import MACRO_DEFINED
from sweep.store.snapshot import Snapshot
from sweep.store.status_names import Status
from sweep.studies.study import Dataset, EncoderRow

HERE, THERE = "here/", "there/"  # before the names of rows and the keys of cells of either study


@dataclass(frozen=True)
class Side:
    """One of the two studies: what its storage holds, and the means that its own tables print."""

    data: Snapshot
    means: Summaries


@dataclass(frozen=True)
class SideBySide:
    """Two studies. rows_matched, datasets_matched: what both have; columns: those of both, in this study's order.

    rows: a place each. notes: why differences lack intervals, in sentences.
    """

    here: Side
    there: Side
    rows_matched: tuple[Match, ...]
    datasets_matched: tuple[Match, ...]
    columns: tuple[Column, ...]
    rows: tuple[SideBySideRow, ...]
    notes: tuple[str, ...] = ()


def side_by_side(here: Side, there: Side, predictions: bool = True) -> SideBySide:
    """All places that both studies have. predictions: whether they are read, which takes as long as the statistics.

    Without them no interval over patients is made, and no difference is told from chance.
    """
    rows = matched_rows(_asked_rows(here), _asked_rows(there))
    datasets = matched_datasets(_asked_datasets(here), _asked_datasets(there))
    columns = tuple(column for column in here.means.layout.columns if column in there.means.layout.columns)
    merged = _merged(here, there, rows, datasets, columns)
    compared = compare_pairs(merged, [(HERE + match.here, THERE + match.there) for match in rows])
    intervals: dict[Pair, PatientInterval] = {}
    notes: list[str] = []
    if predictions:
        parts, intervals, notes = _over_patients(here, there, compared)
        compared = with_patients(compared, OverPatients({}, parts))
    found = [
        row
        for dataset in datasets
        for column in columns
        for match in rows
        if (row := _row(here, there, compared, dataset, column, match, intervals)) is not None
    ]
    return SideBySide(here, there, rows, datasets, columns, tuple(found), tuple(notes))


def _asked_rows(side: Side) -> list[EncoderRow]:
    asked = {name for name, _, _ in side.means.layout.rows}
    return [row for row in side.data.study.rows if row.name in asked]


def _asked_datasets(side: Side) -> list[Dataset]:
    asked = {name for name, _ in side.means.layout.datasets}
    return [dataset for dataset in side.data.study.datasets if dataset.instance in asked]


def _merged(
    here: Side, there: Side, rows: tuple[Match, ...], datasets: tuple[Match, ...], columns: tuple[Column, ...]
) -> Summaries:
    """The matched places of both as one study, whose seeds are those that both asked for."""
    one, other = here.means.layout, there.means.layout
    mine, theirs = {match.here for match in rows}, {match.there for match in rows}
    named = {match.there: match.here for match in datasets}
    layout = replace(
        one,
        rows=tuple((HERE + name, display, group) for name, display, group in one.rows if name in mine)
        + tuple((THERE + name, display, group) for name, display, group in other.rows if name in theirs),
        datasets=tuple((name, display) for name, display in one.datasets if name in named.values()),
        columns=columns,
        seeds=tuple(seed for seed in one.seeds if seed in other.seeds),
        pretrain_seeds=tuple(seed for seed in one.pretrain_seeds if seed in other.pretrain_seeds),
    )
    results = [
        replace(r, encoder=HERE + r.encoder, key=HERE + r.key)
        for r in here.means.results
        if r.encoder in mine and r.dataset in named.values() and (r.protocol, r.label_percent) in columns
    ]
    results += [
        replace(r, encoder=THERE + r.encoder, key=THERE + r.key, dataset=named[r.dataset])
        for r in there.means.results
        if r.encoder in theirs and r.dataset in named and (r.protocol, r.label_percent) in columns
    ]
    shared = [r for r in results if r.seed in layout.seeds and r.pretrain_seed in layout.pretrain_seeds]
    return make_summaries(layout, shared)


def _over_patients(
    here: Side, there: Side, compared: Comparisons
) -> tuple[dict[Pair, ErrorPart], dict[Pair, PatientInterval], list[str]]:
    """Of each pair of rows of a column: the patients' part of its error and its interval; and what is lacking."""
    layout = compared.summaries.layout
    parts: dict[Pair, ErrorPart] = {}
    intervals: dict[Pair, PatientInterval] = {}
    notes: list[str] = []
    with reading_threads(4 * cores()) as pool:
        readers = [
            MetricReader(side.data.store, {prefix + cell.key: cell for cell in side.data.plan.cells}, pool)
            for prefix, side in ((HERE, here), (THERE, there))
        ]
        for dataset, display in layout.datasets:
            done = [r for column in layout.columns for r in compared.summaries.finished(dataset, column)]
            images, _ = readers[0].find_images(r for r in done if r.key.startswith(HERE))
            if images is None:
                notes.append(f"{display}: no interval over patients, since no predictions of this study can be read.")
                continue
            tests = make_test_set(images, None)
            unusable: dict[str, str] = {}
            for protocol, percent in layout.columns:
                bare = ColumnStatistics(compared, dataset, protocol, percent, {}, tests)
                measures, not_used = _measured(readers, tests, bare)
                unusable |= not_used
                column = replace(bare, measures=measures)
                for tested in compared.tested[column.place]:
                    first, second = tested.comparison.first, tested.comparison.second
                    pair = (*column.place, first, second)
                    a, b, _ = on_shared_seeds(column, first, second)
                    intervals[pair] = NOT_AT_HAND if b is None else column.interval(a, MACRO_DEFINED, b)
                    if (part := column.patient_part(first, second)) is not None:
                        parts[pair] = part
            notes += _not_used(display, unusable)
    return parts, intervals, notes


def _not_used(display: str, unusable: Mapping[str, str]) -> list[str]:
    """A sentence for each study whose predictions were not used, with the first reason."""
    notes = []
    for prefix, whose in ((HERE, "this study"), (THERE, "the other study")):
        reasons = [reason for key, reason in unusable.items() if key.startswith(prefix)]
        if reasons:
            notes.append(
                f"{display}: predictions of {len(reasons)} cells of {whose} were not used, since {reasons[0]}."
            )
    return notes


def _measured(
    readers: list[MetricReader], tests: TestSet, column: ColumnStatistics
) -> tuple[dict[str, CellMetrics], dict[str, str]]:
    measures: dict[str, CellMetrics] = {}
    unusable: dict[str, str] = {}
    for prefix, reader in zip((HERE, THERE), readers, strict=True):
        own = [r for r in column.cells if r.status == Status.DONE and r.key.startswith(prefix)]
        found, not_used = reader.measure(tests, own)
        measures |= found
        unusable |= not_used
    return measures, unusable


def _row(
    here: Side,
    there: Side,
    compared: Comparisons,
    dataset: Match,
    column: Column,
    match: Match,
    intervals: Mapping[Pair, PatientInterval],
) -> SideBySideRow | None:
    """One place; None where neither study has a mean there, as of a row that is not evaluated by a protocol."""
    ours, theirs = here.means.of(match.here, dataset.here, column), there.means.of(match.there, dataset.there, column)
    if ours.mean is None and theirs.mean is None:
        return None
    first, second = HERE + match.here, THERE + match.there
    place = (dataset.here, *column)
    tested = next(t for t in compared.tested[place] if (t.comparison.first, t.comparison.second) == (first, second))
    keys = [
        {(r.pretrain_seed, r.seed): r.key.removeprefix(prefix) for r in cells if r.status == Status.DONE}
        for prefix, cells in (
            (HERE, compared.summaries.cells(first, dataset.here, column)),
            (THERE, compared.summaries.cells(second, dataset.here, column)),
        )
    ]
    over_patients = intervals.get((*place, first, second), NOT_AT_HAND)
    c = tested.comparison
    display = next(display for name, display, _ in here.means.layout.rows if name == match.here)
    return SideBySideRow(
        *place,
        method=match.here,
        other_method=match.there,
        display_name=display,
        matched_by=match.how,
        mean=ours.mean,
        ci95=ours.ci95,
        n=ours.n,
        other_mean=theirs.mean,
        other_ci95=theirs.ci95,
        other_n=theirs.n,
        num_shared=c.n,
        same_cells=len(keys[0].items() & keys[1].items()),
        difference=c.difference,
        ci95_seeds=c.ci95,
        patients_low=over_patients.low,
        patients_high=over_patients.high,
        patients_note=over_patients.note,
        fewest_patients=over_patients.fewest_patients,
        ci95_both=c.ci95_both,
        p_both=c.p_both,
        p_both_holm_table=c.p_both_holm_table,
        left_out=tested.left_out,
    )
