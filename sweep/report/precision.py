"""In which number formats was a study computed, and what must be said where there are several?

Precision is how a study is run (`Resources.precision`), so it is in no key: what one machine has computed is used on
another. It moves AUROCs by its rounding, which fine-tuning amplifies to tenths of a point, and so each result says its
own, and no table mixes them without a word.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from sweep.statistics.summary import by_place
from sweep.store.records import CellResult, EncoderDetail
from sweep.studies.study import Study

MOST_PLACES = 6  # named in the note; results.csv has every cell's


def precision_lines(results: Sequence[CellResult], encoders: Sequence[EncoderDetail]) -> list[str]:
    """`number formats: cells: 640 bfloat16, 10 float32; pretrainings: 11 bfloat16`; nothing where none is known."""
    counts = {"cells": formats(results), "pretrainings": formats(encoders)}
    parts = [f"{what}: {_listed(found)}" for what, found in counts.items() if found]
    return [f"number formats: {'; '.join(parts)}"] if parts else []


def mixed_precision(study: Study, results: Sequence[CellResult], encoders: Sequence[EncoderDetail]) -> list[str]:
    """A sentence for the notes of tables where cells, or pretrainings, have different formats; else nothing."""
    mixed = [formats(items) for items in (results, encoders)]
    if all(len(found) < 2 for found in mixed):
        return []
    displays = {dataset.instance: dataset.display for dataset in study.datasets}
    places = [
        f"{cells[0].method}, {displays.get(dataset, dataset)}, {protocol} ({percent}%)"
        for (_, dataset, protocol, percent), cells in by_place(results).items()
        if len(formats(cells)) > 1
    ]
    more = f" and {len(places) - MOST_PLACES} more" if len(places) > MOST_PLACES else ""
    means = f" Means over seeds of several: {'; '.join(places[:MOST_PLACES])}{more}." if places else ""
    (line,) = precision_lines(results, encoders)
    return [
        f"Computed in several {line}. Differences between them are of rounding, not of methods, and may be tenths of a "
        "point: results.csv has each cell's format, and Resources(precision=...) fixes one for what is still to be "
        f"computed.{means}"
    ]


def formats(items: Iterable[CellResult | EncoderDetail]) -> Counter[str]:
    """Number format -> of how many items; those that do not say theirs are not counted."""
    return Counter(item.precision for item in items if item.precision is not None)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in sorted(counts.items()))
