"""What do benchmarks of Ray's part run on: synthetic archives as shards, and a study of random encoders on them."""

from dataclasses import replace
from pathlib import Path

from datasets_io.build import build, data_folder
from datasets_io.corpus.read import read_manifest
from datasets_io.synthetic.archives import write_archives
from datasets_io.synthetic.plan import SyntheticSpec
from sweep.store.store import Store
from sweep.studies import BASELINE, EncoderRow, Study, demo
from sweep.studies.plan import Plan, make_plan
from trainables.recipe import RandomInit


def trivial_study(num_rows: int, seeds: int, image_size: int, corpus_train: int = 96) -> Study:
    """The demo's datasets and protocols, one epoch each, on random encoders: all cost lies in what is around."""
    base = demo()
    rows = tuple(
        EncoderRow(f"random{i}", f"Random {i}", BASELINE, RandomInit(base.rows[0].recipe.backbone))
        for i in range(num_rows)
    )
    datasets = tuple(replace(d, recipe=replace(d.recipe, num_epochs=1, linear_probe_epochs=1)) for d in base.datasets)
    spec = SyntheticSpec(
        image_size=image_size,
        corpus_train=corpus_train,
        corpus_val=64,
        chexpert_train=60,
        chexpert_valid=40,
        nih_train_val=80,
        nih_test=40,
    )
    return replace(base, name="trivial", rows=rows, datasets=datasets, seeds=tuple(range(seeds)), synthetic=spec)


def built(study: Study, root: Path) -> tuple[Store, Plan, dict[str, str]]:
    """The storage with the study's shards, its plan, and label of a build -> data folder."""
    archives = write_archives(study.synthetic, root / "raw")
    store = Store(str(root / "storage"))
    folders, fingerprints = {}, {}
    for one in study.data_builds():
        fingerprints[one.label] = build(one.spec, archives[one.source], store.files).fingerprint
        folders[one.label] = data_folder(one.spec, archives[one.source])
    return store, make_plan(study, fingerprints, {}), folders


def image_counts(store: Store, folders: dict[str, str]) -> dict[str, dict[str, int]]:
    """Label of a build -> images of each split."""
    splits = {label: read_manifest(store.files, folder).counts["splits"] for label, folder in folders.items()}
    return {label: {split: part["images"] for split, part in parts.items()} for label, parts in splits.items()}
