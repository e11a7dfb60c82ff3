"""Which build of a source is taken where manifests are damaged, lack counts, or vanish while they are read?"""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from datasets_io.build.spec import BuildSpec, identity_of
from datasets_io.corpus.manifest import MANIFEST, Manifest, corpus_fingerprint
from datasets_io.schema import SPLITS
from sweep.engine.ingest import check_data
from sweep.run import __main__ as run
from sweep.status.readers import StudyStatusReader
from sweep.store import shard_checks, shards
from sweep.store.shard_checks import open_sources
from sweep.store.shards import data_folders, manifests, plan_data
from sweep.store.store import ReadStore, Store
from sweep.studies import demo

STUDY = replace(demo(), synthetic=None)
SPECS = {spec.source: spec for spec in STUDY.builds()}


def put(store: Store, spec: BuildSpec, key: str) -> str:
    """A build without shards; its folder."""
    split = {"images": 100, "studies": 100, "patients": 100, "with_impression": 100, "without_impression": 0}
    counts = {"records": 300, "images": 300, "rejects": 0, "splits": {name: split for name in SPLITS}}
    manifest = Manifest(
        spec.source,
        1,
        key,
        identity_of(spec),
        (),
        True,
        spec.image_size,
        {},
        counts,
        (),
        {},
        (),
        corpus_fingerprint(key, ()),
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
        plan_data(STUDY, {}, store)
    assert data_folders(STUDY, (), store) == folders, "so that its damage is reported"


def drop_counts(path: Path) -> None:
    value = json.loads(path.read_text())
    del value["counts"]["splits"]["val"], value["sha256"]
    path.write_text(json.dumps(value))


def test_a_manifest_without_counts_is_damaged_to_who_computes_and_to_who_reads(store, folders, tmp_path):
    folder = folders["chexpert"]
    drop_counts(path_of(store, folder))
    (damage,) = open_sources(store, folders).damage
    assert damage.what == f"{folder}/{MANIFEST} is damaged (its counts lack 'val')"
    for ask in (lambda: manifests(folders, store), lambda: check_data(STUDY, plan_data(STUDY, {}, store), store)):
        with pytest.raises(ValueError) as refused:
            ask()
        assert str(refused.value) == damage.sentence
    study = tmp_path / "own.py"
    study.write_text(
        "from dataclasses import replace\nfrom sweep.studies import demo\n"
        "def study():\n    return replace(demo(), synthetic=None)\n"
    )
    done = CliRunner().invoke(run.app, ["--study", str(study), "--storage", str(store.files.root), "--dry-run"])
    assert done.exit_code == 2 and damage.sentence in done.output.replace("\n", " "), done.output


def test_a_corpus_in_the_archives_order_is_neither_read_nor_taken_for_the_one_by_hash(store, folders):
    """What was built before corpora were ordered: its manifest says no order."""
    shutil.rmtree(path_of(store, folders["mimic_cxr"]).parent)
    old = put(store, replace(SPECS["mimic_cxr"], order="archive"), "0" * 12)
    assert "order" not in json.loads(path_of(store, old).read_text())["spec"]
    others = {source: folder for source, folder in folders.items() if source != "mimic_cxr"}
    assert data_folders(STUDY, (), store) == others, "commands that read"
    with pytest.raises(ValueError) as refused:
        plan_data(STUDY, {}, store)
    assert str(refused.value) == (
        f"study 'demo' needs mimic_cxr, and {store.uri} has no build of it in the order 'hash' ({old} has another, and "
        "is left as it is): give its folder with --raw mimic_cxr=DIR"
    )
    new = put(store, SPECS["mimic_cxr"], "b" * 12)
    assert data_folders(STUDY, (), store) == {**others, "mimic_cxr": new}, "beside it"


def test_a_build_that_differs_in_more_than_its_order_is_not_named(store, folders):
    shutil.rmtree(path_of(store, folders["mimic_cxr"]).parent)
    put(store, replace(SPECS["mimic_cxr"], order="archive", image_size=64), "0" * 12)
    with pytest.raises(ValueError, match="has no build of it: give its folder with --raw mimic_cxr=DIR"):
        plan_data(STUDY, {}, store)


@pytest.mark.parametrize("module", [shards, shard_checks], ids=["while builds are looked for", "after that"])
def test_a_build_that_is_removed_while_a_status_is_read_counts_as_not_built(store, folders, module, monkeypatch):
    reader = StudyStatusReader(STUDY, ReadStore(str(store.files.root)), (), {})
    assert reader.read(time.time()).notes == ()
    read = module.read_manifest

    def read_after_removal(files, folder):
        if folder == folders["chexpert"]:
            shutil.rmtree(path_of(store, folder).parent, ignore_errors=True)
        return read(files, folder)

    monkeypatch.setattr(module, "read_manifest", read_after_removal)
    for _ in range(2):  # as it is removed, and as --watch reads again
        seen = reader.read(time.time())
        assert seen.notes == ("not built yet: chexpert",) and seen.damaged == ()


def test_a_damaged_build_that_is_removed_while_it_is_looked_for_is_not_damaged(store, folders, monkeypatch):
    gone = path_of(store, folders["chexpert"])
    gone.write_bytes(b"cut")
    listed = shards._data_folders(store)
    monkeypatch.setattr(shards, "_data_folders", lambda store: listed)
    assert shards.damaged_builds(store, "chexpert") == [folders["chexpert"]]
    gone.unlink()
    assert shards.damaged_builds(store, "chexpert") == []
