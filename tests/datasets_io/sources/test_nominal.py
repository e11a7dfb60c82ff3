"""How many images does a whole archive have, split by split, where it is not there to be counted?"""

import pytest

from datasets_io.sources.nih_cxr14 import NihOptions
from datasets_io.sources.nominal import is_exact, nominal_splits
from datasets_io.sources.registry import SOURCES
from datasets_io.sources.siim_pneumothorax import SiimOptions

PUBLISHED = [source for source in SOURCES.values() if source.published]


@pytest.mark.parametrize("source", PUBLISHED, ids=lambda source: source.name)
def test_splits_come_to_what_was_published(source):
    found = nominal_splits(source.name, source.options())
    assert list(found) == ["train", "val", "test"]
    apart = {"chexpert": 668}  # its test set came later, and is in no count of the whole
    assert sum(found.values()) == source.published["images"] + apart.get(source.name, 0)
    assert all((count > 0) == (split in source.splits) for split, count in found.items())


def test_published_splits_are_taken_as_they_are_and_others_are_cut():
    mimic = SOURCES["mimic_cxr"].options()
    assert nominal_splits("mimic_cxr", mimic) == {"train": 368_960, "val": 2_991, "test": 5_159}
    assert is_exact("mimic_cxr", mimic)
    official = NihOptions(split="official")  # train_val_list.txt is cut 7 to 1
    assert nominal_splits("nih_cxr14", official) == {"train": 86_524 - 10_816, "val": 10_816, "test": 25_596}
    assert not is_exact("nih_cxr14", official)
    whole = NihOptions(split="patient_70_10_20")
    found = nominal_splits("nih_cxr14", whole)
    # Huang et al. have 78,468 / 11,219 / 22,433 of such a cut.
    assert found == {"train": 78_484, "val": 11_212, "test": 22_424} and not is_exact("nih_cxr14", whole)


def test_siims_two_ways_to_split():
    assert nominal_splits("siim_pneumothorax", SiimOptions()) == {"train": 8_433, "val": 1_205, "test": 2_409}
    found = nominal_splits("siim_pneumothorax", SiimOptions(split="folders"))
    assert found == {"train": 9_341, "val": 1_334, "test": 1_372}


def test_of_ones_own_images_nothing_is_known():
    own = SOURCES["csv_images"].options()
    assert nominal_splits("csv_images", own) is None and not is_exact("csv_images", own)
