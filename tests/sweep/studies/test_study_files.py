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
    loaded, expected = load_study(str(path)), load_study(tuned(demo(), "clip+simclr", VALUES))
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


FAULTS = {
    "syntax": ("def study()\n    pass", "line 1: SyntaxError: expected ':'"),
    "indent": ("def study():\nreturn 1", "line 2: IndentationError: expected an indented block"),
    "import": (
        "from sweep.studies import dmo",
        "line 1: ImportError: cannot import name 'dmo' .*; did you mean 'demo'",
    ),
    "module": ("import no_such_module", "line 1: No module named 'no_such_module': install it, or name the folder"),
    "name": ("def study():\n    return dmeo()\ndef demo(): pass", "line 2: NameError: .*; did you mean 'demo'"),
    "attribute": (
        "from sweep.studies import demo\ndef study():\n    return demo().row",
        "line 3: AttributeError: 'Study' object has no attribute 'row'; did you mean 'rows'",
    ),
    "field": (
        "from dataclasses import replace\nfrom sweep.studies import demo\ndef study():\n"
        "    return replace(demo(), seed=1)",
        r"line 4: TypeError: .* unexpected keyword argument 'seed'; did you mean 'seeds'",
    ),
    "recipe": (
        "from dataclasses import replace\nfrom sweep.studies import demo\ndef study():\n"
        "    return replace(demo().rows[3].recipe, schedule='cosin')",
        "line 4: schedule is 'cosin'; allowed: 'cosine', 'constant'; did you mean 'cosine'",
    ),
    "source": (
        "from datasets_io.build.spec import BuildSpec\nDATA = BuildSpec('chexprt')",
        "line 2: there is no source 'chexprt'; known: .*; did you mean 'chexpert'",
    ),
    "key": ("def study():\n    return {}['clip']", "line 2: KeyError: 'clip'"),
    "assert": ("def study():\n    assert 1 == 2", "line 2: AssertionError$"),
    "exit": ("import sys\ndef study():\n    sys.exit(0)", "line 3: it ends the command"),
    "parameter": ("def study(size):\n    pass", "TypeError: study.. missing 1 required positional argument"),
    "list": ("def study():\n    return [1]", r"study\(\) in .* returned a list, not a sweep.studies.Study"),
    "return": ("def study():\n    1", r"returned a NoneType, not a sweep.studies.Study: end it with `return`"),
    "no function": ("study = 1", r"must define a function study\(\)"),
    "another file": (
        "from sweep.studies import load_study\ndef study():\n    return load_study('papr')",
        "line 3: unknown study 'papr'; .*; did you mean 'paper'",
    ),
}


@pytest.mark.parametrize(("text", "message"), FAULTS.values(), ids=FAULTS)
def test_what_goes_wrong_in_a_study_file_is_a_sentence_with_its_line(tmp_path, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as refused:
        load_study(str(path))
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"study file .*mine.py.*: SyntaxError"):
        load_study(str(path))


def test_a_study_that_is_not_there_is_refused_with_what_may_have_been_meant(tmp_path):
    (tmp_path / "mine.py").write_text("x = 1")
    (tmp_path / "a.py").mkdir()
    (tmp_path / "mine.txt").write_text("x = 1")
    for name, message in {
        "min.py": "does not exist; did you mean 'mine.py'",
        "none/mine.py": "does not exist: there is no folder",
        "a.py": "is a folder",
        "mine": "did you mean '.*mine.py'",
        "mine.txt": "is a file, but its name does not end in .py",
        "": "is a folder: give a file of it",
    }.items():
        with pytest.raises(ValueError, match=message):
            load_study(f"{tmp_path}/{name}")
    with pytest.raises(
        ValueError, match=r"allowed: demo, paper, released, strict, or a Python.*; did you mean 'paper'\?"
    ):
        load_study("papr")
