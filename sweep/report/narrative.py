"""What do the numbers say, in sentences: which row has the highest mean where, and from which others it can be told.

Sentences are made from `Comparisons` and its `Summaries` alone: no mean, no test and no rank is computed here, so that
none can differ from the tables, the CSV files and the figures. They are about Table 1's rows and columns. A difference
is claimed where p_both_holm_table says so, over seeds and over patients; any other is printed as the means have it, and
said not to be told from chance. With one pretraining a difference is one between checkpoints, not between methods.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from sweep.report.tables.table_text import mean_and_interval, patients_range, percent
from sweep.statistics.comparisons import ALPHA, Comparisons
from sweep.statistics.inference import ROUNDING, Comparison
from sweep.statistics.summaries import Column, Summaries
from sweep.statistics.summary import FEW_POSITIVES, MACRO_DEFINED, Summary, best_of, defined_findings
from sweep.statistics.value_names import in_sentence
from sweep.store.records import CellResult
from sweep.store.status_names import Status
from sweep.studies.layout import TableLayout
from sweep.studies.study import BASELINE
from trainables.registry import IMAGE_IMAGE_GROUP, IMAGE_TEXT_GROUP, JOINT_GROUP

ANSWER, DETAIL, CAUTION = "answer", "detail", "caution"
TOLD, NOT_TOLD, NOT_TESTED, NO_DIFFERENCE = "told apart", "not told apart", "not tested", "no difference"


def verdict(test: Comparison | None) -> str:
    """What may be said of two rows: TOLD, NOT_TOLD, NOT_TESTED or NO_DIFFERENCE."""
    if test is None or test.difference is None:
        return NOT_TESTED
    if test.p_both_holm_table is None:
        return NO_DIFFERENCE if test.n > 1 and abs(test.difference) <= ROUNDING else NOT_TESTED
    return TOLD if test.p_both_holm_table < ALPHA else NOT_TOLD


@dataclass(frozen=True)
class Sentence:
    """One statement. kind: ANSWER, DETAIL or CAUTION.

    dataset: the display name of what it is about, which then begins the text; empty for the whole study.
    """

    kind: str
    text: str
    dataset: str = ""


@dataclass(frozen=True)
class DatasetSummaries:
    """The means and comparisons of one dataset, by row and column. source: its name; display: the name to print."""

    comparisons: Comparisons
    source: str
    display: str

    @property
    def layout(self) -> TableLayout:
        """Rows and columns of Table 1."""
        return self.comparisons.table1

    @property
    def subject(self) -> str:
        """What differs where two rows do: methods where each has several pretrainings, else these checkpoints."""
        return "methods" if len(self.layout.pretrain_seeds) > 1 else "these checkpoints"

    @property
    def reference(self) -> str | None:
        """The row that others are compared with; None without a baseline."""
        return self.comparisons.reference

    def summary(self, row: str, column: Column) -> Summary:
        """The mean macro AUROC of a row, in [0, 1], with its interval."""
        return self.comparisons.summaries.of(row, self.source, column)

    def mean(self, row: str, column: Column) -> float:
        """The mean alone, in [0, 1], of a row that has one: ask for one that `best` or `complete_rows` gave."""
        mean = self.summary(row, column).mean
        assert mean is not None, f"{row} has no mean under {column} on {self.source}"
        return mean

    def patients(self, row: str, column: Column) -> tuple[float, float] | None:
        """The interval over patients of the mean, in [0, 1]; None where there is none."""
        place = row, self.source, *column
        return self.comparisons.patients.intervals.get((place, MACRO_DEFINED))

    def against_reference(self, column: Column) -> dict[str, Comparison]:
        """Every other row -> its test against the reference."""
        return self.comparisons.against_reference(self.source, column)

    def pair(self, first: str, second: str, column: Column) -> str:
        """The verdict on two rows among all pairs."""
        return verdict(self.comparisons.pair(self.source, column, first, second))

    def not_told_from(self, row: str, column: Column) -> int | None:
        """Number of other rows with a mean that cannot be told from this one; None where none of them is tested."""
        others = [name for name, _, _ in self.layout.rows if name != row and self.summary(name, column).n]
        found = [self.pair(row, other, column) for other in others]
        return None if set(found) <= {NOT_TESTED} else sum(one != TOLD for one in found)

    def mean_text(self, row: str, column: Column) -> str:
        """`80.00 ± 2.52 over seeds; 78.10 to 81.90 over patients`, in percent."""
        s, patients = self.summary(row, column), self.patients(row, column)
        over_patients = f"; {patients_range(patients)} over patients" if patients else ""
        return f"{mean_and_interval(s.mean, s.ci95)} over seeds{over_patients}"

    def name(self, row: str) -> str:
        """The display name of a row."""
        return next(display for name, display, _ in self.layout.rows if name == row)

    def title(self, column: Column) -> str:
        """`LP`, `FT (1%)`."""
        return self.layout.column_title(*column)

    def rows(self, *groups: str) -> list[str]:
        """The rows of some groups, in the table's order."""
        return [name for name, _, group in self.layout.rows if group in groups]

    def best(self, column: Column, rows: Iterable[str]) -> list[str]:
        """Rows with the highest mean as printed, among those with the most seeds; several where they tie."""
        found = {row: self.summary(row, column) for row in rows}
        return [row for row, best in zip(found, best_of(list(found.values())), strict=True) if best]

    @property
    def has_results(self) -> bool:
        """Whether any row has a mean in any column."""
        return any(self.summary(row, column).n for row, _, _ in self.layout.rows for column in self.layout.columns)


def narrative_of(comparisons: Comparisons) -> tuple[Sentence, ...]:
    """Sentences about a study as it stands; each is left out where its numbers are not there."""
    means = comparisons.summaries
    if all(result.status != Status.DONE for result in means.results):
        return (Sentence(CAUTION, "No cell of this study is finished: there is no result to state yet."),)
    datasets = dataset_summaries(comparisons)
    # Each function below gives its sentences, none where its numbers are missing.
    sentences = [Sentence(ANSWER, text) for text in _best_overall(comparisons)]
    for dataset in datasets:
        if dataset.has_results:
            sentences += [Sentence(ANSWER, text, dataset.display) for text in _best_by_column(dataset)]
            details = (*_tests(dataset), *_reports(dataset), *_joint(dataset), *_few_labels(dataset))
            sentences += [Sentence(DETAIL, text, dataset.display) for text in details]
        elif all(r.status != Status.DONE for r in means.results if r.dataset == dataset.source):
            sentences.append(Sentence(CAUTION, f"No cell on {dataset.display} is finished.", dataset.display))
    return (*sentences, *(Sentence(CAUTION, text) for text in cautions(means)))


def dataset_summaries(comparisons: Comparisons) -> tuple[DatasetSummaries, ...]:
    """One for each dataset, in the table's order."""
    datasets = comparisons.summaries.layout.datasets
    return tuple(DatasetSummaries(comparisons, source, display) for source, display in datasets)


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`; at least one item."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _best_overall(comparisons: Comparisons) -> list[str]:
    """Which row has the best mean rank in Table 1, and how many others cannot be told from it."""
    ranks, layout = comparisons.ranks[0], comparisons.table1  # the first is over all columns
    distance = ranks.critical_difference
    if distance is None:  # one row has no rank, and one column is a table of its own
        return []
    names = {name: display for name, display, _ in layout.rows}
    best = [m for m, rank in zip(ranks.methods, ranks.mean_ranks, strict=True) if rank == ranks.mean_ranks[0]]
    others = ranks.methods[len(best) :]
    near = sum(rank - ranks.mean_ranks[0] < distance for rank in ranks.mean_ranks[len(best) :])
    datasets = listed([display for _, display in layout.datasets])
    text = (
        f"Over {ranks.num_blocks} columns of Table 1 ({datasets}), the best mean rank is that of "
        f"{listed([names[name] for name in best])}, {ranks.mean_ranks[0]:.1f} of {len(ranks.methods)}"
    )
    if others:
        text += (
            f"; within the critical difference ({distance:.1f} ranks) {'lies' if near == 1 else 'lie'} {near} of the "
            f"{counted(len(others), 'other row')}. Columns share test images and encoders, so ranks tell no rows "
            "apart. "
        )
        # Of rows that tie, none is the one that others could be told from.
        text += _told_in_columns(comparisons, best[0], others) if len(best) == 1 else "Several rows share that rank."
    else:
        text += ": all rows share it."
    if ranks.methods_left_out:
        absent = [names[name] for name in ranks.methods_left_out]
        text += f" Without a complete column, and so not ranked: {listed(absent)}."
    if ranks.blocks_left_out:
        text += f" Left out, since some row lacks a seed there: {counted(ranks.blocks_left_out, 'column')}."
    return [text]


def _told_in_columns(comparisons: Comparisons, row: str, others: Sequence[str]) -> str:
    """From how many other rows one is told in any column, as the higher and as the lower one: a sentence."""
    layout = comparisons.table1
    places = [(source, column, other) for source, _ in layout.datasets for column in layout.columns for other in others]
    tests = [(other, comparisons.pair(source, column, row, other)) for source, column, other in places]
    if all(verdict(test) == NOT_TESTED for _, test in tests):
        return "No difference from another row was tested, so it is told from none of them."
    above: set[str] = set()
    below: set[str] = set()
    for other, test in tests:
        if test is not None and test.difference is not None and verdict(test) == TOLD:
            (above if (test.difference > 0) == (test.first == row) else below).add(other)
    told = [f"from {len(rows)} as the {which} one" for rows, which in ((above, "higher"), (below, "lower")) if rows]
    if not told:
        return "Seeds and patients together tell it from none of them in any column."
    rest = f"; from {untold} it cannot be told in any" if (untold := len(set(others) - above - below)) else ""
    return f"Seeds and patients together tell it in some column {' and '.join(told)}{rest}."


def counted(number: int, noun: str) -> str:
    """`1 column`, `2 columns`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def _best_by_column(dataset: DatasetSummaries) -> list[str]:
    """Which row is highest in which columns, the one that is highest most often first."""
    wins: dict[str, list[Column]] = {}
    columns = [c for c in dataset.layout.columns if any(dataset.summary(r, c).n for r, _, _ in dataset.layout.rows)]
    for column in columns:
        for row in dataset.best(column, [name for name, _, _ in dataset.layout.rows]):
            wins.setdefault(row, []).append(column)
    ranked = sorted(wins.items(), key=lambda item: -len(item[1]))  # stable: among equals the first to be best
    parts = [
        f"{dataset.name(row)} under "
        + listed([f"{dataset.title(c)} ({dataset.mean_text(row, c)}; {separation(dataset, row, c)})" for c in won])
        for row, won in ranked
    ]
    return [f"{dataset.display}: the highest mean macro AUROC (%) is that of {'; '.join(parts)}."] if parts else []


def separation(dataset: DatasetSummaries, row: str, column: Column) -> str:
    """From how many rows of its column one cannot be told: part of a sentence."""
    near = dataset.not_told_from(row, column)
    if near is None:
        return "not tested against the others"
    return f"{counted(near, 'other row')} cannot be told from it" if near else "told from every other row"


def _tests(dataset: DatasetSummaries) -> list[str]:
    """How many means are told from the reference, above and below, and the largest difference."""
    # Other baselines are tested and corrected for too, in comparisons.csv; the sentence counts methods.
    methods = [name for name, _, group in dataset.layout.rows if group != BASELINE]
    if dataset.reference is None or not methods:
        return []
    tests = {(row, c): dataset.against_reference(c)[row] for c in dataset.layout.columns for row in methods}
    name = dataset.name(dataset.reference)
    tested = {place: test for place, test in tests.items() if test.difference is not None and test.p_both is not None}
    if not tested:
        return [
            f"{dataset.display}: no difference from {name} is claimed, since none could be tested: that takes two "
            "seeds that both rows have, and their predictions for three patients or more of each class of each finding."
        ]
    over_table = _above_and_below(test for test in tested.values() if verdict(test) == TOLD)
    within = _above_and_below(t for t in tested.values() if t.p_both_holm is not None and t.p_both_holm < ALPHA)
    (row, column), largest = max(tested.items(), key=lambda item: item[1].difference or 0.0)
    assert largest.difference is not None, "only what has a difference is tested"
    return [
        f"{dataset.display}: against {name}, {over_table[0]} of {len(tested)} means of {dataset.subject} are higher "
        f"and {over_table[1]} lower by more than seeds and patients together explain (p < {ALPHA:g}, Holm-corrected "
        f"over all rows and columns; corrected within each column alone {within[0]} and {within[1]}). The largest "
        f"difference is {100 * largest.difference:+.2f} points, {dataset.name(row)} under {dataset.title(column)} "
        f"({verdict(largest)})."
    ]


def _above_and_below(tests: Iterable[Comparison]) -> tuple[int, int]:
    differences = [test.difference for test in tests if test.difference is not None]
    return sum(d > 0 for d in differences), sum(d < 0 for d in differences)


def complete_rows(dataset: DatasetSummaries, rows: Iterable[str], column: Column) -> list[str]:
    """Those of the rows with a mean over every seed: sentences compare no others."""
    return [row for row in rows if dataset.summary(row, column).complete and dataset.summary(row, column).n]


def _reports(dataset: DatasetSummaries) -> list[str]:
    """The best method that reads reports against the best that does not, column by column."""
    parts = []
    for column in dataset.layout.columns:
        text = dataset.best(column, complete_rows(dataset, dataset.rows(IMAGE_TEXT_GROUP, JOINT_GROUP), column))
        image = dataset.best(column, complete_rows(dataset, dataset.rows(IMAGE_IMAGE_GROUP), column))
        if text and image:
            # Of rows that tie any one will do: they print the same mean.
            gap = 100 * (dataset.mean(text[0], column) - dataset.mean(image[0], column))
            parts.append(
                f"{gap:+.2f} under {dataset.title(column)} ({dataset.name(text[0])} - {dataset.name(image[0])}, "
                f"{dataset.pair(text[0], image[0], column)})"
            )
    if not parts:
        return []
    return [f"{dataset.display}: highest mean with reports minus highest without, in points: {listed(parts)}."]


def _joint(dataset: DatasetSummaries) -> list[str]:
    """A joint method against the better of its two parts, over all columns."""
    gaps: list[float] = []
    told = 0
    names = {name for name, _, _ in dataset.layout.rows}
    for row in dataset.rows(JOINT_GROUP):
        for column in dataset.layout.columns:
            # The registry names a joint method by its parts: clip+simclr.
            parts = complete_rows(dataset, [p for p in row.split("+") if p in names], column)
            if len(parts) == 2 and complete_rows(dataset, [row], column):
                best = max(parts, key=lambda part: dataset.mean(part, column))
                gaps.append(100 * (dataset.mean(row, column) - dataset.mean(best, column)))
                told += gaps[-1] > 0 and dataset.pair(row, best, column) == TOLD
    if not gaps:
        return []
    higher = sum(gap > 0 for gap in gaps)
    return [
        f"{dataset.display}: the mean of a joint method is above that of the better of its two parts in {higher} of "
        f"{len(gaps)} places, {told} of them told apart (median difference {median(gaps):+.2f} points)."
    ]


def _few_labels(dataset: DatasetSummaries) -> list[str]:
    """Means that with a share of the labels reach what the baseline has with all of them. Columns are not tested."""
    reference = dataset.reference
    # From the fewest labels up: the first share at which a method reaches the target is the answer.
    shares = sorted(share for protocol, share in dataset.layout.columns if protocol == "FT")
    if reference is None or len(shares) < 2 or not complete_rows(dataset, [reference], ("FT", shares[-1])):
        return []
    target = dataset.mean(reference, ("FT", shares[-1]))
    methods = [name for name, _, group in dataset.layout.rows if group != BASELINE]
    if not methods:
        return []
    for share in shares[:-1]:
        column = ("FT", share)
        rows = dataset.best(column, complete_rows(dataset, methods, column))
        if rows and dataset.mean(rows[0], column) >= target:
            return [
                f"{dataset.display}: fine-tuned with {share}% of the labels, the mean of {dataset.name(rows[0])} "
                f"({percent(dataset.mean(rows[0], column))}) reaches that of {dataset.name(reference)} with "
                f"{shares[-1]}% ({percent(target)}); columns are not tested against each other."
            ]
    if any(len(complete_rows(dataset, methods, ("FT", share))) < len(methods) for share in shares[:-1]):
        return []  # one that is not there yet might reach it
    name = dataset.name(reference)
    return [f"{dataset.display}: with fewer labels no mean reaches that of {name} with {shares[-1]}% of them."]


def cautions(means: Summaries) -> list[str]:
    """What limits these numbers: what is missing, what does not vary, which are of few images."""
    results, layout = means.results, means.layout
    counts = {
        status: sum(r.status == status for r in results)
        for status in (Status.DONE, Status.FAILED, Status.MISSING, Status.DAMAGED)
    }
    texts = []
    if counts[Status.FAILED] or counts[Status.MISSING] or counts[Status.DAMAGED]:
        damaged = f", {counts[Status.DAMAGED]:,} are damaged" if counts[Status.DAMAGED] else ""
        texts.append(
            f"{counts[Status.DONE]:,} of {len(results):,} cells are finished{damaged}, "
            f"{counts[Status.FAILED]:,} failed and {counts[Status.MISSING]:,} are missing; "
            "means are over the finished seeds, and marked."
        )
    if len(layout.seeds) < 2 and len(layout.pretrain_seeds) < 2:
        texts.append("There is one seed: no interval over seeds and no test is possible.")
    elif len(layout.seeds) < 2:
        texts.append(
            "There is one downstream seed: intervals and tests are over pretrainings, and do not cover other draws of "
            "the labelled images."
        )
    if len(layout.pretrain_seeds) == 1:
        texts.append(
            "Each method was pretrained once: intervals and tests do not cover the variance of pretraining. What is "
            "told apart are these checkpoints, not the methods."
        )
    texts += _undefined(results, layout)
    for source, display in layout.datasets:
        few = _few_positives(results, source)
        if few:
            texts.append(
                f"{display}: fewer than {FEW_POSITIVES} positive test images, so single images move these AUROCs and "
                f"the mean: {', '.join(few)}."
            )
    return texts


def _undefined(results: Sequence[CellResult], layout: TableLayout) -> list[str]:
    """Datasets where means are over fewer findings than there are."""
    counts = defined_findings(results)
    return [
        f"{display}: {'no finding has' if high == 0 else f'only {high} of {total} findings have'} both classes in the "
        "test images; the others have no AUROC and are in no mean."
        for source, display in layout.datasets
        if source in counts
        for _, high, total in [counts[source]]
        if high < total
    ]


def _few_positives(results: Sequence[CellResult], dataset: str) -> list[str]:
    # All cells of a dataset have the same test images: the first one that is done speaks for all.
    first = next((r for r in results if r.dataset == dataset and r.findings), None)
    if first is None:
        return []
    return [f"{in_sentence(f.finding)} ({f.n_pos})" for f in first.findings if 0 < f.n_pos < FEW_POSITIVES]
