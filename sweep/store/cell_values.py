"""Does a cell's sealed result have what its own cell asks for: its fields, and the findings of its data set?"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from datasets_io.storage.artefacts import RESULT, Artefacts
from sweep.studies.cell import Cell

CELL_FIELDS = ("findings", "macro_auroc")  # of each result.json of a cell
Known = Mapping[str, tuple[str, ...]]  # fingerprint of data -> all of its findings, in order


def trouble_of(artefacts: Artefacts, cell: Cell, known: Known) -> str | None:
    """What a cell's result lacks or has otherwise than its cell, as a sentence without advice; None where it fits.

    Of data that are not known, findings are only to be there once.
    """
    result = artefacts.result
    for field in CELL_FIELDS:
        if field not in result:
            return f"{artefacts.folder}/{RESULT} has no {field}"
    wanted = cell.recipe.findings or known.get(cell.data_fingerprint, ())
    # Of 100,000 cells nearly all end here: one of a few tuples is compared, and nothing is made beside it.
    names = tuple([one["finding"] for one in result["findings"]])
    if names == wanted and not result.get("studies") and not result.get("also_test"):
        return None
    second = cell.recipe.splits.also_test
    if odd := [name for name in result.get("also_test", ()) if name != second]:
        said = "has none" if second is None else f"has {second!r}"
        return f"{artefacts.folder}/{RESULT} has a second test split {odd[0][:40]!r}, and its cell {said}"
    for place, findings in _lists(result):
        names = tuple([one["finding"] for one in findings])
        if names != wanted and (wanted or len(set(names)) < len(names)):
            return f"{artefacts.folder}/{RESULT} has {place} that are not those of its data set: {_why(names, wanted)}"
    return None


def _lists(result: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    yield "findings", result["findings"]
    for field in ("studies", "also_test"):
        for name, findings in (result.get(field) or {}).items():
            yield f"findings of {field} {name[:40]!r}", findings


def _why(names: Sequence[str], wanted: Sequence[str]) -> str:
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        return f"{twice[:40]!r} is there twice"
    if len(names) != len(wanted):
        return f"they are {len(names)} and not {len(wanted)}"
    found, due = next(pair for pair in zip(names, wanted, strict=True) if pair[0] != pair[1])
    return f"{found[:40]!r} stands in the place of {due!r}"
