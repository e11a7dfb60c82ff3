"""What a study takes, without its archives: stages, machines, bytes and the longest chain, checked by hand."""

from dataclasses import replace

import pytest

from datasets_io.build.spec import BuildSpec
from datasets_io.sources.csv_images import CsvOptions
from datasets_io.sources.nih_cxr14 import NihOptions
from sweep.studies import demo, paper
from sweep.studies.forecast import FLOPS_PER_SECOND, forecast
from sweep.studies.outlook import BUILT, MADE_UP, NOMINAL, Machines, outlook, parse_machines
from sweep.studies.plan import NOT_BUILT, make_plan
from trainables.recipe import Resources

COUNTS = {
    "mimic_cxr": {"train": 368_960, "val": 2_991, "test": 5_159},
    "chexpert": {"train": 223_414, "val": 234, "test": 668},
    "nih_cxr14": {"train": 75_708, "val": 10_816, "test": 25_596},
}
STUDY = replace(demo(), synthetic=None)
PLAN = make_plan(STUDY, dict.fromkeys(COUNTS, NOT_BUILT), {})
WITHOUT = outlook(STUDY)
ONE = Machines(1, 1, "A100")


def without_origins(found):
    return replace(found, archives=tuple(replace(a, origin="", exact=True) for a in found.archives))


def test_without_archives_it_is_what_it_is_with_archives_of_the_published_counts():
    assert {archive.origin for archive in WITHOUT.archives} == {NOMINAL}
    assert [archive.images for archive in WITHOUT.archives] == [377_110, 223_648 + 668, 112_120]
    given = outlook(STUDY, COUNTS)
    assert without_origins(WITHOUT) == without_origins(given) and given != WITHOUT


def test_a_study_of_synthetic_archives_has_theirs():
    found = outlook(demo())
    assert {(a.label, a.images, a.origin) for a in found.archives} == {
        ("mimic_cxr", 1400, MADE_UP),
        ("chexpert", 720, MADE_UP),
        ("nih_cxr14", 760, MADE_UP),
    }
    assert not any(stage.core_hours for stage in found.stages)
    given = outlook(demo(), COUNTS)
    assert {archive.origin for archive in given.archives} == {"given"} and given.total == WITHOUT.total


def test_the_study_paper_too():
    cut = {"train": 78_484, "val": 11_212, "test": 22_424}  # 70-10-20 of 112,120, by patients: about so
    found = outlook(paper())
    assert without_origins(found) == without_origins(outlook(paper(), COUNTS | {"nih_cxr14": cut}))
    exact = {archive.label: archive.exact for archive in found.archives}
    assert exact == {"mimic_cxr": True, "chexpert": True, "nih_cxr14": False}


def test_stages_are_the_forecast_in_parts():
    whole = forecast(PLAN.encoders, PLAN.cells, COUNTS)
    total = WITHOUT.total
    assert (total.images_read, total.forward_passes, total.training_passes, total.views, total.steps) == (
        whole.images_read,
        whole.forward_passes,
        whole.training_passes,
        whole.views,
        whole.steps,
    )
    assert (total.flops, total.text_flops) == pytest.approx((whole.flops, whole.text_flops), rel=1e-12)
    stages = {stage.name: stage for stage in WITHOUT.stages}
    cells = [stage for name, stage in stages.items() if name.split()[0] in STUDY.protocols]
    assert sum(stage.items for stage in cells) == len(PLAN.cells) == 650 and stages["pretraining"].items == 11
    assert stages["LP chexpert"].jobs == 17 and stages["LP chexpert"].items == 65, "a probe's seeds are one job"
    probes = [c for c in PLAN.cells if (c.protocol, c.dataset) == ("LP", "chexpert")]
    assert stages["LP chexpert"].cost.flops == pytest.approx(forecast((), probes, COUNTS).flops, rel=1e-12)


def test_what_is_left_alone_is_priced():
    done = {cell.key for cell in PLAN.cells if cell.dataset == "chexpert"}
    left = replace(PLAN, encoders=(), cells=tuple(c for c in PLAN.cells if c.key not in done))
    found = outlook(STUDY, left=left)
    assert [archive.label for archive in found.archives] == ["nih_cxr14"], "the others are not read any more"
    assert {stage.name.split()[-1] for stage in found.stages} == {"nih_cxr14"}
    nothing = outlook(STUDY, left=replace(PLAN, encoders=(), cells=()))
    assert nothing.stages == () and nothing.machines[0].hours == 0 and nothing.machines[0].chain.names == ()


def test_built_archives_are_not_ingested_and_others_are_by_a_cores_rate():
    found = outlook(STUDY, COUNTS, origins={"mimic_cxr": BUILT})
    ingest = {stage.name: stage.core_hours for stage in found.stages if stage.name.startswith("ingest")}
    assert ingest == {
        "ingest chexpert": pytest.approx(224_316 / 56.9 / 3600),
        "ingest nih_cxr14": pytest.approx(112_120 / 174 / 3600),
    }


def test_hours_are_work_over_rate_and_machines_unless_a_chain_is_longer():
    one, many = outlook(STUDY, machines=[ONE, "1000x8xA100"]).machines
    work = (WITHOUT.total.flops + WITHOUT.total.text_flops) / FLOPS_PER_SECOND["A100"] / 3600
    assert one.device_hours == one.hours == pytest.approx(work) and one.bound == "GPUs"
    assert many.device_hours == pytest.approx(work) and many.bound == "longest chain"
    assert many.hours == many.chain.hours > work / 8000


def test_the_longest_chain_is_a_pretraining_a_probe_and_what_goes_on_from_it():
    found = outlook(STUDY, COUNTS, machines=[ONE, "8xA100", "8xCPU"], only={"method": ("simclr",)})
    rate = FLOPS_PER_SECOND["A100"] * 3600
    plan = make_plan(STUDY, dict.fromkeys(COUNTS, NOT_BUILT), {"method": ("simclr",)})
    (run,) = (run for run in plan.encoders if run.row == "simclr")
    pretraining = forecast((run,), (), COUNTS).flops / rate

    def hours(protocol, dataset):
        cell = next(c for c in plan.cells if (c.protocol, c.dataset) == (protocol, dataset))
        return forecast((), (cell,), COUNTS).flops / rate

    chains = {d: hours("LP", d) + hours("LPFT", d) for d in ("chexpert", "nih_cxr14")}
    longest = max(chains, key=lambda d: chains[d])
    alone, eight, cores = (one.chain for one in found.machines)
    assert alone.names == (
        "imagenet-p0",
        "simclr-p0",
        f"simclr-p0-{longest}-LP100-s0",
        f"simclr-p0-{longest}-LPFT100-s0",
    )
    assert alone.hours == pytest.approx(pretraining + chains[longest])
    assert eight.hours == pytest.approx(pretraining / 4 + chains[longest]), "four workers of one pretraining"
    slower = FLOPS_PER_SECOND["A100"] / FLOPS_PER_SECOND["CPU core"]
    assert cores.hours == pytest.approx(slower * alone.hours), "one worker on cores"


def test_the_number_of_workers_is_what_resources_say():
    study = replace(STUDY, resources=Resources(pretrain_workers=2))
    plain, two = (outlook(s, machines=["8xA100"], only={"protocol": ("LP",)}).machines[0].chain for s in (STUDY, study))
    assert two.hours > 1.5 * plain.hours


@pytest.mark.parametrize("only", [{"protocol": ("LPFT",)}, {"method": ("clip",)}, {"label_percent": ("1",)}])
def test_only_rows_of_the_part_are_there(only):
    found = outlook(paper(), only=only, machines=["8xA100"])
    pretrained = next(stage.items for stage in found.stages if stage.name == "pretraining")
    assert pretrained == {"protocol": 11, "method": 1, "label_percent": 15}[next(iter(only))]


def test_images_of_ones_own_have_no_published_size():
    own = replace(STUDY.datasets[0], build=BuildSpec("csv_images", 32, options=CsvOptions("a.csv")), name="mine")
    own = replace(own, recipe=replace(own.recipe, findings=("edema",)))
    study = replace(STUDY, datasets=(own, STUDY.datasets[1]))
    found = outlook(study)
    (sentence,) = found.missing
    assert sentence.startswith("mine: nothing was published of its size") and "--raw mine=DIR" in sentence
    stages = {stage.name: stage for stage in found.stages}
    assert stages["LP mine"].unpriced == stages["LP mine"].items == 65 and stages["LP mine"].cost.flops == 0
    assert stages["LP nih_cxr14"].unpriced == 0 and stages["pretraining"].cost == outlook(STUDY).stages[4].cost
    known = outlook(study, {"mine": {"train": 100, "val": 10, "test": 10}})
    assert known.missing == () and known.total.flops > found.total.flops


def test_a_network_that_cannot_be_built_is_named_and_the_rest_is_priced():
    rows = tuple(
        replace(row, recipe=replace(row.recipe, backbone=replace(row.recipe.backbone, name="resnett50")))
        if row.name == "simclr"
        else row
        for row in STUDY.rows
    )
    found = outlook(replace(STUDY, rows=rows))
    assert found.missing and all(sentence.startswith("row simclr is in no sum") for sentence in found.missing)
    assert 0 < found.total.flops < WITHOUT.total.flops


def test_one_build_under_two_names_is_stored_once():
    twice = replace(STUDY.datasets[0], name="again")
    study = replace(STUDY, datasets=(*STUDY.datasets, twice))
    found = outlook(study)
    assert {a.label: a.same_as for a in found.archives}["again"] == "chexpert"
    assert found.storage[0] == WITHOUT.storage[0], "bytes of data"
    assert found.missing == () and "ingest again" not in {stage.name for stage in found.stages}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8xA100", Machines(1, 8, "A100")),
        ("2x8xH100", Machines(2, 8, "H100")),
        (" 2 x 8 x h100", Machines(2, 8, "H100")),
        ("16xcpu", Machines(1, 16, "CPU")),
    ],
)
def test_machines_are_named_in_one_form(text, expected):
    assert parse_machines(text) == expected and parse_machines(expected.name) == expected
    assert expected.count == expected.hosts * expected.each


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A100", "'A100' is not COUNTxCARD or HOSTSxCOUNTxCARD, as 8xA100, 2x8xH100 or 16xCPU"),
        ("8A100", "is not COUNTxCARD"),
        ("8xA10", "no rate is known of 'A10'; allowed: A100, H100, CPU; did you mean 'A100'"),
        ("4xV100", "a V100 is not supported"),
        ("0xA100", "counts begin at 1"),
        ("", "is not COUNTxCARD"),
    ],
)
def test_other_machines_are_refused_with_what_is_allowed(text, said):
    with pytest.raises(ValueError, match="--machines") as refused:
        outlook(STUDY, machines=[text])
    assert said in str(refused.value)


def test_an_official_split_is_taken_as_it_is():
    dataset = replace(STUDY.datasets[1], build=BuildSpec("nih_cxr14", 32, options=NihOptions(split="patient_70_10_20")))
    found = outlook(replace(STUDY, datasets=(STUDY.datasets[0], dataset)))
    splits = {archive.label: dict(archive.splits) for archive in found.archives}
    assert splits["nih_cxr14"] == {"train": 78_484, "val": 11_212, "test": 22_424}
