"""What must each figure of a benchmark have?"""

import json

import pytest

FIELDS = {"benchmark", "figure", "unit", "ours", "peer", "peer_name", "speedup", "limit", "limit_name", "of_limit"}


def figures_of(main, benchmark: str, capsys) -> dict[str, dict]:
    """Figure -> its line, of a benchmark run with --quick; every line checked against the contract."""
    assert main(["--quick"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for row in rows:
        assert set(row) == FIELDS and row["benchmark"] == benchmark, row
        assert (row["peer"] is None) == (row["peer_name"] is None) == (row["speedup"] is None), row
        assert (row["limit"] is None) == (row["limit_name"] is None) == (row["of_limit"] is None), row
        if row["peer"] is not None:
            assert row["speedup"] == pytest.approx(row["peer"] / row["ours"]) or row["speedup"] == pytest.approx(
                row["ours"] / row["peer"]
            )
        assert row["of_limit"] is None or 0 < row["of_limit"] <= 1, row
    found = {row["figure"]: row for row in rows}
    assert len(found) == len(rows), "two lines for one figure"
    return found
