"""Does a study made from a preset say of itself what is true of it?"""

from dataclasses import replace
from pathlib import Path

import pytest

from sweep.studies import demo, load_study, paper, released, strict
from sweep.studies.preset_notes import CARVED, DEMO, HOLDS, LARGE_BATCH, NIH_BY_HASH, PICKED_ON_TEST, STAND_IN
from sweep.studies.presets import STUDIES
from sweep.studies.study import EncoderRow
from trainables.recipe import BackboneSpec, RandomInit

HEAD = "from dataclasses import replace\nfrom sweep.studies import demo, paper\n\n\ndef study():\n    return "


def loaded(folder: Path, expression: str):
    (folder / "own.py").write_text(HEAD + expression + "\n")
    return load_study(str(folder / "own.py"))


@pytest.mark.parametrize("make", [demo, paper, released, strict])
def test_a_preset_says_what_is_true_of_it(make):
    study = make()
    assert study.deviations and all(HOLDS[text](study) for text in study.deviations)
    assert load_study(study.name) == study


def test_a_derived_study_has_no_title_of_the_preset(tmp_path):
    study = loaded(tmp_path, 'replace(demo(), name="mine", seeds=(0, 1))')
    assert study.title == "derived from demo" and study.deviations == (DEMO, STAND_IN)


def test_what_a_study_says_itself_stays(tmp_path):
    study = loaded(tmp_path, 'replace(demo(), name="mine", title="Two resolutions", deviations=("Ours alone.",))')
    assert (study.title, study.deviations) == ("Two resolutions", ("Ours alone.",))


def test_a_note_that_is_no_longer_true_goes(tmp_path):
    rows = "rows=tuple(r for r in demo().rows if r.name == 'random')"
    assert loaded(tmp_path, f'replace(demo(), name="mine", {rows})').deviations == (DEMO,)
    study = loaded(tmp_path, 'replace(paper(), name="mine", datasets=paper().datasets[1:])')
    assert study.deviations == (NIH_BY_HASH, LARGE_BATCH)
    study = loaded(tmp_path, 'replace(paper(), name="mine", datasets=paper().datasets[:1], rows=paper().rows[:3])')
    assert study.deviations == (PICKED_ON_TEST,)


def test_each_note_can_be_untrue():
    plain = RandomInit(BackboneSpec("resnet50.tv_in1k", 224))
    own = replace(demo(), rows=(EncoderRow("random", "Random", "baseline", plain),), datasets=())
    assert [text for text, holds in HOLDS.items() if holds(own)] == []
    assert {text for make in STUDIES.values() for text in make().deviations} == set(HOLDS) and CARVED in HOLDS
