"""Where everything lies below the storage URI: the only file that knows paths."""

import json
from collections.abc import Iterable, Mapping

from datasets_io.artefacts import FAILED, RESULT, Artefacts, CorruptArtefact, open_artefacts, quarantine
from datasets_io.files import Files
from sweep.cell import Cell, EncoderRun

ENCODERS, CELLS, REPORTS, RAW, LOGS = "encoders", "cells", "reports", "raw", "ray"
TRAINING_FREE = "training_free"


class Store:
    """A storage URI as a set of finished encoders, finished cells and reports.

    An item is done when its folder has a result.json; nothing else is a record of what was done.
    """

    def __init__(self, uri: str):
        if not uri.strip():
            raise ValueError("--storage is empty; give a folder or a URI such as s3://bucket/radsweep")
        self.files = Files(uri)
        self.uri = uri if "://" in uri else self.files.root

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
        return open_artefacts(self.files, self.folder(item))

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
        entries = artefacts.result["files"].values()
        if all(sizes.get(f"{folder}/{entry['path']}") == entry["bytes"] for entry in entries):
            return artefacts
        return None if quarantine(self.files, folder) else artefacts

    def put_damaged_aside(self, items: Iterable[EncoderRun | Cell]) -> None:
        """Finished items that are damaged count as open afterwards."""
        sizes = self.sizes()
        done, _ = self.done_and_failed(sizes)
        for item in items:
            if self.folder(item) in done:
                self.open_whole(item, sizes)

    def failure(self, item: EncoderRun | Cell) -> dict[str, str] | None:
        path = f"{self.folder(item)}/{FAILED}"
        try:
            return json.loads(self.files.read(path))
        except FileNotFoundError:
            return None
        except ValueError:
            return {"error": f"{path} is damaged: try again with --retry-failed", "traceback": ""}

    def forget_failure(self, item: EncoderRun | Cell) -> None:
        for name in (FAILED, "attempts.json"):
            self.files.remove(f"{self.folder(item)}/{name}")
