"""Which archive does each use of a source read: --raw NAME=DIR, SOURCE=DIR, earlier builds, the last report?"""

import json
import shutil
from dataclasses import replace

import pytest
from csv_archives import write_archive

from datasets_io.build import build
from datasets_io.build.spec import BuildSpec
from datasets_io.schema import ArchiveError
from datasets_io.sources.csv_images import CsvOptions
from datasets_io.synthetic.archives import write_archives
from datasets_io.synthetic.plan import SyntheticSpec
from sweep.doctor.__main__ import _data_and_disk
from sweep.engine.ingest import build_data, check_data
from sweep.store.shards import archives_of, built_folders, data_folders, manifests, parse_raw, plan_data, raw_archives
from sweep.store.store import Store
from sweep.studies import EncoderRow, Study, check_study, demo
from trainables.recipe import BackboneSpec, RandomInit
from trainables.views.preprocessing import Preprocessing

BASE = demo()
PIXELS = BuildSpec("csv_images", 24)
RECIPE = replace(BASE.datasets[0].recipe, splits=BASE.datasets[1].recipe.splits)
OUTSIDE = replace(BASE.datasets[0], display="Outside", name="outside", build=PIXELS, recipe=RECIPE)
STUDY = replace(
    BASE, name="twice", corpus=PIXELS, corpus_name="inside", datasets=(OUTSIDE,), rows=BASE.rows[:1], synthetic=None
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("raw")
    return {name: str(write_archive(root / name, 20, seed)) for seed, name in enumerate(("inside", "outside"))}


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "storage"))


def run(study: Study, store: Store, *values: str) -> tuple[dict[str, str], list[str]]:
    """Build what is missing; label -> folder, and what was ingested."""
    plans = plan_data(study, parse_raw(values, study), store)
    check_data(study, plans, store)
    shown: list[str] = []
    folders = build_data(study, plans, store, lambda name, done, total: shown.append(name), shown.append)
    return folders, list(dict.fromkeys(shown))


def values(raw, *names) -> list[str]:
    return [f"{name}={raw[name]}" for name in names]


def test_each_use_reads_the_archive_of_its_name(store, raw):
    check_study(STUDY)
    folders, shown = run(STUDY, store, *values(raw, "inside", "outside"))
    assert shown == ["ingest inside", "ingest outside"]
    found = manifests(folders, store)
    assert found["inside"].index_files != found["outside"].index_files
    given = values(raw, "inside", "outside")
    assert data_folders(STUDY, given, store) == folders
    assert {name: str(path) for name, path in raw_archives(STUDY, given, store).items()} == raw


def test_a_source_serves_every_use_without_an_archive_of_its_own(store, raw):
    folders, shown = run(STUDY, store, f"csv_images={raw['inside']}")
    assert folders["inside"] == folders["outside"] and shown == ["ingest inside"], "built once"
    own, _ = run(STUDY, store, f"csv_images={raw['inside']}", f"outside={raw['outside']}")
    assert own["inside"] == folders["inside"] != own["outside"]


def test_an_archive_that_nothing_reads_is_named(raw):
    given = {name: raw["inside"] for name in ("inside", "outside", "csv_images")}
    with pytest.raises(ValueError, match="--raw csv_images is read by nothing: inside and outside have archives"):
        archives_of(STUDY, given)
    with pytest.raises(
        ValueError, match=r"study 'twice' does not read chexpert; it reads inside \(csv_images\), outside"
    ):
        archives_of(STUDY, {"chexpert": raw["inside"]})
    with pytest.raises(ValueError, match=r"no source 'outsid'.*'twice' reads inside.*did you mean 'outside'\?"):
        parse_raw([f"outsid={raw['inside']}"], STUDY)
    with pytest.raises(ValueError, match=r"names csv_images twice; .* Dataset\(name=\.\.\.\)"):
        parse_raw([f"csv_images={raw['inside']}"] * 2, STUDY)


def test_a_build_of_an_unnamed_archive_is_given_to_nobody(store, raw):
    """One build is there, of either use: that both would show its numbers is what went wrong."""
    build(replace(PIXELS, order="hash"), raw["inside"], store.files)
    for ask in (lambda: plan_data(STUDY, {}, store), lambda: data_folders(STUDY, (), store)):
        with pytest.raises(
            ValueError, match=r"csv_images as inside and as outside.*--raw inside=DIR --raw outside=DIR"
        ):
            ask()


def test_without_archives_the_last_report_says_which_build_is_whose(store, raw):
    folders, _ = run(STUDY, store, *values(raw, "inside", "outside"))
    data = {label: {"fingerprint": m.fingerprint} for label, m in manifests(folders, store).items()}
    store.files.write(store.report_path("twice", "study.json"), json.dumps({"data": data}).encode())
    assert data_folders(STUDY, (), store) == folders
    assert built_folders(plan_data(STUDY, {}, store)) == folders
    for damaged in (b"{", b"[]", b"[" * 100_000):  # costs this choice, which the reader is then asked for
        store.files.write(store.report_path("twice", "study.json"), damaged)
        with pytest.raises(ValueError, match="--raw inside=DIR"):
            data_folders(STUDY, (), store)


def test_findings_of_a_csv_are_checked_before_any_work(store, raw):
    study = replace(STUDY, datasets=(replace(OUTSIDE, recipe=replace(RECIPE, findings=("edem",))),))
    with pytest.raises(
        ValueError, match=r"dataset outside asks for the finding 'edem'; it has edema, mass; did you mean"
    ):
        run(study, store, *values(raw, "inside", "outside"))
    assert not store.files.exists("data")
    run(
        replace(study, datasets=(replace(OUTSIDE, recipe=replace(RECIPE, findings=("mass",))),)),
        store,
        *values(raw, *raw),
    )


def test_an_archive_that_is_not_whole_is_named_by_its_use(store, raw, tmp_path):
    lacking = replace(STUDY, datasets=(replace(OUTSIDE, build=replace(PIXELS, options=CsvOptions("none.csv"))),))
    with pytest.raises(ArchiveError, match=r"^outside: .* has no none\.csv"):
        run(lacking, store, *values(raw, *raw))
    shutil.copy(f"{raw['outside']}/images.csv", tmp_path)
    with pytest.raises(ArchiveError, match=r"^outside: 20 of 20 listed images are not below"):
        run(STUDY, store, *values(raw, "inside"), f"outside={tmp_path}")


def test_a_synthetic_study_has_no_csv(store):
    study = replace(STUDY, synthetic=BASE.synthetic)
    with pytest.raises(
        ValueError, match=r"needs inside, and there are no synthetic archives of csv_images.*inside=DIR"
    ):
        plan_data(study, {}, store)


def test_uses_of_a_synthetic_archive_share_it(store):
    small = SyntheticSpec(
        image_size=32, corpus_train=8, corpus_val=4, chexpert_train=12, chexpert_valid=8, nih_train_val=8, nih_test=4
    )
    chexpert = BASE.datasets[0]
    again = replace(chexpert, name="again", display="Again")
    study = replace(BASE, datasets=(chexpert, again), synthetic=small, rows=BASE.rows[:1])
    folders, shown = run(study, store)
    assert folders["again"] == folders["chexpert"]
    assert shown == ["synthetic archives", "ingest mimic_cxr", "ingest chexpert"]
    raw = write_archives(small, store.files.root)
    given = [f"{source}={raw[source]}" for source in ("mimic_cxr", "chexpert")]
    assert data_folders(study, given, store) == folders


def test_a_row_that_needs_another_form_has_a_build_of_the_same_images(store, raw):
    wide = RandomInit(BackboneSpec("resnet18", 48, preprocessing=Preprocessing(48, "squash")))
    study = replace(STUDY, rows=(*STUDY.rows, EncoderRow("wide", "Wide", "baseline", wide)))
    plans = plan_data(study, parse_raw(values(raw, *raw), study), store)
    assert list(plans) == ["inside", "outside", "outside (aspect, 256)"]
    assert plans["outside"].folder != plans["outside (aspect, 256)"].folder


def test_two_builds_of_one_use_that_hold_other_images_are_refused(store, raw):
    """Here a build of the larger form was left from an archive that has grown since."""
    larger = BackboneSpec("resnet18", 48)
    study = replace(STUDY, rows=(*STUDY.rows, EncoderRow("larger", "Larger", "baseline", RandomInit(larger))))
    folders, shown = run(study, store, *values(raw, *raw))
    assert "outside (48)" in folders and "ingest outside (48)" in shown
    old = build(replace(PIXELS, image_size=48, order="hash"), raw["inside"], store.files)
    plans = plan_data(study, parse_raw(values(raw, *raw), study), store)
    plans["outside (48)"] = replace(plans["outside (48)"], folder=f"data/csv_images-{old.key}")
    with pytest.raises(ValueError, match=r"outside \(data.*\) and outside \(48\) \(data.* hold other images"):
        check_data(study, plans, store)


def test_the_doctor_counts_each_use(store, raw, tmp_path):
    study = replace(STUDY, datasets=(replace(OUTSIDE, build=replace(PIXELS, options=CsvOptions("none.csv"))),))
    named = parse_raw(values(raw, *raw), study)
    found = {check.name: check for check in _data_and_disk(study, str(tmp_path / "storage"), named)}
    assert found["archive inside"].status == "ok" and "20 images" in found["archive inside"].found
    assert found["archive outside"].status == "fail" and "none.csv" in found["archive outside"].found
