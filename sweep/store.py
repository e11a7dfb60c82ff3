"""Where everything lies below the storage URI: the only file that knows paths."""

import json

from datasets_io.artefacts import FAILED, RESULT, Artefacts, open_artefacts
from datasets_io.files import Files
from sweep.cell import Cell, EncoderRun

ENCODERS, CELLS, REPORTS, RAW, LOGS = "encoders", "cells", "reports", "raw", "ray"


class Store:
    """A storage URI as a set of finished encoders, finished cells and reports.

    An item is done when its folder has a result.json; nothing else is a record of what was done.
    """

    def __init__(self, uri: str):
        self.files = Files(uri)
        self.uri = uri if "://" in uri else self.files.root

    @staticmethod
    def folder(item: EncoderRun | Cell) -> str:
        kind = ENCODERS if isinstance(item, EncoderRun) else CELLS
        return f"{kind}/{item}-{item.key}"

    def report_path(self, study: str, name: str) -> str:
        return f"{REPORTS}/{study}/{name}"

    def done_and_failed(self) -> tuple[set[str], set[str]]:
        """Folders of finished and of failed items, by one listing of each kind."""
        paths = [*self.files.list(ENCODERS), *self.files.list(CELLS)]
        done = {path.rsplit("/", 1)[0] for path in paths if path.endswith(f"/{RESULT}")}
        failed = {path.rsplit("/", 1)[0] for path in paths if path.endswith(f"/{FAILED}")}
        return done, failed - done

    def open(self, item: EncoderRun | Cell) -> Artefacts:
        return open_artefacts(self.files, self.folder(item))

    def failure(self, item: EncoderRun | Cell) -> dict[str, str] | None:
        path = f"{self.folder(item)}/{FAILED}"
        return json.loads(self.files.read(path)) if self.files.exists(path) else None

    def forget_failure(self, item: EncoderRun | Cell) -> None:
        for name in (FAILED, "attempts.json"):
            self.files.remove(f"{self.folder(item)}/{name}")
