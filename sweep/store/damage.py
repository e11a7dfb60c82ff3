"""What in a storage is not what was written there: which item, which file, what is wrong with it, what to do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets_io.storage.artefacts import RESULT, Artefacts, CorruptArtefact
from datasets_io.untrusted import printable
from sweep.studies.cell import Cell

RUN_AGAIN = "run sweep.run again, which puts it into quarantine and computes it again"
RUN_AGAIN_READING = "run sweep.run again with --retry-failed, which puts it into quarantine and computes it again"
CELL_FIELDS = ("findings", "macro_auroc")  # of each result.json of a cell
Known = Mapping[str, tuple[str, ...]]  # fingerprint of data -> all of its findings, in order
DATA = "data"  # the folder of all shards, and how the name of damaged ones begins


@dataclass(frozen=True)
class Damage:
    """One damaged item. name: as people read it (`clip-p0`, `data chexpert`); folder: relative to the storage.

    what: the file and what is wrong with it; mend: what to do. All but the folder, by which it is found, is printable:
    names, and errors that quote a file, hold whatever is in a storage.
    """

    name: str
    folder: str
    what: str
    mend: str

    def __post_init__(self) -> None:
        for field in ("name", "what", "mend"):
            object.__setattr__(self, field, printable(getattr(self, field)))

    @property
    def sentence(self) -> str:
        """What is wrong and what to do."""
        return f"{self.what}: {self.mend}"

    @property
    def line(self) -> str:
        """With the item's name, for a list of several."""
        return f"{self.name}: {self.sentence}"


def mend_of(error: CorruptArtefact) -> str:
    """What to do about a damaged file of an encoder: by its own advice where a run would find its hashes whole."""
    return RUN_AGAIN_READING if error.path is not None else error.advice


def data_name(label: str) -> str:
    """Name of a build's shards as an item: `data chexpert`."""
    return f"{DATA} {label}"


def data_damage(label: str, folder: str, faults: Sequence[str]) -> Damage:
    """Of a build's shards. faults: one for each damaged file, at least one."""
    more = f" (and {len(faults) - 1} more files of it)" if len(faults) > 1 else ""
    mend = f"remove {folder} and run sweep.run again, which builds it again from the archive"
    return Damage(data_name(label), folder, faults[0] + more, mend)


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
    if not result.get("studies") and not result.get("also_test") and _fits(names, wanted):
        return None
    second = cell.recipe.splits.also_test
    if odd := [name for name in result.get("also_test", ()) if name != second]:
        said = "has none" if second is None else f"has '{second}'"
        return f"{artefacts.folder}/{RESULT} has a second test split '{odd[0][:40]}', and its cell {said}"
    for place, findings in _lists(result):
        names = tuple([one["finding"] for one in findings])
        if not _fits(names, wanted):
            return f"{artefacts.folder}/{RESULT} has {place} that are not those of its data set: {_why(names, wanted)}"
    return None


def _fits(names: tuple[str, ...], wanted: tuple[str, ...]) -> bool:
    return names == wanted if wanted else len(set(names)) == len(names)


def _lists(result: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    yield "findings", result["findings"]
    for field in ("studies", "also_test"):
        for name, findings in (result.get(field) or {}).items():
            yield f"findings of {field} '{name[:40]}'", findings


def _why(names: Sequence[str], wanted: Sequence[str]) -> str:
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        return f"'{twice[:40]}' is there twice"
    if len(names) != len(wanted):
        return f"they are {len(names)} and not {len(wanted)}"
    found, due = next(pair for pair in zip(names, wanted, strict=True) if pair[0] != pair[1])
    return f"'{found[:40]}' stands in the place of '{due}'"
