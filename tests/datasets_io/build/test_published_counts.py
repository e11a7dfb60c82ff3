"""Is an archive compared with what was published of it, so that a part is never taken for the whole?"""

import pytest

from datasets_io.build.published import published_notes
from datasets_io.schema import Record
from datasets_io.sources.published import KINDS, split_gaps, whole_size, whole_sizes
from datasets_io.sources.registry import SOURCES

SMALL = {"images": 100, "patients": 50, "train+val": 80, "test": 20}
WITH_LATER_TEST = {"images": 80, "train": 60, "val": 20, "test": 30}


def records(**splits: int) -> list[Record]:
    """Images of each split, two a patient."""
    return [
        Record(f"{split}{n}", f"{split}{n}", f"{split}{n // 2}", split, "x.png", ())
        for split, count in splits.items()
        for n in range(count)
    ]


WHOLE = records(train=70, val=10, test=20)


@pytest.mark.parametrize(
    ("accepted", "note"),
    [
        (WHOLE, "complete: 100 of 100 images"),
        (WHOLE[:99], "not complete: 99 of 100 images (test 19 of 20): 1 rejected"),
        (WHOLE[5:95], "not complete: 90 of 100 images (train+val 75 of 80, test 15 of 20): 10 rejected"),
    ],
)
def test_a_copy_is_complete_or_the_note_says_what_lacks_in_which_split(accepted, note):
    assert published_notes(SMALL, WHOLE, accepted) == [note]


def test_images_that_are_not_listed_are_told_from_those_that_were_rejected():
    listed = WHOLE[:90]
    assert published_notes(SMALL, listed, listed[:88]) == [
        "not complete: 88 of 100 images (test 8 of 20): 2 rejected, 10 not listed"
    ]
    more = WHOLE + records(other=0, test=25)[20:]
    assert published_notes(SMALL, more, more) == [
        "not complete: 105 of 100 images (test 25 of 20): 5 more listed than were published: is it another release?"
    ]


def test_a_split_of_another_kind_is_not_compared_and_wrong_patients_are_named():
    assert published_notes(SMALL, WHOLE, WHOLE[:99], False) == ["not complete: 99 of 100 images: 1 rejected"]
    one_each = [Record(str(n), str(n), str(n), "test", "x.png", ()) for n in range(100)]
    assert published_notes(SMALL, one_each, one_each, False) == ["complete: 100 of 100 images; but 100 of 50 patients"]


def test_a_made_up_archive_or_one_without_counts_is_not_called_incomplete():
    few = records(train=4)
    assert published_notes(SMALL, few, few) == ["made up, or a part of the archive: 4 images; 100 were published"]
    assert published_notes({}, few, few) == []


@pytest.mark.parametrize(
    ("found", "note"),
    [
        (records(train=60, val=20), "complete: 80 of 80 images"),
        (records(train=60, val=20, test=30), "complete: 110 of 110 images"),
        (records(train=60, val=20, test=12), "not complete: 92 of 110 images (test 12 of 30): 18 not listed"),
    ],
)
def test_a_test_set_that_was_published_apart_may_be_there_or_not(found, note):
    assert whole_sizes(WITH_LATER_TEST) == (80, 110)
    assert published_notes(WITH_LATER_TEST, found, found) == [note]


def test_images_that_are_broken_in_the_archive_itself_do_not_make_it_incomplete():
    published = {"images": 100, "broken": 3}
    whole = "complete: 100 of 100 images are listed"
    assert published_notes(published, WHOLE, WHOLE[:98]) == [
        f"{whole}; 2 cannot be read, as 3 cannot in the archive as it was published"
    ]
    assert published_notes(published, WHOLE, WHOLE) == ["complete: 100 of 100 images"]
    assert published_notes(published, WHOLE, WHOLE[:96]) == ["not complete: 96 of 100 images: 4 rejected"]
    assert published_notes(published, WHOLE[:99], WHOLE[:98]) == [
        "not complete: 98 of 100 images: 1 rejected, 1 not listed"
    ]


def test_the_counts_of_every_source_have_known_keys_and_add_up():
    assert {name for name, source in SOURCES.items() if source.published} >= {"mimic_cxr", "chexpert", "nih_cxr14"}
    for name, source in SOURCES.items():
        splits = {key: count for key, count in source.published.items() if key not in KINDS}
        named = [part for key in splits for part in key.split("+")]
        assert set(named) <= {"train", "val", "test"} and len(set(named)) == len(named), name
        assert all(isinstance(count, int) and count > 0 for count in source.published.values()), name
        if splits:
            assert sum(splits.values()) >= source.published["images"], name
            assert split_gaps(source.published, {key.split("+")[0]: count for key, count in splits.items()}) == []
    assert whole_sizes(SOURCES["chexpert"].published) == (223_648, 224_316)
    assert whole_size(SOURCES["nih_cxr14"].published, {"test": 1}) == 112_120
    assert sum(SOURCES["mimic_cxr"].published[split] for split in ("train", "val", "test")) == 377_110
