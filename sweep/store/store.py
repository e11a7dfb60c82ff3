"""Where everything lies below the storage URI: the only file that knows paths."""

import json
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from datasets_io.storage.artefacts import (
    FAILED,
    QUARANTINE,
    RESULT,
    Artefacts,
    CorruptArtefact,
    damages,
    is_done,
    move_to_quarantine,
    open_artefacts,
    quarantine,
)
from datasets_io.storage.disk import in_the_way
from datasets_io.storage.files import Files, ReadFiles
from datasets_io.storage.secrets import remember_secrets, without_secrets
from datasets_io.storage.stored_sizes import Sizes, StoredSizes, sizes_in
from datasets_io.untrusted import printable_lines
from sweep.store.damage import DATA, RUN_AGAIN, RUN_AGAIN_READING, Damage, trouble_of
from sweep.studies.cell import Cell, EncoderRun, Item

ENCODERS, CELLS, REPORTS, RAW = "encoders", "cells", "reports", "raw"
TRAINING_FREE = "training_free"
SUPERSEDED = "superseded"  # results of cells that are being computed again, by the name of the cell's folder
FOLDERS = (ENCODERS, CELLS, REPORTS, DATA, TRAINING_FREE, QUARANTINE, SUPERSEDED)
ATTEMPTS = "attempts.json"  # as trainables/pretraining/encoder_job.py writes it, whose import would take seconds
FAILURE = ("error", "traceback")  # of a failed.json
BIG_READERS = 4  # at once, of whole encoders: each has up to half a gigabyte


class ReadStore:
    """A storage URI as a set of finished encoders, finished cells and reports, to be read and never written.

    An item is done when its folder has a result.json; nothing else is a record of what was done. What is damaged
    stays where it lies, and is named. Commands that only read open this one: it has no call that writes.
    thorough: read every file of a finished folder and compare its SHA-256, where else its size is compared.
    """

    def __init__(self, uri: str, thorough: bool = False):
        if not uri.strip():
            raise ValueError("--storage is empty; give a folder or a URI such as s3://bucket/radsweep")
        remember_secrets(uri)
        if found := re.match("([a-z][a-z0-9]+):/(?!/)(.*)", uri):  # one slash: pyarrow would take it for a folder
            meant = without_secrets(f"{found[1]}://{found[2]}")
            raise ValueError(f"--storage {meant.replace('://', ':/', 1)!r} is no URI; did you mean {meant!r}?")
        self.files = ReadFiles(uri)
        self.uri = uri if "://" in uri else self.files.root  # for other processes: it may hold a password
        self.shown = self.files.shown if "://" in uri else self.files.root
        self.thorough = thorough
        # Fingerprint of data -> its findings, of the manifests that were read: results of cells are checked by them.
        self.findings: dict[str, tuple[str, ...]] = {}

    def check_folder(self) -> None:
        """Raise ValueError where no folder stands in its place: every listing of such a storage would be empty.

        And where one of its folders is a file, or a link to a place that is not there, such as a disk not mounted now.
        """
        if self.files.is_local and (trouble := in_the_way(self.files.given)) is not None:
            raise ValueError(f"--storage {self.shown}: {trouble}; give a folder, which is made if it is not there")
        if blocked := [name for name in FOLDERS if self.files.is_blocked(name, by_no_folder=True)]:
            raise ValueError(
                f"--storage {self.shown}: {blocked[0]} in it is a file, or a link to a place that is not there; it is "
                "to be a folder, or a link to one"
            )

    @staticmethod
    def folder(item: Item) -> str:
        """Of an encoder or a cell, relative to the storage: `cells/clip-p0-chexpert-LP100-s0-0123456789ab`."""
        kind = ENCODERS if isinstance(item, EncoderRun) else CELLS
        return f"{kind}/{item}-{item.key}"

    @staticmethod
    def training_free_folder(kind: str, run: EncoderRun, dataset: str, key: str) -> str:
        """Of a number without training; kind: `knn`, `zero_shot` or `retrieval`."""
        return f"{TRAINING_FREE}/{kind}-{run}-{dataset}-{key}"

    def report_path(self, study: str, name: str) -> str:
        """Of a file of a study's report."""
        return f"{REPORTS}/{study}/{name}"

    def sizes(self, *kinds: str) -> StoredSizes:
        """Of everything that items have, or those of some kinds (ENCODERS, CELLS): no request an item of a bucket."""
        return self.files.sizes_of_folders(kinds or (ENCODERS, CELLS))

    def done_and_failed(self) -> tuple[set[str], set[str]]:
        """Folders of all finished and of all failed items that the storage has, of whatever study.

        What has both files is finished: a failure is removed after its result is written, and that may be cut off.
        """
        paths = [path for kind in (ENCODERS, CELLS) for path in self.files.list(kind, (f"/{RESULT}", f"/{FAILED}"))]
        done = {path.rsplit("/", 1)[0] for path in paths if path.endswith(f"/{RESULT}")}
        failed = {path.rsplit("/", 1)[0] for path in paths if path.endswith(f"/{FAILED}")}
        return done, failed - done

    def states(self, items: Iterable[Item], sizes: StoredSizes) -> tuple[set[str], set[str]]:
        """As `done_and_failed`, of these items alone. sizes: as `sizes()` gives them."""
        done: set[str] = set()
        failed: set[str] = set()
        for item in items:
            folder = self.folder(item)
            if folder not in sizes.folders:
                continue
            if sizes.get(f"{folder}/{RESULT}") is not None:
                done.add(folder)
            elif sizes.get(f"{folder}/{FAILED}") is not None:
                failed.add(folder)
        return done, failed

    def open(self, item: Item) -> Artefacts:
        """A finished item. Raises FileNotFoundError for one that is not, CorruptArtefact for a damaged result."""
        return open_artefacts(self.files, self.folder(item))

    def open_whole(self, item: Item, sizes: Sizes, data: bytes | None = None) -> Artefacts | Damage | None:
        """A finished item, or what is damaged in it; None where it has no result. sizes: as `sizes()` gives them.

        data: the bytes of its result, where they were read already.
        """
        return self.examine(self.folder(item), sizes, data, item if isinstance(item, Cell) else None)

    def examine(
        self, folder: str, sizes: Sizes, data: bytes | None = None, cell: Cell | None = None
    ) -> Artefacts | Damage | None:
        """As `open_whole`, for the folder of any item. Nothing is changed. cell: whose folder it is, if a cell's."""
        try:
            artefacts = open_artefacts(self.files, folder, data)
        except FileNotFoundError:
            return None
        except CorruptArtefact as error:
            return Damage(name_of(folder), folder, error.what, RUN_AGAIN)
        if cell is not None and (trouble := trouble_of(artefacts, cell, self.findings)) is not None:
            return Damage(name_of(folder), folder, trouble, RUN_AGAIN)
        # A cut file has another size, which the listing tells at no cost; changed bytes show only when all are read.
        in_full = _in_full(artefacts, sizes)
        if in_full and not self.thorough:
            return artefacts
        # Where a size differs all is read too: the listing may be older than the result.
        found = damages(self.files, folder)
        if not found:
            return artefacts
        if not is_done(self.files, folder):
            return None  # put into quarantine since, by the driver that computes it again
        return Damage(name_of(folder), folder, found[0].what, RUN_AGAIN_READING if in_full else RUN_AGAIN)

    def quarantined(self, listed: Iterable[str] | None = None) -> set[str]:
        """`<name>-<key>` of every item that was once put into quarantine. listed: paths of all files there."""
        # Paths are quarantine/<where it lay>-<8 hex>/<name>-<key>/<file>; a why.json stands one folder higher.
        listed = self.files.list(QUARANTINE) if listed is None else listed
        paths = (path.split("/") for path in listed)
        return {parts[2] for parts in paths if len(parts) > 3}

    def failure(self, item: Item) -> dict[str, str] | None:
        """As `failure_of`."""
        return self.failure_of(self.folder(item))

    def failure_of(self, folder: str) -> dict[str, str] | None:
        """`error` and `traceback` of a failed item's folder; None where it has no failed.json."""
        path = f"{folder}/{FAILED}"
        try:
            value = json.loads(self.files.read(path))
            texts = str(value["error"]), str(value.get("traceback", ""))
            # Earlier versions have written them as they came.
            return {name: printable_lines(without_secrets(text)) for name, text in zip(FAILURE, texts, strict=True)}
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {"error": f"{path} is damaged: try again with --retry-failed", "traceback": ""}


class Store(ReadStore):
    """The same storage for a command that writes: what is damaged goes to quarantine, to be computed again."""

    files: Files  # which writes; that of a ReadStore has no call that does

    def __init__(self, uri: str):
        super().__init__(uri)
        self.check_folder()
        self.files = Files(uri)

    def open_whole(self, item: Item, sizes: Sizes, data: bytes | None = None) -> Artefacts | None:
        """A finished item whose seal holds and whose files are there in full size, as `sizes` has them.

        A damaged one goes to quarantine, to be computed again: None, as for one that is gone.
        """
        folder = self.folder(item)
        try:
            artefacts = open_artefacts(self.files, folder, data)
        except FileNotFoundError:
            return None
        except CorruptArtefact:
            quarantine(self.files, folder)
            return None
        if isinstance(item, Cell) and (trouble := trouble_of(artefacts, item, self.findings)) is not None:
            if data is not None:  # it may be older than what stands there now
                return self.open_whole(item, sizes)
            move_to_quarantine(self.files, folder, trouble)
            return None
        if _in_full(artefacts, sizes):
            return artefacts
        # quarantine reads the files themselves: None where they are whole, and only the listing was too old.
        return None if quarantine(self.files, folder) else artefacts

    def quarantine_damaged(
        self, items: Iterable[Item], sizes: StoredSizes | None = None, thorough: bool = False
    ) -> set[str]:
        """Finished items that are damaged count as open afterwards; folders of those that were, or that are gone.

        sizes: as `sizes()` gives them, where it was asked already. thorough: read every file of theirs.
        """
        sizes = sizes if sizes is not None else self.sizes()
        items = tuple(items)
        done, _ = self.states(items, sizes)
        finished = [item for item in items if self.folder(item) in done]
        if thorough:
            with ThreadPoolExecutor(BIG_READERS) as pool:
                found = pool.map(lambda item: quarantine(self.files, self.folder(item)) is None, finished)
        else:
            found = iter([self.open_whole(item, sizes) is not None for item in finished])
        return {self.folder(item) for item, is_whole in zip(finished, found, strict=True) if not is_whole}

    def forget_overcome_failures(self, done: Iterable[str], sizes: StoredSizes) -> None:
        """Of what has finished, remove that it failed before. sizes: as `sizes()` gives them, by a listing."""
        if not self.files.is_local:  # a disk has done it with the result: there it costs next to nothing
            for path in (f"{folder}/{FAILED}" for folder in done):
                if sizes.get(path) is not None:
                    self.files.remove(path)

    def forget_failure(self, item: Item) -> None:
        """Let an item that failed be tried again, with all its attempts."""
        for name in (FAILED, ATTEMPTS):
            self.files.remove(f"{self.folder(item)}/{name}")


def name_of(folder: str) -> str:
    """`cells/clip-p0-chexpert-LP100-s0-0123456789ab` -> `clip-p0-chexpert-LP100-s0`."""
    return re.sub(r"-[0-9a-f]{12}$", "", folder.rpartition("/")[2])


def _in_full(artefacts: Artefacts, sizes: Sizes) -> bool:
    """Whether every file that a result names is there with its size, as `sizes` has it."""
    entries = artefacts.result["files"].values()
    found = sizes_in(sizes, artefacts.folder, [entry["path"] for entry in entries])
    return found == [entry["bytes"] for entry in entries]
