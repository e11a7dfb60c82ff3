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


def test_a_command_is_timed_whole():
    assert scripts.seconds_of([sys.executable, "-S", "-c", "import time; time.sleep(0.2)"]) >= 0.2


def test_the_rate_is_of_the_epochs_alone(tmp_path, monkeypatch):
    """Sides that take a start and each epoch their time; ours begins late and is twice as fast."""

    def side(start: float, epoch: float):
        return lambda out, epochs: [str(start + epoch * epochs)]

    monkeypatch.setattr(scripts, "seconds_of", lambda command: float(command[0]))
    rows = scripts.compared("fine_tuning", {"ours": side(2.0, 1.0), "theirs": side(0.0, 2.0)}, scripts.QUICK, tmp_path)
    rate, whole = rows
    assert rate["peer_name"] == "theirs" and rate["speedup"] == pytest.approx(2)
    assert whole["ours"] == 2.0 + max(scripts.QUICK.epochs) and whole["unit"] == "s"


def test_what_is_not_named_is_left_out_with_a_sentence(monkeypatch, capsys):
    for name in ("RADSWEEP_TIMM_SCRIPT", "RADSWEEP_LIGHTLY_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    assert scripts.main(["--quick"]) == 0
    said = capsys.readouterr()
    assert "--timm is not given" in said.err and "--lightly is not given" in said.err
    assert not [json.loads(line) for line in said.out.splitlines()]
