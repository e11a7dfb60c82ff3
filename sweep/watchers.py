"""Who else hears the news of a running sweep: Prometheus, and where asked TensorBoard and MLflow."""

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from datasets_io.artefacts import open_artefacts
from sweep.board import News
from sweep.cell import Cell, EncoderRun
from sweep.meter import Meter
from sweep.plan import Pending, Plan
from sweep.status_names import Status
from sweep.store import Store
from trainables.events import Progress
from trainables.tensorboard import add_epoch, write_history

EXPORT_SECONDS = 5.0
FLUSH_SECONDS = 5  # a thread of the writer brings events to the disk so often
RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


@dataclass(frozen=True)
class Watching:
    """What a user asked for. tensorboard: a folder; mlflow: a tracking URI. Nothing is sent anywhere without them."""

    study: str = ""
    tensorboard: str | None = None
    mlflow: str | None = None

    def check(self) -> None:
        """Raise ValueError before any work for what cannot be had."""
        if self.mlflow is not None and find_spec("mlflow") is None:
            raise ValueError("--mlflow needs a package that is not installed: pip install mlflow-skinny")


class Watchers:
    """One for each pass of a sweep. A watcher that breaks is named once and left out: the sweep goes on."""

    def __init__(
        self, watching: Watching, store: Store, plan: Plan, pending: Pending, done: set[str],
        counts: Mapping[str, Mapping[str, int]], say: Callable[[str], None],
    ):
        """pending: what this pass does; done: folders that were finished before; counts: source -> split -> images."""
        self.say = say
        items = {item.key: item for item in (*plan.encoders, *plan.cells)}
        keys = {key for key, item in items.items() if store.folder(item) in done}
        meter = Meter(plan, pending, keys, counts, time.monotonic())
        self.listeners: dict[str, Any] = {"Prometheus": _Prometheus(watching.study, meter)}
        if watching.tensorboard:
            self.listeners["TensorBoard"] = LiveTensorBoard(Path(watching.tensorboard), store, items)
        if watching.mlflow:
            self.listeners["MLflow"] = MlflowRuns(watching.mlflow, watching.study, store, items)

    def show(self, news: News) -> None:
        for name, listener in list(self.listeners.items()):
            try:
                listener.show(news)
            except Exception as error:  # whatever a server, a disk or a library has against it
                self.say(f"[yellow]{name} is left out from now on:[/yellow] {type(error).__name__}: {error}")
                del self.listeners[name]


class _Prometheus:
    def __init__(self, study: str, meter: Meter):
        from sweep.metrics_export import SweepGauges

        self.meter, self.gauges, self.exported = meter, SweepGauges(study), -EXPORT_SECONDS

    def show(self, news: News) -> None:
        now = time.monotonic()
        if news.encoders or news.cells or now - self.exported >= EXPORT_SECONDS:
            self.meter.take(news, now)
            self.gauges.export(self.meter, now)
            self.exported = now


def _done(news: News) -> list[str]:
    return [event.key for event in (*news.encoders, *news.cells) if event.status == Status.DONE]


class LiveTensorBoard:
    """Encoders epoch by epoch, cells as they land. A run's folder is named as in the storage."""

    def __init__(self, directory: Path, store: Store, items: Mapping[str, EncoderRun | Cell]):
        self.directory, self.store, self.items = directory, store, items
        self.writers: dict[str, SummaryWriter] = {}
        self.epochs: dict[str, list[int]] = {}

    def show(self, news: News) -> None:
        for event in news.encoders:
            if event.metrics is not None:
                self._add(event)
        for key in _done(news):
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


class MlflowRuns:
    """A run for each finished encoder and cell, in an experiment of the study's name: numbers and names, no files."""

    def __init__(self, uri: str, study: str, store: Store, items: Mapping[str, EncoderRun | Cell]):
        import os

        for name, value in RETRIES.items():  # a server that is away must not hold the sweep up for minutes
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        self.client, self.store, self.items = MlflowClient(tracking_uri=uri), store, items
        name = f"radsweep-{study}"
        known = self.client.get_experiment_by_name(name)
        self.experiment = known.experiment_id if known else self.client.create_experiment(name)

    def show(self, news: News) -> None:
        from mlflow.entities import Metric

        for key in _done(news):
            item = self.items[key]
            result = open_artefacts(self.store.files, self.store.folder(item)).result
            metrics = [
                Metric(name, float(value), int(time.time() * 1000), int(entry["epoch"]))
                for entry in result.get("history") or () for name, value in entry.items()
                if name != "epoch" and value is not None
            ]
            if result.get("macro_auroc") is not None:
                metrics.append(Metric("macro_auroc", result["macro_auroc"], int(time.time() * 1000), 0))
            run = self.client.create_run(self.experiment, run_name=str(item), tags={"radsweep.key": key})
            for start in range(0, len(metrics), 1000):  # the API takes so many at once
                self.client.log_batch(run.info.run_id, metrics=metrics[start : start + 1000])
            self.client.set_terminated(run.info.run_id)
