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


def test_what_has_nothing_to_run_on_here_keeps_its_earlier_figures(tmp_path, monkeypatch, capsys):
    to, earlier = tmp_path / "lines.jsonl", {"benchmark": "gpu", "figure": "step", "machine": "a card"}
    to.write_text(json.dumps(earlier) + "\n")
    monkeypatch.setattr(benchmarks_all, "page", lambda lines: "")
    monkeypatch.setattr(benchmarks_all, "run", lambda name, quick: [])
    assert benchmarks_all.main(["--to", str(to), "--only", "gpu", "--page", str(tmp_path / "page.md")]) == 0
    assert benchmarks_all.read_lines(to) == [earlier] and "nothing to run on" in capsys.readouterr().err


def test_figures_of_a_card_are_under_its_name(tmp_path, monkeypatch):
    to, found = tmp_path / "lines.jsonl", {"benchmark": "gpu", "figure": "step", "card": "NVIDIA A100, driver 580"}
    monkeypatch.setattr(benchmarks_all, "page", lambda lines: "")
    monkeypatch.setattr(benchmarks_all, "run", lambda name, quick: [found])
    assert benchmarks_all.main(["--to", str(to), "--only", "gpu", "--page", str(tmp_path / "page.md")]) == 0
    assert benchmarks_all.read_lines(to)[0]["machine"] == "NVIDIA A100, driver 580"


def test_an_unknown_benchmark_is_refused(tmp_path):
    with pytest.raises(SystemExit):
        benchmarks_all.main(["--to", str(tmp_path / "x"), "--only", "speed"])
