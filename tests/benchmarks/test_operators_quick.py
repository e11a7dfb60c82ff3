"""Are operators and exchanges counted, and do fused kernels and stored pictures take fewer?"""

import torch
from benchmark_lines import figures_of

from benchmarks.gpu.operators import SHARE, BytesTouched, main


def test_quick(capsys):
    found = figures_of(main, "operators", capsys)
    exchanges, operators = (found[f"demo_cnn_32px_view_{kind}"] for kind in ("exchanges", "operators"))
    assert (exchanges["ours"], exchanges["peer"]) == (2 * 4, 4 * 4), "one forward and one backward in each of 4 layers"
    assert operators["limit"] < operators["ours"] < operators["peer"]
    assert found["demo_cnn_32px_keys_in_8_groups_operators"]["ours"] > 0
    # Bytes in place of three channels of float32, and one picture in place of two views.
    assert found["pictures_of_4_workers"]["speedup"] == 24
    # A view's three channels of float32 are written once at least.
    for kind in ("multi_modal", "ssl_1", "ssl_2"):
        assert found[f"{kind}_32px_views_read_and_written"]["ours"] > SHARE * 3 * 32 * 32 * 4 / 1e9
        assert 0 < found[f"{kind}_32px_views_operators"]["ours"] < 300


def test_bytes_of_what_operators_read_and_write():
    x, y = torch.zeros(10, 10), torch.zeros(10)
    with BytesTouched() as counted:
        z = x[2:] + y  # the slice is another look at the same bytes: of the sum 320 + 40 read, 320 written
        z.mul_(2)  # 320 read and 320 written
        z.t().reshape(8, 10)  # a copy: as much
    assert (counted.operators, counted.bytes) == (3, 680 + 640 + 640)
