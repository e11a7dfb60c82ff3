"""The registry: the paper's eleven methods, more by product, and errors that name what is known."""

import pytest

from trainables.objectives.clip import ClipConfig
from trainables.objectives.joint import JointConfig, JointSettings
from trainables.objectives.simclr import SimClrConfig
from trainables.registry import (
    IMAGE_IMAGE,
    IMAGE_TEXT,
    METHODS,
    PAPER_METHODS,
    check_method,
    display_name,
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
