"""How many requests does a cell make on S3, and of which kinds? Counted on a server that this test starts."""

import time
import zlib
from collections import Counter
from dataclasses import replace

import pytest
from s3_server import Server
from small_storage import Small, small

from datasets_io import threads
from datasets_io.storage import packs
from datasets_io.storage.artefacts import (
    FAILED,
    RESULT,
    CorruptArtefact,
    open_artefacts,
    publish,
    record_failure,
    seal,
    unseal,
)
from datasets_io.storage.files import Files
from datasets_io.storage.packs import PACKS, pack, unpack
from sweep.engine.jobs import encoder_job
from sweep.store import results
from sweep.store.lease import Lease
from sweep.store.records import CellResult
from sweep.store.results import ResultReader
from sweep.store.store import ReadStore, Store
from trainables.evaluation.cell_job import DownstreamJob, _parts
from trainables.pretraining.encoder_job import run_initial
from trainables.training.parents import Parents, forget_opened, manifest_of

MOST = 6  # requests a cell, but for the first one of an encoder in a process, which has one more


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Small:
    made = small(tmp_path_factory.mktemp("small"))
    (run,) = (run for run in made.plan.encoders if run.row == "random")
    run_initial(encoder_job(run, {}), made.store.uri, lambda progress: None)
    return made


def kinds(server: Server, before: int) -> Counter[str]:
    """`PUT predictions` -> how many since then."""
    time.sleep(0.1)
    found: Counter[str] = Counter()
    for request in server.seen()[before:]:
        method, path = request.split(" ")
        name = "a listing" if "list-type" in path else path.rpartition("/")[2].partition("?")[0].partition(".")[0]
        found[f"{method} {name}"] += 1
    return found


def job_of(prepared: Small, protocol: str, percent: int) -> DownstreamJob:
    """Of one seed, and not of the one whose tuned network is kept."""
    job = prepared.job("random", protocol, percent)
    return replace(job, targets=tuple(replace(target, keep_weights=False) for target in job.targets))


def test_a_cell_makes_at_most_six_requests(prepared, bucket, server):
    on_disk, files = prepared.files, Files(bucket)
    for path in (*on_disk.list("data"), *on_disk.list("encoders")):
        files.write(path, on_disk.read(path))
    remote = replace(prepared, store=Store(bucket))
    # What a process reads once: the images, their manifest, and what an encoder says of itself.
    for forget in (_parts.cache_clear, manifest_of.cache_clear, forget_opened):
        forget()
    job = prepared.job("random", "FT", 1)
    warm_up = replace(job, targets=tuple(replace(t, folder=f"{t.folder}-warm") for t in job.targets))
    before = len(server.seen())
    assert [outcome.status for outcome in remote.run(warm_up)] == ["done"]
    assert kinds(server, before)["GET result"] == 1
    encoder = {"GET backbone": 1}
    stored = {"HEAD result": 1, "PUT result": 1, "PUT predictions": 1}
    expected = {
        ("LP", 100): {**encoder, **stored, "PUT head": 1},
        ("LPFT", 100): {**encoder, **stored, "GET result": 1, "GET head": 1},
        ("FT", 1): {**encoder, **stored, "PUT subset": 1},
        ("FT", 10): {**encoder, **stored, "PUT subset": 1},
        ("FT", 100): {**encoder, **stored},
    }
    counts = []
    for column, wanted in expected.items():
        before = len(server.seen())
        assert [outcome.status for outcome in remote.run(job_of(prepared, *column))] == ["done"]
        found = kinds(server, before)
        assert found == Counter(wanted), column
        counts.append(found.total())
    # Of an LP job with five seeds only the first reads the encoder; here each job has one.
    assert max(counts) <= MOST


def test_an_encoder_that_was_computed_again_is_looked_at_anew(bucket):
    """Whatever a process remembers of its folder; and what is damaged is damaged."""
    forget_opened()
    store, folder = Store(bucket), "encoders/a-000000000000"

    def read() -> tuple[bytes, str]:
        parents = Parents()
        return parents.read(store.files, folder, "a.bin"), parents.hashes[folder]

    def compute(data: bytes) -> str:
        publish(store.files, folder, {"a.bin": data}, {"name": "a"})
        return open_artefacts(store.files, folder).content_sha256

    first = compute(b"first")
    assert read() == read() == (b"first", first)
    for path in store.files.list(folder):
        store.files.remove(path)
    second = compute(b"second")
    assert read() == read() == (b"second", second) and first != second
    (path,) = (path for path in store.files.list(folder) if path.endswith(".bin"))
    store.files.write(path, b"other!")
    for _ in range(2):
        with pytest.raises(CorruptArtefact, match="damaged"):
            read()


def test_a_cell_that_failed_before_is_not_failed_once_it_is_done(bucket):
    """A failure goes when a driver lists the storage: a look after each result takes a request."""
    store = Store(bucket)
    for folder in ("cells/a-000000000000", "cells/b-000000000000"):
        record_failure(store.files, folder, "no memory", "traceback")
    publish(store.files, "cells/a-000000000000", {"a.bin": b"abc"}, {"macro_auroc": 0.5, "findings": []})
    assert store.done_and_failed() == ({"cells/a-000000000000"}, {"cells/b-000000000000"})
    store.forget_overcome_failures(store.done_and_failed()[0], store.sizes())
    left = {"cells/a-000000000000": RESULT, "cells/b-000000000000": FAILED}
    assert [store.files.list(folder)[-1] for folder in left] == [f"{folder}/{name}" for folder, name in left.items()]
    assert not store.files.exists(f"cells/a-000000000000/{FAILED}")


def test_a_table_takes_one_request_a_result_once_and_a_listing(prepared, bucket, server):
    store, cells = Store(bucket), prepared.plan.cells
    for cell in cells:
        publish(store.files, store.folder(cell), {"a.bin": cell.key.encode()}, {"macro_auroc": 0.5, "findings": []})
    reader = ResultReader(prepared.study, prepared.plan, store)
    for expected in ({"GET a listing": 1, "GET result": len(cells)}, {"GET a listing": 1}):
        before = len(server.seen())
        assert [row.status for row in reader.collect()] == ["done"] * len(cells)
        assert kinds(server, before) == Counter(expected)


@pytest.fixture
def packed(prepared, bucket, server, monkeypatch):
    """A storage whose results a driver has read, in packs of four; and what makes a new reader and counts requests."""
    monkeypatch.setattr(results, "LEAST", 3)
    monkeypatch.setattr(results, "MOST", 4)
    monkeypatch.setattr(packs, "MOST_BYTES", 100_000)
    monkeypatch.setattr(threads, "TRIED", 2)
    monkeypatch.setattr(threads, "WAITING_SECONDS", 1e9)  # one after another
    store, cells = Store(bucket), prepared.plan.cells
    for number, cell in enumerate(cells):
        value = {"macro_auroc": number / 100, "findings": []}
        publish(store.files, store.folder(cell), {"a.bin": cell.key.encode()}, value)
    driver = ResultReader(prepared.study, prepared.plan, store)
    driver.collect()
    driver.write_pack()
    assert len(cells) == 10 and len(store.files.list(PACKS)) == 2

    def read() -> tuple[list[CellResult], Counter[str]]:
        before = len(server.seen())
        rows = ResultReader(prepared.study, prepared.plan, ReadStore(bucket)).collect()
        return rows, kinds(server, before)

    return store, cells, read


def packs_of(store: Store) -> list[str]:
    return store.files.list(PACKS)


def test_what_packs_have_is_not_asked_for(packed):
    _, cells, read = packed
    rows, asked = read()
    assert [row.macro_auroc for row in rows] == [number / 100 for number in range(len(cells))]
    # Two that were too few for a pack, two packs, and the listings of cells and of packs.
    assert asked["GET result"] == 2 and asked["GET a listing"] == 2 and asked.total() == 6


@pytest.mark.parametrize("harm", ["lost", "cut", "no pack", "without an end", "old", "made up", "of another place"])
def test_a_pack_that_is_not_what_the_storage_has_costs_requests_and_changes_nothing(packed, harm):
    store, cells, read = packed
    expected = [row.macro_auroc for row in read()[0]]
    folder = store.folder(cells[0])
    path, other = f"{folder}/{RESULT}", f"{store.folder(cells[1])}/{RESULT}"
    for pack_path in packs_of(store):
        had = unpack(store.files.read(pack_path))
        if harm == "lost":
            store.files.remove(pack_path)
        elif harm in ("cut", "no pack"):
            data = store.files.read(pack_path)
            store.files.write(pack_path, data[: len(data) // 2] if harm == "cut" else b"{}")
        elif harm == "without an end":
            store.files.write(pack_path, zlib.compress(bytes(100_001)))
        elif harm == "made up":  # whole, sealed, of the same length, and with other numbers
            wrong = {name: seal(unseal(data, name) | {"macro_auroc": 0.99}) for name, data in had.items()}
            store.files.write(pack_path, pack(wrong))
        elif harm == "of another place":
            store.files.write(pack_path, pack({name: had.get(other, b"") for name in had}))
    if harm == "old":  # computed again since: as large as before
        content = unseal(store.files.read(path), path) | {"macro_auroc": 0.77}
        store.files.write(path, seal(content))
        expected[0] = 0.77
    rows, asked = read()
    assert [row.macro_auroc for row in rows] == expected
    assert asked["GET result"] == {"old": 3, "of another place": 9}.get(harm, 10)


def test_a_damaged_result_is_damaged_whatever_a_pack_has(packed):
    store, cells, read = packed
    path = f"{store.folder(cells[0])}/{RESULT}"
    data = bytearray(store.files.read(path))
    data[len(data) // 2] ^= 1
    store.files.write(path, bytes(data))
    rows, _ = read()
    assert [row.status for row in rows] == ["damaged", *["done"] * (len(cells) - 1)]
    store.files.remove(path)
    assert read()[0][0].status == "missing"


def test_a_lease_that_claims_nothing_makes_no_request(bucket, server):
    before = len(server.seen())
    with Lease(Files(bucket)):
        pass
    assert not kinds(server, before)
