"""Does the benchmark of the bootstrap run, and print what every benchmark prints?"""

import json

import pytest

from benchmarks import bootstrap

FIELDS = {"benchmark", "figure", "unit", "ours", "peer", "peer_name", "speedup", "limit", "limit_name", "of_limit"}


def test_quick(capsys):
    assert bootstrap.main(["--quick"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(set(row) == FIELDS and row["benchmark"] == "bootstrap" for row in rows)
    timed = [row for row in rows if row["unit"] == "s"]
    assert len(timed) == 2
    for row in timed:
        assert row["speedup"] == pytest.approx(row["peer"] / row["ours"]) and 0 < row["of_limit"] <= 1
    assert rows[-1]["figure"].startswith("largest_difference") and rows[-1]["ours"] <= 1e-12
