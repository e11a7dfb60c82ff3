"""Where everything lies below the storage URI: the only file that knows paths."""

import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from datasets_io.storage.artefacts import (
    FAILED,
    QUARANTINE,
    RESULT,
    Artefacts,
    CorruptArtefact,
    damages,
    is_done,
    open_artefacts,
    quarantine,
)
from datasets_io.storage.files import Files, ReadFiles
from sweep.store.damage import RUN_AGAIN, RUN_AGAIN_READING, Damage
from sweep.studies.cell import Cell, EncoderRun

ENCODERS, CELLS, REPORTS, RAW, LOGS = "encoders", "cells", "reports", "raw", "ray"
TRAINING_FREE = "training_free"
BIG_READERS = 4  # an encoder has up to half a gigabyte, and is read whole


class ReadStore:
    """A storage URI as a set of finished encoders, finished cells and reports, to be read and never written.

    An item is done when its folder has a result.json; nothing else is a record of what was done. What is damaged
    stays where it lies, and is named. Commands that only read open this one: it has no call that writes.
    thorough: read every file of a finished folder and compare its SHA-256, where else its size is compared.
    """

    def __init__(self, uri: str, thorough: bool = False):
        if not uri.strip():
            raise ValueError("--storage is empty; give a folder or a URI such as s3://bucket/radsweep")
        self.files = ReadFiles(uri)
        self.uri = uri if "://" in uri else self.files.root
        self.thorough = thorough

    @staticmethod
    def folder(item: EncoderRun | Cell) -> str:
        kind = ENCODERS if isinstance(item, EncoderRun) else CELLS
        return f"{kind}/{item}-{item.key}"

    @staticmethod
    def training_free_folder(kind: str, run: EncoderRun, source: str, key: str) -> str:
        return f"{TRAINING_FREE}/{kind}-{run}-{source}-{key}"

    def report_path(self, study: str, name: str) -> str:
        return f"{REPORTS}/{study}/{name}"

    def sizes(self) -> dict[str, int]:
        """Path -> bytes of everything that items have, by one listing of each kind and no request an item."""
        return {**self.files.sizes(ENCODERS), **self.files.sizes(CELLS)}

    def done_and_failed(self, sizes: Mapping[str, int] | None = None) -> tuple[set[str], set[str]]:
        """Folders of finished and of failed items."""
        endings = f"/{RESULT}", f"/{FAILED}"
        paths = sizes
        if paths is None:
            paths = [path for kind in (ENCODERS, CELLS) for path in self.files.list(kind, endings)]
        done = {path.rsplit("/", 1)[0] for path in paths if path.endswith(f"/{RESULT}")}
        failed = {path.rsplit("/", 1)[0] for path in paths if path.endswith(f"/{FAILED}")}
        return done, failed - done

    def open(self, item: EncoderRun | Cell) -> Artefacts:
        """Raises FileNotFoundError where it is not finished, CorruptArtefact where its result is damaged."""
        return open_artefacts(self.files, self.folder(item))

    def open_whole(self, item: EncoderRun | Cell, sizes: Mapping[str, int]) -> Artefacts | Damage | None:
        """A finished item, or what is damaged in it; None where it has no result. sizes: as `sizes()` lists them."""
        return self.examine(self.folder(item), sizes)

    def examine(self, folder: str, sizes: Mapping[str, int]) -> Artefacts | Damage | None:
        """As `open_whole`, for the folder of any item. Nothing is changed."""
        try:
            artefacts = open_artefacts(self.files, folder)
        except FileNotFoundError:
            return None
        except CorruptArtefact as error:
            return Damage(name_of(folder), folder, error.what, RUN_AGAIN)
        in_full = _in_full(artefacts, sizes)
        if in_full and not self.thorough:
            return artefacts
        # Where a size differs all is read too: the listing may be older than the result.
        found = damages(self.files, folder)
        if not found:
            return artefacts
        if not is_done(self.files, folder):
            return None  # put aside in this very moment, by who computes it again
        return Damage(name_of(folder), folder, found[0].what, RUN_AGAIN_READING if in_full else RUN_AGAIN)

    def quarantined(self) -> set[str]:
        """`<name>-<key>` of every item that was once put into quarantine."""
        paths = (path.split("/") for path in self.files.list(QUARANTINE))
        return {parts[2] for parts in paths if len(parts) > 3}

    def failure(self, item: EncoderRun | Cell) -> dict[str, str] | None:
        return self.failure_of(self.folder(item))

    def failure_of(self, folder: str) -> dict[str, str] | None:
        """Error and traceback of a failed item; None where it has none."""
        path = f"{folder}/{FAILED}"
        try:
            value = json.loads(self.files.read(path))
            return {"error": str(value["error"]), "traceback": str(value.get("traceback", ""))}
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            return {"error": f"{path} is damaged: try again with --retry-failed", "traceback": ""}


class Store(ReadStore):
    """The same storage for who writes it: what is damaged goes to quarantine, to be computed again."""

    files: Files

    def __init__(self, uri: str):
        super().__init__(uri)
        self.files = Files(uri)

    def open_whole(self, item: EncoderRun | Cell, sizes: Mapping[str, int]) -> Artefacts | None:
        """A finished item whose seal holds and whose files are there in full size, as `sizes` lists them.

        A damaged one goes to quarantine, to be computed again: None, as for one that is gone.
        """
        folder = self.folder(item)
        try:
            artefacts = open_artefacts(self.files, folder)
        except FileNotFoundError:
            return None
        except CorruptArtefact:
            quarantine(self.files, folder)
            return None
        if _in_full(artefacts, sizes):
            return artefacts
        return None if quarantine(self.files, folder) else artefacts

    def quarantine_damaged(self, items: Iterable[EncoderRun | Cell], thorough: bool = False) -> None:
        """Finished items that are damaged count as open afterwards. thorough: read every file of theirs."""
        sizes = self.sizes()
        done, _ = self.done_and_failed(sizes)
        finished = [item for item in items if self.folder(item) in done]
        if thorough:
            with ThreadPoolExecutor(BIG_READERS) as pool:
                list(pool.map(lambda item: quarantine(self.files, self.folder(item)), finished))
            return
        for item in finished:
            self.open_whole(item, sizes)

    def forget_failure(self, item: EncoderRun | Cell) -> None:
        for name in (FAILED, "attempts.json"):
            self.files.remove(f"{self.folder(item)}/{name}")


def name_of(folder: str) -> str:
    """`cells/clip-p0-chexpert-LP100-s0-0123456789ab` -> `clip-p0-chexpert-LP100-s0`."""
    return re.sub(r"-[0-9a-f]{12}$", "", folder.rpartition("/")[2])


def _in_full(artefacts: Artefacts, sizes: Mapping[str, int]) -> bool:
    """Whether every file that a result names is there with its size."""
    entries = artefacts.result["files"].values()
    return all(sizes.get(f"{artefacts.folder}/{entry['path']}") == entry["bytes"] for entry in entries)
