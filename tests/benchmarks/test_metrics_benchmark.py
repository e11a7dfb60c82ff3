"""Does the metrics benchmark run, and print what every benchmark prints?"""

from benchmark_lines import figures_of

from benchmarks.metrics import main


def test_quick(capsys):
    found = figures_of(main, "metrics", capsys)
    timed = [row for row in found.values() if row["unit"] == "ms"]
    assert {row["peer_name"] for row in timed} == {"scikit-learn", "torchmetrics"} and len(timed) == 4
    for name, row in found.items():
        if name.endswith("_largest_difference"):
            assert row["ours"] < (1e-12 if "scikit-learn" in name else 1e-6)
