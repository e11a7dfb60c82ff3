"""Are operators and exchanges counted, and do fused kernels and stored pictures take fewer?"""

from benchmark_lines import figures_of

from benchmarks.gpu.operators import main


def test_quick(capsys):
    found = figures_of(main, "operators", capsys)
    exchanges, operators = (found[f"demo_cnn_32px_view_{kind}"] for kind in ("exchanges", "operators"))
    assert (exchanges["ours"], exchanges["peer"]) == (2 * 4, 4 * 4), "one forward and one backward in each of 4 layers"
    assert operators["limit"] < operators["ours"] < operators["peer"]
    assert found["demo_cnn_32px_keys_in_8_groups_operators"]["ours"] > 0
    # Bytes in place of three channels of float32, and one picture in place of two views.
    assert found["pictures_of_4_workers"]["speedup"] == 24
