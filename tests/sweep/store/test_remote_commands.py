"""Do doctor, status and the memory of a search work on s3:// as on a disk? The server is started here."""

import time
import urllib.request

import pytest

from datasets_io.storage.artefacts import publish
from sweep.doctor.check import FAIL, OK
from sweep.doctor.needs import Needs
from sweep.doctor.places import check_disk, check_storage
from sweep.status.readers import open_reader
from sweep.store.store import Store
from sweep.studies import demo
from sweep.studies.plan import make_plan
from sweep.tune.trial_store import TrialState, TrialStore

moto = pytest.importorskip("moto.server")


@pytest.fixture(scope="module")
def address():
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"{host}:{port}"
    server.stop()


@pytest.fixture
def uri(address, monkeypatch) -> str:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    bucket = f"bucket-{time.monotonic_ns()}"
    urllib.request.urlopen(urllib.request.Request(f"http://{address}/{bucket}", method="PUT"), timeout=30)
    return f"s3://{bucket}/results?endpoint_override={address}&scheme=http"


def test_doctor_writes_reads_and_leaves_nothing(uri):
    assert [check.status for check in check_storage(uri)] == [OK, OK]
    assert Store(uri).files.list() == []
    of_storage = check_disk(uri, Needs(storage=10**12, cache=0, purpose="13 encoders"))[0]
    assert of_storage.status == OK and "1,000.0 GB" in of_storage.found


def test_doctor_names_a_bucket_that_is_not_there(uri):
    (check,) = check_storage(uri.replace("bucket-", "no-such-bucket-"))
    assert check.status == FAIL and "aws s3 ls s3://no-such-bucket-" in check.mend


def test_status_counts_and_times_what_is_there(uri):
    store = Store(uri)
    plan = make_plan(demo(), dict.fromkeys(("mimic_cxr", "chexpert", "nih_cxr14"), "not built"), {})
    for cell in plan.cells[:3]:
        result = {"macro_auroc": 0.7, "findings": [], "seconds": 2.0, "history": []}
        publish(store.files, store.folder(cell), {}, result)
    seen = open_reader("demo", uri).read(time.time())
    assert (seen.cells.done, seen.cells.total, seen.encoders.left) == (3, 650, 17)
    assert seen.pace.per_hour > 0 and 0 <= seen.idle < 300
    assert open_reader(None, uri).read(time.time()).cells.done == 3


def test_a_search_finds_its_trials_again(uri):
    trial_store = TrialStore(Store(uri), "demo", "tune-clip-abc")
    trial_store.begin({"clip.temperature": 0.1}, "encoders/a")
    trial_store.rung({"clip.temperature": 0.1}, 1, 0.6)
    trial_store.end({"clip.temperature": 0.1}, TrialState.DONE, value=0.7)
    assert TrialStore(Store(uri), "demo", "tune-clip-abc").in_order() == trial_store.in_order()
