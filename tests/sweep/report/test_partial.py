"""Does a report of a part of a study say so at its top and in every table's caption, and one of a whole study not?"""

import json
from dataclasses import replace

import pytest
from made_up_report import data_of
from made_up_study import plan_of, results_of, small, without

from sweep.report.partial import partial_note
from sweep.report.write import write_report
from sweep.store.report_folder import ReportFolder
from sweep.studies import paper
from sweep.studies.layout import layout_of
from sweep.studies.part import num_cells, part_of
from sweep.studies.plan import make_plan, parse_only

ROWS = ("random", "imagenet", "clip")


def plan_with(study, *only):
    return make_plan(study, {build.label: "made up" for build in study.data_builds()}, parse_only(only))


def written(path, study, plan, results):
    write_report(data_of(path, study, results, plan), ReportFolder.elsewhere(str(path / "report")), quick=True)
    return {file.name: file.read_text() for file in (path / "report").iterdir() if file.suffix != ".csv"}


@pytest.mark.parametrize(
    "study", [small(ROWS), paper(), replace(small(ROWS), pretrain_seeds=(0, 1))], ids=["small", "paper", "pretrainings"]
)
def test_the_cells_of_a_whole_study_are_counted_as_the_plan_has_them(study):
    plan = plan_with(study)
    assert num_cells(study) == len(plan.cells) and part_of(study, plan) == ""


def test_what_was_not_asked_for_is_named():
    study = small(ROWS)
    text = part_of(study, plan_with(study, "method=clip,seed=0,1,protocol=FT"))
    assert text == (
        "Part of study demo: 12 of 90 cells were asked for, without 2 of 3 rows, 2 of 5 columns, 1 of 3 seeds."
    )
    assert part_of(study, plan_with(study, "dataset=nih_cxr14")).endswith(" asked for, without 1 of 2 datasets.")
    several = replace(study, pretrain_seeds=(0, 1))
    assert "without 1 of 2 pretraining seeds." in part_of(several, plan_with(several, "pretrain_seed=1"))


def test_a_part_of_a_study_says_so_everywhere(tmp_path):
    study = small(ROWS)
    plan = plan_with(study, "seed=0,1")
    note = "Part of study demo: 60 of 90 cells were asked for, without 1 of 3 seeds."
    files = written(tmp_path, study, plan, results_of(study, plan))
    assert partial_note(layout_of(study, plan), results_of(study, plan)) == note
    assert files["report.md"].splitlines()[2] == f"**{note}**"
    assert f'<p class="part" role="note">{note}</p>' in files["report.html"].split("<section")[1]
    assert "All 60 cells of this part finished" in files["report.html"]
    tables = [name.removesuffix(".tex") for name in files if name.endswith(".tex")]
    assert len(tables) == 8  # Tables 1 and 1b, and one for each of two datasets and three shares of labels
    for name in tables:
        assert files[f"{name}.md"].startswith(f"{note} Study demo: ")
        assert rf"]{{\raggedright {note} Study demo: " in files[f"{name}.tex"]
    assert files["report.html"].count(f'<p class="caption">{note} Study demo: ') >= 7
    assert json.loads(files["study.json"])["part"] == note


def test_cells_that_are_missing_or_failed_make_a_report_partial_too(tmp_path):
    study = small(ROWS)
    plan = plan_of(study)
    results = results_of(study, plan)
    results[3:5] = [without(results[3]), without(results[4], "failed")]
    note = "Not the whole study: 88 of 90 cells are finished (1 failed, 1 missing): numbers may still change."
    files = written(tmp_path, study, plan, results)
    assert files["table1.md"].startswith(note) and rf"]{{\raggedright {note}" in files["table2.tex"]
    assert files["report.md"].splitlines()[2] == f"**{note}**" and f">{note}</p>" in files["report.html"]


def test_a_whole_and_finished_study_has_no_such_note(tmp_path):
    study = small(ROWS)
    files = written(tmp_path, study, plan_of(study), results_of(study, plan_of(study)))
    assert files["table1.md"].startswith("Study demo: ") and files["report.md"].splitlines()[2] == "## Findings"
    assert "All 90 cells finished" in files["report.html"] and 'class="part"' not in files["report.html"]
    assert json.loads(files["study.json"])["part"] == ""
