"""A small study whose cells were published without training: predictions made from labels and noise."""

import io
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets_io.corpus.manifest import MANIFEST, Manifest, Shard, corpus_fingerprint
from datasets_io.fingerprint import derive_seed
from datasets_io.schema import label_column, shard_schema
from datasets_io.storage.artefacts import publish
from sweep.store.results import ResultReader
from sweep.store.store import Store
from sweep.studies import Study, demo
from sweep.studies.plan import Plan, make_plan
from trainables.evaluation.metrics import auroc_per_finding, macro

FINDINGS = ("atelectasis", "cardiomegaly", "consolidation", "edema", "pleural_effusion", "hernia", "mass")
STRENGTH = {"random": 0.0, "imagenet": 0.4, "clip": 1.2, "simclr": 0.6, "clip+simclr": 2.5}
NUM_IMAGES = 160


@dataclass
class Saved:
    """Everything that an analysis takes, and the truth of the test images."""

    study: Study
    plan: Plan
    store: Store
    labels: np.ndarray
    known: np.ndarray
    image_ids: list[str]
    patient_ids: np.ndarray

    def results(self):
        return ResultReader(self.study, self.plan, self.store).collect()

    def cell(self, method, seed, protocol="LP", pretrain_seed=0):
        return next(
            c
            for c in self.plan.cells
            if (c.encoder.row, c.seed, c.protocol) == (method, seed, protocol)
            and c.encoder.pretrain_seed == pretrain_seed
        )

    def probabilities(self, cell) -> np.ndarray:
        """(N, F) float32, with ties: rounded to 2 decimals."""
        rng = np.random.default_rng(derive_seed(cell.seed, str(cell)))
        logits = rng.normal(size=self.labels.shape) + STRENGTH.get(cell.encoder.row, 0.9) * self.labels
        return np.round(1 / (1 + np.exp(-logits)), 2).astype(np.float32)

    def save(self, cell, probabilities=None, findings=None, image_ids=None, store_schema=False) -> None:
        probabilities = self.probabilities(cell) if probabilities is None else probabilities
        if findings is None:
            findings = auroc_per_finding(probabilities, self.labels, self.known, FINDINGS)
        columns = {"image_id": pa.array(image_ids or self.image_ids), "patient_id": pa.array(self.patient_ids.tolist())}
        for f, finding in enumerate(FINDINGS):
            columns[f"probability_{finding}"] = pa.array(probabilities[:, f], pa.float32())
            columns[label_column(finding)] = pa.array(self.labels[:, f].astype(np.int8), mask=~self.known[:, f])
        stream = io.BytesIO()
        pq.write_table(pa.table(columns), stream, store_schema=store_schema)
        result = {"macro_auroc": macro(findings), "findings": [asdict(finding) for finding in findings]}
        publish(self.store.files, self.store.folder(cell), {"predictions.parquet": stream.getvalue()}, result)


def make(
    storage,
    methods=("imagenet", "clip", "simclr"),
    seeds=(0, 1, 2),
    pretrain_seeds=(0,),
    protocols=("LP",),
    study=None,
    hernias=4,
):
    """A study on one dataset without any cell saved: hernia has few positives, mass none, one label in ten is unknown.

    study: another one, whose datasets then all have these test images. hernias: 4 are too few for an interval over
    patients, of hernia and of the macro.
    """
    base = demo()
    study = study or replace(
        base,
        name="saved",
        rows=tuple(row for row in base.rows if row.name in methods),
        datasets=base.datasets[:1],
        seeds=seeds,
        pretrain_seeds=pretrain_seeds,
        protocols=protocols,
        hidden_rows=base.rows[:2],
    )
    plan = make_plan(study, {build.label: "0" * 12 for build in study.data_builds()}, {})
    rng = np.random.default_rng(0)
    labels = (rng.random((NUM_IMAGES, len(FINDINGS))) < 0.3).astype(np.int8)
    known = rng.random(labels.shape) < 0.9
    labels[:, 5], labels[:, 6] = 0, 0
    rare = slice(10, 10 + hernias)
    labels[rare, 5], known[rare, 5] = 1, True
    image_ids = [f"image{i}" for i in range(NUM_IMAGES)]
    patients = np.array([f"patient{i}" for i in rng.integers(0, 90, NUM_IMAGES)])
    return Saved(study, plan, Store(str(storage)), labels, known, image_ids, patients)


def save_all(saved: Saved, without=()) -> None:
    for cell in saved.plan.cells:
        if cell not in without:
            saved.save(cell)


def save_shards(saved: Saved, sexes, ages, view_positions, folder="data/chexpert-test") -> str:
    """Shards whose val split holds the test images in another order; the folder, as the manifest has it."""
    schema = shard_schema(FINDINGS)
    order = np.random.default_rng(1).permutation(NUM_IMAGES)
    columns = {name: [None] * NUM_IMAGES for name in schema.names}
    columns |= {"original_rows": [1] * NUM_IMAGES, "original_columns": [1] * NUM_IMAGES, "pixels": [b"0"] * NUM_IMAGES}
    for name, values in (
        ("image_id", saved.image_ids),
        ("study_id", saved.image_ids),
        ("patient_id", saved.patient_ids.tolist()),
        ("sex", sexes),
        ("age", ages),
        ("view_position", view_positions),
    ):
        columns[name] = [values[i] for i in order]
    stream = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), stream, store_schema=False, write_page_checksum=True)
    saved.store.files.write(f"{folder}/val/a.parquet", stream.getvalue())
    shards = (Shard("val/a.parquet", "val", NUM_IMAGES, (NUM_IMAGES,), "0" * 64),)
    identity = corpus_fingerprint("k", shards)
    manifest = Manifest("chexpert", 1, "k", {}, FINDINGS, False, 1, {}, {}, shards, {}, (), identity)
    saved.store.files.write(f"{folder}/{MANIFEST}", manifest.to_json().encode())
    return folder
