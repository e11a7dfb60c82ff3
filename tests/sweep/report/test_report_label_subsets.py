"""Does a report say how many images stand behind a share of the labels: below the tables, on the page, as a caution?"""

from dataclasses import replace

import pytest
from made_up_report import data_of

from sweep.report.label_subsets import images_text, subset_notes, subset_sizes
from sweep.report.write import write_report
from sweep.store.report_folder import ReportFolder

SIZES = {1: 2, 10: 45, 100: 446}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """FT at 1% on CheXpert is of 2 images, in one seed of 3; NIH's results do not say."""
    found = data_of(tmp_path_factory.mktemp("subsets"))
    details = {}
    for cell in found.plan.cells:
        size = SIZES[cell.label_percent] + (cell.label_percent == 1 and cell.seed == 2)
        known = cell.dataset == "chexpert"
        details[cell.key] = replace(found.cells[cell.key], num_train_images=size if known else None)
    return replace(found, cells=details)


def test_sizes_are_those_of_the_finished_cells(data):
    sizes = subset_sizes(data)
    assert sizes == {
        ("chexpert", ("FT", 1)): (2, 3),
        ("chexpert", ("FT", 10)): (45, 45),
        ("chexpert", ("FT", 100)): (446, 446),
    }
    assert subset_notes(data, sizes) == (
        "CheXpert: labelled images that cells train on: FT (1%) 2 to 3 images, FT (10%) 45 images, FT (100%) 446 "
        "images.",
    )
    assert subset_sizes(replace(data, cells={})) == {}


def test_one_image_is_one():
    assert (images_text((1, 1)), images_text((1200, 1200))) == ("1 image", "1,200 images")


def test_tables_page_and_cautions_say_so(data, tmp_path):
    paths = write_report(data, ReportFolder.elsewhere(str(tmp_path)), quick=True)
    files = {name: (tmp_path / name).read_text() for name in paths}
    for name in ("table1.md", "report.html", "report.md"):
        assert "FT (1%) 2 to 3 images, FT (10%) 45 images" in files[name], name
    assert '<span class="small">2 to 3 images</span>' in files["report.html"]
    assert '<span class="images">45 images</span>' in files["report.html"]
    cautions = [line for line in files["report.md"].splitlines() if line.startswith("- AUROCs move with ")]
    few = "CheXpert FT (1%) 2 to 3 images, FT (10%) 45 images"
    assert cautions == [f"- AUROCs move with the draw of the images where these are few: {few}."]
