"""Does the benchmark of the preflight run, and refuse a row that does not fit?"""

from pathlib import Path

import pytest
from benchmark_lines import figures_of

import benchmarks.preflight
from benchmarks.preflight import figures, main
from trainables.recipe import BackboneSpec, EncoderSource


def test_quick(capsys):
    found = figures_of(main, "preflight", capsys)
    assert set(found) == {"first_2_rows", "second_2_rows"}
    assert found["second_2_rows"]["ours"] < found["first_2_rows"]["ours"]


def test_a_row_that_is_refused_gives_no_figure(monkeypatch):
    def misfit(folder: Path, quick: bool) -> dict[str, EncoderSource]:
        return {"lost": EncoderSource(BackboneSpec("demo_cnn", 32), "0" * 64, str(folder / "lost.safetensors"))}

    monkeypatch.setattr(benchmarks.preflight, "sources", misfit)
    with pytest.raises(ArithmeticError, match=r"row lost .* does not exist"):
        figures(quick=True)
