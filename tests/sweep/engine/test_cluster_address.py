"""Is a cluster that RAY_ADDRESS names and that is not there one sentence, with what to do?"""

import pytest
import ray

from sweep.cli.exit_codes import ClusterLost
from sweep.doctor.access import access_checks
from sweep.doctor.check import FAIL
from sweep.engine import cluster


def nothing_found(**options):
    raise ConnectionError("Could not find any running Ray instance")


@pytest.mark.parametrize(("address", "said"), [("127.0.0.1:1", "nothing answers there"), ("auto", "Ray finds none")])
def test_a_cluster_that_is_not_there_is_one_sentence(monkeypatch, address, said):
    monkeypatch.setattr(ray, "init", nothing_found)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterLost, match=f"RAY_ADDRESS is {address}, and {said} .*: unset RAY_ADDRESS, to run here"):
        cluster._init(log_to_driver=False)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("a..b:6379", "nothing answers there"),
        (f"{'a' * 70}:6379", "nothing answers there"),
        (f"127.0.0.1:{'1' * 5000}", "its port is above 65535"),
        ("127.0.0.1:65536", "its port is above 65535"),
        ("ray://127.0.0.1:99999", "its port is above 65535"),
    ],
)
def test_an_address_that_can_be_none_is_one_sentence_and_takes_no_other_check_away(monkeypatch, address, said):
    monkeypatch.setattr(ray, "init", nothing_found)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterLost, match=f"^RAY_ADDRESS is .*{said}.* unset RAY_ADDRESS, to run here") as caught:
        cluster._init(log_to_driver=False)
    assert len(str(caught.value)) < 700
    checks = access_checks(on_cluster=False)
    assert [check.name for check in checks] == ["token", "dashboard port", "head"] and checks[2].status == FAIL
    assert checks[2].found.startswith("RAY_ADDRESS is ") and len(checks[2].found) < 400


def test_a_number_of_nodes_that_is_none_is_one_sentence():
    with pytest.raises(ClusterLost, match=r"RADSWEEP_NODES is 'three': .* a whole number; or unset it"):
        cluster._wait_for_nodes("three")
