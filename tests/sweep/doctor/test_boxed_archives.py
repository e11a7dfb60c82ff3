"""Does doctor know the trees of the sources with boxes and masks, and say where a missing one comes from?"""

from dataclasses import replace

import pytest

from datasets_io.build import BuildSpec
from datasets_io.sources.registry import get_source
from sweep.doctor.check import FAIL, WARN
from sweep.doctor.trees import check_raw, check_study_data
from sweep.store.store import Store
from sweep.studies import demo
from tests.datasets_io.sources.made_up_boxed import MADE_UP


@pytest.mark.parametrize("layout", MADE_UP)
def test_a_made_up_tree_is_known_and_a_half_copied_one_says_how_to_get_the_rest(layout, tmp_path):
    name, write, images = MADE_UP[layout]
    source = get_source(name)
    for state in ("whole", "half"):
        write(tmp_path / state, state)
    spec = BuildSpec(name, 32)
    (whole,), counts = check_raw({name: tmp_path / "whole"}, [spec])
    assert whole.status == WARN and f"{images:,} images of" in whole.found and sum(counts[name].values()) == images
    assert f"the whole archive lists {source.published['images']:,}" in whole.found
    (half,), counts = check_raw({name: tmp_path / "half"}, [spec])
    assert half.status == FAIL and "listed images are not below" in half.found and counts == {}
    assert source.how_to_get and source.how_to_get in half.mend and str(tmp_path / "half") in half.mend
    (empty,), _ = check_raw({name: tmp_path}, [spec])
    assert empty.status == FAIL and "did you mean --raw" in empty.found


def test_an_archive_that_is_not_given_says_where_it_comes_from(tmp_path):
    dataset = replace(demo().datasets[0], display="VinDr-CXR", build=BuildSpec("vindr_cxr", 32))
    study = replace(demo(), datasets=(dataset,), rows=demo().rows[:1], synthetic=None)
    checks, _, built = check_study_data(study, Store(str(tmp_path)), {})
    (vindr,) = [check for check in checks if check.name == "data vindr_cxr"]
    assert vindr.status == FAIL and not built
    assert "add --raw vindr_cxr=DIR" in vindr.mend and "physionet.org/content/vindr-cxr" in vindr.mend


@pytest.mark.parametrize(
    ("layout", "table", "said"),
    [
        ("chexlocalize", "CheXlocalize/gt_segmentations_test.json", "cannot be read"),
        ("vindr_cxr", "annotations/annotations_train.csv", "numbers are needed"),
    ],
)
def test_boxes_and_masks_that_a_build_would_refuse_are_no_whole_tree(layout, table, said, tmp_path):
    name, write, _ = MADE_UP[layout]
    write(tmp_path, "whole")
    text = (tmp_path / table).read_text()
    (tmp_path / table).write_text(text.replace("4.0,8.0", "4.0,") if table.endswith("csv") else text[: len(text) // 2])
    (check,), counts = check_raw({name: tmp_path}, [BuildSpec(name, 32)])
    assert check.status == FAIL and table in check.found and said in check.found and counts == {}
