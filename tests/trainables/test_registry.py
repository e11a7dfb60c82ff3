"""The registry: the paper's eleven methods, more by product, and errors that name what is known."""

from dataclasses import replace

import pytest

from trainables.objectives.clip import ClipConfig
from trainables.objectives.joint import JointConfig, JointSettings
from trainables.objectives.simclr import SimClrConfig
from trainables.protocols.base import Phase
from trainables.registry import (
    IMAGE_IMAGE,
    IMAGE_TEXT,
    METHODS,
    PAPER_METHODS,
    PROTOCOLS,
    check_method,
    display_name,
    identity_of,
    method_group,
    needs_reports,
    objective_config,
)


def test_the_papers_methods_are_registered_and_barlow_twins_is_not_among_them():
    assert len(PAPER_METHODS) == 11 and set(PAPER_METHODS) < set(METHODS)
    assert not any("barlow_twins" in method for method in PAPER_METHODS)
    assert len(set(METHODS)) == len(METHODS)


def test_joint_methods_are_the_product():
    assert {m for m in METHODS if "+" in m} == {f"{text}+{image}" for text in IMAGE_TEXT for image in IMAGE_IMAGE}


def test_groups_and_needs_follow_from_the_parts():
    assert [method_group(m) for m in ("convirt", "vicreg", "clip+vicreg")] == ["image-text", "image-image", "joint"]
    assert [needs_reports(m) for m in ("convirt", "vicreg", "clip+vicreg")] == [True, False, True]


def test_names_are_shown_as_the_paper_writes_them():
    expected = {
        "clip": "CLIP",
        "convirt": "ConVIRT",
        "mocov2": "MoCoV2",
        "simclr": "SimCLR",
        "vicreg": "VICReg",
        "clip+simclr": "SimCLR-CLIP",
        "convirt+mocov2": "MoCoV2-ConVIRT",
        "clip+barlow_twins": "Barlow Twins-CLIP",
    }
    assert {name: display_name(name) for name in expected} == expected
    assert len({display_name(method) for method in METHODS}) == len(METHODS)


def test_a_method_takes_given_parts_and_defaults_for_the_rest():
    given = {"clip": ClipConfig(temperature=0.2)}
    config = objective_config("clip+simclr", given, JointSettings(ssl_weight=0.5))
    assert config == JointConfig(given["clip"], SimClrConfig(), JointSettings(ssl_weight=0.5))
    assert objective_config("simclr", given, JointSettings()) == SimClrConfig()


@pytest.mark.parametrize("call", [check_method, display_name, method_group, needs_reports])
def test_an_unknown_method_is_refused_with_the_known_ones_and_the_nearest(call):
    with pytest.raises(ValueError, match=r"unknown method 'clip\+simcrl'; known: clip, .*did you mean 'clip\+simclr'"):
        call("clip+simcrl")


@pytest.mark.parametrize("method", ["simclr+clip", "clip+convirt", "clip+", "", "CLIP"])
def test_only_an_image_text_part_before_an_image_image_part_is_a_joint(method):
    with pytest.raises(ValueError, match="unknown method"):
        check_method(method)


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
