"""What stands in comparisons.csv: each test of a column with what patients do to it, then the tests over both."""

from collections.abc import Sequence
from dataclasses import replace

from sweep.statistics.column_statistics import ColumnStatistics, on_shared_seeds
from sweep.statistics.comparisons import Comparisons
from sweep.statistics.patient_intervals import NOT_AT_HAND
from sweep.statistics.row_types import ComparisonRow
from sweep.statistics.summary import MACRO_DEFINED


def comparison_rows(column: ColumnStatistics) -> list[ComparisonRow]:
    """The tests of the column, as `Comparisons` has them, each with its interval over patients and their part.

    What needs the tests of all columns is filled in by `with_combined_tests`.
    """
    rows = []
    for tested in column.comparisons.tested[column.place]:
        c = tested.comparison
        a, b, _ = on_shared_seeds(column, c.first, c.second)
        over_patients = NOT_AT_HAND if b is None else column.interval(a, MACRO_DEFINED, b)
        part = column.patient_part(c.first, c.second)
        rows.append(
            ComparisonRow(
                *column.place,
                family=tested.family,
                first=c.first,
                second=c.second,
                n=c.n,
                difference=c.difference,
                ci95=c.ci95,
                t=c.t,
                p=c.p,
                p_holm=c.p_holm,
                wilcoxon_p=c.wilcoxon_p,
                wilcoxon_p_holm=c.wilcoxon_p_holm,
                patients_low=over_patients.low,
                patients_high=over_patients.high,
                patients_note=over_patients.note,
                fewest_patients=over_patients.fewest_patients,
                left_out=tested.left_out,
                p_holm_table=c.p_holm_table,
                patients_se=None if part is None else part.se,
                patients_freedom=None if part is None else part.freedom,
            )
        )
    return rows


def with_combined_tests(rows: Sequence[ComparisonRow], comparisons: Comparisons) -> list[ComparisonRow]:
    """The rows of every column with the tests over seeds and patients, of `with_patients`, in the same order."""
    tests = [tested.comparison for column in comparisons.tested.values() for tested in column]
    return [
        replace(
            row,
            ci95_both=c.ci95_both,
            p_both=c.p_both,
            p_both_holm=c.p_both_holm,
            p_both_holm_table=c.p_both_holm_table,
        )
        for row, c in zip(rows, tests, strict=True)
    ]
