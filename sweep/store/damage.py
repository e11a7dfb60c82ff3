"""What in a storage is not what was written there: which item, which file, what is wrong with it, what to do."""

from collections.abc import Sequence
from dataclasses import dataclass

from datasets_io.storage.artefacts import CorruptArtefact

RUN_AGAIN = "run sweep.run again, which puts it into quarantine and computes it again"
RUN_AGAIN_READING = "run sweep.run again with --retry-failed, which puts it into quarantine and computes it again"
DATA = "data"  # the folder of all shards, and how the name of damaged ones begins


@dataclass(frozen=True)
class Damage:
    """One damaged item. name: as people read it (`clip-p0`, `data chexpert`); folder: relative to the storage.

    what: the file and what is wrong with it; mend: what to do.
    """

    name: str
    folder: str
    what: str
    mend: str

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
