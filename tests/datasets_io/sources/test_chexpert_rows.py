"""CheXpert: which rows are frontal, where the test set lies and how its labels are named, and which keys that moves."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from datasets_io.build import BuildSpec, build, data_key
from datasets_io.build.inventory import take_inventory
from datasets_io.build.spec import _key
from datasets_io.schema import ArchiveError, Record
from datasets_io.sources import chexpert
from datasets_io.sources.chexpert import COLUMNS, FRONTAL_CODES, TEST_COLUMNS, TEST_IN_BATCHES, ChexpertOptions
from datasets_io.sources.registry import SOURCES
from datasets_io.storage.files import Files
from trainables.evaluation.dataset import LATERAL_VIEWS

SPEC = BuildSpec("chexpert", 16)
HEAD = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *COLUMNS)
LABELS = ("1", *["0"] * 13)


def write(path: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(row) + "\n" for row in (header, *rows)))


def image(place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.linear_gradient("L").resize((20, 24)).save(place)


def archive(raw: Path, views: list[tuple[str, str]], tables: Path | None = None) -> Path:
    """One training image a view (Frontal/Lateral, AP/PA), one for validation."""
    tables = tables or raw
    names = [f"train/patient{number:05d}/study1/view1.jpg" for number in range(len(views))]
    rows = [(f"CheXpert-v1.0/{name}", "Male", "61", *view, *LABELS) for name, view in zip(names, views, strict=True)]
    write(tables / "train.csv", HEAD, rows)
    write(tables / "valid.csv", HEAD, [("CheXpert-v1.0/valid/patient9/study1/v.jpg", "", "", "Frontal", "AP", *LABELS)])
    for name in (*names, "valid/patient9/study1/v.jpg"):
        image(raw / name)
    return raw


def read(raw: Path) -> list[Record]:
    return list(chexpert.read_records(raw, ChexpertOptions()))


def key_before(raw: Path) -> str:
    """What the key was before there were corrections."""
    taken = take_inventory(SPEC, raw)
    return _key(SPEC, taken.index, None, taken.absent)


def test_the_column_frontal_lateral_decides_which_views_are_frontal(tmp_path):
    """The whole archive has 16 rows of Frontal and LL, one of Frontal and RL: 191,027 frontal ones with them."""
    views = [("Frontal", code) for code in ("AP", "PA", "LL", "RL", "LATERAL", "LLD", "XX", "")]
    views += [("Lateral", ""), ("Lateral", "AP"), ("Lateral", "LL")]
    raw = archive(tmp_path / "raw", views)
    found = [record.view_position for record in read(raw) if record.split == "train"]
    assert found == ["AP", "PA", *["FRONTAL"] * 3, "LLD", *["FRONTAL"] * 2, *["LATERAL"] * 3]
    assert [view not in LATERAL_VIEWS for view in found] == [side == "Frontal" for side, _ in views]
    manifest = build(SPEC, raw, Files(str(tmp_path / "storage")))
    assert any("Frontal/Lateral says which views are frontal" in note for note in manifest.notes)


@pytest.mark.parametrize(
    ("view", "moves"),
    [
        (("Frontal", "LL"), True),
        (("Frontal", "rl"), True),
        (("Frontal", '"LL"'), True),
        (("Frontal", "LATERAL"), True),
        (("Frontal", "PA"), False),
        (("Frontal", ""), False),
        (("Lateral", ""), False),
    ],
)
def test_only_an_archive_with_such_rows_gets_another_key(view, moves, tmp_path):
    raw = archive(tmp_path, [("Frontal", "AP"), view])
    assert chexpert.corrections(raw, ChexpertOptions()) == ((FRONTAL_CODES,) if moves else ())
    assert (data_key(SPEC, raw) != key_before(raw)) == moves
    changed = [r for r in read(raw) if r.split == "train"][1].view_position != (view[1].strip('"').upper() or "FRONTAL")
    assert not changed or moves or view[0] == "Lateral", "a record that changes needs another key"


def test_a_corpus_of_before_a_correction_is_named_beside_the_new_one(tmp_path, monkeypatch):
    raw, files, said = archive(tmp_path / "raw", [("Frontal", "LL")]), Files(str(tmp_path / "storage")), []
    with monkeypatch.context() as earlier:
        earlier.setitem(SOURCES, "chexpert", replace(SOURCES["chexpert"], corrections=lambda raw, options: ()))
        before = build(SPEC, raw, files, say=said.append).key
    after = build(SPEC, raw, files, say=said.append).key
    assert said == [
        f"data/chexpert-{before} is of a time before this was so: {FRONTAL_CODES}: it stays as it is, and"
        f" data/chexpert-{after} is built beside it"
    ]
    build(SPEC, raw, files, say=said.append)
    assert len(said) == 1


def test_views_of_test_studies_are_listed_where_a_batch_has_them(tmp_path):
    batch = tmp_path / "apart" / "CheXpert-v1.0 batch 1 (validate & csv)"
    studies = [(f"CheXpert-v1.0/test/patient{number}/study1", *LABELS) for number in (64741, 64742, 64743)]
    found = {}
    for raw, top in ((tmp_path / "apart", batch), (tmp_path / "merged", tmp_path / "merged")):
        archive(top, [("Frontal", "AP")])
        write(top / "groundtruth.csv", ("Study", *COLUMNS), studies)
        for name in ("64741/study1/view1_frontal", "64741/study1/view2_lateral", "64742/study1/view1_frontal"):
            image(top / f"test/patient{name}.jpg")
        (top / "test/patient64741/study1/._view1_frontal.jpg").write_bytes(b"of a Mac")
        found[raw.name] = [record for record in read(raw) if record.split == "test"]
        assert [(raw / record.path).is_file() for record in found[raw.name]] == [True] * 3 + [False]
    assert [r.image_id for r in found["apart"]] == [r.image_id for r in found["merged"]]
    assert [r.view_position for r in found["apart"]] == ["FRONTAL", "LATERAL", "FRONTAL", "FRONTAL"]
    assert chexpert.corrections(tmp_path / "apart", ChexpertOptions()) == (TEST_IN_BATCHES,)
    assert data_key(SPEC, tmp_path / "apart") != key_before(tmp_path / "apart")
    assert chexpert.corrections(tmp_path / "merged", ChexpertOptions()) == ()


def test_a_batch_or_a_study_that_links_lead_out_of_is_not_listed(tmp_path):
    raw, outside = tmp_path / "raw", tmp_path / "outside"
    archive(raw, [("Frontal", "AP")])
    write(raw / "groundtruth.csv", ("Study", *COLUMNS), [("CheXpert-v1.0/test/patient1/study1", *LABELS)])
    image(outside / "patient1/study1/private name.jpg")
    (raw / "test").symlink_to(outside)
    (raw / "CheXpert-v1.0 batch 2").symlink_to(outside)
    assert [record.path for record in read(raw) if record.split == "test"] == ["test/patient1/study1/view1_frontal.jpg"]


def with_test(tmp_path: Path, header: tuple[str, ...], cells: tuple[str, ...]) -> Path:
    raw = archive(tmp_path, [("Frontal", "AP")])
    write(raw / "test.csv", ("Path", *header), [("CheXpert-v1.0/test/patient1/study1/view1_frontal.jpg", *cells)])
    return raw


@pytest.mark.parametrize(
    ("header", "cells", "message"),
    [
        ((), (), r"no column of labels .*; its header is \['Path'\]"),
        (("Sex", "Age"), ("Male", "3"), "no column of labels"),
        (("Opacities", *COLUMNS[:3]), ("1", "0", "0", "0"), "has no column Lung Opacity, .* a column 'Opacities'"),
        (("Opacities", *COLUMNS[:3]), ("1.00", "0", "0", "0"), "a column 'Opacities', whose cells are labels"),
        (("Edema", "edema"), ("1", "0"), "columns 'Edema' and 'edema', both Edema"),
        (("Lung Opacity", "Airspace Opacity"), ("1", "0"), "both Lung Opacity"),
    ],
)
def test_a_test_set_without_labels_or_with_unknown_ones_is_refused(header, cells, message, tmp_path):
    raw = with_test(tmp_path, header, cells)
    with pytest.raises(ArchiveError, match=message):
        data_key(SPEC, raw)  # so that a build of before, whose labels are blank, is not found by its key either


def test_a_finding_under_its_other_name_is_read_and_a_missing_one_is_noted(tmp_path):
    names = tuple("Airspace Opacity" if column == "Lung Opacity" else column for column in COLUMNS[1:])
    raw = with_test(tmp_path, (*names, "Radiologist"), (*["1" if n == "Airspace Opacity" else "0" for n in names], "A"))
    record = read(raw)[-1]
    assert record.labels == (None, *(int(column == "Lung Opacity") for column in COLUMNS[1:]))
    assert chexpert.notes(raw, ChexpertOptions()) == [
        "test.csv calls Lung Opacity 'Airspace Opacity'",
        "test.csv has no column No Finding: blank in the test split",
    ]
    assert chexpert.corrections(raw, ChexpertOptions()) == (TEST_COLUMNS,)


def test_the_official_test_labels_move_no_key(tmp_path):
    raw = with_test(tmp_path, COLUMNS, LABELS)
    assert chexpert.corrections(raw, ChexpertOptions()) == () and data_key(SPEC, raw) == key_before(raw)
    assert chexpert.notes(raw, ChexpertOptions()) == []


def test_a_test_set_without_rows_and_one_that_is_not_read_are_said(tmp_path):
    raw = with_test(tmp_path, COLUMNS, LABELS)
    (raw / "test_labels.csv").write_bytes((raw / "test.csv").read_bytes())
    write(raw / "test.csv", ("Path", *COLUMNS), [])
    assert chexpert.notes(raw, ChexpertOptions()) == [
        "test.csv has no row: the test split is empty",
        "the test labels are those of test.csv; test_labels.csv beside it was not read",
    ]


def test_a_split_without_a_label_is_said(tmp_path):
    raw = with_test(tmp_path, COLUMNS, ("",) * len(COLUMNS))
    image(raw / "test/patient1/study1/view1_frontal.jpg")
    manifest = build(SPEC, raw, Files(str(tmp_path / "storage")))
    assert "none of the 1 images of test has a label" in manifest.notes
    assert not any("images of train has a label" in note for note in manifest.notes)
