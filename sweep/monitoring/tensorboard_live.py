"""What does TensorBoard see of a running sweep: encoders epoch by epoch, cells as they finish."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

from datasets_io.storage.artefacts import open_artefacts
from sweep.monitoring.progress import ProgressSnapshot, finished_keys
from sweep.store.store import Store
from sweep.studies.cell import Cell, EncoderRun
from trainables.events import Progress
from trainables.tensorboard import add_epoch, write_history

FLUSH_SECONDS = 5  # a thread of the writer brings events to the disk so often


class LiveTensorBoard:
    """Encoders epoch by epoch, cells as they land. A run's folder is named as in the storage."""

    def __init__(self, directory: Path, store: Store, items: Mapping[str, EncoderRun | Cell]):
        self.directory, self.store, self.items = directory, store, items
        self.writers: dict[str, SummaryWriter] = {}
        self.epochs: dict[str, list[int]] = {}

    def show(self, progress: ProgressSnapshot) -> None:
        for event in progress.encoders:
            if event.metrics is not None:
                self._add(event)
        for key in finished_keys(progress):
            self._finish(key)

    def _add(self, event: Progress) -> None:
        seen = self.epochs.setdefault(event.key, [])
        epoch = int(event.metrics["epoch"])
        if epoch in seen:
            return
        seen.append(epoch)
        if event.key not in self.writers:
            self.writers[event.key] = SummaryWriter(str(self._folder(event.key)), flush_secs=FLUSH_SECONDS)
        add_epoch(self.writers[event.key], event.metrics)

    def _folder(self, key: str) -> Path:
        return self.directory / self.store.folder(self.items[key])

    def _finish(self, key: str) -> None:
        """The history in the result is the whole one: what began in an earlier command is in it too."""
        folder = self._folder(key)
        history = open_artefacts(self.store.files, self.store.folder(self.items[key])).result.get("history")
        if key in self.writers:
            self.writers.pop(key).close()
            if [entry["epoch"] for entry in history] != self.epochs[key]:
                shutil.rmtree(folder)
        if history:
            write_history(folder, history)
