"""Does doctor know the trees of PadChest, Open-I and CheXpert Plus, and say how to get what is missing?"""

import pytest

from sweep.doctor.check import FAIL, WARN
from sweep.doctor.trees import check_raw
from tests.datasets_io.sources.made_up import padchest_row, plus_row, write_open_i, write_padchest, write_plus

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
