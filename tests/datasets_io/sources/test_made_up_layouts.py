"""What every source with reports keeps to, on a made-up archive in its official layout."""

from collections.abc import Callable
from pathlib import Path

import pytest

from datasets_io.build.checks import check_archive
from datasets_io.build.spec import BuildSpec, identity_of
from datasets_io.schema import SPLITS, VIEW_POSITIONS, ArchiveError
from datasets_io.sources.registry import get_source
from datasets_io.sources.splits import check_splits
from tests.datasets_io.sources.made_up import padchest_row, plus_row, write_open_i, write_padchest, write_plus

IMAGES = [
    f"{split}/patient{number:05d}/study{1 + number % 2}/view{view}_{kind}"
    for split, first in (("train", 0), ("valid", 90))
    for number in range(first, first + 5)
    for view, kind in ((1, "frontal"), (2, "lateral"))
]
WRITERS: dict[str, Callable[[Path], list[Path]]] = {
    "padchest": lambda raw: write_padchest(raw, [padchest_row(number) for number in range(20)]),
    "open_i": lambda raw: write_open_i(raw, list(range(1, 11))),
    "chexpert_plus": lambda raw: write_plus(raw, [plus_row(image) for image in IMAGES], {}),
}


@pytest.mark.parametrize("name", WRITERS)
def test_records_are_whole_in_one_order_and_within_the_rules(name, tmp_path):
    paths = WRITERS[name](tmp_path)
    source = get_source(name)
    records = list(source.read_records(tmp_path, source.options()))
    assert records == list(source.read_records(tmp_path, source.options())), "the order must be the same every time"
    assert sorted(tmp_path / record.path for record in records) == sorted(paths)
    assert len({record.image_id for record in records}) == len(records) == 20
    check_splits(records)
    for record in records:
        assert len(record.labels) == len(source.findings) and set(record.labels) <= {0, 1, -1, None}
        assert record.split in SPLITS and record.view_position in {None, *VIEW_POSITIONS}
        assert record.report_impression == " ".join(record.report_impression.split())
    assert len({record.study_id for record in records}) == 10


@pytest.mark.parametrize("name", WRITERS)
def test_the_folder_above_is_hinted_at_and_a_link_out_is_not_read(name, tmp_path):
    paths = WRITERS[name](tmp_path / "above" / "archive")
    source = get_source(name)
    with pytest.raises(ArchiveError, match=r"did you mean --raw .*archive\?"):
        source.index_files(tmp_path / "above", source.options())
    for number, path in enumerate(paths):
        path.rename(tmp_path / f"{number}.png")
        path.symlink_to(tmp_path / f"{number}.png")
    with pytest.raises(ArchiveError, match="a link leads from"):
        check_archive(BuildSpec(name), tmp_path / "above" / "archive")


@pytest.mark.parametrize("name", WRITERS)
def test_options_are_in_the_identity_and_notes_are_sentences(name, tmp_path):
    WRITERS[name](tmp_path)
    source = get_source(name)
    assert set(identity_of(BuildSpec(name))["options"]) == set(source.options.__dataclass_fields__)
    notes = source.notes(tmp_path, source.options())
    assert notes and all(len(note) < 300 and str(tmp_path) not in note for note in notes)
