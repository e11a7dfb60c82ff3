"""Does a report with --with show both studies, their differences and what one alone has; is --with refused well?"""

import csv
import io
from dataclasses import fields, replace

import pytest
from made_up_report import data_of
from made_up_study import plan_of, results_of, small, without
from typer.testing import CliRunner

from sweep.report.__main__ import app
from sweep.report.other_study import storage_and_study
from sweep.report.side_by_side import NO_DIFFERENCE, NOT_TESTED, NOT_TOLD, TOLD, recipe_notes, verdict_of
from sweep.report.write import write_report
from sweep.statistics.row_types import SideBySideRow
from sweep.statistics.side_by_side import Side, side_by_side
from sweep.statistics.summaries import study_summaries
from sweep.store.report_folder import ReportFolder
from sweep.studies.bad_input import BadInput
from tests.sweep.saved_study import make, save_all

HOSTILE = "<b>|&"


def other_study():
    """Another learning rate of CLIP, no SimCLR, a row and a title of its own."""
    base = small(("random", "imagenet", "clip", "vicreg"))
    rows = []
    for row in base.rows:
        if row.name == "clip":
            optimizer = replace(row.recipe.optimizer, learning_rate=0.125)
            row = replace(row, recipe=replace(row.recipe, optimizer=optimizer))
        rows.append(replace(row, display=f"{row.display} {HOSTILE}"))
    return replace(base, name="other", rows=tuple(rows), protocols=("LP", "FT"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Name -> text of a quick report of the made-up study beside another one."""
    folder = tmp_path_factory.mktemp("beside")
    beside = data_of(folder / "there", other_study())
    paths = write_report(data_of(folder / "here"), ReportFolder.elsewhere(str(folder / "report")), True, beside)
    return {name: (folder / "report" / name).read_text() for name in paths}


def test_every_shared_place_is_a_row_with_both_means(files):
    rows = list(csv.DictReader(io.StringIO(files["side_by_side.csv"])))
    assert list(rows[0]) == [field.name for field in fields(SideBySideRow)]
    assert len(rows) == 3 * 2 * 4  # random, imagenet, CLIP; two datasets; LP and FT at three shares
    assert {(row["method"], row["matched_by"]) for row in rows} == {
        ("random", "same recipe"),
        ("imagenet", "same recipe"),
        ("clip", "same name"),
    }
    table = {
        row["method"]: row for row in csv.DictReader(io.StringIO(files["table1.csv"])) if row["dataset"] == "chexpert"
    }
    for row in rows:
        if (row["dataset"], row["protocol"]) == ("chexpert", "LP"):
            assert 100 * float(row["mean"]) == pytest.approx(float(table[row["method"]]["LP mean"]), rel=1e-12)
        assert row["num_shared"] == "3" and row["p_both"] == ""


def test_text_and_page_say_what_is_apart_and_what_one_alone_has(files):
    for name in ("report.md", "report.html"):
        text = files[name]
        assert "This study is demo, the other one other; differences are this study minus the other" in text, name
        assert "Of 24 means that both have, 0 are higher here and 0 lower by more than seeds" in text.replace(
            "&lt;", "<"
        )
        assert "Only demo has the rows SimCLR and SimCLR-CLIP; the column LPFT." in text, name
        assert "clip: optimizer.learning_rate: 0.002 / 0.125" in text, name
        assert "--with" in text and ":demo" in text, name
    assert (
        "Only other has the row VICReg &lt;b&gt;|&amp;." in files["report.html"] and "<b>|" not in files["report.html"]
    )
    assert "| CLIP / CLIP &lt;b>\\|& |" in files["report.md"]
    assert 'href="#side-by-side"' in files["report.html"] and "Two studies side by side" in files["report.html"]


def test_without_another_study_there_is_no_such_part(tmp_path):
    paths = write_report(data_of(tmp_path), ReportFolder.elsewhere(str(tmp_path / "report")), True)
    assert "side_by_side.csv" not in paths
    text = (tmp_path / "report" / "report.html").read_text()
    assert 'id="side-by-side"' not in text and "Two studies side by side" not in text
    assert "Side by side" not in (tmp_path / "report" / "report.md").read_text()


def test_a_difference_is_bold_where_it_is_told_apart(tmp_path):
    """SimCLR-CLIP against noise alone, on the same test images."""
    study = replace(small(("imagenet", "clip+simclr")), protocols=("LP",), seeds=(0, 1, 2, 3, 4))
    here, there = (make(tmp_path / name, study=study, hernias=30) for name in "ab")
    save_all(here)
    for cell in there.plan.cells:
        there.save(cell, here.probabilities(cell) if cell.encoder.row == "imagenet" else 1 - here.probabilities(cell))
    data, beside = (data_of(s.store.files.root, s.study, s.results(), s.plan) for s in (here, there))
    write_report(data, ReportFolder.elsewhere(str(tmp_path / "report")), beside=beside)
    text = (tmp_path / "report" / "report.md").read_text().split("## Side by side")[1]
    lines = [line for line in text.splitlines() if line.startswith("| SimCLR-CLIP")]
    assert len(lines) == 2 and all(line.startswith("| SimCLR-CLIP | **+") for line in lines)
    assert "| Stand-in Init. (rendered textures, not ImageNet) | +0.00 |" in text
    assert "Of 4 means that both have, 2 are higher here and 0 lower by more than seeds" in text
    assert "This study is demo in " in text  # one name in two storages


def test_studies_without_a_place_in_common_say_so(tmp_path):
    study = small()
    other = replace(study, protocols=("LP",), datasets=study.datasets[:1], name="other")
    here = replace(study, datasets=study.datasets[1:])
    beside = data_of(tmp_path / "there", other)
    write_report(data_of(tmp_path / "here", here), ReportFolder.elsewhere(str(tmp_path / "report")), True, beside)
    text = (tmp_path / "report" / "report.md").read_text()
    assert "The two studies have no place in common." in text and "Only other has the dataset CheXpert." in text


def test_unfinished_studies_are_compared_as_far_as_they_are(tmp_path):
    study = small()
    empty = [without(result) for result in results_of(study, plan_of(study))]
    beside = data_of(tmp_path / "there", replace(study, name="other"), empty, plan_of(study))
    paths = write_report(data_of(tmp_path / "here"), ReportFolder.elsewhere(str(tmp_path / "report")), True, beside)
    assert "no finished seed of any" in (tmp_path / "report" / "report.md").read_text()
    assert "side_by_side.csv" in paths


@pytest.mark.parametrize(
    ("difference", "n", "p", "verdict"),
    [
        (None, 0, None, NOT_TESTED),
        (0.1, 3, None, NOT_TESTED),
        (0.0, 3, None, NO_DIFFERENCE),
        (0.1, 3, 0.04, TOLD),
        (-0.1, 3, 0.06, NOT_TOLD),
    ],
)
def test_what_may_be_said_of_a_place(difference, n, p, verdict):
    row = SideBySideRow(
        "d",
        "LP",
        100,
        "a",
        "a",
        "A",
        "same name",
        *[None, None, 3] * 2,
        n,
        0,
        difference,
        *[None] * 3,
        "",
        None,
        None,
        p,
        p,
        (),
    )
    assert verdict_of(row) == verdict


def test_a_difference_of_all_rows_is_said_once(tmp_path):
    study = small()
    rows = []
    for row in study.rows:
        epochs = replace(row.recipe, num_epochs=99) if hasattr(row.recipe, "num_epochs") else row.recipe
        rows.append(replace(row, recipe=epochs))
    other = replace(study, rows=tuple(rows))
    sides = [
        Side(d, study_summaries(d.study, d.plan, d.results))
        for d in (data_of(tmp_path / "a"), data_of(tmp_path / "b", other))
    ]
    found = recipe_notes(side_by_side(*sides, predictions=False))
    assert found == ("imagenet: num_epochs: 3 / 99", "clip, simclr, clip+simclr: num_epochs: 12 / 99")


@pytest.mark.parametrize(
    ("text", "storage", "study"),
    [
        ("results", "results", "demo"),
        ("results:strict", "results", "strict"),
        ("/a/b:/c/mine.py", "/a/b", "/c/mine.py"),
        ("s3://bucket/x", "s3://bucket/x", "demo"),
        ("s3://bucket/x:strict", "s3://bucket/x", "strict"),
    ],
)
def test_a_storage_and_a_study_are_told_apart(text, storage, study):
    assert storage_and_study(text, "demo") == (storage, study)


@pytest.mark.parametrize("text", ["results:", ":strict"])
def test_half_of_it_is_refused(text):
    with pytest.raises(BadInput, match=r"--with .* must be STORAGE\[:STUDY\]"):
        storage_and_study(text, "demo")


@pytest.mark.parametrize("text", ["nowhere", "{here}:strikt"])
def test_the_command_names_with_in_its_refusal(tmp_path, text):
    (tmp_path / "data").mkdir()
    given = text.format(here=tmp_path)
    found = CliRunner().invoke(app, ["--storage", str(tmp_path), "--with", given, "--quick"])
    assert found.exit_code == 2 and f"--with {given}: " in found.output.replace("\n", " ")
    if text.endswith("strikt"):
        assert "did you mean 'strict'" in found.output.replace("\n", " ")


def test_a_study_is_not_set_beside_itself(tmp_path):
    given = f"{tmp_path}:demo"
    found = CliRunner().invoke(app, ["--storage", str(tmp_path), "--with", given, "--quick"], env={"COLUMNS": "500"})
    assert found.exit_code == 2 and f"--with {given}: that is this study in this storage; name another" in found.output
