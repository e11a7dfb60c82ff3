"""Is docs/performance.md made of the benchmarks' lines?"""

import json

import pytest

from benchmarks import all as benchmarks_all


def test_a_benchmark_runs_and_its_lines_become_the_page(tmp_path):
    to, target = tmp_path / "lines.jsonl", tmp_path / "performance.md"
    older = {"benchmark": "metrics", "figure": "older", "machine": "another"}
    to.write_text(json.dumps(older) + "\n")
    command = ["--to", str(to), "--only", "metrics", "--quick", "--page", str(target)]
    assert benchmarks_all.main(command) == 0
    lines = benchmarks_all.read_lines(to)
    assert {line["benchmark"] for line in lines} == {"metrics"} and "older" not in {line["figure"] for line in lines}
    text = target.read_text()
    assert all(line["figure"] in text for line in lines) and lines[0]["machine"] in text
    assert "4 x V100" not in text and "`views` has not run" in text

    views = {
        "benchmark": "views",
        "figure": "multi_modal_224",
        "unit": "ms/view",
        "ours": 0.5,
        "peer": 2.5,
        "peer_name": "Pillow as the authors",
        "speedup": 5.0,
        "limit": None,
        "limit_name": None,
        "of_limit": None,
        "machine": "another",
    }
    to.write_text("".join(json.dumps(line) + "\n" for line in [*lines, views]))
    assert benchmarks_all.main(["--to", str(to), "--no-run", "--page", str(target)]) == 0
    assert target.read_text().count("| 64 x H100") == 2


def test_an_unknown_benchmark_is_refused(tmp_path):
    with pytest.raises(SystemExit):
        benchmarks_all.main(["--to", str(tmp_path / "x"), "--only", "speed"])
