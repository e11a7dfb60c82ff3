"""May a study use one source several times: under names of their own, and in the forms that its rows need?"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datasets_io.build.spec import BuildSpec
from datasets_io.sources.csv_images import CsvOptions
from sweep.studies import STUDIES, Dataset, EncoderRow, check_study, demo, load_study
from sweep.studies.layout import layout_of
from sweep.studies.part import with_asked_rows
from sweep.studies.plan import make_plan, parse_only
from trainables.recipe import BackboneSpec, LabelPolicy, RandomInit
from trainables.views.preprocessing import Preprocessing

BASE = demo()
CHEXPERT, NIH = BASE.datasets
ZEROS = replace(CHEXPERT.recipe, label_policy=LabelPolicy(uncertain="zeros"))
ONES_AND_ZEROS = replace(
    BASE, datasets=(CHEXPERT, replace(CHEXPERT, name="u-zeros", display="CheXpert, U-Zeros", recipe=ZEROS))
)
CSV = Dataset("Outside", BuildSpec("csv_images", 32, options=CsvOptions("outside.csv")), CHEXPERT.recipe, "outside")
FED = BackboneSpec("resnet50", 518, preprocessing=Preprocessing(518, "shortest"))


def plan_of(study, **only):
    return make_plan(study, {build.label: build.label for build in study.data_builds()}, only)


def with_rows(study, *rows):
    own = (*study.rows, *(EncoderRow(f"row {i}", f"Row {i}", "baseline", RandomInit(b)) for i, b in enumerate(rows)))
    return replace(study, rows=own)


def refused(study, *parts):
    with pytest.raises(ValueError) as error:
        check_study(study)
    text = str(error.value)
    assert all(part in text for part in parts), text
    assert "\n" not in text


def test_two_datasets_of_one_source_need_names():
    policies = (CHEXPERT, replace(CHEXPERT, display="CheXpert, U-Zeros", recipe=ZEROS))
    refused(
        replace(BASE, name="two", datasets=policies), "'two'", "2 datasets of chexpert", "Dataset(name='chexpert_2'"
    )
    check_study(ONES_AND_ZEROS)


def test_each_use_has_cells_and_a_column_block_of_its_own():
    plan = plan_of(ONES_AND_ZEROS)
    ones, zeros = (plan_of(ONES_AND_ZEROS, dataset=(name,)).cells for name in ("chexpert", "u-zeros"))
    assert len(ones) == len(zeros) == len(plan.cells) // 2 and len({cell.key for cell in plan.cells}) == len(plan.cells)
    assert {cell.recipe.label_policy.uncertain for cell in zeros} == {"zeros"}
    assert len({str(cell) for cell in plan.cells}) == len(plan.cells), "a folder each"
    assert layout_of(ONES_AND_ZEROS, plan).datasets == (("chexpert", "CheXpert"), ("u-zeros", "CheXpert, U-Zeros"))
    with pytest.raises(ValueError, match="has no dataset 'u_zeros'; it has chexpert, u-zeros; did you mean 'u-zeros'"):
        make_plan(ONES_AND_ZEROS, {}, parse_only(["dataset=u_zeros"]))


def test_another_use_moves_no_key_of_the_first():
    alone = plan_of(replace(BASE, datasets=(CHEXPERT,)))
    both = plan_of(ONES_AND_ZEROS, dataset=("chexpert",))
    assert [cell.key for cell in both.cells] == [cell.key for cell in alone.cells]
    assert [run.key for run in both.encoders] == [run.key for run in alone.encoders]


def test_the_corpus_and_a_dataset_of_one_source_are_one_build_or_have_names():
    corpus = BuildSpec("csv_images", 32, options=CsvOptions("inside.csv"))
    own = tuple(row for row in BASE.rows if row.group in ("baseline", "image-image"))
    study = replace(BASE, corpus=corpus, datasets=(CSV,), rows=own, synthetic=None)
    check_study(study)
    assert [(b.label, b.spec.options.table, b.spec.order) for b in study.data_builds()] == [
        ("csv_images", "inside.csv", "hash"),
        ("outside", "outside.csv", "hash"),
    ]
    unnamed = replace(study, datasets=(replace(CSV, name=None),))
    refused(unnamed, "as corpus and as dataset under one name, 'csv_images'", "name=")
    refused(unnamed, "builds them differently (table 'inside.csv' and 'outside.csv'): give")
    larger = replace(unnamed, datasets=(replace(CSV, name=None, build=replace(corpus, image_size=64)),))
    refused(larger, "builds them differently (image_size 32 and 64): give")
    same = replace(study, datasets=(replace(CSV, name=None, build=replace(corpus, order="archive")),))
    check_study(same)
    assert [build.label for build in same.data_builds()] == ["csv_images"], "it is the corpus's build"
    named = replace(unnamed, corpus_name="inside")
    check_study(named)
    assert [build.label for build in named.data_builds()] == ["inside", "csv_images"]
    assert {run.corpus for run in plan_of(named).encoders} == {None, "inside"}


def test_a_corpus_is_stored_in_squares():
    refused(replace(BASE, corpus=replace(BASE.corpus, shape="aspect")), "the corpus of study 'demo' has shape 'aspect'")


@pytest.mark.parametrize("name", ["", "..", "../mine", "a b", "-a", "a/b", "übung", "a=b"])
def test_a_name_is_part_of_paths(name):
    refused(replace(BASE, datasets=(replace(NIH, name=name),)), repr(name), "letters, digits, _ and -")
    refused(replace(BASE, corpus_name=name), repr(name), "letters, digits, _ and -")


def test_a_name_is_of_one_use_and_no_other_source():
    refused(replace(BASE, datasets=(replace(NIH, name="chexpert"),)), "'chexpert', which is another source's name")
    refused(replace(BASE, datasets=(CSV, replace(NIH, name="Outside"))), "2 datasets", "name 'outside'")
    refused(replace(BASE, datasets=(CSV, replace(NIH, display="Outside"))), "2 datasets displayed as 'Outside'")


def test_findings_are_known_ones():
    def of(findings):
        return replace(BASE, datasets=(replace(CHEXPERT, recipe=replace(CHEXPERT.recipe, findings=findings)),))

    check_study(of(("edema", "consolidation")))
    refused(of(("edema", "atelectasiss")), "dataset chexpert", "'atelectasiss'", "did you mean 'atelectasis'?")
    for wrong in ("edema", (), ("edema", "edema")):
        with pytest.raises(ValueError, match="a tuple of one or more names, or None for all"):
            of(wrong)
    assert {cell.key for cell in plan_of(of(("edema",))).cells}.isdisjoint(cell.key for cell in plan_of(of(None)).cells)


def test_a_row_that_needs_another_form_reads_a_build_of_its_own():
    study = with_rows(ONES_AND_ZEROS, FED, replace(FED, preprocessing=None, image_size=64))
    labels = [build.label for build in study.data_builds()]
    uses = ("chexpert", "u-zeros")
    assert labels == ["mimic_cxr", *(f"{use}{form}" for use in uses for form in ("", " (aspect, 576)", " (64)"))]
    plan = plan_of(study)
    read = {(cell.encoder.row, cell.dataset): cell.shards for cell in plan.cells}
    assert [read[row, "u-zeros"] for row in ("simclr", "row 0", "row 1")] == labels[4:]
    assert all(cell.data_fingerprint == cell.shards for cell in plan.cells), "of the build that is read"


def test_a_build_knows_its_use_and_its_source():
    study = with_rows(ONES_AND_ZEROS, FED)
    assert ONES_AND_ZEROS.instances == {"mimic_cxr": "mimic_cxr", "chexpert": "chexpert", "u-zeros": "chexpert"}
    builds = {build.label: build for build in study.data_builds()}
    assert [(b.instance, b.source, b.spec.image_size) for b in builds.values()] == [
        ("mimic_cxr", "mimic_cxr", 32),
        ("chexpert", "chexpert", 32),
        ("chexpert", "chexpert", 576),
        ("u-zeros", "chexpert", 32),
        ("u-zeros", "chexpert", 576),
    ]
    zeros = study.datasets[1]
    assert study.any_build(zeros, list(builds)) == "u-zeros"
    assert study.any_build(zeros, ["chexpert", "u-zeros (aspect, 576)"]) == "u-zeros (aspect, 576)"
    assert study.any_build(zeros, ["chexpert"]) is None


def test_rows_that_are_not_asked_for_need_no_build():
    study = with_rows(BASE, FED)
    assert len(study.data_builds()) == 5
    part = with_asked_rows(study, {"method": ("clip+simclr",)})
    assert [row.name for row in part.rows] == ["imagenet", "clip+simclr"], "and what it starts from"
    assert [build.label for build in part.data_builds()] == ["mimic_cxr", "chexpert", "nih_cxr14"]
    assert with_asked_rows(study, {"seed": ("0",)}) == study


@pytest.mark.parametrize("rows", [(FED,), (BackboneSpec("resnet50", 512), FED)])
def test_another_row_moves_no_key(rows):
    before, after = plan_of(BASE), plan_of(with_rows(BASE, *rows))
    kept = {str(cell): cell.key for cell in after.cells}
    assert all(kept[str(cell)] == cell.key for cell in before.cells)
    assert {str(run): run.key for run in before.encoders}.items() <= {
        str(run): run.key for run in after.encoders
    }.items()


def test_the_study_of_the_documentation_is_one(tmp_path):
    text = (Path(__file__).resolve().parents[3] / "docs" / "data.md").read_text()
    section = text.partition("## One source several times")[2]
    (tmp_path / "policies.py").write_text(section.partition("```python\n")[2].partition("```")[0])
    study = load_study(str(tmp_path / "policies.py"))
    assert [dataset.instance for dataset in study.datasets] == ["chexpert", "zeros", "five"]
    assert study.datasets[1].recipe.label_policy.uncertain == "zeros" and len(study.datasets[2].recipe.findings) == 5


def test_the_documented_study_of_a_set_of_ones_own_asks_for_no_other_archive(tmp_path):
    text = (Path(__file__).resolve().parents[3] / "docs" / "encoders.md").read_text()
    code = text.partition("## On a set of your own")[2].partition("```python\n")[2].partition("```")[0]
    weights = tmp_path / "mine.pth"
    torch.save({"w": torch.zeros(1)}, weights)
    (tmp_path / "own.py").write_text(code.replace("/models/mine.pth", str(weights)))
    own = load_study(str(tmp_path / "own.py"))
    check_study(own)
    assert set(own.instances.values()) == {"csv_images"} and len(own.rows) == 2
    assert [dataset.recipe.label_policy.uncertain for dataset in own.datasets] == ["ones", "zeros"]


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_presets_read_a_build_of_each_source(name):
    study = STUDIES[name]()
    assert [build.label for build in study.data_builds()] == [spec.source for spec in study.builds()]
    assert [build.spec for build in study.data_builds()] == list(study.builds())


def test_a_source_without_a_train_split_is_refused_as_dataset_and_as_corpus():
    masks = BuildSpec("chexlocalize", 32)
    study = replace(demo(), datasets=(replace(demo().datasets[0], display="masks", build=masks),))
    message = (
        "dataset chexlocalize of study 'demo' is of chexlocalize, whose archive has no train split .it has val and"
    )
    with pytest.raises(ValueError, match=message):
        check_study(study)
    with pytest.raises(ValueError, match="the corpus of study 'demo' is of chexlocalize, whose archive has no train"):
        check_study(replace(demo(), corpus=masks, rows=demo().rows[:1]))


def test_a_split_that_an_archive_was_published_without_is_refused():
    plus = replace(demo().datasets[1], display="Plus", name="plus", build=BuildSpec("chexpert_plus", 32))
    study = replace(demo(), datasets=(plus,), rows=demo().rows[:1])
    with pytest.raises(
        ValueError, match="takes the split 'test' as test, and the archive of chexpert_plus has train and"
    ):
        check_study(study)
    carved = replace(plus.recipe, splits=replace(plus.recipe.splits, val="carved", test="val"))
    check_study(replace(study, datasets=(replace(plus, recipe=carved),)))
