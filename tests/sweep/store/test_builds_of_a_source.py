"""Which build of a source is taken where manifests are damaged, lack counts, or vanish while they are read?"""

from dataclasses import replace
from pathlib import Path

import pytest

from datasets_io.build.spec import BuildSpec, identity_of
from datasets_io.corpus.manifest import MANIFEST, Manifest, corpus_fingerprint
from datasets_io.schema import SPLITS
from sweep.store.shards import data_folders, find_built, plan_data
from sweep.store.store import Store
from sweep.studies import demo

STUDY = replace(demo(), synthetic=None)
SPECS = {spec.source: spec for spec in STUDY.builds()}


def put(store: Store, spec: BuildSpec, key: str) -> str:
    """A build without shards; its folder."""
    split = {"images": 100, "studies": 100, "patients": 100, "with_impression": 100, "without_impression": 0}
    counts = {"records": 300, "images": 300, "rejects": 0, "splits": {name: split for name in SPLITS}}
    manifest = Manifest(
        spec.source, 1, key, identity_of(spec), (), True, 32, {}, counts, (), {}, (), corpus_fingerprint(key, ())
    )
    folder = f"data/{spec.source}-{key}"
    store.files.write(f"{folder}/{MANIFEST}", manifest.to_json().encode())
    return folder


def path_of(store: Store, folder: str) -> Path:
    return Path(store.files.root, folder, MANIFEST)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "storage"))


@pytest.fixture
def folders(store) -> dict[str, str]:
    """One whole build of each source of the study."""
    return {source: put(store, spec, "a" * 12) for source, spec in SPECS.items()}


def test_a_damaged_build_beside_the_whole_one_that_is_wanted_is_in_nobodys_way(store, folders):
    path_of(store, put(store, SPECS["chexpert"], "0" * 12)).write_bytes(b"cut")
    assert data_folders(STUDY, (), store) == folders, "commands that read"
    assert {source: plan.folder for source, plan in plan_data(STUDY, {}, store).items()} == folders, "sweep.run"


def test_a_damaged_build_is_named_where_there_is_no_whole_one(store, folders):
    path_of(store, folders["chexpert"]).write_bytes(b"cut")
    with pytest.raises(ValueError, match=f"{folders['chexpert']}/{MANIFEST} is damaged: remove .* --raw chexpert=DIR"):
        find_built(STUDY, store, SPECS["chexpert"])
    assert data_folders(STUDY, (), store) == folders, "so that its damage is reported"
