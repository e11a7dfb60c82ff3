"""Does the benchmark of the preflight run, and refuse a row that does not fit?"""

from pathlib import Path

import pytest
from benchmark_lines import figures_of

import benchmarks.preflight
from benchmarks.preflight import figures, main
from benchmarks.shared.first_words import first_words
from trainables.recipe import BackboneSpec, EncoderSource


def test_quick(capsys):
    found = figures_of(main, "preflight", capsys)
    assert set(found) == {"first_2_rows", "second_2_rows", "start_first_line", "start_first_bar"}
    assert found["second_2_rows"]["ours"] < found["first_2_rows"]["ours"]
    assert found["start_first_line"]["ours"] < found["start_first_bar"]["ours"]


def test_a_run_without_a_bar_gives_no_figure(tmp_path):
    with pytest.raises(ArithmeticError, match="ended with 2, without a bar"):
        first_words(["--storage", str(tmp_path / "storage"), "--only", "method=nothing"])


def test_a_row_that_is_refused_gives_no_figure(monkeypatch):
    def misfit(folder: Path, quick: bool) -> dict[str, EncoderSource]:
        return {"lost": EncoderSource(BackboneSpec("demo_cnn", 32), "0" * 64, str(folder / "lost.safetensors"))}

    monkeypatch.setattr(benchmarks.preflight, "sources", misfit)
    with pytest.raises(ArithmeticError, match=r"row lost .* does not exist"):
        figures(quick=True)
