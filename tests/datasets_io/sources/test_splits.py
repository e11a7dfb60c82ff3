"""Splits by patient."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets_io.schema import ArchiveError, Record
from datasets_io.sources.splits import check_splits, hash_share, hash_split

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


@pytest.mark.parametrize(
    "other", ["P\u00ad-1", "P-\u200d1", "P\u20101", "P\u20131", "P\u22121", "P-1\ufe0e", "P-1\u034f"]
)
def test_an_id_with_what_cannot_be_seen_is_the_same_id(other):
    """Soft hyphens, joiners and variation selectors have no width; word processors make dashes of hyphens."""
    with pytest.raises(ArchiveError, match="1 of 2 patients have the id of another one"):
        check_splits([record("P-1", "train"), record(other, "test")])
    check_splits([record("P-1", "train"), record(other, "train"), record("P1", "test"), record("P-2", "val")])


def test_a_share_is_the_first_64_bits_of_the_hash_as_a_fraction():
    digest = hashlib.sha256(b"stream\np1").digest()
    share = hash_share("p1", "stream")
    assert share == int.from_bytes(digest[:8], "big") / 2**64 and 0 <= share < 1


def test_parts_lie_one_after_the_other_and_one_without_weight_is_never_drawn():
    for number in range(200):
        patient = f"p{number}"
        share = hash_share(patient, "s")
        expected = "a" if share < 0.5 else "b" if share < 0.75 else "c"
        assert hash_split(patient, "s", (("a", 2), ("never", 0), ("b", 1), ("c", 1))) == expected


def test_a_place_at_the_end_of_the_line_is_of_the_last_part():
    """As rounding can give it; here the line has no length, and a part begins where the one before it ends."""
    assert hash_split("p", "s", (("a", 0), ("b", 0), ("c", 0))) == "c"


def test_the_example_is_the_first_patient_and_only_crossing_patients_count():
    rows = [record("3", "val"), record("3", "test"), record("2", "test"), record("2", "val"), record("2", "train")]
    with pytest.raises(ArchiveError, match=r"2 of 3 patients .*patient 2 in train and val and test"):
        check_splits([*rows, record("1", "val"), record("1", "val")])
    with pytest.raises(ArchiveError, match="image 4nowhere has split 'nowhere'"):
        check_splits([record("4", "nowhere")])
    check_splits([])
