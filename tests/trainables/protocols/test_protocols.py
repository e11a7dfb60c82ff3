"""Are the protocols known by their names, and does what changes their results move keys?"""

from dataclasses import replace

from trainables.protocols.base import Phase
from trainables.protocols.registry import PROTOCOLS, identity_of


def test_protocols_are_known_by_their_own_names():
    assert PROTOCOLS.keys() == {"LPFT", "LP", "FT"} and all(PROTOCOLS[name].name == name for name in PROTOCOLS)


def test_what_changes_a_protocols_results_moves_the_cells_that_go_on_from_it_too(monkeypatch):
    first, second = replace(PROTOCOLS["LP"], version=1), replace(PROTOCOLS["LPFT"], version=3)
    monkeypatch.setitem(PROTOCOLS, "LP", first)
    assert [identity_of(name) for name in ("LP", "LPFT", "FT")] == ["LP", "LPFT", "FT"], "as keys were before versions"
    monkeypatch.setitem(PROTOCOLS, "LP", replace(first, version=2))
    assert [identity_of(name) for name in ("LP", "LPFT", "FT")] == ["LP 2", "LPFT after LP 2", "FT"]
    monkeypatch.setitem(PROTOCOLS, "LPFT", second)
    assert identity_of("LPFT") == "LPFT 3 after LP 2"


def test_a_protocols_cells_train_its_last_phase_and_only_frozen_backbones_share_a_job():
    assert {name: protocol.last_phase.trains for name, protocol in PROTOCOLS.items()} == {
        "LPFT": "all",
        "LP": "head",
        "FT": "all",
    }
    assert [name for name, protocol in PROTOCOLS.items() if protocol.seeds_together] == ["LP"]
    assert [phase.trains for phase in PROTOCOLS["LPFT"].phases] == ["head", "all"]
    three = replace(PROTOCOLS["LPFT"], phases=(*PROTOCOLS["LPFT"].phases, Phase("head")))
    assert three.last_phase.trains == "head" and three.seeds_together
