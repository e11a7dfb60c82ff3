"""Has each question one answer: do page, sentences, CSV, figures and model card of a report print the same numbers?"""

import ast
import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_report import data_of
from made_up_study import plan_of, results_of, small, without

import sweep
from sweep.export.model_card import _results
from sweep.figures.view import column_title
from sweep.report.best_rows import best_rows
from sweep.report.cached_parts import INDEX
from sweep.report.write import write_report
from sweep.statistics.comparisons import AGAINST_REFERENCE, compare_methods, with_patients
from sweep.statistics.inference import half_width, holm
from sweep.statistics.over_patients import over_patients_of
from sweep.statistics.summaries import study_summaries
from sweep.store.report_folder import ReportFolder
from sweep.studies.layout import reference_row
from tests.sweep.saved_study import make, save_all

METHODS = {"clip", "simclr", "clip+simclr"}
ROWS = ("random", "imagenet", *sorted(METHODS))
WITHOUT_IMAGENET = ("small_random", "random", *sorted(METHODS))


def study_of(rows):
    """Cells on two datasets. WITHOUT_IMAGENET: a baseline of the reader's own stands before `random`."""
    base = replace(small(rows), seeds=(0, 1, 2, 3, 4))
    if "imagenet" in rows:
        return base
    own = replace(base.rows[0], name="small_random", display="A small random network")
    hidden = tuple(row for row in small().rows if row.name == "imagenet")  # what the methods start from
    return replace(base, rows=(own, *base.rows), hidden_rows=hidden)


@pytest.fixture(scope="module", params=[ROWS, WITHOUT_IMAGENET], ids=["imagenet", "no imagenet"])
def report(request, tmp_path_factory):
    return made(tmp_path_factory.mktemp("one_answer"), request.param)


@pytest.fixture(scope="module")
def report_with_intervals(tmp_path_factory):
    """Each finding of the macro has positives enough for an interval over patients."""
    return made(tmp_path_factory.mktemp("intervals"), ROWS, hernias=30)


def made(folder, rows, hernias=4):
    """(data, name of each file -> its text) of a whole report with predictions, and with missing and failed cells."""
    saved = make(folder, study=study_of(rows), hernias=hernias)

    def place(cell):
        return cell.encoder.row, cell.protocol, cell.seed

    missing = [cell for cell in saved.plan.cells if place(cell) == ("clip", "LP", 1)]
    failed = [cell for cell in saved.plan.cells if place(cell) == ("random", "LPFT", 2)]
    save_all(saved, (*missing, *failed))
    for cell in failed:
        saved.store.files.write(f"{saved.store.folder(cell)}/failed.json", b'{"error": "e", "traceback": ""}')
    data = data_of(folder, saved.study, saved.results(), saved.plan)
    write_report(data, ReportFolder.elsewhere(str(folder / "report")))
    names = ("comparisons.csv", "ranks.csv", "intervals.csv", "table1.csv", "report.html", "report.md", INDEX)
    names += ("table1.md", "table1.tex", "table2.md")
    return data, {name: (folder / "report" / name).read_text() for name in names}


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def figure(files, name: str) -> dict:
    return next(f for f in json.loads(files[INDEX])["figures"] if f["name"] == name)


def number(text: str) -> float | None:
    return float(text) if text else None


def against_reference(data, files) -> dict[tuple[str, str, str], dict[str, str]]:
    """(dataset, column's title, row) -> its line of comparisons.csv against the reference."""
    reference = reference_row([(row.name, row.group) for row in data.study.rows])
    found = {}
    for line in rows_of(files["comparisons.csv"]):
        if line["family"] == AGAINST_REFERENCE:
            assert line["second"] == reference
            title = column_title((line["protocol"], int(line["label_percent"])))
            found[line["dataset"], title, line["first"]] = line
    return found


def test_the_reference_is_the_first_baseline_where_there_is_no_imagenet(report):
    data, files = report
    wanted = "imagenet" if "imagenet" in {row.name for row in data.study.rows} else "small_random"
    display = next(row.display for row in data.study.rows if row.name == wanted)
    assert {line["second"] for line in against_reference(data, files).values()} == {wanted}
    assert figure(files, "forest")["numbers"]["reference"] == wanted
    assert len(re.findall(rf": against {re.escape(display)}, \d+ of \d+ means", files["report.md"])) == 2
    assert files["report.html"].count(f"points over {display}, p over seeds and patients together") == 2


def test_the_forest_has_the_p_of_the_csv(report):
    data, files = report
    lines, compared = against_reference(data, files), 0
    numbers = figure(files, "forest")["numbers"]
    for dataset, columns in numbers["differences"].items():
        for title, rows in columns.items():
            assert set(rows) == METHODS
            for row, one in rows.items():
                line = lines[dataset, title, row]
                for name in ("difference", "ci95", "p", "p_holm", "ci95_both", "p_both", "p_both_holm_table"):
                    assert one[name] == number(line[name]), (dataset, title, row, name)
                compared += one["p_both_holm_table"] is not None
    assert compared == 2 * 5 * 3 and numbers["corrected_over"] == len(data.study.rows) - 1


def test_the_family_of_a_column_is_every_other_row(report):
    data, files = report
    columns = {}
    for (dataset, title, _), line in against_reference(data, files).items():
        columns.setdefault((dataset, title), []).append(line)
    for lines in columns.values():
        assert len(lines) == len(data.study.rows) - 1
        for kind in ("p", "p_both"):
            assert [number(x[f"{kind}_holm"]) for x in lines] == list(holm([number(x[kind]) for x in lines]))


def test_the_family_of_the_table_is_every_other_row_in_all_columns_of_all_datasets(report):
    data, files = report
    lines = list(against_reference(data, files).values())
    assert len(lines) == 2 * 5 * (len(data.study.rows) - 1)
    for kind in ("p", "p_both"):
        assert [number(x[f"{kind}_holm_table"]) for x in lines] == list(holm([number(x[kind]) for x in lines]))
        assert all(number(x[f"{kind}_holm_table"]) >= number(x[f"{kind}_holm"]) for x in lines if x[kind])


def test_the_page_has_the_p_of_the_csv(report):
    data, files = report
    lines = against_reference(data, files)
    value = json.loads(files["report.html"].split('id="data">')[1].split("</script>")[0])
    assert value["statistics"]["comparisons.csv"] == files["comparisons.csv"]
    page = files["report.html"].replace("&lt;", "<").replace("−", "-")
    shown = re.findall(r'<span class="small">([+-]\d+\.\d+), <span class="\w+">p ([=<]) (\d[\d.]*)', page)
    compared = compare_methods(study_summaries(data.study, data.plan, data.results))
    found, printed = best_rows(with_patients(compared, over_patients_of(files))), []
    sources = {dataset.display: dataset.source for dataset in data.study.datasets}
    rows = {row.display: row.name for row in data.study.rows}
    for display, columns in found:
        for answer in columns:
            if answer.reference is None:
                continue
            title = answer.column.replace("(", "").replace(")", "")
            line = lines[sources[display], title, rows[answer.winner]]
            assert answer.p == number(line["p_both_holm_table"]) is not None
            assert answer.difference == pytest.approx(100 * number(line["difference"]), rel=1e-12)
            printed.append((answer.difference, answer.p))
    assert len(shown) == len(printed) > 0
    for (difference, sign, p), (ours, exact) in zip(shown, printed, strict=True):
        assert float(difference) == pytest.approx(ours, abs=0.00501)
        assert exact < float(p) if sign == "<" else float(p) == pytest.approx(exact, abs=0.000501)


def test_the_sentences_count_the_p_of_the_csv(report):
    data, files = report
    lines = against_reference(data, files)
    for dataset in data.study.datasets:
        own = [line for (source, _, row), line in lines.items() if source == dataset.source and row in METHODS]
        tested = [line for line in own if line["p_both"]]
        sure = [number(line["difference"]) for line in tested if number(line["p_both_holm_table"]) < 0.05]
        within = [number(line["difference"]) for line in tested if number(line["p_both_holm"]) < 0.05]
        assert 0 < len(sure) < len(within) < len(tested)  # else this test could not tell them
        largest = max(number(line["difference"]) for line in tested)
        higher, lower = sum(d > 0 for d in sure), sum(d < 0 for d in sure)
        [text] = [line for line in files["report.md"].splitlines() if line.startswith(f"- {dataset.display}: against ")]
        assert f", {higher} of {len(tested)} means of these checkpoints are higher and {lower} lower by more" in text
        alone = f"{sum(d > 0 for d in within)} and {sum(d < 0 for d in within)}"
        assert f"corrected within each column alone {alone})" in text
        assert f"The largest difference is {100 * largest:+.2f} points" in text


def test_each_mean_has_both_intervals_named_in_tables_page_and_sentences(report_with_intervals):
    data, files = report_with_intervals
    intervals = {
        (line["method"], line["dataset"], line["protocol"], line["label_percent"]): line
        for line in rows_of(files["intervals.csv"])
        if line["value"] == "macro_defined"
    }
    line = intervals["simclr", "nih_cxr14", "FT", "10"]
    low, high = 100 * number(line["patients_low"]), 100 * number(line["patients_high"])
    table = next(
        row for row in rows_of(files["table1.csv"]) if row["method"] == "simclr" and row["dataset"] != "chexpert"
    )
    assert (number(table["FT (10%) patients_low"]), number(table["FT (10%) patients_high"])) == (low, high)
    assert number(table["FT (10%) mean"]) == 100 * number(line["mean"])
    text = f"{low:.2f} to {high:.2f}"
    below = files["table1.md"].split("### NIH")[1].split("| SimCLR |")[1].splitlines()[1]
    assert below.startswith("| &nbsp;&nbsp;over patients | ") and f"| {text} |" in below
    assert f"& {text} &" in files["table1.tex"] and f"<td>{text}</td>" in files["report.html"]
    assert files["report.html"].count('<th scope="row">over patients</th>') >= 2 * len(data.study.rows)
    for name in ("table1.md", "table1.tex", "table2.md"):
        assert "over n = 5 downstream seeds" in files[name] and "Below it, over patients: 95" in files[name]
    finding = next(row for row in rows_of(files["intervals.csv"]) if row["value"] == "edema" and row["n"] == "5")
    assert finding["label_percent"] == "100" and finding["protocol"] == "LPFT"
    assert re.search(
        r"\(\d\d\.\d\d ± \d+\.\d\d over seeds; \d\d\.\d\d to \d\d\.\d\d over patients; ", files["report.md"]
    )


def test_why_a_mean_has_no_interval_over_patients_is_the_same_in_tables_page_and_csv(report):
    _, files = report
    reasons = {
        line["patients_note"]
        for line in rows_of(files["intervals.csv"])
        if (line["dataset"], line["value"]) == ("nih_cxr14", "macro_defined")
    }
    assert reasons == {"fewer than 10 positive patients: hernia"}
    for name in ("table1.md", "report.html"):
        assert "No interval over patients on NIH-ChestX-Ray14: fewer than 10 positive patients: hernia." in files[name]


def test_ranks_are_the_same_in_words_csv_and_figure(report):
    data, files = report
    ranks = {
        line["method"]: float(line["mean_rank"])
        for line in rows_of(files["ranks.csv"])
        if line["scope"] == "all columns"
    }
    numbers = figure(files, "critical_difference")["numbers"]
    assert numbers["average_rank"] == ranks and len(numbers["blocks"]) == 6 and numbers["blocks_left_out"] == 4
    displays = {row.name: row.display for row in data.study.rows}
    best = next(iter(ranks))
    datasets = " and ".join(dataset.display for dataset in data.study.datasets)
    assert f"Over 6 columns of Table 1 ({datasets}), the best mean rank is that of " in files["report.md"]
    near = sum(rank - ranks[best] < numbers["critical_difference"] for rank in ranks.values()) - 1
    assert (
        f"that of {displays[best]}, {ranks[best]:.1f} of {len(ranks)}; within the critical difference "
        f"({numbers['critical_difference']:.1f} ranks) lie{'s' * (near == 1)} {near} of the {len(ranks) - 1} other "
        "rows. Columns share " in files["report.md"]
    )
    assert "Left out, since some row lacks a seed there: 4 columns." in files["report.md"]


def test_a_row_without_a_complete_column_is_left_out_of_the_ranks_and_the_words_say_so(tmp_path):
    study = small()
    plan = plan_of(study)
    results = [without(r) if (r.encoder, r.seed) == ("clip", 1) else r for r in results_of(study, plan)]
    write_report(data_of(tmp_path, study, results, plan), ReportFolder.elsewhere(str(tmp_path / "report")), quick=True)
    text = (tmp_path / "report" / "report.md").read_text()
    assert re.search(r"Over 10 columns of Table 1 .* the best mean rank is that of \w+.*, \d\.\d of 4; ", text)
    assert "Without a complete column, and so not ranked: CLIP." in text


@pytest.mark.parametrize("interval", ["t", "z"])
def test_the_studys_interval_is_that_of_tables_statistics_figures_and_model_card(tmp_path, interval):
    study = small(("random", "imagenet", "clip"), interval=interval)
    data = data_of(tmp_path, study)
    write_report(data, ReportFolder.elsewhere(str(tmp_path / "report")))
    files = {name: (tmp_path / "report" / name).read_text() for name in ("table1.csv", "intervals.csv", INDEX)}
    place = ("clip", "chexpert", "FT", 10)
    values = [result.macro_auroc for result in data.results if result.place == place]
    wanted = half_width(values, interval)
    table = next(line for line in rows_of(files["table1.csv"]) if (line["dataset"], line["method"]) == place[1::-1])
    assert float(table["FT (10%) ci95"]) == pytest.approx(100 * wanted, rel=1e-12)
    [statistic] = [
        line
        for line in rows_of(files["intervals.csv"])
        if line["value"] == "macro_defined"
        and (line["method"], line["dataset"], line["protocol"], int(line["label_percent"])) == place
    ]
    assert float(statistic["ci95"]) == wanted
    curve = figure(files, "label_efficiency")
    assert curve["numbers"]["macro_auroc"]["chexpert"]["clip"]["10"]["ci95"] == wanted
    assert f"95% {interval}-interval" in curve["caption"]
    run = next(run for run in data.plan.encoders if run.row == "clip")
    card = "\n".join(_results(data, run))
    assert f"| CheXpert | FT | 10% | {100 * sum(values) / 3:.2f} ± {100 * wanted:.2f} |" in card
    assert f"95% {interval}-interval" in card


def test_the_heat_map_has_the_means_of_the_statistics(report):
    _, files = report
    numbers = figure(files, "findings_ft_100")["numbers"]["auroc"]["chexpert"]["clip"]
    for line in rows_of(files["intervals.csv"]):
        where = (line["dataset"], line["protocol"], line["label_percent"], line["method"])
        if where == ("chexpert", "FT", "100", "clip") and line["value"] in numbers:
            mean = number(line["mean"])
            assert numbers[line["value"]] == (mean if mean is None else pytest.approx(mean, rel=1e-12))


def calls(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return {getattr(function, "id", getattr(function, "attr", "")) for function in functions}


@pytest.mark.parametrize(
    ("name", "homes"),
    [
        ("summarise", {"summaries.py"}),
        ("corrected_together", {"comparisons.py"}),
        ("corrected_over_table", {"comparisons.py"}),
        ("from_differences", {"comparisons.py"}),
        ("combined_p", {"comparisons.py", "compare.py"}),  # sweep.compare: of scores that no study has
        ("rank_methods", {"comparisons.py"}),
        ("reference_row", {"comparisons.py"}),
        ("compare_column", {"comparisons.py"}),
        ("holm", {"inference.py", "compare.py"}),  # by corrected_together, and sweep.compare
        ("half_width", {"inference.py", "summary.py", "evaluate.py"}),  # by summarise, and sweep.evaluate
    ],
)
def test_numbers_are_made_in_one_place(name, homes):
    """Whoever prints a mean, a test, a rank or the reference takes it from Summaries or Comparisons."""
    callers = {path.name for path in Path(sweep.__file__).parent.rglob("*.py") if name in calls(path)}
    assert callers == homes
