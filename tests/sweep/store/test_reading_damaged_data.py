"""Are damaged shards, manifests and numbers without training named, and does who writes compute damage again?"""

import json
import shutil

import pytest
from reading_case import Case, cut, flip, left_out, lines_with, whole_storage, work_of

from datasets_io.corpus.manifest import MANIFEST
from datasets_io.corpus.read import read_manifest
from datasets_io.storage.artefacts import QUARANTINE, CorruptArtefact, seal, unseal
from datasets_io.storage.files import ReadFiles
from datasets_io.storage.stored_sizes import ListedSizes
from sweep.report import write
from sweep.report.cached_parts import cached_parts_of
from sweep.store.shard_checks import damaged_shards, open_sources
from sweep.store.store import ReadStore, Store


@pytest.fixture
def case(tmp_path_factory, tmp_path) -> Case:
    return Case(whole_storage(tmp_path_factory.getbasetemp()), tmp_path)


@pytest.fixture
def quick_figures(monkeypatch):
    """`sweep.report` as without --quick, all files read, but no figure drawn and no patient resampled."""
    monkeypatch.setattr(
        write, "cached_parts_of", lambda data, compared, folder, quick: cached_parts_of(data, compared, folder, True)
    )


# -- damaged data --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["cut", "lost", "one byte"])
def test_a_damaged_shard_is_named_by_each_command(case, what, quick_figures):
    how = {"cut": lambda data: data[: len(data) // 2], "lost": None, "one byte": flip}[what]
    path = case.damage(case.shard(), how)
    case.begin()
    if what != "one byte":
        seen = json.loads(case.run("status", "--json").stdout)
        assert [d["name"] for d in seen["damaged"]] == ["data chexpert"] and path in seen["damaged"][0]["error"]
        assert f"remove {case.whole.folders['chexpert']}" in seen["damaged"][0]["error"]
        assert seen["cells"]["done"] == 8, "what was computed before stays done"
        done = case.run("dry_run")
        assert done.exit_code == 0 and len(lines_with(done.output, f"damaged: data chexpert: {path}")) == 1
        assert "8 in all, 8 done, 0 left" in done.output
        done = case.run("export")
        assert done.exit_code == 0 and len(lines_with(done.output, path)) == 1
        checks = {c["name"]: c for c in json.loads(case.run("doctor", "--json").stdout)}
        assert checks["shards chexpert"]["status"] == "fail" and path in checks["shards chexpert"]["found"]
    assert not case.changed()
    done = case.run("report")
    assert done.exit_code == 0 and len(lines_with(done.output, path)) == 1, done.output
    assert len(lines_with(left_out(case), path)) == 1 and "8 of 8 cells done" in done.output
    assert case.changed() == {"reports"}
    done = case.run("training_free")
    assert len(lines_with(done.output, path)) >= 1 and "Traceback" not in done.output
    rows = (case.storage / "reports" / "small" / "training_free.csv").read_text()
    assert "nih_cxr14" in rows and "chexpert" not in rows
    assert case.changed() == {"reports", "training_free"}


@pytest.mark.parametrize("what", ["cut", "not text", "another shard", "no counts"])
def test_a_damaged_manifest_is_named_by_each_command(case, what):
    def change(data: bytes) -> bytes:
        value = json.loads(data)
        if what == "no counts":
            del value["counts"]["splits"]["val"]
        else:
            value["shards"][0]["sha256"] = "0" * 64
        return json.dumps(value).encode()

    how = {"cut": cut, "not text": lambda data: b"\xff\xfe" + data}.get(what, change)
    path = case.damage(f"{case.whole.folders['chexpert']}/{MANIFEST}", how)
    case.begin()
    seen = json.loads(case.run("status", "--json").stdout)
    assert [d["name"] for d in seen["damaged"]] == ["data chexpert"] and path in seen["damaged"][0]["error"]
    done = case.run("dry_run")
    assert done.exit_code == 2 and len(lines_with(done.output, path)) == 1, done.output
    assert any("counts as left" in note for note in seen["notes"]) and seen["cells"]["done"] == 4
    assert not any("not built" in note for note in seen["notes"])
    done = case.run("export")
    assert done.exit_code == 0 and len(lines_with(done.output, path)) == 1, done.output
    checks = {c["name"]: c for c in json.loads(case.run("doctor", "--json").stdout)}
    assert checks["shards chexpert"]["status"] == "fail" and path in checks["shards chexpert"]["found"]
    assert not case.changed()
    done = case.run("report", "--quick")
    assert done.exit_code == 0 and len(lines_with(done.output, path)) == 1, done.output
    assert len(lines_with(left_out(case), path)) == 1
    page = (case.storage / "reports" / "small" / "report.html").read_text()
    assert "damaged: see what was left out" in page and "not built yet" not in page
    assert case.changed() == {"reports"}
    assert path in case.run("training_free").output


def test_shards_that_were_whole_are_not_looked_at_again(case):
    store, known = ReadStore(str(case.storage)), set()
    folders = case.whole.folders
    assert open_sources(store, folders, known).damage == () and len(known) >= 3
    case.damage(case.shard(), None)
    assert open_sources(store, folders, known).damage == ()
    assert [damage.name for damage in open_sources(store, folders).damage] == ["data chexpert"]
    manifest = read_manifest(store.files, folders["chexpert"])
    assert len(damaged_shards(store.files, folders["chexpert"], manifest.shards, False, set())) == 1


# -- numbers without training ---------------------------------------------------------------------------------------


def test_a_damaged_number_without_training_is_computed_again_or_named(case):
    assert case.run("training_free").exit_code == 0
    table = (case.storage / "reports" / "small" / "training_free.csv").read_bytes()
    (item,) = [path for path in (case.storage / "training_free").iterdir() if "simclr-p0-chexpert" in path.name]
    result = item / "result.json"
    content = result.read_bytes()
    result.write_bytes(flip(content))
    assert case.run("training_free").exit_code == 0
    assert (case.storage / "reports" / "small" / "training_free.csv").read_bytes() == table
    sealed = unseal(result.read_bytes(), "it")
    del sealed["findings"]
    result.write_bytes(seal(sealed))
    assert case.run("training_free").exit_code == 0
    assert (case.storage / "reports" / "small" / "training_free.csv").read_bytes() == table
    result.write_bytes(flip(result.read_bytes()))
    encoder = case.damage(f"{case.folder(case.encoder)}/result.json", flip)
    done = case.run("training_free")
    assert done.exit_code == 3 and lines_with(done.output, encoder) and lines_with(done.output, item.name)
    kept = (case.storage / "reports" / "small" / "training_free.csv").read_text()
    assert "simclr,0,knn,nih_cxr14" in kept and "simclr,0,knn,chexpert" not in kept
    assert (
        "left out, damaged: knn of simclr-p0 on chexpert: "
        in (case.storage / "reports" / "small" / "training_free.md").read_text()
    )


# -- who writes ----------------------------------------------------------------------------------------------------


def test_the_sweep_itself_puts_what_is_damaged_aside_and_computes_it_again(case):
    assert work_of(case).left()[0].nothing
    case.damage(f"{case.folder(case.encoder)}/result.json", flip)
    case.damage(f"{case.folder(case.cell)}/result.json", flip)
    for _ in range(2):  # also a second command, should the first have been killed meanwhile
        left, *_ = work_of(case).left()
        assert (left.encoders, left.cells) == ((case.encoder,), (case.cell,))
    assert not (case.storage / case.folder(case.encoder)).exists() and (case.storage / QUARANTINE).is_dir()
    seen = json.loads(case.run("status", "--json").stdout)
    assert (seen["encoders"]["left"], seen["cells"]["left"], seen["damaged"]) == (1, 1, [])


def test_a_damaged_encoder_is_computed_again_also_where_all_of_its_cells_are_done(case):
    case.damage(case.file_of(case.encoder, "backbone.safetensors"), cut)
    left, *_ = work_of(case).left()
    assert (left.encoders, left.cells) == ((case.encoder,), ())
    shutil.copytree(case.whole.storage / case.folder(case.encoder), case.storage / case.folder(case.encoder))
    assert work_of(case).left()[0].nothing, "once it is there again"


def test_a_pass_lists_the_storage_once(case, monkeypatch):
    """Whatever is done or damaged: on an object store each listing is a request for every thousand files."""
    case.damage(f"{case.folder(case.cell)}/result.json", flip)
    work, listings = work_of(case), []
    for name in ("sizes_of_folders", "list", "entries"):
        real = getattr(work.store.files, name)
        monkeypatch.setattr(work.store.files, name, lambda *a, n=name, r=real: listings.append((n, *a)) or r(*a))
    left = work.left()
    assert left.pending.cells == (case.cell,) and work.store.folder(case.cell) not in left.done
    assert listings == [("sizes_of_folders", ("encoders", "cells")), ("list", "quarantine")]


def test_what_a_listing_has_and_quarantine_has_taken_is_left(case, monkeypatch):
    """As on an object store, whose listing is as old as the pass."""
    monkeypatch.setattr(
        ReadFiles,
        "sizes_of_folders",
        lambda files, kinds: ListedSizes({path: size for kind in kinds for path, size in files.sizes(kind).items()}),
    )
    case.damage(f"{case.folder(case.encoder)}/result.json", flip)
    case.damage(case.file_of(case.cell, "predictions.parquet"), cut)
    left = work_of(case).left()
    assert (left.pending.encoders, left.pending.cells) == ((case.encoder,), (case.cell,))
    assert not {case.folder(case.encoder), case.folder(case.cell)} & left.done and len(left.done) > 5


def test_a_sweep_that_reads_everything_finds_one_changed_byte(case):
    weights, values = case.file_of(case.encoder, "backbone.safetensors"), case.file_of(case.cell, "predictions.parquet")
    case.damage(weights, flip)
    case.damage(values, flip)
    store = Store(str(case.storage))
    store.quarantine_damaged((*case.plan.encoders, *case.plan.cells))
    assert not (case.storage / QUARANTINE).exists()
    store.quarantine_damaged((*case.plan.encoders, *case.plan.cells), thorough=True)
    left, *_ = work_of(case).left()
    assert (left.encoders, left.cells) == ((case.encoder,), (case.cell,))
    with pytest.raises(FileNotFoundError):
        store.open(case.encoder)


def test_damage_says_what_is_wrong_apart_from_what_to_do(case):
    path = case.damage(f"{case.folder(case.cell)}/result.json", flip)
    with pytest.raises(CorruptArtefact) as caught:
        ReadStore(str(case.storage)).open(case.cell)
    assert caught.value.what == f"{path} is damaged (its seal differs)"
    assert str(caught.value) == f"{caught.value.what}; {caught.value.advice}"


@pytest.mark.parametrize("field", ["findings", "macro_auroc"])
def test_a_sealed_result_of_a_cell_without_its_numbers_is_damaged_and_computed_again(case, field):
    path = case.storage / case.folder(case.cell) / "result.json"
    content = unseal(path.read_bytes(), "it")
    del content[field]
    case.damage(f"{case.folder(case.cell)}/result.json", lambda _: seal(content))
    seen = json.loads(case.run("status", "--json").stdout)
    assert len(seen["damaged"]) == 1 and f"result.json has no {field}" in seen["damaged"][0]["error"]
    left, *_ = work_of(case).left()
    assert left.cells == (case.cell,) and (case.storage / QUARANTINE).is_dir()
