"""What is sent to an MLflow server: a run for each finished encoder and cell, numbers only."""

import os
import time
from collections.abc import Mapping

from datasets_io.storage.artefacts import open_artefacts
from sweep.monitoring.progress import ProgressSnapshot, finished_keys
from sweep.store.store import Store
from sweep.studies.cell import Cell, EncoderRun

RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}


class MlflowRuns:
    """A run for each finished encoder and cell, in an experiment of the study's name: numbers and names, no files."""

    def __init__(self, uri: str, study: str, store: Store, items: Mapping[str, EncoderRun | Cell]):
        """items: key -> encoder or cell. Raises whatever mlflow does where the server cannot be reached."""

        for name, value in RETRIES.items():  # a server that is away must not hold the sweep up for minutes
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient  # only those who ask for it have it

        self.client, self.store, self.items = MlflowClient(tracking_uri=uri), store, items
        name = f"radsweep-{study}"
        known = self.client.get_experiment_by_name(name)
        self.experiment = known.experiment_id if known else self.client.create_experiment(name)

    def show(self, progress: ProgressSnapshot) -> None:
        """Send a run for each encoder and cell that has just finished: its history by epoch, and its macro AUROC."""
        from mlflow.entities import Metric

        for key in finished_keys(progress):
            item = self.items[key]
            result = open_artefacts(self.store.files, self.store.folder(item)).result
            metrics = [
                Metric(name, float(value), int(time.time() * 1000), int(epoch))
                for entry in result.get("history") or ()
                if (epoch := entry.get("epoch")) is not None
                for name, value in entry.items()
                if name != "epoch" and value is not None
            ]
            if result.get("macro_auroc") is not None:
                metrics.append(Metric("macro_auroc", result["macro_auroc"], int(time.time() * 1000), 0))
            run = self.client.create_run(self.experiment, run_name=str(item), tags={"radsweep.key": key})
            for start in range(0, len(metrics), 1000):  # the API takes so many at once
                self.client.log_batch(run.info.run_id, metrics=metrics[start : start + 1000])
            self.client.set_terminated(run.info.run_id)
