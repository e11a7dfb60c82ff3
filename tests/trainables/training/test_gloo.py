"""Is the network interface found that has a node's address?"""

import os

from trainables.training import gloo


def test_an_interface_is_found_by_its_address():
    assert gloo.interface_of("127.0.0.1") == "lo"
    assert gloo.interface_of("192.0.2.1") is None


def test_what_the_user_chose_stays(monkeypatch):
    monkeypatch.setattr(gloo.ray.util, "get_node_ip_address", lambda: "127.0.0.1")
    monkeypatch.setenv(gloo.CHOSEN, "eth7")
    gloo.choose_interface()
    assert os.environ[gloo.CHOSEN] == "eth7"
    monkeypatch.delenv(gloo.CHOSEN)
    gloo.choose_interface()
    assert os.environ[gloo.CHOSEN] == "lo"
