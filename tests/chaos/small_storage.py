"""A storage with shards and the jobs of a very small study, for faults within one process."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from datasets_io.build import build, data_folder
from datasets_io.corpus.read import read_manifest
from datasets_io.storage.files import Files
from datasets_io.synthetic.archives import write_archives
from datasets_io.synthetic.plan import SyntheticSpec
from sweep.engine.jobs import downstream_jobs, encoder_job
from sweep.engine.schedule import groups_in_order
from sweep.store.store import Store
from sweep.studies import Study, demo
from sweep.studies.plan import Plan, make_plan, pending
from trainables.evaluation.cell_job import DownstreamJob, run_job
from trainables.events import Outcome
from trainables.pretraining.encoder_job import run_initial
from trainables.training.precision import Compute

ARCHIVES = SyntheticSpec(
    image_size=48, corpus_train=48, corpus_val=16, chexpert_train=60, chexpert_valid=40, nih_train_val=40, nih_test=20
)
COUNTS = {name: {"train": 60, "val": 40, "test": 40} for name in ("mimic_cxr", "chexpert", "nih_cxr14")}


def study() -> Study:
    """Two encoders that need no corpus, one dataset, all protocols, one seed, one epoch."""
    base = demo()
    rows = [row for row in base.rows if row.name in ("random", "imagenet")]
    rows[1] = replace(rows[1], recipe=replace(rows[1].recipe, num_images=32, num_epochs=1))
    chexpert = base.datasets[0]
    chexpert = replace(chexpert, recipe=replace(chexpert.recipe, num_epochs=1, linear_probe_epochs=2))
    return replace(base, name="tiny", rows=tuple(rows), datasets=(chexpert,), seeds=(0,), synthetic=ARCHIVES)


@dataclass(frozen=True)
class Small:
    study: Study
    plan: Plan
    store: Store
    jobs: tuple[DownstreamJob, ...]

    @property
    def files(self) -> Files:
        return self.store.files

    def make_encoders(self) -> None:
        for run in self.plan.encoders:
            run_initial(encoder_job(run, {}), self.store.uri, lambda progress: None)

    def run(self, job: DownstreamJob) -> list[Outcome]:
        outcomes: list[Outcome] = []
        run_job(job, self.store.uri, Compute(torch.device("cpu")), outcomes.append)
        return outcomes

    def job(self, encoder: str, protocol: str, percent: int) -> DownstreamJob:
        (found,) = (
            job
            for job in self.jobs
            if (job.protocol.name, job.label_percent) == (protocol, percent) and f"/{encoder}-" in job.encoder_folder
        )
        return found


def small(folder: Path) -> Small:
    """Shards are there, nothing else."""
    torch.set_num_threads(1)
    made = study()
    store = Store(str(folder / "storage"))
    raw = write_archives(made.synthetic, folder / "raw")
    folders = {one.label: data_folder(one.spec, raw[one.source]) for one in made.data_builds()}
    for one in made.data_builds():
        build(one.spec, raw[one.source], store.files)
    fingerprints = {label: read_manifest(store.files, place).fingerprint for label, place in folders.items()}
    plan = make_plan(made, fingerprints, {})
    groups = groups_in_order(pending(plan, set(), set()).cells, plan.cells, COUNTS)
    jobs, _ = downstream_jobs(groups, plan.cells, folders, made.resources, False)
    return Small(made, plan, store, jobs)
