"""Are the results on a second test split shown in a table of their own, beside the paper's values where they belong?"""

from dataclasses import replace

import pytest
from made_up_report import data_of
from made_up_study import plan_of, results_of, small

from sweep.report.tables.second_table import second_table
from sweep.report.write import write_report
from sweep.statistics.summaries import study_summaries
from sweep.store.records import without_nan
from sweep.store.report_folder import ReportFolder
from sweep.studies import Study
from trainables.evaluation.metrics import FindingAuroc
from trainables.recipe import SplitRecipe


def strict_like() -> Study:
    """Reported on test, and on val as well; NIH on its official list."""
    base = small(show_published=True)
    chexpert, nih = base.datasets
    recipe = replace(chexpert.recipe, splits=SplitRecipe(val="carved", test="test", also_test="val"))
    return replace(base, datasets=(replace(chexpert, recipe=recipe), nih))


def results_with_second(study, plan):
    found = []
    for result in results_of(study, plan):
        if result.dataset == "chexpert":
            second = (FindingAuroc("edema", 0.7 + 0.01 * result.seed, 30, 70), FindingAuroc("hernia", None, 0, 100))
            result = replace(result, also_test=(("val", second),))
        found.append(result)
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    study = strict_like()
    plan, folder = plan_of(study), tmp_path_factory.mktemp("report")
    data = data_of(folder, study, results_with_second(study, plan), plan)
    paths = write_report(data, ReportFolder.elsewhere(str(folder / "out")), quick=True)
    return {name: (folder / "out" / name).read_text(encoding="utf-8") for name in paths}


def test_it_has_a_section_with_the_papers_values(files):
    table = files["table1b.md"]
    assert "### CheXpert, images of val, which choose nothing, 1 of 2 findings (AUROC)" in table
    # Seeds 0, 1, 2 have 70, 71 and 72: t_{.975, 2} = 4.303 times 1 / sqrt(3). Baselines have the paper's line below.
    lines = table.split("### CheXpert, images of val")[1].splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("| Random Init. |"))
    assert lines[place].count("71.00 ± 2.48") == 5
    assert lines[place + 1].startswith("| &nbsp;&nbsp;published | 77.35 ± 0.61 | 62.91 ± 0.62 |")
    assert lines[place + 2].startswith("| &nbsp;&nbsp;difference | -6.35 | +8.09 |")
    assert "Published: Huang et al., MIDL 2023, Table 1, as printed" in table


def test_findings_that_hang_on_few_of_its_images_are_left_out_of_a_mean_beside(files):
    """On valid.csv two findings have one positive image each: that is where the second mean was missing."""
    study = strict_like()
    found = [
        replace(r, also_test=tuple((name, (*some, FindingAuroc("mass", 0.2, 1, 99))) for name, some in r.also_test))
        for r in results_with_second(study, plan_of(study))
    ]
    means = study_summaries(study, plan_of(study), found)
    sections = {section.dataset: section for section in second_table(means).sections}
    both = [sections[f"chexpert/{value}_also_test_val"] for value in ("macro", "macro_10_positives")]
    assert [section.rows[0].entries[0].summary.mean for section in both] == pytest.approx([0.455, 0.71])
    assert both[1].display == "CheXpert, images of val, the 1 of 2 findings with at least 10 positives"
    assert "images of val, the " not in files["table1b.md"]  # where none is rare


def test_no_difference_is_taken_between_other_test_images(files):
    assert "&nbsp;&nbsp;difference" not in files["table1.md"] and "published_mean" not in files["table1.csv"]
    assert (
        "CheXpert: the paper's values are of other test images and are not shown here; they stand" in files["table1.md"]
    )
    for table in range(2, 8):
        assert "difference" not in files[f"table{table}.md"] and "published" not in files[f"table{table}.csv"]


def test_the_page_shows_it_too(files):
    assert "images of val, which choose nothing" in files["report.html"] and "images of val" in files["report.md"]


def test_a_second_value_that_is_no_number_counts_as_failed():
    study = strict_like()
    result = results_with_second(study, plan_of(study))[0]
    broken = replace(result, also_test=(("val", (FindingAuroc("edema", float("nan"), 3, 4),)),))
    kept, named = without_nan([broken, result])
    assert [one.status for one in kept] == ["failed", "done"] and len(named) == 1 and kept[0].also_test == ()
