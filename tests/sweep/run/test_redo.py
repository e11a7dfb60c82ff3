"""Does a redone cell give way, get compared, and come back where the new computation failed?"""

import io
import json
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_up_study import plan_of, small

from datasets_io.storage.artefacts import move_to_quarantine, publish, record_failure
from datasets_io.storage.local_listing import TEMPORARY
from datasets_io.storage.processes import this_machine
from sweep.run.redo import claim_of, find_cell, part_of, restore_interrupted, settle, supersede
from sweep.store.cleanup import clean_up
from sweep.store.lease import HOLDING, LEASES, Holder, Lease
from sweep.store.store import Store
from trainables.protocols.registry import PROTOCOLS

PLAN = plan_of(small(("random", "imagenet", "clip")))
CELL = next(cell for cell in PLAN.cells if cell.encoder.row == "clip" and cell.protocol == "LPFT")


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path))


def finish(store: Store, predictions: bytes = b"p", macro_auroc: float = 0.8) -> None:
    publish(store.files, store.folder(CELL), {"predictions.parquet": predictions}, {"macro_auroc": macro_auroc})


def restored(store: Store) -> list[str]:
    """What the next command brings back, in sentences."""
    with Lease(store.files) as lease:
        return restore_interrupted(store, lease)[0]


def test_a_key_finds_its_cell_and_an_unknown_one_is_a_sentence():
    assert find_cell(PLAN, CELL.key) == CELL
    with pytest.raises(ValueError, match="no cell with key 'abc'"):
        find_cell(PLAN, "abc")


def test_only_the_cell_and_what_it_starts_from_are_planned():
    part = part_of(PLAN, CELL)
    assert {cell.protocol for cell in part.cells} == {"LPFT", PROTOCOLS["LPFT"].starts_from}
    assert {cell.seed for cell in part.cells} == {CELL.seed}
    assert {run.row for run in part.encoders} == {"clip", "imagenet"}


def test_while_it_is_redone_a_cell_is_left_to_do(store):
    finish(store)
    supersede(store, CELL)
    assert store.folder(CELL) not in store.done_and_failed()[0]
    assert len(store.files.list("superseded")) == 1


def test_an_equal_result_is_said_to_be_equal(store):
    finish(store)
    redo = supersede(store, CELL)
    finish(store)
    assert "computed again and equal: macro AUROC 0.8" in settle(store, redo).sentence
    assert store.files.list("superseded") == []


@pytest.mark.parametrize(("predictions", "value"), [(b"q", 0.8), (b"q", 0.7)])
def test_another_result_is_said_to_differ_with_both_values(store, predictions, value):
    finish(store)
    redo = supersede(store, CELL)
    finish(store, predictions, value)
    text = settle(store, redo).sentence
    assert "not equal" in text and f"macro AUROC {value}, before 0.8; other predictions" in text


def on_a_gpu(store: Store, apart: float) -> None:
    """A result of a card, its logits so far from those of apart 0."""
    rng = np.random.default_rng(0)
    labels, logits = rng.random(300) < 0.4, rng.standard_normal(300)
    logits = (logits + 2 * labels + apart * rng.standard_normal(300)).astype(np.float32)
    columns = {"image_id": [f"i{i}" for i in range(300)], "logit_edema": logits, "label_edema": labels.astype(np.int8)}
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, store_schema=False)
    result = {"device": "cuda: NVIDIA A100", "findings": [], "macro_auroc": round(0.8 + apart / 100, 3)}
    publish(store.files, store.folder(CELL), {"predictions.parquet": stream.getvalue()}, result)


def test_on_a_gpu_other_bits_within_the_limits_are_said_to_be_equal_and_others_with_what_differs(store):
    on_a_gpu(store, 0.0)
    redo = supersede(store, CELL)
    on_a_gpu(store, 0.1)
    said = settle(store, redo).sentence
    assert "equal within what the order of a GPU's sums may change: macro AUROC 0.801, before 0.8" in said
    assert "The new result stands" in said and store.open(CELL).result["macro_auroc"] == 0.801
    page = " ".join((Path(__file__).resolve().parents[3] / "docs" / "gpus.md").read_text().split())
    assert "With `--redo` the new result stands" in page and "--redo` computed again" not in page
    redo = supersede(store, CELL)
    on_a_gpu(store, 2.0)
    said = settle(store, redo).sentence
    assert "not equal: macro AUROC 0.82, before 0.801; other predictions (macro AUROC is 0.8200, there 0.8010" in said


def test_where_it_fails_the_earlier_result_comes_back(store):
    finish(store)
    before = store.open(CELL).result
    redo = supersede(store, CELL)
    record_failure(store.files, store.folder(CELL), "ValueError: no", "Traceback")
    assert settle(store, redo).sentence == f"{CELL}: not computed again: ValueError: no; its earlier result stands"
    assert store.open(CELL).result == before and store.failure(CELL) is None


def test_a_cell_without_a_result_is_computed_for_the_first_time(store):
    redo = supersede(store, CELL)
    finish(store)
    assert settle(store, redo).sentence == f"{CELL}: computed; there was no earlier result"


def test_a_command_that_is_killed_meanwhile_loses_no_result(store):
    """The next one brings the earlier result back; while the first one runs it is left alone."""
    finish(store)
    before, name = store.open(CELL).result, store.folder(CELL).rpartition("/")[2]
    with Lease(store.files) as lease:
        lease.claim({claim_of(name)})
        supersede(store, CELL)
        assert restored(store) == [] and store.folder(CELL) not in store.done_and_failed()[0]
    assert restored(store) == [f"{name}: computing it again was cut off; its earlier result stands"]
    assert store.open(CELL).result == before and store.files.list("superseded") == []
    assert restored(store) == []


@pytest.mark.parametrize("ending", ["killed", "failed"])
def test_an_earlier_result_whose_bytes_have_changed_does_not_come_back_as_whole(store, ending):
    """--retry-failed reads every byte before the driver of a killed redo is known to be dead, and not again after."""
    finish(store)
    name = store.folder(CELL).rpartition("/")[2]
    redo = supersede(store, CELL)
    (path,) = store.files.list(store.folder(CELL))
    store.files.write(path, b"o")
    damaged = "its earlier result is damaged, and lies in quarantine"
    if ending == "killed":
        assert restored(store) == [f"{name}: computing it again was cut off; {damaged}"]
    else:
        assert settle(store, redo).sentence == f"{CELL}: not computed again; {damaged}"
    assert store.folder(CELL) not in store.done_and_failed()[0] and store.files.list("superseded") == []
    assert any(path.endswith("result.json") for path in store.files.list("quarantine"))


def test_killed_behind_the_new_result_the_new_one_stands(store):
    finish(store)
    supersede(store, CELL)
    finish(store, b"q", 0.7)
    assert restored(store) == [] and store.open(CELL).result["macro_auroc"] == 0.7
    assert store.files.list("superseded") == []


def test_a_result_that_another_driver_makes_as_the_redo_begins_stays(store, monkeypatch):
    """There was none when the redo looked; nothing is kept of it, so nothing may be removed."""
    real = type(store).open

    def looks(self, cell):
        try:
            return real(self, cell)
        except FileNotFoundError:
            monkeypatch.undo()
            finish(store)
            raise

    monkeypatch.setattr(type(store), "open", looks)
    redo = supersede(store, CELL)
    assert redo.before is None and store.open(CELL).result["macro_auroc"] == 0.8


def test_a_result_that_another_driver_finds_damaged_as_the_redo_begins_is_computed_anew(store, monkeypatch):
    finish(store)
    whole = store.open

    def opened(cell):
        found = whole(cell)
        move_to_quarantine(store.files, store.folder(cell), "its weights were cut")
        return found

    monkeypatch.setattr(store, "open", opened)
    redo = supersede(store, CELL)
    monkeypatch.undo()
    assert redo.before is None and store.files.list("superseded") == []
    finish(store)
    assert settle(store, redo).sentence == f"{CELL}: computed; there was no earlier result"


def test_of_two_commands_that_compute_it_again_the_first_ends_and_the_other_is_killed(store, monkeypatch):
    """The first was silent for so long that the second took it for dead."""
    finish(store)
    before = store.open(CELL).result
    first = supersede(store, CELL)
    assert len(restored(store)) == 1
    real = type(store.files).remove

    def late(self, path):
        if path.endswith("/result.json"):
            monkeypatch.undo()
            settle(store, first)
        real(self, path)

    monkeypatch.setattr(type(store.files), "remove", late)
    supersede(store, CELL)
    assert len(restored(store)) == 1 and store.open(CELL).result == before


@pytest.mark.parametrize(
    "name", [".DS_Store", "notes.json", "a/b.json", "a b-0123456789ab.json", os.fsdecode(b"\xff-0123456789ab.json")]
)
def test_what_no_command_has_kept_is_left_alone(store, name):
    path = Path(store.files.root, "superseded", name)  # as other programs do, which take any bytes for a name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    assert restored(store) == [] and store.files.list() == [f"superseded/{name}"]


def test_a_copy_under_the_name_of_earlier_versions_is_brought_back(store):
    finish(store)
    before, redo = store.open(CELL).result, supersede(store, CELL)
    store.files.move(redo.kept, f"{redo.kept.rpartition('.json')[0].rpartition('.')[0]}.json")
    assert len(restored(store)) == 1 and store.open(CELL).result == before


def test_a_redo_that_ends_as_the_next_command_begins_is_left_alone(store, monkeypatch):
    finish(store)
    redo = supersede(store, CELL)
    finish(store, b"q", 0.7)
    real = Lease.claim

    def later(self, wanted):
        settle(store, redo)
        return real(self, wanted)

    monkeypatch.setattr(Lease, "claim", later)
    assert restored(store) == [] and store.open(CELL).result["macro_auroc"] == 0.7


@pytest.mark.parametrize("kind", ["encoders", "cells", "reports/s", "training_free", "superseded", "leases"])
def test_unfinished_files_of_killed_commands_are_removed_wherever_they_were_written(store, kind):
    dead = f"{store.files.root}/{kind}/x/y.json{TEMPORARY}{this_machine()}-{2**22 + 1}.1-{'0' * 32}"
    store.files.write(f"{kind}/x/y.json", b"{}")
    Path(dead).write_bytes(b"half")
    clean_up(store.files)
    assert not Path(dead).exists() and (kind == "leases" or store.files.exists(f"{kind}/x/y.json"))


def test_a_damaged_new_result_does_not_cost_the_earlier_one(store):
    finish(store)
    before, folder = store.open(CELL).result, store.folder(CELL)
    supersede(store, CELL)
    store.files.write(f"{folder}/result.json", b"{")
    assert len(restored(store)) == 1 and store.open(CELL).result == before
    assert store.files.list("superseded") == [] and store.files.list("quarantine")


def test_a_new_result_that_is_damaged_as_it_ends_does_not_cost_the_earlier_one(store):
    finish(store)
    before, folder = store.open(CELL).result, store.folder(CELL)
    redo = supersede(store, CELL)
    store.files.write(f"{folder}/result.json", b"{")
    assert settle(store, redo).sentence == f"{CELL}: not computed again; its earlier result stands"
    assert store.open(CELL).result == before and store.files.list("quarantine")


def test_a_damaged_result_that_is_computed_again_goes_to_quarantine(store):
    finish(store)
    store.files.write(f"{store.folder(CELL)}/result.json", b"{")
    assert supersede(store, CELL).before is None
    assert store.files.list("cells") == [] and any(
        path.endswith("/result.json") for path in store.files.list("quarantine")
    )


def test_a_driver_that_waits_brings_back_what_another_one_elsewhere_was_killed_in(store):
    """The other one's lease ends while this one waits: the cell is not begun meanwhile, and then it is done."""
    finish(store)
    name, clock = store.folder(CELL).rpartition("/")[2], [0.0]
    supersede(store, CELL)
    holder = Holder("gone", "other-host", "12345678", 1, HOLDING, 1.0)
    store.files.write(f"{LEASES}/gone.json", json.dumps(asdict(holder)).encode())
    store.files.write(f"{LEASES}/gone.txt", claim_of(name).encode())
    with Lease(store.files, seconds=30, clock=lambda: clock[0]) as lease:
        assert restore_interrupted(store, lease) == ([], {CELL.key: holder})
        clock[0] += 31
        said, held = restore_interrupted(store, lease)
    assert len(said) == 1 and held == {} and store.folder(CELL) in store.done_and_failed()[0]
