"""Does the metrics benchmark run, and print what every benchmark prints?"""

import json

import pytest

from benchmarks.metrics import main


def test_quick(capsys):
    assert main(["--quick"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["peer_name"] for row in rows} == {"scikit-learn", "torchmetrics"}
    fields = {"benchmark", "figure", "unit", "ours", "peer", "peer_name", "speedup", "limit", "limit_name", "of_limit"}
    for row in rows:
        assert fields <= set(row)
        assert row["speedup"] == pytest.approx(row["peer"] / row["ours"]) and 0 < row["of_limit"] <= 1
        assert row["largest_difference"] < (1e-12 if row["peer_name"] == "scikit-learn" else 1e-6)
