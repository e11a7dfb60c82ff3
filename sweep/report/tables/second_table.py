"""What stands beside a study's Tables 1, 8 and 9: other means of the same cells, in a table of its own (`table1b`).

The macro over findings with at least 10 positives, where findings of the macro hang on single test images; macros over
studies instead of images, where studies have several; and both macros on a second test split, where the recipe names
one.
"""

from collections.abc import Iterator

from sweep.report.partial import captioned, partial_note
from sweep.report.published import Shown, is_shown, source_of
from sweep.report.tables.main_table import (
    PATIENTS_CAPTION,
    Table,
    TableSection,
    footnotes_of,
    marks_of,
    no_interval_notes,
    published_note,
    section_of,
)
from sweep.statistics.over_patients import OverPatients
from sweep.statistics.summaries import ALSO_TEST, ALSO_TEST_10, Summaries
from sweep.statistics.summary import (
    FEW_POSITIVES,
    MACRO_10_POSITIVES,
    MACRO_DEFINED,
    STUDY_MACROS,
    Summary,
    findings_of_macro,
)
from sweep.store.records import Place
from sweep.studies.layout import TableLayout, what_varies

OF_STUDIES = {"max": "maximum", "mean": "mean"}


def second_table(
    means: Summaries,
    layout: TableLayout | None = None,
    number: int = 1,
    published: Shown = False,
    patients: OverPatients | None = None,
) -> Table | None:
    """The table beside Table `number`; None where the macro over images says it all. layout, ...: as of `table1`.

    The paper has no such means: its values stand beside those of second test images only, where they are its own.
    """
    layout = means.layout if layout is None else layout
    shown = [
        (f"{dataset}/{value}", title, _summaries(means, layout, dataset, value))
        for dataset, display in layout.datasets
        for value, title in _values(means, dataset, display)
    ]
    if not shown:
        return None
    of_second_tests = [dataset for dataset, _, _ in shown if f"/{ALSO_TEST}" in dataset]
    beside = {dataset: source_of(published, dataset) for dataset in of_second_tests if is_shown(published, dataset)}
    patients = OverPatients() if patients is None else patients
    intervals = _intervals(patients)
    marks = marks_of(summary for _, _, summaries in shown for summary in summaries.values())
    sections: tuple[TableSection, ...] = tuple(
        section_of(dataset, title, layout, summaries, marks, beside, intervals) for dataset, title, summaries in shown
    )
    footnotes = footnotes_of(marks)
    for dataset, title, summaries in shown:
        source, _, value = dataset.partition("/")
        places = [(name, source, protocol, share) for name, _, protocol, share in summaries]
        footnotes += no_interval_notes(patients.why_none(places, value), f" on {title}")
    footnotes += (published_note(number),) if beside else ()
    caption = captioned(_caption(layout, number, bool(intervals)), partial_note(means.layout, means.results))
    return Table(caption, layout, sections, footnotes, bool(beside), number, is_second=True)


def _values(means: Summaries, dataset: str, display: str) -> Iterator[tuple[str, str]]:
    """(value, title of its section) of what a dataset has beside its macro over images."""
    cells = [cell for column in means.layout.columns for cell in means.finished(dataset, column)]
    if not cells:
        return
    findings = cells[0].findings  # all cells of a dataset have the same test images
    defined = [finding for finding in findings if finding.auroc is not None]
    many = findings_of_macro(MACRO_10_POSITIVES, findings)
    if many and len(many) < len(defined):
        count = f"{len(many)} of {len(defined)} findings"
        yield MACRO_10_POSITIVES, f"{display}, the {count} with at least {FEW_POSITIVES} positives"
    # Results of 0.1.0 have no numbers of studies: one finished cell that has them is enough.
    have = {how for cell in cells for how, _ in cell.studies}
    for value, how in STUDY_MACROS.items():
        if how in have:
            yield value, f"{display}, per study: the {OF_STUDIES[how]} over its images"
    for split, found in sorted({name: found for cell in cells for name, found in cell.also_test}.items()):
        num_defined = sum(finding.auroc is not None for finding in found)
        counted = f"{num_defined} of {len(found)} findings"
        yield f"{ALSO_TEST}{split}", f"{display}, images of {split}, which choose nothing, {counted}"
        many = findings_of_macro(MACRO_10_POSITIVES, found)
        if many and len(many) < num_defined:
            count = f"the {len(many)} of {num_defined} findings with at least {FEW_POSITIVES} positives"
            yield f"{ALSO_TEST_10}{split}", f"{display}, images of {split}, {count}"


def _summaries(means: Summaries, layout: TableLayout, dataset: str, value: str) -> dict[Place, Summary]:
    return {
        (name, f"{dataset}/{value}", *column): means.of(name, dataset, column, value)
        for name, _, _ in layout.rows
        for column in layout.columns
    }


def _intervals(patients: OverPatients) -> dict[tuple[Place, str], tuple[float, float]]:
    """Those over patients, by the places of this table; of studies and second test images there are none."""
    return {
        ((row, f"{dataset}/{value}", protocol, share), MACRO_DEFINED): interval
        for ((row, dataset, protocol, share), value), interval in patients.intervals.items()
        if value == MACRO_10_POSITIVES
    }


def _caption(layout: TableLayout, number: int, patients: bool) -> str:
    """patients: whether there are intervals over patients."""
    return (
        f"Study {layout.study}: other means of the cells of Table {number}, macro AUROC in percent, mean ± half-width "
        f"of the 95% {layout.interval}-interval over {what_varies(layout)}. {PATIENTS_CAPTION if patients else ''}"
        f"With fewer than {FEW_POSITIVES} positives single test images decide a finding's AUROC, and "
        "with it the macro over all. Per study: the scores of a study's images become one, their maximum as in "
        "CheXpert's competition or the mean of their probabilities. Images of another split: predicted by the "
        "same networks, and neither trained on nor used to pick an epoch. "
        "Bold: highest of a column, among the means over the most seeds; it need not be told from the others."
    )
