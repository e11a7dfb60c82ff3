"""Who receives the progress of a running sweep: Prometheus, and where asked TensorBoard and MLflow."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from rich.markup import escape

from datasets_io.storage.disk import in_the_way
from datasets_io.storage.secrets import remember_secrets, without_secrets
from sweep.monitoring.mlflow_runs import MlflowRuns
from sweep.monitoring.progress import ProgressSnapshot
from sweep.monitoring.tensorboard_live import LiveTensorBoard
from sweep.monitoring.throughput import Throughput
from sweep.monitoring.time_left import TimeLeft
from sweep.store.store import Store
from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.plan import Pending, Plan

EXPORT_SECONDS = 5.0


class Sink(Protocol):
    """What receives the progress of a sweep. Whatever it raises ends it alone."""

    def show(self, progress: ProgressSnapshot) -> None:
        """Take what has happened since the last call."""
        ...


@dataclass(frozen=True)
class SinkOptions:
    """What a user asked for. study: its name. tensorboard: a folder; mlflow: a tracking URI.

    Nothing is sent anywhere without them.
    """

    study: str = ""
    tensorboard: str | None = None
    mlflow: str | None = None

    def check(self) -> None:
        """Raise ValueError before any work for what cannot be had."""
        if self.tensorboard is not None and "://" in self.tensorboard:  # a folder `s3:` would be made, key and all
            raise ValueError(
                f"--tensorboard {without_secrets(self.tensorboard)}: give a folder of this machine, no URI"
            )
        if self.tensorboard is not None and (trouble := in_the_way(self.tensorboard)) is not None:
            raise ValueError(f"--tensorboard {self.tensorboard}: {trouble}; give a folder")
        if self.mlflow is not None and find_spec("mlflow") is None:
            raise ValueError("--mlflow needs a package that is not installed: pip install mlflow-skinny")


class Sinks:
    """One for each pass of a sweep. A sink that fails is named once and left out: the sweep goes on."""

    def __init__(
        self,
        options: SinkOptions,
        store: Store,
        plan: Plan,
        pending: Pending,
        done: set[str],
        time_left: TimeLeft,
        say: Callable[[str], None],
    ):
        """pending: what this pass does; done: folders that were finished before; time_left: of it."""
        self.say = say
        planned: tuple[EncoderRun | Cell, ...] = (*plan.encoders, *plan.cells)
        items = {item.key: item for item in planned}
        keys = {key for key, item in items.items() if store.folder(item) in done}
        throughput = Throughput(plan, pending, keys, time_left, time.monotonic())
        self.sinks: dict[str, Sink] = {}
        self._add("Prometheus", lambda: _Prometheus(options.study, throughput))
        if (folder := options.tensorboard) is not None:
            self._add("TensorBoard", lambda: LiveTensorBoard(Path(folder), store, items))
        if (uri := options.mlflow) is not None:
            remember_secrets(uri)
            self._add("MLflow", lambda: MlflowRuns(uri, options.study, store, items))

    def show(self, progress: ProgressSnapshot) -> None:
        """Hand progress to every sink that has not failed."""
        for name, sink in list(self.sinks.items()):
            try:
                sink.show(progress)
            except Exception as error:  # whatever a server, a disk or a library has against it
                self._leave_out(name, error)

    def _add(self, name: str, make: Callable[[], Sink]) -> None:
        try:
            self.sinks[name] = make()
        except Exception as error:  # as above: a server may be away from the beginning
            self._leave_out(name, error)

    def _leave_out(self, name: str, error: Exception) -> None:
        self.sinks.pop(name, None)
        self.say(f"[yellow]{name} is left out from now on:[/yellow] {escape(f'{type(error).__name__}: {error}')}")


class _Prometheus:
    def __init__(self, study: str, throughput: Throughput):
        from sweep.monitoring.prometheus import SweepGauges  # imports Ray, which --dry-run does without

        self.throughput, self.gauges, self.exported = throughput, SweepGauges(study), -EXPORT_SECONDS

    def show(self, progress: ProgressSnapshot) -> None:
        now = time.monotonic()
        # Also where nothing happened: the speed falls, and the time left grows.
        if progress.encoders or progress.cells or now - self.exported >= EXPORT_SECONDS:
            self.throughput.update(progress, now)
            self.gauges.export(self.throughput, now)
            self.exported = now
