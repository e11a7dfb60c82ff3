"""What receives a running sweep's progress: TensorBoard by epoch, MLflow by run; and none of them can end the sweep."""

import io
import time

import pytest
from event_files import scalars
from rich.console import Console

from datasets_io.storage.artefacts import publish
from sweep.cli.display import Display
from sweep.monitoring.mlflow_runs import MlflowRuns
from sweep.monitoring.progress import ProgressSnapshot
from sweep.monitoring.sinks import SinkOptions, Sinks
from sweep.monitoring.tensorboard_live import LiveTensorBoard
from sweep.monitoring.time_left import Places, TimeLeft
from sweep.store.store import Store
from sweep.studies import demo
from sweep.studies.plan import Pending, make_plan
from trainables.events import Outcome, Progress

PLAN = make_plan(demo(), dict.fromkeys(("mimic_cxr", "chexpert", "nih_cxr14"), "x"), {"method": ("simclr",)})
ITEMS = {item.key: item for item in (*PLAN.encoders, *PLAN.cells)}
SIMCLR = next(run for run in PLAN.encoders if run.row == "simclr")
HISTORY = [{"epoch": epoch, "train_simclr": 4.0 - epoch, "val_loss": 3.5 - epoch} for epoch in range(3)]


def finish(store: Store, item, **result) -> None:
    publish(store.files, store.folder(item), {}, {"name": str(item), "key": item.key, "history": HISTORY, **result})


def epoch_progress(*epochs: int) -> ProgressSnapshot:
    return ProgressSnapshot([Progress(SIMCLR.key, "running", e + 1, metrics=HISTORY[e]) for e in epochs], [])


WHOLE = sorted(
    (tag, e, 4.0 - e if tag == "simclr/train" else 3.5 - e) for e in range(3) for tag in ("simclr/train", "loss/val")
)


def test_an_encoder_is_seen_while_it_trains_and_whole_at_its_end(tmp_path):
    store = Store(str(tmp_path / "storage"))
    logs = LiveTensorBoard(tmp_path / "logs", store, ITEMS)
    folder = tmp_path / "logs" / store.folder(SIMCLR)
    logs.show(epoch_progress(0))
    deadline = time.monotonic() + 60
    while len(scalars(folder)) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert scalars(folder) == WHOLE[:1] + WHOLE[3:4]
    logs.show(epoch_progress(0, 1, 2))  # an epoch that is told twice is one point
    finish(store, SIMCLR)
    logs.show(ProgressSnapshot([Progress(SIMCLR.key, "done")], []))
    assert scalars(folder) == WHOLE


def test_what_an_earlier_command_saw_is_in_the_log_too(tmp_path):
    store = Store(str(tmp_path / "storage"))
    logs = LiveTensorBoard(tmp_path / "logs", store, ITEMS)
    logs.show(epoch_progress(2))
    finish(store, SIMCLR)
    logs.show(ProgressSnapshot([Progress(SIMCLR.key, "done")], []))
    assert scalars(tmp_path / "logs" / store.folder(SIMCLR)) == WHOLE


def test_a_cell_is_logged_when_it_lands(tmp_path):
    store, cell = Store(str(tmp_path / "storage")), PLAN.cells[0]
    finish(store, cell)
    logs = LiveTensorBoard(tmp_path / "logs", store, ITEMS)
    logs.show(ProgressSnapshot([], [Outcome(cell.key, "done", 0.7), Outcome(PLAN.cells[1].key, "failed")]))
    assert scalars(tmp_path / "logs" / store.folder(cell)) == WHOLE
    assert len(list((tmp_path / "logs").rglob("events*"))) == 1


def test_a_watcher_that_breaks_is_named_once_and_the_sweep_goes_on(tmp_path):
    store, said = Store(str(tmp_path / "storage")), []
    (tmp_path / "logs").write_text("a file where the folder should be")
    sinks = Sinks.__new__(Sinks)
    sinks.say = said.append
    sinks.sinks = {"TensorBoard": LiveTensorBoard(tmp_path / "logs", store, ITEMS)}
    for _ in range(2):
        sinks.show(epoch_progress(0))
    assert len(said) == 1 and "TensorBoard is left out" in said[0]


def test_mlflow_gets_numbers_and_names_and_nothing_else(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store, cell = Store(str(tmp_path / "storage")), PLAN.cells[0]
    finish(store, SIMCLR)
    finish(store, cell, macro_auroc=0.75)
    uri = (tmp_path / "mlruns").as_uri()
    progress = ProgressSnapshot([Progress(SIMCLR.key, "done")], [Outcome(cell.key, "done", 0.75)])
    MlflowRuns(uri, "demo", store, ITEMS).show(progress)
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("radsweep-demo")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {str(SIMCLR), str(cell)}
    assert runs[str(cell)].data.metrics == {"train_simclr": 2.0, "val_loss": 1.5, "macro_auroc": 0.75}
    steps = client.get_metric_history(runs[str(SIMCLR)].info.run_id, "val_loss")
    assert [(metric.step, metric.value) for metric in steps] == [(0, 3.5), (1, 2.5), (2, 1.5)]
    assert not runs[str(cell)].data.params and not client.list_artifacts(runs[str(cell)].info.run_id)
    assert MlflowRuns(uri, "demo", store, ITEMS).experiment == experiment.experiment_id


def test_a_uri_for_tensorboard_is_refused_without_its_key():
    with pytest.raises(ValueError, match=r"--tensorboard s3://\*\*\*@bucket/x: give a folder"):
        SinkOptions("demo", tensorboard="s3://KEY:SECRET@bucket/x").check()


def test_mlflow_without_its_package_is_refused_before_any_work(monkeypatch):
    monkeypatch.setattr("sweep.monitoring.sinks.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install mlflow-skinny"):
        SinkOptions("demo", None, "http://somewhere").check()
    SinkOptions("demo", "logs", None).check()


def test_a_server_that_is_away_from_the_beginning_ends_nothing_and_its_password_is_shown_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    said = io.StringIO()
    display = Display(Console(file=said, width=500))
    options = SinkOptions("demo", mlflow="http://user:TOPSECRETPW@127.0.0.1:9")
    left = Pending((), (), (), (), ())
    sinks = Sinks(
        options, Store(str(tmp_path / "storage")), PLAN, left, set(), TimeLeft({}, (), Places(1, 1, False)), display.say
    )
    assert "MLflow" not in sinks.sinks and "MLflow is left out" in said.getvalue()
    assert "TOPSECRETPW" not in said.getvalue()
