"""Do study files load: what earlier versions wrote, with the same results, and what takes recipes' parts by promise?"""

import pytest

from sweep.studies import demo, load_study, tuned
from sweep.studies.plan import make_plan
from sweep.tune.outputs import study_file

FINGERPRINTS = dict.fromkeys(("mimic_cxr", "chexpert", "nih_cxr14"), "x")
# As sweep.tune of 0.1.0 wrote it, to the letter.
WRITTEN_BY_0_1_0 = '''"""Study demo with the values of clip+simclr that sweep.tune found best of 20 trials.

Validation macro AUROC 0.7500, on patients held out of the datasets' training splits.
Run it with: python -m sweep.run --study THIS_FILE"""

from sweep.search_space import tuned
from sweep.studies import Study, load_study


def study() -> Study:
    return tuned(load_study('demo'), 'clip+simclr', {
        'c': 0.5,
        'clip.temperature': 0.2,
        'simclr.temperature': 0.3,
    })
'''
VALUES = {"clip.temperature": 0.2, "simclr.temperature": 0.3, "c": 0.5}


@pytest.mark.parametrize(
    "text", [WRITTEN_BY_0_1_0, study_file("demo", "clip+simclr", VALUES, 0.75, 20)], ids=["0.1.0", "now"]
)
def test_a_file_that_tune_wrote_is_the_tuned_study(tmp_path, text):
    path = tmp_path / "demo_clip_simclr_tuned.py"
    path.write_text(text)
    loaded, expected = load_study(str(path)), tuned(demo(), "clip+simclr", VALUES)
    assert loaded == expected != demo()
    assert make_plan(loaded, FINGERPRINTS, {}) == make_plan(expected, FINGERPRINTS, {})


PARTS_CHANGED = """
from dataclasses import replace

from sweep.studies import SimClrConfig, Study, SyntheticSpec, demo


def study() -> Study:
    base = demo()
    simclr = next(row for row in base.rows if row.name == "simclr")
    views = tuple((name, replace(view, jitter_p=0.25)) for name, view in simclr.recipe.views)
    changed = replace(simclr.recipe, objective=replace(simclr.recipe.objective, temperature=0.5), views=views)
    assert isinstance(changed.objective, SimClrConfig) and isinstance(base.synthetic, SyntheticSpec)
    rows = tuple(replace(row, recipe=changed) if row is simclr else row for row in base.rows)
    return replace(base, name="mine", rows=rows)
"""


def test_a_study_file_changes_parts_of_a_recipe_by_the_promised_import(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PARTS_CHANGED)
    (row,) = [row for row in load_study(str(path)).rows if row.name == "simclr"]
    assert row.recipe.objective.temperature == 0.5 and {view.jitter_p for _, view in row.recipe.views} == {0.25}
