"""Is what `sweep.plan` says what the command prints, and refused with a sentence where it cannot be said?"""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import sweep
from datasets_io.build.spec import BuildSpec
from sweep.run.__main__ import app
from sweep.studies.outlook import Machines
from sweep.studies.presets import demo, load_study


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
    one = {archive.label: archive for archive in sweep.plan(study, counts={"nih_cxr14": {"train": 100}}).archives}
    assert dict(one["nih_cxr14"].splits) == {"train": 100, "val": 11_212, "test": 22_424}, "as they were published"


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"mimic-cxr": {"train": 1}}, r"counts name 'mimic-cxr'; study 'paper' reads .*did you mean 'mimic_cxr'"),
        ({"nih": {"train": 1}}, "counts name 'nih'; study 'paper' reads .*did you mean 'nih_cxr14'"),
        ({"c": {"train": 1}}, "did you mean 'chexpert'"),
        ({"": {"train": 1}}, "counts name ''; study 'paper' reads mimic_cxr, chexpert, nih_cxr14$"),
        ({"mimic_cxr": {"trian": 1}}, "counts of mimic_cxr name the split 'trian'; allowed: train, val, test"),
        ({"mimic_cxr": {"train": -1}}, "train is -1: give a whole number of images, 0 or more"),
        ({"mimic_cxr": {"train": "3"}}, "train is '3': give a whole number"),
        ({"mimic_cxr": {"train": True}}, "train is True: give a whole number"),
        ([1], r"counts are \[1\]: give them by data set and split, as {'nih_cxr14': {'train': 1000}}"),
        ({3: {"train": 1}}, "counts name 3; study 'paper' reads"),
        ({"mimic_cxr": 3}, "counts of mimic_cxr are 3: give the images of each split"),
    ],
)
def test_counts_are_checked(counts, message):
    with pytest.raises(ValueError, match=message):
        sweep.plan("paper", counts=counts)


def test_what_cannot_be_used_is_refused_with_what_can():
    with pytest.raises(ValueError, match=r"did you mean .?A100"):
        sweep.plan("demo", machines=["8xA10O"])
    with pytest.raises(ValueError, match=r"did you mean .?paper"):
        sweep.plan("papr")
    with pytest.raises(ValueError, match=r"is no study: .*; call it: it is a function"):
        sweep.plan(demo)


@pytest.mark.parametrize(("name", "example"), [("machines", "8xA100"), ("only", "method=clip")])
def test_lists_are_lists_of_texts(name, example):
    for given in (example, [8], 8, [None]):
        with pytest.raises(ValueError, match=rf"^{name} is .*: give a list of texts, such as {name}=\['{example}'\]$"):
            sweep.plan("demo", **{name: given})


def test_errors_name_arguments_and_no_flags():
    for machines in (["8xB200"], [Machines(1, 8, "B200")]):
        with pytest.raises(ValueError, match=r"^machines '8xB200': no rate is known of 'B200'; allowed: A100, H100"):
            sweep.plan("demo", machines=machines)
    with pytest.raises(ValueError, match=r"^only 'seed' is not FIELD=VALUE,...; for example only=\['seed=0,1'\]"):
        sweep.plan("demo", only=["seed"])
    own = sweep.plan("demo", machines=[Machines(1, 8, "B200", rate) for rate in (1e15, 2e15)])
    assert own.machines[0].hours == pytest.approx(2 * own.machines[1].hours), "a rate of one's own is taken"


def test_what_nobody_has_counted_is_unknown_and_not_0(tmp_path):
    found = sweep.plan("examples/own_data.py", machines=["1xA100"])
    (one,) = found.machines
    assert (one.device_hours, one.hours, one.bound, one.chain, one.bytes_per_second) == (None,) * 5
    assert {stage.name: stage.images for stage in found.stages if stage.name != "initial weights"} == {
        "ingest csv_images": None, "pretraining": None, "LP csv_images": None, "FT csv_images": None,
        "LPFT csv_images": None,
    }  # fmt: skip
    assert found.stages[0].core_hours is None
    assert [(archive.origin, archive.stored_bytes) for archive in found.archives] == [("unknown", None)]
    assert found.storage[0].bytes is None and found.memory[0].bytes is None
    assert "sweep.plan takes counts={'csv_images': {'train': ...}}" in found.missing[0]
    flags = ["--study", "examples/own_data.py", "--dry-run", "--json", "--machines", "1xA100"]
    printed = CliRunner().invoke(app, [*flags, "--storage", str(tmp_path)])
    (told,) = json.loads(printed.stdout[printed.stdout.index("{\n") :])["machines"]
    assert told["hours"] is told["bound"] is told["chain"] is None and told["machines"]["rate"] == 6.1e13
    assert "csv_images: neither built nor named: its size is unknown. To run it: --raw csv_images=DIR" in printed.stderr
    assert "images to be read: unknown; backbone passes: unknown" in printed.stderr
    counted = sweep.plan("examples/own_data.py", machines=["1xA100"], counts={"csv_images": {"train": 100, "test": 9}})
    assert counted.machines[0].hours > 0 and counted.archives[0].origin == "given" and not counted.missing


def test_what_is_known_in_part_is_at_least_that():
    base = load_study("paper")
    own = replace(base.datasets[0], build=BuildSpec("csv_images", 224), name="mine")
    own = replace(own, recipe=replace(own.recipe, findings=("edema",)))
    study = replace(base, datasets=(own, base.datasets[1]))
    found = sweep.plan(study, machines=["8xA100"])
    assert found.machines[0].hours > 0 and found.machines[0].bound == "GPUs" and found.missing
    known = [archive.stored_bytes for archive in found.archives if archive.label != "mine"]
    assert found.storage[0].bytes == sum(known) > 0 and len(known) == len(found.archives) - 1


def test_machines_say_the_rate_that_they_are_priced_at():
    first, second = sweep.plan("paper", machines=["8xA100", Machines(1, 8, "A100", 2e13)]).machines
    assert (first.machines.rate, second.machines.rate) == (6.1e13, 2e13)
