"""What does TensorBoard see of a running sweep: encoders epoch by epoch, cells as they finish."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter

from datasets_io.storage.artefacts import open_artefacts
from sweep.monitoring.progress import ProgressSnapshot, finished_keys
from sweep.store.store import Store
from sweep.studies.cell import Cell, EncoderRun
from trainables.tensorboard import add_epoch, write_history

FLUSH_SECONDS = 5  # a thread of the writer brings events to the disk so often


class LiveTensorBoard:
    """Encoders epoch by epoch, cells as they land. A run's folder is named as in the storage."""

    def __init__(self, directory: Path, store: Store, items: Mapping[str, EncoderRun | Cell]):
        self.directory, self.store, self.items = directory, store, items
        self.writers: dict[str, SummaryWriter] = {}
        self.epochs: dict[str, list[int]] = {}

    def show(self, progress: ProgressSnapshot) -> None:
        """Add the epochs that have ended, and the whole history of what has finished."""
        for event in progress.encoders:
            if event.metrics is not None:
                self._add(event.key, event.metrics)
        for key in finished_keys(progress):
            self._finish(key)

    def _add(self, key: str, metrics: Mapping[str, float]) -> None:
        written = self.epochs.setdefault(key, [])
        epoch = int(metrics["epoch"])
        if epoch in written:  # an event may be sent again, and a run that resumes repeats an epoch
            return
        written.append(epoch)
        if key not in self.writers:
            self.writers[key] = SummaryWriter(str(self._folder(key)), flush_secs=FLUSH_SECONDS)
        add_epoch(self.writers[key], metrics)

    def _folder(self, key: str) -> Path:
        return self.directory / self.store.folder(self.items[key])

    def _finish(self, key: str) -> None:
        """The history in the result is the whole one: what began in an earlier command is in it too."""
        folder = self._folder(key)
        # A baseline has none: it was not trained.
        history = open_artefacts(self.store.files, self.store.folder(self.items[key])).result.get("history") or ()
        if key in self.writers:
            self.writers.pop(key).close()
            # TensorBoard cannot replace a point: where some are missing or stand twice the log is written anew.
            if [entry["epoch"] for entry in history] != self.epochs[key]:
                shutil.rmtree(folder)
        if history:
            write_history(folder, history)
