"""A storage with a whole small study in it, trained in this process: synthetic archives, three rows, LP and LPFT."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from datasets_io.build import build, data_folder
from datasets_io.corpus.read import read_manifest
from datasets_io.synthetic.archives import write_archives
from datasets_io.synthetic.plan import SyntheticSpec
from sweep.store.results import ResultReader
from sweep.store.store import Store
from sweep.studies import Study, demo
from sweep.studies.plan import Plan, make_plan, starts_from
from trainables.evaluation.cell_job import DownstreamJob, SeedTarget, run_job
from trainables.pretraining.encoder_job import EncoderJob, run_initial, run_pretraining
from trainables.pretraining.worker_group import open_corpus
from trainables.protocols.registry import PROTOCOLS
from trainables.training.precision import Compute

ROWS = ("imagenet", "simclr", "clip+simclr")
ARCHIVES = SyntheticSpec(
    image_size=48, corpus_train=96, corpus_val=32, chexpert_train=60, chexpert_valid=40, nih_train_val=80, nih_test=40
)


@dataclass(frozen=True)
class Trained:
    """raw: by source or use; data_folders: by label of a build."""

    study: Study
    plan: Plan
    store: Store
    data_folders: dict[str, str]
    raw: dict[str, Path]

    def results(self) -> list:
        return ResultReader(self.study, self.plan, self.store).collect()


def small_study(protocols: tuple[str, ...] = ("LPFT", "LP"), rows: tuple[str, ...] = ROWS) -> Study:
    base = demo()
    kept = []
    for row in base.rows:
        if row.name in rows:
            short = {"num_images": 64} if row.name == "imagenet" else {}
            kept.append(replace(row, recipe=replace(row.recipe, num_epochs=1, **short)))
    datasets = tuple(replace(d, recipe=replace(d.recipe, num_epochs=1, linear_probe_epochs=3)) for d in base.datasets)
    return replace(
        base, name="small", rows=tuple(kept), datasets=datasets, seeds=(0, 1), synthetic=ARCHIVES, protocols=protocols
    )


def train(study: Study, folder: Path, raw: dict[str, Path] | None = None) -> Trained:
    """Run a study's whole plan, one thing after the other. raw: archives by source or use; else synthetic ones."""
    torch.set_num_threads(1)
    store = Store(str(folder / "storage"))
    raw = write_archives(study.synthetic, folder / "raw") if raw is None else raw
    folders = {}
    for one in study.data_builds():
        archive = raw[one.instance if one.instance in raw else one.source]
        folders[one.label] = data_folder(one.spec, archive)
        build(one.spec, archive, store.files)
    fingerprints = {label: read_manifest(store.files, place).fingerprint for label, place in folders.items()}
    plan = make_plan(study, fingerprints, {})
    for run in plan.encoders:
        data, parent = folders.get(run.corpus), store.folder(run.parent) if run.parent else None
        job = EncoderJob(str(run), run.key, store.folder(run), run.recipe, run.weights_seed, data, parent)
        if job.is_pretraining:
            corpus = open_corpus(job, store.uri, study.resources)
            run_pretraining(job, store.uri, corpus, study.resources, torch.device("cpu"), lambda progress: None)
        else:
            run_initial(job, store.uri, lambda progress: None)
    starts = starts_from(plan.cells)
    for cell in sorted(plan.cells, key=lambda cell: cell.key in starts):  # what others start from comes first
        start = starts.get(cell.key)
        kept = start is not None and cell.seed == min(study.seeds)
        target = SeedTarget(
            str(cell),
            cell.key,
            cell.seed,
            store.folder(cell),
            store.folder(start) if start else None,
            keep_weights=kept,
        )
        job = DownstreamJob(
            PROTOCOLS[cell.protocol],
            cell.label_percent,
            cell.recipe,
            cell.encoder.recipe.backbone,
            store.folder(cell.encoder),
            folders[cell.shards],
            (target,),
        )
        run_job(job, store.uri, Compute(torch.device("cpu")), lambda outcome: None)
    failures = {str(item): store.failure(item) for item in (*plan.encoders, *plan.cells)}
    assert not any(failures.values()), next(failure for failure in failures.values() if failure)
    return Trained(study, plan, store, folders, raw)
