"""What do finished and failed folders of a storage say? Each result.json is read once, however often one asks."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from datasets_io.storage.artefacts import Artefacts
from datasets_io.threads import read_in_order, reading_threads
from sweep.status.status import Failure
from sweep.store.damage import Damage
from sweep.store.store import ReadStore, name_of
from trainables.tensorboard import write_history

READERS = 16  # at once: a network file system or an object store answers each after milliseconds


class ItemReader:
    """Reads folders of encoders and cells.

    results: folder -> its result.json, of those that are whole. damage: folder -> what is damaged in it, as of the
    last `read`.
    """

    def __init__(self, store: ReadStore):
        self.store = store
        self.results: dict[str, Mapping[str, Any]] = {}
        self.damage: dict[str, Damage] = {}

    def read(self, folders: Iterable[str], sizes: Mapping[str, int]) -> None:
        """Read the results that are new. sizes: path -> bytes, of all files of the storage's items."""
        # A result is written once and never changed, so one that was whole is not read again; a damaged one is.
        new = [folder for folder in folders if folder not in self.results]
        examined = read_in_order(lambda folder: self.store.examine(folder, sizes), new, READERS)
        found = dict(zip(new, examined, strict=True))
        self.results |= {folder: whole.result for folder, whole in found.items() if isinstance(whole, Artefacts)}
        self.damage = {folder: damage for folder, damage in found.items() if isinstance(damage, Damage)}

    def failures(self, folders: Iterable[str]) -> tuple[Failure, ...]:
        """Why folders failed, by folder. Read anew each time: a retry may have ended otherwise."""
        ordered = sorted(folders)
        with reading_threads(READERS) as pool:
            errors = list(pool.map(self._error, ordered))
        return tuple(Failure(name_of(f), f, error) for f, error in zip(ordered, errors, strict=True))

    def _error(self, folder: str) -> str:
        failure = self.store.failure_of(folder)  # None: a retry has removed it since the listing
        return "tried again at this moment" if failure is None else failure["error"].split("\n")[0]

    def write_histories(self, folders: Iterable[str], directory: Path) -> int:
        """TensorBoard logs of those that were read and have a history; how many were not there yet."""
        histories = {f: self.results[f].get("history") for f in sorted(folders) if f in self.results}
        return sum(write_history(directory / folder, history) for folder, history in histories.items() if history)
