"""A made-up study as everything that a report is made from: trainings, failures and odd results included."""

from collections.abc import Sequence
from pathlib import Path

from made_up_study import number, plan_of, results_of, small

from sweep.store.records import CellDetail, CellResult, EncoderDetail, without_nan
from sweep.store.snapshot import Origin, Snapshot
from sweep.store.status_names import Status
from sweep.store.store import Store
from sweep.studies import Study
from sweep.studies.plan import Plan


def detail_of(result: CellResult) -> CellDetail:
    history = [{"epoch": e, "train_bce": 0.5 - 0.1 * e, "val_auroc": 0.6 + 0.05 * e} for e in range(3)]
    return CellDetail("ab" * 32, 446, 2, 1.5 + number(result.key), "cpu", history, ())


def data_of(
    folder: Path,
    study: Study | None = None,
    results: Sequence[CellResult] | None = None,
    plan: Plan | None = None,
    failures: dict | None = None,
) -> Snapshot:
    study = study or small()
    plan = plan or plan_of(study)
    kept, broken = without_nan(results_of(study, plan) if results is None else results)
    store = Store(str(folder))
    encoders = tuple(
        EncoderDetail(
            str(run),
            run.key,
            run.row,
            store.folder(run),
            Status.DONE,
            20.0,
            1,
            "cpu",
            1,
            1900,
            False,
            [{"epoch": 0, "train_clip": 3.5, "val_loss": 3.4}],
        )
        for run in plan.encoders
    )
    details = {result.key: detail_of(result) for result in kept if result.status == Status.DONE}
    origin = Origin("demo", str(folder))
    return Snapshot(study, plan, kept, {}, store, origin, encoders, details, failures or {}, broken)
