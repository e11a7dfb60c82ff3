"""Is a dataset of the corpus's own archive called so wherever its results are printed, and do its labels make sense?"""

from dataclasses import replace

import pytest

from datasets_io.build.spec import BuildSpec
from datasets_io.sources.csv_images import CsvOptions
from datasets_io.sources.mimic_cxr import MimicOptions
from sweep.report.numbering import notes_of
from sweep.studies import Dataset, SplitRecipe, check_study, demo, study_fingerprint
from sweep.studies.layout import layout_of
from sweep.studies.plan import make_plan
from trainables.recipe import LabelPolicy

BASE = demo()
POLICY = replace(BASE.datasets[0].recipe, label_policy=LabelPolicy(evaluation="policy"), splits=SplitRecipe())
MIMIC = Dataset("MIMIC-CXR", BASE.corpus, POLICY)


def of(corpus: BuildSpec, *datasets: Dataset):
    return replace(BASE, corpus=corpus, datasets=datasets)


def test_the_corpus_is_evaluated_too_as_the_same_build_and_called_in_distribution():
    study = of(BASE.corpus, MIMIC, *BASE.datasets)
    check_study(study)
    plan = make_plan(study, {build.label: "any" for build in study.data_builds()}, {})
    names = dict(layout_of(study, plan).datasets)
    assert names == {
        "mimic_cxr": "MIMIC-CXR (in distribution)",
        "chexpert": BASE.datasets[0].display,
        "nih_cxr14": BASE.datasets[1].display,
    }
    assert [build.label for build in study.data_builds()] == ["mimic_cxr", "chexpert", "nih_cxr14"], "built once"
    (note,) = [note for note in notes_of(study, []) if "in distribution" in note]
    assert note.startswith("MIMIC-CXR: in distribution.") and "read from the reports" in note
    assert not [note for note in notes_of(BASE, []) if "in distribution" in note]


def test_its_name_enters_no_key():
    study = of(BASE.corpus, MIMIC)
    other = of(BuildSpec("chexpert_plus", BASE.corpus.image_size), MIMIC)
    assert not other.in_distribution(MIMIC) and MIMIC.display == "MIMIC-CXR"
    assert study_fingerprint(study) == study_fingerprint(of(BASE.corpus, replace(MIMIC)))


def test_archives_that_share_their_images_are_in_distribution_of_each_other():
    chexpert, nih = BASE.datasets
    study = of(BuildSpec("chexpert_plus", BASE.corpus.image_size), chexpert, nih)
    check_study(study)
    assert [study.in_distribution(dataset) for dataset in study.datasets] == [True, False]


def test_two_sets_of_ones_own_are_not_taken_for_one():
    own = BuildSpec("csv_images", 32, options=CsvOptions("mine.csv"))
    outside = Dataset("Outside", BuildSpec("csv_images", 32, options=CsvOptions("other.csv")), POLICY, "outside")
    study = of(own, outside, Dataset("Mine", own, POLICY))
    assert [study.in_distribution(dataset) for dataset in study.datasets] == [False, True]


def test_another_form_of_the_corpus_is_a_use_with_a_name_of_its_own():
    radiologists = BuildSpec("mimic_cxr", 64, options=MimicOptions(test_labels="radiologists"))
    gold = Dataset("MIMIC-CXR, radiologists", radiologists, POLICY, "mimic_gold")
    study = of(BASE.corpus, gold)
    check_study(study)
    assert study.display_of(gold) == "MIMIC-CXR, radiologists (in distribution)"
    with pytest.raises(ValueError, match="test_labels is 'gold'; allowed: chexpert, radiologists"):
        MimicOptions(test_labels="gold")
