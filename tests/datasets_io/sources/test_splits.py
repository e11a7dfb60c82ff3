"""Splits by patient."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_io.schema import ArchiveError, Record
from datasets_io.sources.splits import check_splits, hash_split

PARTS = (("train", 7), ("val", 1), ("test", 2))


def record(patient: str, split: str) -> Record:
    return Record(f"{patient}{split}", "s", patient, split, "a.png", ())


def test_hash_splits_have_their_shares():
    splits = [hash_split(f"p{number}", "stream", PARTS) for number in range(20_000)]
    shares = [splits.count(split) / len(splits) for split, _ in PARTS]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.01)


@given(st.text(), st.text(min_size=1))
def test_a_hash_split_depends_on_patient_and_stream_alone(patient, stream):
    assert hash_split(patient, stream, PARTS) == hash_split(patient, stream, PARTS)
    assert hash_split(patient, stream, (("val", 1),)) == "val"


def test_a_known_patient_never_moves():
    splits = [hash_split(patient, "nih_cxr14 70-10-20", PARTS) for patient in ("1", "2", "3", "13", "30805")]
    assert splits == ["test", "train", "train", "train", "train"], "a changed hash would change published splits"


def test_a_patient_in_two_splits_is_an_error_with_an_example():
    check_splits([record("1", "train"), record("1", "train"), record("2", "val")])
    with pytest.raises(ArchiveError, match=r"1 of 2 patients.*patient 1 in train and test"):
        check_splits([record("1", "train"), record("1", "test"), record("2", "val")])
    with pytest.raises(ArchiveError, match="allowed: train, val, test"):
        check_splits([record("1", "dev")])
