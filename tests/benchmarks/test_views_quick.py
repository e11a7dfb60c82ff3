"""Does the benchmark of views run, and print what every benchmark prints?"""

import json

import numpy as np
import pytest
import torch

from benchmarks.shared.common import in_turn, row
from benchmarks.shared.view_peers import kornia_peer, pillow_peer, torchvision_peer
from benchmarks.views import KINDS, made_up_images, main

FIELDS = {"benchmark", "figure", "unit", "ours", "peer", "peer_name", "speedup", "limit", "limit_name", "of_limit"}


def test_quick(capsys):
    threads = torch.get_num_threads()
    assert main(["--quick"]) == 0
    assert torch.get_num_threads() == threads
    printed = capsys.readouterr()
    rows = [json.loads(line) for line in printed.out.splitlines()]
    assert all(set(figure) == FIELDS for figure in rows)
    for kind in KINDS:
        timed = [figure for figure in rows if figure["figure"] == f"{kind}_32"]
        peers = {figure["peer_name"] for figure in timed}
        assert {"Pillow as the authors", "torchvision v2"} <= peers
        assert {"Pillow, one channel", "torchvision v2, one channel"} <= peers
        for figure in timed:
            assert figure["speedup"] == pytest.approx(figure["peer"] / figure["ours"]) and 0 < figure["of_limit"] <= 1
        differences = [f["ours"] for f in rows if f["unit"] == "grey levels" and f["figure"].startswith(f"{kind}_32_")]
        assert len(differences) == 4 and all(0 < apart <= 2 for apart in differences)
    without_kornia = kornia_peer(KINDS["ssl_1"](32)) is None
    assert ("kornia is not installed" in printed.err) == without_kornia
    assert any(figure["peer_name"] == "kornia" for figure in rows) != without_kornia
    assert len(printed.err.splitlines()) == len(rows) + 1 + without_kornia


@pytest.mark.parametrize("make_peer", [pillow_peer, torchvision_peer, kornia_peer])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_peer_gives_normalised_views_of_three_channels(make_peer, channels, kind):
    peer = make_peer(KINDS[kind](32), channels)
    if peer is None:
        pytest.skip("kornia is not installed")
    views = peer(made_up_images(3, 40))
    assert views.shape == (3, 3, 32, 32) and views.dtype == torch.float32
    assert -2.2 < views.min() < views.max() < 2.7 and views.std() > 0.1


def test_speedup_and_limit_are_better_above_one_whatever_the_unit():
    time_row = row("b", "f", "ms", 2.0, peer=8.0, peer_name="p", limit=1.0, limit_name="l")
    rate_row = row("b", "f", "1/s", 8.0, peer=2.0, peer_name="p", limit=16.0, limit_name="l", higher_is_better=True)
    assert time_row["speedup"] == rate_row["speedup"] == 4.0 and time_row["of_limit"] == rate_row["of_limit"] == 0.5
    assert row("b", "f", "ms", 2.0, limit=3.0)["of_limit"] == 1.0
    assert row("b", "f", "ms", 2.0)["speedup"] is None and row("b", "f", "ms", 2.0)["of_limit"] is None


def test_sides_run_in_turn_and_warm_ups_do_not_count():
    order = []
    seconds = in_turn({name: lambda name=name: order.append(name) for name in "ab"}, rounds=3, warm_ups=1)
    assert order == list("ab") * 4 and set(seconds) == {"a", "b"} and np.isfinite(list(seconds.values())).all()
