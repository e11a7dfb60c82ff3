"""How many requests does a cell make on S3, and of which kinds? Counted on a server that this test starts."""

import time
from collections import Counter
from dataclasses import replace

import pytest
from s3_server import Server
from small_storage import Small, small

from datasets_io.storage.artefacts import FAILED, RESULT, publish, record_failure
from datasets_io.storage.files import Files
from sweep.engine.jobs import encoder_job
from sweep.store.lease import Lease
from sweep.store.results import ResultReader
from sweep.store.store import Store
from trainables.evaluation.cell_job import DownstreamJob, _parts
from trainables.pretraining.encoder_job import run_initial
from trainables.training.parents import manifest_of

MOST = 6  # requests a cell, over a study


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
    # What a process reads once: the images and their manifest.
    for remembered in (_parts, manifest_of):
        remembered.cache_clear()
    job = prepared.job("random", "FT", 1)
    warm_up = replace(job, targets=tuple(replace(t, folder=f"{t.folder}-warm") for t in job.targets))
    assert [outcome.status for outcome in remote.run(warm_up)] == ["done"]
    encoder = {"GET result": 1, "GET backbone": 1}
    stored = {"HEAD result": 1, "PUT result": 1, "PUT predictions": 1}
    expected = {
        ("LP", 100): {**encoder, **stored, "PUT head": 1},
        ("LPFT", 100): {**encoder, **stored, "GET result": 2, "GET head": 1},
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
    assert sum(counts) <= MOST * len(counts) and max(counts) <= 7


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


def test_a_lease_that_claims_nothing_makes_no_request(bucket, server):
    before = len(server.seen())
    with Lease(Files(bucket)):
        pass
    assert not kinds(server, before)
