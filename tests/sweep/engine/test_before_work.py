"""What is checked and made before any work: test parts with both labels, corpora that are needed, private archives."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from csv_archives import write_archive

from datasets_io.build import build
from datasets_io.build.spec import BuildSpec
from datasets_io.synthetic.plan import SyntheticSpec
from sweep.engine.ingest import build_data, check_data
from sweep.engine.testable import codes_built, one_class_problem
from sweep.store.shards import parse_raw, plan_data
from sweep.store.store import Store
from sweep.studies import EncoderRow, Study, demo
from trainables.recipe import LabelPolicy

BASE = demo()
SPEC = BuildSpec("csv_images", 24)
RECIPE = replace(BASE.datasets[0].recipe, splits=BASE.datasets[1].recipe.splits)
MINE = replace(BASE.datasets[0], display="Mine", name="mine", build=SPEC, recipe=RECIPE)
STUDY = replace(
    BASE, name="one", corpus=replace(SPEC, image_size=16), corpus_name="reports", datasets=(MINE,), rows=BASE.rows[:1],
    synthetic=None,
)  # fmt: skip


def one_class(folder: Path, findings: int = 2) -> Path:
    """An archive whose test images are all positive, of the first findings."""
    write_archive(folder, 20, 0)
    lines = (folder / "images.csv").read_text().splitlines()
    for place, line in enumerate(lines):
        cells = line.split(",")
        if cells[2] == "test":
            cells[3 : 3 + findings] = ["1"] * findings
            lines[place] = ",".join(cells)
    (folder / "images.csv").write_text("\n".join(lines) + "\n")
    return folder


def check(study: Study, store: Store, raw: Path) -> list[str]:
    """The labels of what is to be built."""
    plans = plan_data(study, parse_raw([f"mine={raw}"], study), store)
    check_data(study, plans, store)
    return list(plans)


@pytest.mark.parametrize("built", [False, True])
def test_a_test_part_of_one_class_is_refused_before_any_work(tmp_path, built):
    raw, store = one_class(tmp_path / "raw"), Store(str(tmp_path / "storage"))
    if built:
        build(SPEC, raw, store.files)
    with pytest.raises(
        ValueError, match=r"^mine: no finding has both .* \(edema: positive alone; mass: positive alone"
    ):
        check(STUDY, store, raw)


def test_labels_of_shards_that_name_types_of_their_own_are_not_read(tmp_path):
    """As of every shard: Arrow builds such a type while it opens the file."""
    raw, files = write_archive(tmp_path / "raw", 60, 0), Store(str(tmp_path / "storage")).files
    manifest = build(SPEC, raw, files)
    folder = next((tmp_path / "storage" / "data").iterdir())
    assert set(codes_built(files, f"data/{folder.name}", manifest, "test")) == set(manifest.findings)
    for path in folder.rglob("*.parquet"):
        pq.write_table(pq.read_table(path), path)  # with an Arrow schema, which could name one
    with pytest.raises(ValueError, match="was not written by this project"):
        codes_built(files, f"data/{folder.name}", manifest, "test")


@pytest.mark.parametrize("built", [False, True])
def test_one_finding_with_both_classes_is_enough(tmp_path, built):
    raw, store = write_archive(tmp_path / "raw", 60, 0), Store(str(tmp_path / "storage"))
    if built:
        build(SPEC, raw, store.files)
    assert "mine" in check(STUDY, store, raw)


@pytest.mark.parametrize(
    ("policy", "codes", "fits"),
    [
        (LabelPolicy(), {1, 0}, True),
        (LabelPolicy(), {1, -1, None}, False),
        (LabelPolicy(), set(), False),
        (LabelPolicy(evaluation="policy"), {1, None}, True),
        (LabelPolicy(evaluation="policy", blank="ignore"), {1, None}, False),
        (LabelPolicy(evaluation="policy"), {0, -1}, True),
        (LabelPolicy(uncertain="zeros", evaluation="policy"), {0, -1}, False),
        (LabelPolicy(uncertain="ignore", blank="ignore", evaluation="policy"), {1, -1, None}, False),
    ],
)
def test_labels_are_read_as_the_test_reads_them(policy, codes, fits):
    mine = replace(MINE, recipe=replace(RECIPE, label_policy=policy))
    assert (one_class_problem(mine, {"edema": codes}) is None) == fits
    other = replace(mine, recipe=replace(mine.recipe, findings=("mass",)))
    assert one_class_problem(other, {"edema": {0, 1}, "mass": {1}}) is not None, "of the findings that are evaluated"


def test_a_study_without_pretraining_asks_for_no_corpus(tmp_path):
    raw, store = write_archive(tmp_path / "raw", 60, 0), Store(str(tmp_path / "storage"))
    assert check(STUDY, store, raw) == ["mine"]
    plans = plan_data(STUDY, parse_raw([f"mine={raw}"], STUDY), store)
    assert list(build_data(STUDY, plans, store, lambda *_: None, lambda _: None)) == ["mine"]
    assert list(plan_data(STUDY, {}, store)) == ["mine"], "also from the storage alone"


def test_what_pretrains_or_measures_on_a_corpus_asks_for_it(tmp_path):
    raw, store = write_archive(tmp_path / "raw", 60, 0), Store(str(tmp_path / "storage"))
    clip: EncoderRow = next(row for row in BASE.rows if row.name == "clip")
    for study in (
        replace(STUDY, rows=(*STUDY.rows, clip)),
        replace(STUDY, hidden_rows=(clip,)),
        replace(STUDY, training_free=("retrieval",)),
    ):
        with pytest.raises(ValueError, match=r"needs reports.*--raw reports=DIR"):
            check(study, store, raw)


@pytest.mark.parametrize(("mode", "folder", "file"), [(0o755, 0o700, 0o600), (0o2770, 0o2770, 0o660)])
def test_made_up_archives_are_private_as_the_storage_they_lie_in(tmp_path, mode, folder, file):
    place = tmp_path / "storage"
    place.mkdir()
    place.chmod(mode)
    small = SyntheticSpec(
        16, corpus_train=4, corpus_val=2, chexpert_train=4, chexpert_valid=4, nih_train_val=4, nih_test=4
    )
    study, store = replace(BASE, rows=BASE.rows[:1], synthetic=small), Store(str(place))
    build_data(study, plan_data(study, {}, store), store, lambda *_: None, lambda _: None)
    found = [place / "raw", *(place / "raw").rglob("*")]
    assert len(found) > 20
    assert {oct(path.stat().st_mode & 0o7777) for path in found if path.is_dir()} == {oct(folder)}
    assert {oct(path.stat().st_mode & 0o7777) for path in found if path.is_file()} == {oct(file)}
