"""Is the report made whatever the results are, does it say what is not there, and does it invent no number?"""

import csv
import errno
import io
import json
import os
import re
from collections import defaultdict
from dataclasses import replace

import pytest
from made_up_report import data_of
from made_up_study import plan_of, results_of, small, without
from typer.testing import CliRunner

from datasets_io.sources.nih_cxr14 import NihOptions
from datasets_io.storage.disk import Disk
from sweep.report.__main__ import app
from sweep.report.numbering import numbered_layouts
from sweep.report.provenance import ComputeHours, compute_hours_of
from sweep.report.tables.finding_table import finding_tables
from sweep.report.tables.main_table import table1
from sweep.report.write import write_report
from sweep.statistics.summaries import make_summaries
from sweep.store.csv_files import findings_csv
from sweep.store.records import CellResult
from sweep.store.report_folder import ReportFolder
from sweep.studies.layout import layout_of
from sweep.studies.plan import Plan
from trainables.evaluation.metrics import FindingAuroc, macro
from trainables.recipe import BackboneSpec, RandomInit
from trainables.views.preprocessing import Preprocessing

KEPT_NAMES = ("results.csv", "findings.csv", "table1.md", "table1.csv", "table1.tex", "study.json", "failures.json")


def make(folder, study=None, results=None, plan=None, failures=None) -> dict[str, str]:
    """A quick report; name -> text."""
    data = data_of(folder, study, results, plan, failures)
    paths = write_report(data, ReportFolder.elsewhere(str(folder / "report")), quick=True)
    return {name: (folder / "report" / name).read_text() for name in paths}


def test_every_file_is_made_and_old_names_stay(tmp_path):
    files = make(tmp_path)
    wanted = {f"table{n}.{ending}" for n in range(1, 8) for ending in ("md", "csv", "tex")}
    assert wanted | set(KEPT_NAMES) | {"report.html", "report.md"} <= set(files)
    assert json.loads(files["study.json"])["study"] == "demo"
    assert "## Table 7" in files["report.md"] and "python -m sweep.report --study demo" in files["report.md"]


def test_page_and_text_say_what_each_network_is_given(tmp_path):
    base = small()
    own = replace(base.rows[1], name="own", display="Own")
    spec = BackboneSpec("resnet10t", 48, (), Preprocessing(48, "longest", mean=(0.25,) * 3))
    own = replace(own, recipe=RandomInit(spec))
    files = make(tmp_path, replace(base, rows=(*base.rows, own)))
    for name in ("report.md", "report.html"):
        assert "48 px: longer side to 48, padded to 48 with 0, bilinear" in files[name], name
        assert "as the data set says: CheXpert, NIH-ChestX-Ray14 32 px" in files[name], name


def test_an_empty_sweep_is_reported_without_a_number(tmp_path):
    study = small()
    plan = plan_of(study)
    files = make(tmp_path, study, [without(r) for r in results_of(study, plan)], plan)
    for name in ("report.md", "report.html"):
        assert "No cell of this study is finished" in files[name]
    numbers = r"\d\d\.\d\d(?!\d)(?!%\")"
    for name in ("report.md", "table1.md", "table2.md"):
        assert not re.search(numbers, files[name].split("## What was run")[0]), name
    assert "No cell of this table is finished: there is no number to show." in files["table2.md"]


def test_a_study_without_rows_is_reported(tmp_path):
    study = replace(small(), rows=())
    files = make(tmp_path, study, [], Plan((), ()))
    assert "0 done, 0 failed, 0 missing of 0" in files["report.md"]
    assert "No cell of this study is finished" in files["report.html"]


def test_missing_and_failed_seeds_are_named_and_not_averaged_over(tmp_path):
    study = small()
    plan = plan_of(study)
    results = results_of(study, plan)
    place = ("clip", "chexpert", "FT", 10)
    results = [without(r, "failed" if r.seed else "missing") if r.place == place and r.seed < 2 else r for r in results]
    files = make(tmp_path, study, results, plan)
    assert "missing: seed 0; failed: seed 1; mean of the other n = 1" in files["table4.md"]
    assert "148 of 150 cells are finished, 1 failed and 1 are missing" in files["report.md"]
    row = next(
        r for r in csv.DictReader(io.StringIO(files["table4.csv"])) if (r["method"], r["finding"]) == ("clip", "edema")
    )
    assert (row["n"], row["missing"], row["failed"], row["ci95"]) == ("1", "0", "1", "")


def test_a_finding_without_positives_keeps_its_name_and_has_no_value(tmp_path):
    files = make(tmp_path)
    assert re.search(r"\| Hernia \| 0\.00 \| 0 \| - \[a\] \|", files["table2.md"])
    assert "undefined, one class only in the test images: seeds 0, 1, 2" in files["table2.md"]
    assert "only 2 of 3 findings have both classes" in files["report.md"]
    assert "fewer than 10 positive test images" in files["report.md"].lower()


def test_one_class_only_everywhere_gives_no_mean(tmp_path):
    study = small()
    plan = plan_of(study)
    only = (FindingAuroc("edema", None, 0, 100), FindingAuroc("hernia", None, 100, 0))
    results = [replace(r, findings=only, macro_auroc=macro(only)) for r in results_of(study, plan)]
    files = make(tmp_path, study, results, plan)
    assert "no finding has both classes" in files["report.md"]
    assert "no finding defined: seeds 0, 1, 2" in files["table1.md"]
    assert not re.search(r"\d\d\.\d\d ±", files["report.md"])


@pytest.mark.parametrize("where", ["macro", "finding"])
def test_values_that_are_no_numbers_count_as_failed_and_are_named(tmp_path, where):
    study = small()
    plan = plan_of(study)
    results = results_of(study, plan)
    nan = float("nan")
    if where == "macro":
        results[0] = replace(results[0], macro_auroc=nan)
    else:
        results[0] = replace(results[0], findings=(FindingAuroc("edema", nan, 3, 4),))
    files = make(tmp_path, study, results, plan)
    assert "- values that are no numbers, so that these count as failed: " in files["report.md"]
    assert ",nan," not in files["results.csv"].lower() and ",nan," not in files["findings.csv"].lower()
    value = files["report.html"].split('id="data">')[1].split("</script>")[0]
    assert "NaN" not in value and json.loads(value)["cells"]["status"][0] == 1
    assert "so that these 1 count as failed and are in no mean" in files["report.html"]


def test_hostile_names_stay_text(tmp_path):
    study = small()
    hostile = '</script><img src=x onerror=alert(1)> & "quotes" <!--'
    rows = tuple(replace(row, display=hostile) if row.name == "clip" else row for row in study.rows)
    study = replace(study, rows=rows, deviations=(hostile,))
    page = make(tmp_path, study)["report.html"]
    assert "<img" not in page and page.count("<script") == page.count("</script>") == 2


def test_the_page_names_no_address_of_a_network(tmp_path):
    page = make(tmp_path)["report.html"]
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)""", page) == [] and "url(" not in page and "@import" not in page
    assert "default-src 'none'" in page


def from_csv(text: str) -> list[CellResult]:
    """What findings.csv alone says."""
    cells = defaultdict(list)
    for row in csv.DictReader(io.StringIO(text)):
        cells[row["key"]].append(row)
    results = []
    for key, rows in cells.items():
        first = rows[0]
        findings = tuple(
            FindingAuroc(r["finding"], float(r["auroc"]) if r["auroc"] else None, int(r["n_pos"]), int(r["n_neg"]))
            for r in rows
        )
        results.append(
            CellResult(
                first["method"],
                first["display_name"],
                first["dataset"],
                first["protocol"],
                int(first["label_percent"]),
                int(first["pretrain_seed"]),
                int(first["seed"]),
                "done",
                key,
                findings,
                macro(findings),
            )
        )
    return results


def test_tables_come_from_findings_csv_alone():
    study = small()
    plan = plan_of(study)
    results = [replace(r, macro_auroc=macro(r.findings)) for r in results_of(study, plan)]
    layout = layout_of(study, plan)
    again, results = make_summaries(layout, from_csv(findings_csv(results))), make_summaries(layout, results)
    assert [t.csv() for t in finding_tables(again)] == [t.csv() for t in finding_tables(results)]
    assert table1(again).markdown() == table1(results).markdown()


def large_batches():
    """The paper's Tables 8 and 9: clip and simclr with larger batches beside Table 1's rows."""
    base = small(("random", "imagenet", "clip", "simclr"), show_published=True)
    rows = list(base.rows)
    for batch in (1024, 2048):
        rows += [
            replace(row, name=f"{row.name}-{batch}", recipe=replace(row.recipe, global_batch_size=batch))
            for row in base.rows
            if row.name in ("clip", "simclr")
        ]
    chexpert, nih = base.datasets
    # The paper's values stand beside a split of its own shares, not beside the official list of test images.
    nih = replace(nih, build=replace(nih.build, options=NihOptions("patient_70_10_20")))
    return replace(base, rows=tuple(rows), datasets=(chexpert, nih))


def test_rows_of_larger_batches_make_tables_8_and_9_beside_their_published_values(tmp_path):
    study = large_batches()
    layouts = numbered_layouts(study, plan_of(study))
    assert {number: [row[0] for row in layout.rows] for number, layout in layouts.items()} == {
        1: ["random", "imagenet", "clip", "simclr"],
        8: ["random", "imagenet", "clip-1024", "simclr-1024"],
        9: ["random", "imagenet", "clip-2048", "simclr-2048"],
    }
    assert layouts[8].columns == (("LP", 100), ("FT", 1), ("FT", 10), ("FT", 100))
    files = make(tmp_path, study)
    assert "| &nbsp;&nbsp;published | 78.13 ± 0.24 | 78.38 ± 1.60 | 79.75 ± 2.36 | 85.91 ± 1.39 |" in files["table8.md"]
    assert "| &nbsp;&nbsp;published | 82.60 ± 0.18 |" in files["table9.md"]
    assert "Huang et al., MIDL 2023, Table 9, as printed" in files["table9.md"]
    assert "values are of another draw of a 70-10-20 split" in files["table9.md"]
    assert "Table 8: macro AUROC, global batch 1,024" in files["report.html"]


def test_hours_are_counted_by_device_and_workers(tmp_path):
    data = data_of(tmp_path)
    data = replace(
        data,
        cells={"a": replace(next(iter(data.cells.values())), seconds=3600.0, device=None)},
        encoders=(
            replace(data.encoders[0], seconds=1800.0, workers=4, device="cuda: A100"),
            replace(data.encoders[0], seconds=720.0, device="cpu"),
        ),
    )
    assert compute_hours_of(data) == ComputeHours(2.0, 0.2, 1.0, 2, 1)


def test_the_command_reports_a_storage_without_any_data(tmp_path):
    done = CliRunner().invoke(app, ["--storage", str(tmp_path), "--to", str(tmp_path / "out"), "--quick"])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "report.md").read_text()
    assert "mimic_cxr: not built yet" in text and "No cell of this study is finished" in text


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    class Full(Disk):
        def create(self, path, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setattr("datasets_io.storage.files.DISK", Full())
    done = CliRunner().invoke(app, ["--storage", str(tmp_path), "--to", str(tmp_path / "out"), "--quick"])
    assert done.exit_code == 3 and "error: No space left on device" in done.output and done.output.count("\n") == 1


@pytest.mark.parametrize("room", [1, 9])
def test_a_disk_that_fills_up_leaves_the_earlier_report_whole_and_files_of_others(tmp_path, monkeypatch, room):
    """The earlier report is of a study with one cell less; the disk has room for some of the new one's files."""

    class Filling(Disk):
        left = 10**6

        def create(self, path, data):
            if Filling.left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            Filling.left -= 1
            super().create(path, data)

    def report() -> int:
        arguments = ["--storage", str(tmp_path / "storage"), "--to", str(tmp_path / "out"), "--quick"]
        return CliRunner().invoke(app, arguments).exit_code

    def state() -> dict[str, bytes]:
        return {str(path.relative_to(tmp_path)): path.read_bytes() for path in sorted((tmp_path / "out").rglob("*"))}

    (tmp_path / "storage" / "reports").mkdir(parents=True)
    assert report() == 0
    (tmp_path / "out" / "mine.txt").write_text("the user's")
    (tmp_path / "out" / "report.html").write_text("of an earlier state")
    earlier = state()
    monkeypatch.setattr("datasets_io.storage.files.DISK", Filling())
    Filling.left = room
    assert report() == 3 and state() == earlier
    Filling.left = 10**6
    assert report() == 0
    assert state().keys() == earlier.keys() and b"of an earlier state" not in state()["out/report.html"]
    assert (tmp_path / "out" / "mine.txt").read_text() == "the user's"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--storage", "/nowhere/at/all"], "storage /nowhere/at/all does not exist"),
        (["--storage", ".", "--study", "papr"], "unknown study 'papr'"),
        (["--storage", ".", "--only", "method=simcrl"], "did you mean 'simclr'"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2 and message in done.output and done.output.count("\n") == 1


def test_help_teaches():
    text = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    for part in ("--storage", "--study", "--to", "--quick", "--raw", "--only", "report.html", "Example"):
        assert part in text
