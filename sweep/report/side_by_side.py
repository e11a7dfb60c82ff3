"""What is said of two studies side by side: in sentences, in Markdown, and as a table for the page."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from sweep.report.narrative import NO_DIFFERENCE, NOT_TESTED, NOT_TOLD, TOLD, listed
from sweep.report.tables.table_text import NO_VALUE, markdown, markdown_row, mean_and_interval, percent
from sweep.statistics.comparisons import ALPHA
from sweep.statistics.inference import ROUNDING
from sweep.statistics.matching import SAME_RECIPE, differences
from sweep.statistics.row_types import SideBySideRow
from sweep.statistics.side_by_side import Side, SideBySide
from sweep.store.snapshot import Snapshot
from sweep.studies.study import Dataset

MOST_DIFFERENCES = 12  # of recipes, in the text; study.json of both have all


@dataclass(frozen=True)
class Place:
    """One cell of the page's table, as printed. means: this study's and the other's; told: whether told apart.

    title: the verdict and the means with their intervals over seeds.
    """

    difference: str
    half: str
    means: str
    title: str
    told: bool


@dataclass(frozen=True)
class Block:
    """The places of one dataset: a row for each matched method, its name in the other study where that is another."""

    display: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Place | None, ...]], ...]


def verdict_of(row: SideBySideRow) -> str:
    """What may be said of a place: TOLD, NOT_TOLD, NOT_TESTED or NO_DIFFERENCE."""
    if row.difference is None:
        return NOT_TESTED
    if row.num_shared and abs(row.difference) <= ROUNDING and row.p_both_holm_table is None:
        return NO_DIFFERENCE
    if row.p_both_holm_table is None:
        return NOT_TESTED
    return TOLD if row.p_both_holm_table < ALPHA else NOT_TOLD


def names_of(both: SideBySide) -> tuple[str, str]:
    """What this study and the other one are called: by their names, and by their storages where those are the same."""
    (here, there), stores = ([s.data.study.name for s in _sides(both)], [s.data.store.shown for s in _sides(both)])
    return (here, there) if here != there else (f"{here} in {stores[0]}", f"{there} in {stores[1]}")


def _sides(both: SideBySide) -> tuple[Side, Side]:
    return both.here, both.there


def sentences(both: SideBySide) -> tuple[str, ...]:
    """How many places are apart, what only one study has, and what else limits the comparison."""
    here, there = names_of(both)
    found = [row for row in both.rows if row.difference is not None]
    texts = [f"This study is {here}, the other one {there}; differences are this study minus the other, in points."]
    if not both.rows:
        texts.append("The two studies have no place in common.")
    elif not found:
        texts.append("They share places, but no finished seed of any: there is no difference to state.")
    else:
        told = [row for row in found if verdict_of(row) == TOLD]
        same = sum(row.num_shared > 0 and row.same_cells >= row.num_shared for row in found)
        gaps = [100 * row.difference for row in found if row.difference is not None]
        higher = sum((row.difference or 0) > 0 for row in told)
        texts.append(
            f"Of {len(found)} means that both have, {higher} are higher here and {len(told) - higher} lower by more "
            f"than seeds and patients together explain (p < {ALPHA:g}, Holm-corrected over all of them); "
            f"{sum(verdict_of(row) == NOT_TESTED for row in found)} could not be tested. The median difference is "
            f"{median(gaps):+.2f} points, the range {min(gaps):+.2f} to {max(gaps):+.2f}."
        )
        if same:
            texts.append(f"In {same} of these places both have cells of the same keys: recipes and data are the same.")
    return (*texts, *_only_one(both), *both.notes)


def _only_one(both: SideBySide) -> list[str]:
    """A sentence for each study on what the other does not have."""
    sides = zip(names_of(both), _sides(both), ("here", "there"), strict=True)
    texts = []
    for name, side, which in sides:
        layout = side.means.layout
        rows = {getattr(match, which) for match in both.rows_matched}
        datasets = {getattr(match, which) for match in both.datasets_matched}
        parts = [
            *_part("row", [display for row, display, _ in layout.rows if row not in rows]),
            *_part("dataset", [display for dataset, display in layout.datasets if dataset not in datasets]),
            *_part("column", [layout.column_title(*c) for c in layout.columns if c not in both.columns]),
        ]
        if parts:
            texts.append(f"Only {name} has {'; '.join(parts)}.")
    return texts


def _part(noun: str, names: Sequence[str]) -> list[str]:
    return [f"the {noun}{'s' * (len(names) > 1)} {listed(names)}"] if names else []


def recipe_notes(both: SideBySide) -> tuple[str, ...]:
    """What the matched rows and datasets differ in: each difference once, with the rows that have it."""
    here, there = (s.data for s in _sides(both))
    found: dict[str, list[str]] = {}
    rows = [{row.name: row for row in data.study.rows} for data in (here, there)]
    for match in both.rows_matched:
        if match.how != SAME_RECIPE:
            for text in differences(rows[0][match.here].recipe, rows[1][match.there].recipe):
                found.setdefault(text, []).append(_both_names(match.here, match.there))
    datasets = [{dataset.instance: dataset for dataset in data.study.datasets} for data in (here, there)]
    for match in both.datasets_matched:
        for text in differences(datasets[0][match.here].recipe, datasets[1][match.there].recipe):
            found.setdefault(text, []).append(_both_names(match.here, match.there))
        prints = _fingerprint(here, datasets[0][match.here]), _fingerprint(there, datasets[1][match.there])
        if None not in prints and prints[0] != prints[1]:
            found.setdefault(f"data: fingerprint {prints[0]} / {prints[1]}", []).append(match.here)
    texts = [f"{_few(names)}: {text}" for text, names in found.items()]
    more = len(texts) - MOST_DIFFERENCES
    return (*texts[:MOST_DIFFERENCES], *([f"and {more} more, in study.json of both reports"] if more > 0 else []))


def _both_names(here: str, there: str) -> str:
    return here if here == there else f"{here} / {there}"


def _few(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _fingerprint(data: Snapshot, dataset: Dataset) -> str | None:
    """Of the shards of a dataset; None where they are not there."""
    label = data.study.any_build(dataset, data.manifests)
    return None if label is None else data.manifests[label].fingerprint


def blocks(both: SideBySide) -> tuple[Block, ...]:
    """For each dataset a row a method and a column an evaluation."""
    layout = both.here.means.layout
    places = {(row.dataset, row.protocol, row.label_percent, row.method): row for row in both.rows}
    displays = {name: display for name, display, _ in layout.rows}
    others = {name: display for name, display, _ in both.there.means.layout.rows}
    found = []
    for match in both.datasets_matched:
        rows = []
        for row in both.rows_matched:
            name, other = displays[row.here], others[row.there]
            cells = tuple(_place(places.get((match.here, *column, row.here))) for column in both.columns)
            if any(cells):
                rows.append((name if name == other else f"{name} / {other}", cells))
        titles = tuple(layout.column_title(*column) for column in both.columns)
        found.append(Block(dict(layout.datasets)[match.here], ("Method", *titles), tuple(rows)))
    return tuple(found)


def _place(row: SideBySideRow | None) -> Place | None:
    if row is None:
        return None
    half = row.ci95_seeds if row.ci95_both is None else row.ci95_both
    means = f"{percent(row.mean)} / {percent(row.other_mean)}"
    with_intervals = f"{mean_and_interval(row.mean, row.ci95)} / {mean_and_interval(row.other_mean, row.other_ci95)}"
    difference = NO_VALUE if row.difference is None else f"{100 * row.difference:+.2f}"
    told = verdict_of(row) == TOLD
    return Place(
        difference, "" if half is None else f"{100 * half:.2f}", means, f"{verdict_of(row)}: {with_intervals}", told
    )


CAPTION = (
    "Difference in macro AUROC, this study minus the other, in points, paired by seed, ± half-width of its 95% "
    "interval over seeds and test patients together, or over seeds alone where predictions of the same test images are "
    "not at hand. Bold: told apart, p < 0.05 over both, Holm-corrected over all places. Below: both means, as "
    "each study's own table has them, over all of its seeds."
)


def with_flag(both: SideBySide | None) -> tuple[str, ...]:
    """The words that make the report with the same other study again; none where there is none."""
    return () if both is None else ("--with", f"{both.there.data.origin.storage}:{both.there.data.origin.study}")


def side_by_side_markdown(both: SideBySide) -> list[str]:
    """The lines of the section of report.md."""
    lines = ["## Side by side", "", *(f"- {text}" for text in sentences(both)), ""]
    if notes := recipe_notes(both):
        lines += ["What differs, this study / the other:", "", *(f"- {text}" for text in notes), ""]
    if both.rows:
        lines += [CAPTION, ""]
    for block in blocks(both):
        lines += [f"### {block.display}", "", *_markdown_table(block), ""]
    return lines


def _markdown_table(block: Block) -> Iterable[str]:
    yield markdown_row(block.header)
    yield markdown_row((":--", *["--:"] * (len(block.header) - 1)))
    for name, places in block.rows:
        yield markdown_row((markdown(name), *(_markdown_cell(place) for place in places)))
        yield markdown_row(("&nbsp;&nbsp;means", *("" if place is None else place.means for place in places)))


def _markdown_cell(place: Place | None) -> str:
    if place is None:
        return ""
    text = f"{place.difference} ± {place.half}" if place.half else place.difference
    return f"**{text}**" if place.told else text
