"""What do the numbers say, in sentences: who wins where, by how much, with few labels, and how sure that is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from sweep.report.main_table import best_of
from sweep.report.table_text import mean_and_interval, percent
from sweep.statistics.comparisons import Comparisons
from sweep.statistics.inference import Comparison
from sweep.statistics.summaries import Column
from sweep.statistics.summary import FEW_POSITIVES, Summary, defined_findings
from sweep.store.records import CellResult
from sweep.store.status_names import Status
from sweep.studies.layout import TableLayout
from sweep.studies.study import BASELINE
from trainables.registry import IMAGE_IMAGE_GROUP, IMAGE_TEXT_GROUP, JOINT_GROUP

ANSWER, DETAIL, CAUTION = "answer", "detail", "caution"
ALPHA = 0.05


@dataclass(frozen=True)
class Sentence:
    """One statement. dataset: the display name of what it is about, empty for the whole study."""

    kind: str
    text: str
    dataset: str = ""


@dataclass(frozen=True)
class DatasetSummaries:
    """One dataset of a study."""

    comparisons: Comparisons
    source: str
    display: str

    @property
    def layout(self) -> TableLayout:
        return self.comparisons.summaries.layout

    @property
    def reference(self) -> str | None:
        return self.comparisons.reference

    def summary(self, row: str, column: Column) -> Summary:
        return self.comparisons.summaries.of(row, self.source, column)

    def against_reference(self, column: Column) -> dict[str, Comparison]:
        """Every other row -> its paired test against the reference."""
        return self.comparisons.against_reference(self.source, column)

    def name(self, row: str) -> str:
        return next(display for name, display, _ in self.layout.rows if name == row)

    def title(self, column: Column) -> str:
        return self.layout.column_title(*column)

    def rows(self, *groups: str) -> list[str]:
        return [name for name, _, group in self.layout.rows if group in groups]

    def best(self, column: Column, rows: Iterable[str]) -> list[str]:
        """Rows with the highest mean as printed, among those with the most seeds; several where they tie."""
        found = {row: self.summary(row, column) for row in rows}
        best = best_of(list(found.values()))
        return [row for row, summary in found.items() if (summary.n, percent(summary.mean)) == best]

    @property
    def begun(self) -> bool:
        """Whether any place has a mean."""
        return any(self.summary(row, column).n for row, _, _ in self.layout.rows for column in self.layout.columns)


def narrative_of(comparisons: Comparisons) -> tuple[Sentence, ...]:
    """Sentences about a study as it stands; each is left out where its numbers are not there."""
    results, layout = comparisons.summaries.results, comparisons.summaries.layout
    if all(result.status != Status.DONE for result in results):
        return (Sentence(CAUTION, "No cell of this study is finished: there is no result to state yet."),)
    blocks = dataset_summaries(comparisons)
    sentences = [Sentence(ANSWER, text) for text in _overall(comparisons)]
    for block in blocks:
        if block.begun:
            sentences += [Sentence(ANSWER, text, block.display) for text in _winners(block)]
            details = (*_tested(block), *_reports(block), *_joint(block), *_few_labels(block))
            sentences += [Sentence(DETAIL, text, block.display) for text in details]
        else:
            sentences.append(Sentence(CAUTION, f"No cell on {block.display} is finished.", block.display))
    return (*sentences, *(Sentence(CAUTION, text) for text in cautions(results, layout)))


def dataset_summaries(comparisons: Comparisons) -> tuple[DatasetSummaries, ...]:
    datasets = comparisons.summaries.layout.datasets
    return tuple(DatasetSummaries(comparisons, source, display) for source, display in datasets)


def listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _overall(comparisons: Comparisons) -> list[str]:
    """Which row ranks best over all datasets and columns."""
    ranks, layout = comparisons.ranks[0], comparisons.summaries.layout
    if len(ranks.methods) < 2 or ranks.num_blocks < 2:
        return []
    names = {name: display for name, display, _ in layout.rows}
    absent = [names[name] for name in ranks.methods_left_out]
    without = f" Without a complete column, and so not ranked: {listed(absent)}." if absent else ""
    return [
        f"Over all {ranks.num_blocks} columns of {listed([display for _, display in layout.datasets])}, "
        f"{names[ranks.methods[0]]} ranks best: mean rank {ranks.mean_ranks[0]:.1f} of {len(ranks.methods)}, before "
        f"{names[ranks.methods[1]]} ({ranks.mean_ranks[1]:.1f}).{without}"
    ]


def _winners(block: DatasetSummaries) -> list[str]:
    """Which row is highest in which columns, the one that is highest most often first."""
    wins: dict[str, list[Column]] = {}
    columns = [c for c in block.layout.columns if any(block.summary(r, c).n for r, _, _ in block.layout.rows)]
    for column in columns:
        for row in block.best(column, [name for name, _, _ in block.layout.rows]):
            wins.setdefault(row, []).append(column)
    ranked = sorted(wins.items(), key=lambda item: -len(item[1]))
    parts = [
        f"{block.name(row)} under "
        + listed(
            [
                f"{block.title(c)} ({mean_and_interval(block.summary(row, c).mean, block.summary(row, c).ci95)})"
                for c in won
            ]
        )
        for row, won in ranked
    ]
    return [f"{block.display}: the highest macro AUROC (%) is that of {'; '.join(parts)}."] if parts else []


def _tested(block: DatasetSummaries) -> list[str]:
    """How many means are significantly above and below the reference, and the largest difference."""
    methods = [name for name, _, group in block.layout.rows if group != BASELINE]
    if block.reference is None or not methods:
        return []
    tests = {(row, c): block.against_reference(c)[row] for c in block.layout.columns for row in methods}
    name = block.name(block.reference)
    tested = {place: test for place, test in tests.items() if test.p is not None}
    if not tested:
        return [f"{block.display}: no method shares two seeds with {name} yet, so none is tested."]
    sure = [test for test in tested.values() if test.p_holm < ALPHA]
    better, worse = sum(t.difference > 0 for t in sure), sum(t.difference < 0 for t in sure)
    row, column = max(tested, key=lambda place: tested[place].difference)
    return [
        f"{block.display}: against {name}, {better} of {len(tested)} means of methods are significantly higher and "
        f"{worse} significantly lower (paired t-tests over seeds, Holm-corrected over all rows of each column, "
        f"p < {ALPHA:g}); the largest difference is {100 * tested[row, column].difference:+.2f} points, "
        f"{block.name(row)} under {block.title(column)}."
    ]


def complete_rows(block: DatasetSummaries, rows: Iterable[str], column: Column) -> list[str]:
    """Rows with a mean over every seed: only those are compared in words."""
    return [row for row in rows if block.summary(row, column).complete and block.summary(row, column).n]


def _reports(block: DatasetSummaries) -> list[str]:
    """The best method that reads reports against the best that does not, column by column."""
    parts = []
    for column in block.layout.columns:
        text = block.best(column, complete_rows(block, block.rows(IMAGE_TEXT_GROUP, JOINT_GROUP), column))
        image = block.best(column, complete_rows(block, block.rows(IMAGE_IMAGE_GROUP), column))
        if text and image:
            gap = 100 * (block.summary(text[0], column).mean - block.summary(image[0], column).mean)
            parts.append(f"{gap:+.2f} under {block.title(column)} ({block.name(text[0])} - {block.name(image[0])})")
    if not parts:
        return []
    return [f"{block.display}: best method with reports minus best without, in points: {listed(parts)}."]


def _joint(block: DatasetSummaries) -> list[str]:
    """A joint method against the better of its two parts, over all columns."""
    gaps, names = [], {name for name, _, _ in block.layout.rows}
    for row in block.rows(JOINT_GROUP):
        for column in block.layout.columns:
            parts = complete_rows(block, [p for p in row.split("+") if p in names], column)
            if len(parts) == 2 and complete_rows(block, [row], column):
                best = max(block.summary(part, column).mean for part in parts)
                gaps.append(100 * (block.summary(row, column).mean - best))
    if not gaps:
        return []
    higher = sum(gap > 0 for gap in gaps)
    return [
        f"{block.display}: a joint method is above the better of its two parts in {higher} of {len(gaps)} places "
        f"(median difference {median(gaps):+.2f} points)."
    ]


def _few_labels(block: DatasetSummaries) -> list[str]:
    """Methods that with a share of the labels reach what the baseline has with all of them."""
    reference = block.reference
    shares = sorted(share for protocol, share in block.layout.columns if protocol == "FT")
    if reference is None or len(shares) < 2 or not complete_rows(block, [reference], ("FT", shares[-1])):
        return []
    target = block.summary(reference, ("FT", shares[-1])).mean
    methods = [name for name, _, group in block.layout.rows if group != BASELINE]
    for share in shares[:-1]:
        column = ("FT", share)
        rows = block.best(column, complete_rows(block, methods, column))
        if rows and block.summary(rows[0], column).mean >= target:
            return [
                f"{block.display}: fine-tuned with {share}% of the labels, {block.name(rows[0])} "
                f"({percent(block.summary(rows[0], column).mean)}) reaches {block.name(reference)} with "
                f"{shares[-1]}% ({percent(target)})."
            ]
    name = block.name(reference)
    return [f"{block.display}: with fewer labels no method reaches what {name} has with {shares[-1]}% of them."]


def cautions(results: Sequence[CellResult], layout: TableLayout) -> list[str]:
    """What limits these numbers: what is not there, what does not vary, on what few images they hang."""
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
    first = next((r for r in results if r.dataset == dataset and r.findings), None)
    if first is None:
        return []
    return [f"{f.finding} ({f.n_pos})" for f in first.findings if 0 < f.n_pos < FEW_POSITIVES]
