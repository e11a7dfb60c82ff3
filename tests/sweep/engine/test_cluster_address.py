"""Is a cluster that RAY_ADDRESS names and that is not there one sentence, with what to do?"""

import pytest
import ray

from sweep.cli.exit_codes import ClusterLost
from sweep.engine import cluster


def nothing_found(**options):
    raise ConnectionError("Could not find any running Ray instance")


@pytest.mark.parametrize(("address", "said"), [("127.0.0.1:1", "nothing answers there"), ("auto", "Ray finds none")])
def test_a_cluster_that_is_not_there_is_one_sentence(monkeypatch, address, said):
    monkeypatch.setattr(ray, "init", nothing_found)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ClusterLost, match=f"RAY_ADDRESS is {address}, and {said} .*: unset RAY_ADDRESS, to run here"):
        cluster._init(log_to_driver=False)


def test_a_number_of_nodes_that_is_none_is_one_sentence():
    with pytest.raises(ClusterLost, match=r"RADSWEEP_NODES is 'three': .* a whole number; or unset it"):
        cluster._wait_for_nodes("three")
