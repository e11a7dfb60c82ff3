"""An archive that changed since its build: a sweep says what datasets_io.build says, and commands that read go on."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from csv_archives import write_archive
from small_mimic import write_mimic

from datasets_io.build import build, data_folder
from datasets_io.build.spec import BuildSpec
from datasets_io.schema import ArchiveError
from sweep.engine.ingest import build_data, check_data
from sweep.store.shards import DataPlan, data_folders, parse_raw, plan_data
from sweep.store.store import Store
from sweep.studies import demo

BASE = demo()
SPEC = BuildSpec("csv_images", 24)
RECIPE = replace(BASE.datasets[0].recipe, splits=BASE.datasets[1].recipe.splits)
DATASET = replace(BASE.datasets[0], display="Mine", name="mine", build=SPEC, recipe=RECIPE)
STUDY = replace(
    BASE, name="one", corpus=SPEC, corpus_name="mine", datasets=(DATASET,), rows=BASE.rows[:1], synthetic=None
)
CORPUS = STUDY.data_builds()[0].spec


@pytest.fixture
def raw(tmp_path) -> Path:
    return write_archive(tmp_path / "raw", 20, 0)


@pytest.fixture
def store(tmp_path, raw) -> Store:
    """With a complete corpus of the archive, from which one image was absent."""
    (raw / "images-3.png").rename(tmp_path / "later.png")
    store = Store(str(tmp_path / "storage"))
    build(CORPUS, raw, store.files, max_rejects=0.1)
    return store


def test_a_file_that_changed_is_the_same_error_as_that_of_a_build(raw, store):
    folder = data_folder(CORPUS, raw)
    given = [f"csv_images={raw}"]
    plan = plan_data(STUDY, parse_raw(given, STUDY), store)["mine"]
    assert (plan.folder, plan.built) == (folder, True)
    shutil.copy(raw / "images-1.png", raw / "images-5.png")
    said = []
    for ask in (lambda: plan_data(STUDY, parse_raw(given, STUDY), store), lambda: build(CORPUS, raw, store.files)):
        with pytest.raises(ArchiveError, match=r"1 of 20 images is another file, .*images-5\.png") as error:
            ask()
        said.append(str(error.value).removeprefix("mine: "))
    assert said[0] == said[1]
    assert data_folders(STUDY, given, store) == {"mine": folder}, "results of it can be read all the same"


def test_a_sweep_uses_the_corpus_of_images_that_were_removed_since(raw, store):
    folder, given = data_folder(CORPUS, raw), [f"csv_images={raw}"]
    for path in raw.glob("*.png"):
        path.unlink()
    plan = plan_data(STUDY, parse_raw(given, STUDY), store)["mine"]
    assert (plan.folder, plan.built) == (folder, True)
    check_data(STUDY, {"mine": plan}, store)


def test_a_file_that_arrived_gives_a_corpus_beside_the_old_one_and_a_sweep_says_so(raw, store, tmp_path):
    before, given, said = data_folder(CORPUS, raw), [f"mine={raw}"], []
    (tmp_path / "later.png").rename(raw / "images-3.png")
    assert data_folders(STUDY, given, store) == {"mine": before}, "while there is one"
    plans = plan_data(STUDY, parse_raw(given, STUDY), store)
    assert not plans["mine"].built and plans["mine"].folder != before
    (planned,) = plans["mine"].beside
    check_data(STUDY, plans, store)
    folders = build_data(STUDY, plans, store, lambda *shown: None, said.append)
    assert folders == {"mine": plans["mine"].folder} == data_folders(STUDY, given, store)
    (sentence,) = said
    assert sentence == planned
    assert sentence.startswith(f"{before} was built when 1 of 20 images were absent (0 are now): it stays as it is")


@pytest.mark.parametrize("built", [True, False])
def test_a_corpus_without_a_report_is_told_why(built, tmp_path):
    raw, store, study = write_mimic(tmp_path / "mimic", 8, reports=False), Store(str(tmp_path / "s")), demo()
    (raw / "mimic-cxr-reports.zip").touch()
    if built:
        build(study.corpus, raw, store.files)
    plans = {"mimic_cxr": DataPlan(study.corpus, raw, data_folder(study.corpus, raw), built)}
    text = r"has 0 training images with an impression: no report is there .*mimic-cxr-reports\.zip is there: unpack it"
    with pytest.raises(ValueError, match=text):
        check_data(study, plans, store)
