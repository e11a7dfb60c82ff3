"""Do our sides of the comparison with others' training scripts run, and are rates told from starts?"""

import json
import sys

import pytest

from benchmarks import scripts


def test_our_commands_end_with_weights(tmp_path):
    scripts.write_files(tmp_path / "files", scripts.QUICK)
    pixels, targets = scripts.read_files(tmp_path / "files", "train")
    assert pixels.shape == (16, 32, 32) and targets.sum() == 8
    for kind in scripts.OURS:
        (tmp_path / kind).mkdir()
        assert scripts.main(["--quick", "--ours", kind, str(tmp_path / "files"), str(tmp_path / kind), "1"]) == 0
    assert list((tmp_path / "fine_tuning").glob("backbone.safetensors"))
    assert list((tmp_path / "simclr").rglob("backbone*.safetensors"))


def test_the_rate_is_of_the_epochs_alone(tmp_path):
    """Sides that sleep for a start and for each epoch; ours begins late and is twice as fast."""

    def side(start: float, epoch: float):
        return lambda out, epochs: [
            sys.executable,
            "-S",
            "-c",
            f"import time; time.sleep({start} + {epoch} * {epochs})",
        ]

    rows = scripts.compared("fine_tuning", {"ours": side(0.2, 0.1), "theirs": side(0.0, 0.2)}, scripts.QUICK, tmp_path)
    rate, whole = rows
    assert rate["peer_name"] == "theirs" and rate["speedup"] == pytest.approx(2, rel=0.5)
    assert whole["ours"] > 0.4 and whole["unit"] == "s"


def test_what_is_not_named_is_left_out_with_a_sentence(monkeypatch, capsys):
    for name in ("RADSWEEP_TIMM_SCRIPT", "RADSWEEP_LIGHTLY_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    assert scripts.main(["--quick"]) == 0
    said = capsys.readouterr()
    assert "--timm is not given" in said.err and "--lightly is not given" in said.err
    assert not [json.loads(line) for line in said.out.splitlines()]
