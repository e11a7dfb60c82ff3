"""Is docs/performance.md made of the benchmarks' lines?"""

import json
import subprocess

import pytest

from benchmarks import all as benchmarks_all
from benchmarks.gpu import bench


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
    assert "8 x A100" not in text and "`views` has not run" in text

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


def gpu_that_printed(lines: list[dict], status: int, monkeypatch) -> None:
    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, status, "".join(json.dumps(line) + "\n" for line in lines))

    monkeypatch.setattr(benchmarks_all.subprocess, "run", run)


def test_a_check_that_does_not_pass_or_a_section_that_is_late_costs_no_other_figure(tmp_path, monkeypatch, capsys):
    to, target = tmp_path / "lines.jsonl", tmp_path / "page.md"
    to.write_text(json.dumps({"benchmark": "gpu", "figure": "earlier", "machine": "another card"}) + "\n")
    found = [bench.figure("copy", "GB/s", 3000.0), bench.check("float32", "relative", 3e-4, 1e-5)]
    found.append(bench.check("resumed", "1", 0.0, 0.0))
    lines = [{"section": "card", "card": "an H100", **line} for line in found]
    gpu_that_printed([*lines, {"section": "views", "status": "over its time"}], 1, monkeypatch)
    command = ["--to", str(to), "--only", "gpu", "--page", str(target)]
    assert benchmarks_all.main(command) == 1
    assert [line["figure"] for line in benchmarks_all.read_lines(to)] == ["copy", "float32", "resumed"]
    assert "gpu was not all right" in (said := capsys.readouterr().err) and "did not pass: float32" in said
    rows = target.read_text().splitlines()
    assert [row.split(" | ")[-2] for row in rows if row.startswith(("| float32", "| resumed"))] == [
        "1e-05: allowed; NOT PASSED",
        "0: allowed",
    ]
    gpu_that_printed([{"section": "card", "status": "failed"}], 1, monkeypatch)
    assert benchmarks_all.main(command) == 1 and "its earlier figures stay" in capsys.readouterr().err
    assert len(benchmarks_all.read_lines(to)) == 3


def test_an_unknown_benchmark_is_refused(tmp_path):
    with pytest.raises(SystemExit):
        benchmarks_all.main(["--to", str(tmp_path / "x"), "--only", "speed"])
