"""Does doctor know the trees of MIMIC-CXR, PadChest, Open-I and CheXpert Plus, and say what is missing of them?"""

import io

import pytest
from rich.console import Console
from small_mimic import write_mimic, write_reports

from sweep.doctor.__main__ import show
from sweep.doctor.check import FAIL, OK, WARN, Check
from sweep.doctor.trees import check_raw
from tests.datasets_io.sources.made_up import padchest_row, plus_row, write_open_i, write_padchest, write_plus

# what lies there in the place of reports -> what is said of it
ABSENT = {"": "they come with MIMIC-CXR", "mimic-cxr-reports.zip": "mimic-cxr-reports.zip is there: unpack it"}
WRITERS = {
    "padchest": lambda raw: write_padchest(raw, [padchest_row(number) for number in range(8)]),
    "open_i": lambda raw: write_open_i(raw, [1, 2, 3, 4]),
    "chexpert_plus": lambda raw: write_plus(
        raw, [plus_row(f"train/patient{number:05d}/study1/view1_frontal") for number in range(8)], {}
    ),
}
WHOLE = {"padchest": "160,861", "open_i": "7,470", "chexpert_plus": "223,462"}
PAGES = {
    "padchest": "https://bimcv.cipf.es/",
    "open_i": "https://openi.nlm.nih.gov/",
    "chexpert_plus": "https://aimi.stanford.edu/",
}


@pytest.mark.parametrize("source", WRITERS)
def test_a_part_is_counted_and_a_half_copied_or_empty_tree_says_how_to_get_it(source, tmp_path):
    paths = WRITERS[source](tmp_path / "raw")
    (check,), counts = check_raw({source: tmp_path / "raw"}, ())
    assert check.status == WARN and f"the whole archive lists {WHOLE[source]}" in check.found
    assert sum(counts[source].values()) == 8
    for path in paths[::2]:
        path.unlink()
    (check,), counts = check_raw({source: tmp_path / "raw"}, ())
    assert check.status == FAIL and "4 of 8 listed images are not below" in check.found and counts == {}
    assert PAGES[source] in check.mend
    (tmp_path / "empty").mkdir()
    (check,), _ = check_raw({source: tmp_path / "empty"}, ())
    assert check.status == FAIL and PAGES[source] in check.mend


@pytest.mark.parametrize("name", ABSENT)
def test_reports_of_mimic_that_are_absent_or_packed_are_a_warning_and_no_failure(name, tmp_path):
    """Without them it serves as a corpus of images alone, or as a dataset."""
    raw = write_mimic(tmp_path / "raw", 8, reports=False)
    if name:
        (raw / name).touch()
    (archive, reports), counts = check_raw({"mimic_cxr": raw}, ())
    assert archive.status == WARN and sum(counts["mimic_cxr"].values()) == 8
    assert (reports.name, reports.status) == ("reports mimic_cxr", WARN)
    assert reports.found.startswith("no report is there") and ABSENT[name] in reports.found
    assert "go on without" in reports.mend
    write_reports(raw, raw)
    assert len(check_raw({"mimic_cxr": raw}, ())[0]) == 1


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ((OK, OK), "Everything that a study needs is here."),
        ((OK, WARN, WARN), "No check fails; 2 of 3 warn of what a study may need."),
        ((OK, WARN, FAIL), "1 of 3 checks fail."),
    ],
)
def test_the_last_line_says_that_all_is_there_only_where_nothing_warns(statuses, said):
    stream = io.StringIO()
    checks = [Check(f"c{place}", status, "x", "" if status == OK else "mend") for place, status in enumerate(statuses)]
    show(checks, Console(file=stream, width=200))
    assert stream.getvalue().splitlines()[-1] == said
