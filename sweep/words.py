"""What do the numbers say, in sentences: who wins where, by how much, with few labels, and how sure that is."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from sweep.aggregate import (
    DAMAGED,
    DONE,
    FAILED,
    FEW_POSITIVES,
    MISSING,
    CellResult,
    Summary,
    by_place,
    defined_findings,
    summarise,
)
from sweep.compare import rank_methods
from sweep.stats import Comparison, compare, mean
from sweep.studies import BASELINE
from sweep.table_text import mean_and_interval, percent
from sweep.tables import TableLayout, best_of
from trainables.registry import IMAGE_IMAGE_GROUP, IMAGE_TEXT_GROUP, JOINT_GROUP

ANSWER, DETAIL, CAUTION = "answer", "detail", "caution"
ALPHA = 0.05
Column = tuple[str, int]


@dataclass(frozen=True)
class Sentence:
    """One statement. dataset: the display name of what it is about, empty for the whole study."""

    kind: str
    text: str
    dataset: str = ""


@dataclass(frozen=True)
class Block:
    """One dataset: summaries and seed values of each row and column of a layout."""

    layout: TableLayout
    source: str
    display: str
    summaries: Mapping[tuple[str, Column], Summary]
    values: Mapping[tuple[str, Column], Mapping]

    def name(self, row: str) -> str:
        return next(display for name, display, _ in self.layout.rows if name == row)

    def title(self, column: Column) -> str:
        return self.layout.column_title(*column)

    def rows(self, *groups: str) -> list[str]:
        return [name for name, _, group in self.layout.rows if group in groups]

    def best(self, column: Column, rows: Iterable[str]) -> list[str]:
        """Rows with the highest mean as printed, among those with the most seeds; several where they tie."""
        rows = list(rows)
        best = best_of([self.summaries[row, column] for row in rows])
        return [r for r in rows if (self.summaries[r, column].n, percent(self.summaries[r, column].mean)) == best]


def findings_in_words(results: Sequence[CellResult], layout: TableLayout) -> tuple[Sentence, ...]:
    """Sentences about a study as it stands; each is computed, and left out where its numbers are not there."""
    done = [result for result in results if result.status == DONE]
    if not done:
        return (Sentence(CAUTION, "No cell of this study is finished: there is no result to state yet."),)
    blocks = make_blocks(results, layout)
    sentences = [Sentence(ANSWER, text) for text in _overall(blocks)]
    for block in blocks:
        if any(summary.n for summary in block.summaries.values()):
            sentences += [Sentence(ANSWER, text, block.display) for text in _winners(block)]
            details = (*_tested(block), *_reports(block), *_joint(block), *_few_labels(block))
            sentences += [Sentence(DETAIL, text, block.display) for text in details]
        else:
            sentences.append(Sentence(CAUTION, f"No cell on {block.display} is finished.", block.display))
    return (*sentences, *(Sentence(CAUTION, text) for text in cautions(results, layout)))


def make_blocks(results: Iterable[CellResult], layout: TableLayout) -> tuple[Block, ...]:
    places = by_place(results)
    return tuple(_block(source, display, layout, places) for source, display in layout.datasets)


def _block(source: str, display: str, layout: TableLayout, places: Mapping) -> Block:
    summaries, values = {}, {}
    for name, _, _ in layout.rows:
        for column in layout.columns:
            cells = places.get((name, source, *column), [])
            summaries[name, column] = summarise(cells, layout.seeds, layout.pretrain_seeds, layout.interval)
            values[name, column] = seed_values(cells, len(layout.pretrain_seeds) > 1)
    return Block(layout, source, display, summaries, values)


def seed_values(cells: Iterable[CellResult], several_pretrainings: bool) -> dict[int, float]:
    """Seed -> macro AUROC; with several pretrainings, pretraining seed -> the mean over its downstream seeds."""
    groups: dict[int, list[float]] = {}
    for cell in cells:
        if cell.status == DONE and cell.macro_auroc is not None:
            groups.setdefault(cell.pretrain_seed if several_pretrainings else cell.seed, []).append(cell.macro_auroc)
    return {seed: mean(values) for seed, values in groups.items()}


def listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def mean_ranks(blocks: Iterable[Block]) -> tuple[list[tuple[str, float]], int]:
    """Rows with their mean rank over the places where every row has all its seeds, best first; number of places."""
    places = []
    names: list[str] = []
    for block in blocks:
        names = [name for name, _, _ in block.layout.rows]
        for column in block.layout.columns:
            if len(complete_rows(block, names, column)) == len(names):
                places.append({name: block.summaries[name, column].mean for name in names})
    ranks = rank_methods("all columns", "dataset and column", places, names)
    return list(zip(ranks.methods, ranks.mean_ranks, strict=True)), ranks.num_blocks


def _overall(blocks: Sequence[Block]) -> list[str]:
    """Which row ranks best over all datasets and columns."""
    ranked, places = mean_ranks(blocks)
    if len(ranked) < 2 or places < 2:
        return []
    (first, rank), (second, next_rank) = ranked[:2]
    name = blocks[0].name
    return [
        f"Over all {places} columns of {listed([block.display for block in blocks])}, {name(first)} ranks best: mean "
        f"rank {rank:.1f} of {len(ranked)}, before {name(second)} ({next_rank:.1f})."
    ]


def _winners(block: Block) -> list[str]:
    """Which row is highest in which columns, the one that is highest most often first."""
    wins: dict[str, list[Column]] = {}
    columns = [c for c in block.layout.columns if any(block.summaries[r, c].n for r, _, _ in block.layout.rows)]
    for column in columns:
        for row in block.best(column, [name for name, _, _ in block.layout.rows]):
            wins.setdefault(row, []).append(column)
    ranked = sorted(wins.items(), key=lambda item: -len(item[1]))
    parts = [
        f"{block.name(row)} under " + listed([
            f"{block.title(c)} ({mean_and_interval(block.summaries[row, c].mean, block.summaries[row, c].ci95)})"
            for c in won
        ])
        for row, won in ranked
    ]
    return [f"{block.display}: the highest macro AUROC (%) is that of {'; '.join(parts)}."] if parts else []


def reference_of(block: Block) -> str | None:
    baselines = block.rows(BASELINE)
    return next((name for name in ("imagenet", "random") if name in baselines), next(iter(baselines), None))


def against_baseline(block: Block) -> dict[tuple[str, Column], Comparison]:
    """(method, column) -> its paired test against the baseline over seeds, corrected over a column's methods."""
    reference = reference_of(block)
    methods = [name for name, _, group in block.layout.rows if group != BASELINE]
    if reference is None or not methods:
        return {}
    tests: dict[tuple[str, Column], Comparison] = {}
    for column in block.layout.columns:
        values = {row: block.values[row, column] for row in (reference, *methods)}
        found = compare(values, [(row, reference) for row in methods])
        tests |= {(test.first, column): test for test in found}
    return tests


def _tested(block: Block) -> list[str]:
    """How many means are significantly above and below the baseline, and the largest difference."""
    tests = against_baseline(block)
    if not tests:
        return []
    name = block.name(reference_of(block))
    tested = {place: test for place, test in tests.items() if test.p is not None}
    if not tested:
        return [f"{block.display}: no method shares two seeds with {name} yet, so none is tested."]
    sure = [test for test in tested.values() if test.p_holm < ALPHA]
    better, worse = sum(t.difference > 0 for t in sure), sum(t.difference < 0 for t in sure)
    row, column = max(tested, key=lambda place: tested[place].difference)
    return [
        f"{block.display}: against {name}, {better} of {len(tested)} means of methods are significantly higher and "
        f"{worse} significantly lower (paired t-tests over seeds, Holm-corrected in each column, p < {ALPHA:g}); the "
        f"largest difference is {100 * tested[row, column].difference:+.2f} points, {block.name(row)} under "
        f"{block.title(column)}."
    ]


def complete_rows(block: Block, rows: Iterable[str], column: Column) -> list[str]:
    """Rows with a mean over every seed: only those are compared in words."""
    return [row for row in rows if block.summaries[row, column].complete and block.summaries[row, column].n]


def _reports(block: Block) -> list[str]:
    """The best method that reads reports against the best that does not, column by column."""
    parts = []
    for column in block.layout.columns:
        text = block.best(column, complete_rows(block, block.rows(IMAGE_TEXT_GROUP, JOINT_GROUP), column))
        image = block.best(column, complete_rows(block, block.rows(IMAGE_IMAGE_GROUP), column))
        if text and image:
            gap = 100 * (block.summaries[text[0], column].mean - block.summaries[image[0], column].mean)
            parts.append(f"{gap:+.2f} under {block.title(column)} ({block.name(text[0])} - {block.name(image[0])})")
    if not parts:
        return []
    return [f"{block.display}: best method with reports minus best without, in points: {listed(parts)}."]


def _joint(block: Block) -> list[str]:
    """A joint method against the better of its two parts, over all columns."""
    gaps = []
    for row in block.rows(JOINT_GROUP):
        for column in block.layout.columns:
            parts = complete_rows(block, [p for p in row.split("+") if (p, column) in block.summaries], column)
            if len(parts) == 2 and complete_rows(block, [row], column):
                best = max(block.summaries[part, column].mean for part in parts)
                gaps.append(100 * (block.summaries[row, column].mean - best))
    if not gaps:
        return []
    higher = sum(gap > 0 for gap in gaps)
    return [
        f"{block.display}: a joint method is above the better of its two parts in {higher} of {len(gaps)} places "
        f"(median difference {median(gaps):+.2f} points)."
    ]


def _few_labels(block: Block) -> list[str]:
    """Methods that with a share of the labels reach what the baseline has with all of them."""
    reference = reference_of(block)
    shares = sorted(share for protocol, share in block.layout.columns if protocol == "FT")
    if reference is None or len(shares) < 2 or not complete_rows(block, [reference], ("FT", shares[-1])):
        return []
    target = block.summaries[reference, ("FT", shares[-1])].mean
    methods = [name for name, _, group in block.layout.rows if group != BASELINE]
    for share in shares[:-1]:
        column = ("FT", share)
        rows = block.best(column, complete_rows(block, methods, column))
        if rows and block.summaries[rows[0], column].mean >= target:
            return [
                f"{block.display}: fine-tuned with {share}% of the labels, {block.name(rows[0])} "
                f"({percent(block.summaries[rows[0], column].mean)}) reaches {block.name(reference)} with "
                f"{shares[-1]}% ({percent(target)})."
            ]
    name = block.name(reference)
    return [f"{block.display}: with fewer labels no method reaches what {name} has with {shares[-1]}% of them."]


def cautions(results: Sequence[CellResult], layout: TableLayout) -> list[str]:
    """What limits these numbers: what is not there, what does not vary, on what few images they hang."""
    counts = {status: sum(r.status == status for r in results) for status in (DONE, FAILED, MISSING, DAMAGED)}
    texts = []
    if counts[FAILED] or counts[MISSING] or counts[DAMAGED]:
        damaged = f", {counts[DAMAGED]:,} are damaged" if counts[DAMAGED] else ""
        texts.append(
            f"{counts[DONE]:,} of {len(results):,} cells are finished{damaged}, {counts[FAILED]:,} failed and "
            f"{counts[MISSING]:,} are missing; means are over the finished seeds, and marked."
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
        for source, display in layout.datasets if source in counts
        for _, high, total in [counts[source]] if high < total
    ]


def _few_positives(results: Sequence[CellResult], dataset: str) -> list[str]:
    first = next((r for r in results if r.dataset == dataset and r.findings), None)
    if first is None:
        return []
    return [f"{f.finding} ({f.n_pos})" for f in first.findings if 0 < f.n_pos < FEW_POSITIVES]
