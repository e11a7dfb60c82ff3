"""What do the numbers say, in sentences: which row is best where, by how much, with few labels, and how sure that is.

Sentences are made from `Comparisons` and its `Summaries` alone: no mean, no test and no rank is computed here, so that
none can differ from the tables, the CSV files and the figures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from sweep.report.table_text import mean_and_interval, percent
from sweep.statistics.comparisons import Comparisons
from sweep.statistics.inference import Comparison
from sweep.statistics.summaries import Column, Summaries
from sweep.statistics.summary import FEW_POSITIVES, Summary, best_of, defined_findings
from sweep.store.records import CellResult
from sweep.store.status_names import Status
from sweep.studies.layout import TableLayout
from sweep.studies.study import BASELINE
from trainables.registry import IMAGE_IMAGE_GROUP, IMAGE_TEXT_GROUP, JOINT_GROUP

ANSWER, DETAIL, CAUTION = "answer", "detail", "caution"
ALPHA = 0.05  # level of significance, of p after Holm's correction


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
        """Rows and columns of the whole study."""
        return self.comparisons.summaries.layout

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

    def against_reference(self, column: Column) -> dict[str, Comparison]:
        """Every other row -> its paired test against the reference."""
        return self.comparisons.against_reference(self.source, column)

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
        else:
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
    """Which row ranks best over all datasets and columns."""
    ranks, layout = comparisons.ranks[0], comparisons.summaries.layout  # the first is over all columns
    if len(ranks.methods) < 2 or ranks.num_blocks < 2:  # one row has no rank, and one column is a table of its own
        return []
    names = {name: display for name, display, _ in layout.rows}
    absent = [names[name] for name in ranks.methods_left_out]
    without = f" Without a complete column, and so not ranked: {listed(absent)}." if absent else ""
    return [
        f"Over all {ranks.num_blocks} columns of {listed([display for _, display in layout.datasets])}, "
        f"{names[ranks.methods[0]]} ranks best: mean rank {ranks.mean_ranks[0]:.1f} of {len(ranks.methods)}, before "
        f"{names[ranks.methods[1]]} ({ranks.mean_ranks[1]:.1f}).{without}"
    ]


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
        + listed(
            [
                f"{dataset.title(c)} ({mean_and_interval(dataset.summary(row, c).mean, dataset.summary(row, c).ci95)})"
                for c in won
            ]
        )
        for row, won in ranked
    ]
    return [f"{dataset.display}: the highest macro AUROC (%) is that of {'; '.join(parts)}."] if parts else []


def _tests(dataset: DatasetSummaries) -> list[str]:
    """How many means are significantly above and below the reference, and the largest difference."""
    # Other baselines are tested and corrected for too, in comparisons.csv; the sentence counts methods.
    methods = [name for name, _, group in dataset.layout.rows if group != BASELINE]
    if dataset.reference is None or not methods:
        return []
    tests = {(row, c): dataset.against_reference(c)[row] for c in dataset.layout.columns for row in methods}
    name = dataset.name(dataset.reference)
    # place -> (difference, p after Holm's correction), of the pairs that could be tested
    tested = {
        place: (test.difference, test.p_holm)
        for place, test in tests.items()
        if test.difference is not None and test.p_holm is not None
    }
    if not tested:
        return [f"{dataset.display}: no method shares two seeds with {name} yet, so none is tested."]
    significant = [difference for difference, p in tested.values() if p < ALPHA]
    better, worse = sum(difference > 0 for difference in significant), sum(difference < 0 for difference in significant)
    largest = max(tested, key=lambda place: tested[place][0])
    row, column = largest
    return [
        f"{dataset.display}: against {name}, {better} of {len(tested)} means of methods are significantly higher and "
        f"{worse} significantly lower (paired t-tests over seeds, Holm-corrected over all rows of each column, "
        f"p < {ALPHA:g}); the largest difference is {100 * tested[largest][0]:+.2f} points, "
        f"{dataset.name(row)} under {dataset.title(column)}."
    ]


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
                f"{gap:+.2f} under {dataset.title(column)} ({dataset.name(text[0])} - {dataset.name(image[0])})"
            )
    if not parts:
        return []
    return [f"{dataset.display}: best method with reports minus best without, in points: {listed(parts)}."]


def _joint(dataset: DatasetSummaries) -> list[str]:
    """A joint method against the better of its two parts, over all columns."""
    gaps: list[float] = []
    names = {name for name, _, _ in dataset.layout.rows}
    for row in dataset.rows(JOINT_GROUP):
        for column in dataset.layout.columns:
            # The registry names a joint method by its parts: clip+simclr.
            parts = complete_rows(dataset, [p for p in row.split("+") if p in names], column)
            if len(parts) == 2 and complete_rows(dataset, [row], column):
                best = max(dataset.mean(part, column) for part in parts)
                gaps.append(100 * (dataset.mean(row, column) - best))
    if not gaps:
        return []
    higher = sum(gap > 0 for gap in gaps)
    return [
        f"{dataset.display}: a joint method is above the better of its two parts in {higher} of {len(gaps)} places "
        f"(median difference {median(gaps):+.2f} points)."
    ]


def _few_labels(dataset: DatasetSummaries) -> list[str]:
    """Methods that with a share of the labels reach what the baseline has with all of them."""
    reference = dataset.reference
    # From the fewest labels up: the first share at which a method reaches the target is the answer.
    shares = sorted(share for protocol, share in dataset.layout.columns if protocol == "FT")
    if reference is None or len(shares) < 2 or not complete_rows(dataset, [reference], ("FT", shares[-1])):
        return []
    target = dataset.mean(reference, ("FT", shares[-1]))
    methods = [name for name, _, group in dataset.layout.rows if group != BASELINE]
    for share in shares[:-1]:
        column = ("FT", share)
        rows = dataset.best(column, complete_rows(dataset, methods, column))
        if rows and dataset.mean(rows[0], column) >= target:
            return [
                f"{dataset.display}: fine-tuned with {share}% of the labels, {dataset.name(rows[0])} "
                f"({percent(dataset.mean(rows[0], column))}) reaches {dataset.name(reference)} with "
                f"{shares[-1]}% ({percent(target)})."
            ]
    name = dataset.name(reference)
    return [f"{dataset.display}: with fewer labels no method reaches what {name} has with {shares[-1]}% of them."]


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
    if len(layout.seeds) < 2:
        texts.append("There is one seed: no interval and no test is possible.")
    if len(layout.pretrain_seeds) == 1:
        texts.append("Each method was pretrained once: intervals and tests do not cover the variance of pretraining.")
    # Findings that are in no mean, then findings that are in one and rest on few images.
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
    return [f"{f.finding} ({f.n_pos})" for f in first.findings if 0 < f.n_pos < FEW_POSITIVES]
