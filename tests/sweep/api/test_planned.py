"""Is what `sweep.plan` says what the command prints, and refused with a sentence where it cannot be said?"""

import json

import pytest
from typer.testing import CliRunner

import sweep
from sweep.run.__main__ import app
from sweep.studies.outlook import Machines
from sweep.studies.presets import load_study


def test_it_says_what_the_command_says(tmp_path):
    flags = ["--study", "paper", "--dry-run", "--json", "--machines", "2x8xH100", "--only", "method=random"]
    printed = CliRunner().invoke(app, [*flags, "--storage", str(tmp_path)])
    said = json.loads(printed.stdout[printed.stdout.index("{") :])
    made = sweep.plan("paper", machines=["2x8xH100"], only=["method=random"])
    hours = {Machines(**one["machines"]).name: one["hours"] for one in said["machines"]}
    assert hours == pytest.approx({one.machines.name: one.hours for one in made.machines})
    assert [stage["images"] for stage in said["stages"]] == [stage.images for stage in made.stages]


def test_a_study_of_ones_own_and_counts_of_ones_own():
    study = load_study("paper")
    fewer = {"nih_cxr14": {"train": 100, "val": 20, "test": 30}}
    assert sweep.plan(study) == sweep.plan("paper")
    given = {archive.label: archive for archive in sweep.plan(study, counts=fewer).archives}
    assert given["nih_cxr14"].images == 150 and given["nih_cxr14"].origin == "given"
    assert given["chexpert"].origin == "nominal"


def test_what_cannot_be_used_is_refused_with_what_can():
    with pytest.raises(ValueError, match="are lists of texts"):
        sweep.plan("demo", only="method=clip")
    with pytest.raises(ValueError, match=r"did you mean .?A100"):
        sweep.plan("demo", machines=["8xA10O"])
    with pytest.raises(ValueError, match=r"did you mean .?paper"):
        sweep.plan("papr")
