"""In which order are records cut into shards: a corpus by a hash of the image ids, a dataset as it is listed?"""

import hashlib
import random
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_io.build import BuildSpec, build, data_folder, data_key, identity_of
from datasets_io.build import corpus as build_module
from datasets_io.build import shards as shards_module
from datasets_io.build.__main__ import main
from datasets_io.build.shards import in_order, plan_shards
from datasets_io.build.verify import verify
from datasets_io.corpus.manifest import Manifest
from datasets_io.corpus.order import epoch_order
from datasets_io.corpus.read import StreamPlan, corpus_index, open_split, read_table, resident_batches
from datasets_io.schema import Record
from datasets_io.sources.registry import SOURCES
from datasets_io.storage.files import Files

HASH, ARCHIVE = (BuildSpec("csv_images", image_size=8, order=order) for order in ("hash", "archive"))
IMAGES, PER_STUDY, PER_PATIENT, BATCH = 600, 6, 12, 64


@pytest.fixture(scope="module", autouse=True)
def small_shards():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards_module, "RECORDS_PER_SHARD", 128)
        patch.setattr(shards_module, "ROWS_PER_GROUP", 64)
        yield


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """600 images, the studies of a patient and the images of a study listed one behind the other."""
    raw = tmp_path_factory.mktemp("archive")
    rows = ["path,image_id,study_id,patient_id,split,report_impression"]
    greys = np.random.default_rng(0).integers(0, 256, (IMAGES, 8, 8), dtype=np.uint8)
    for number in range(IMAGES):
        Image.fromarray(greys[number]).save(raw / f"{number:04d}.png")
        study, patient = number // PER_STUDY, number // PER_PATIENT
        rows.append(f"{number:04d}.png,i{number:04d},s{study:03d},p{patient:03d},train,impression {study}")
    (raw / "images.csv").write_text("\n".join(rows) + "\n")
    return raw


@pytest.fixture(scope="module")
def listed_otherwise(archive, tmp_path_factory) -> Path:
    """The same images, listed in another order."""
    raw = tmp_path_factory.mktemp("otherwise")
    header, *rows = (archive / "images.csv").read_text().splitlines()
    random.Random(0).shuffle(rows)
    (raw / "images.csv").write_text("\n".join([header, *rows]) + "\n")
    for path in archive.glob("*.png"):
        (raw / path.name).hardlink_to(path)
    return raw


def built(spec: BuildSpec, raw: Path, root: Path) -> tuple[Files, str, Manifest]:
    files = Files(str(root))
    return files, data_folder(spec, raw), build(spec, raw, files)


@pytest.fixture(scope="module")
def corpus(archive, tmp_path_factory) -> tuple[Files, str, Manifest]:
    return built(HASH, archive, tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def dataset(archive, tmp_path_factory) -> tuple[Files, str, Manifest]:
    return built(ARCHIVE, archive, tmp_path_factory.mktemp("dataset"))


def column(made: tuple[Files, str, Manifest], name: str) -> list[str]:
    files, folder, manifest = made
    return read_table(files, folder, manifest, "train", [name])[name].to_pylist()


def by_hash(ids: list[str]) -> list[str]:
    return sorted(ids, key=lambda name: hashlib.sha256(b"order\n" + name.encode()).hexdigest())


def test_a_corpus_is_ordered_by_a_hash_of_the_image_ids_and_a_dataset_as_it_is_listed(corpus, dataset):
    ids = [f"i{number:04d}" for number in range(IMAGES)]
    assert column(corpus, "image_id") == by_hash(ids) != ids
    assert verify(*corpus) == []
    assert column(dataset, "image_id") == ids


def test_the_bytes_depend_neither_on_how_images_are_listed_nor_on_the_workers(
    corpus, dataset, archive, listed_otherwise, tmp_path, monkeypatch
):
    shards = [corpus[2].shards]
    monkeypatch.setattr(build_module, "MAX_LOCAL_DECODERS", 3)
    monkeypatch.setattr(build_module, "IMAGES_PER_DECODER", 10)
    for name, raw in (("same", archive), ("otherwise", listed_otherwise)):
        shards.append(built(HASH, raw, tmp_path / name)[2].shards)
    assert shards[0] == shards[1] == shards[2] and len(shards[0]) == 5
    assert built(ARCHIVE, listed_otherwise, tmp_path / "dataset")[2].shards != dataset[2].shards != shards[0]


def test_an_interrupted_build_goes_on_in_the_same_order(corpus, archive, tmp_path):
    class Stop(Exception):
        pass

    def stop(done: int, total: int, text: str) -> None:
        if done >= 300:
            raise Stop

    files = Files(str(tmp_path / "cut"))
    with pytest.raises(Stop):
        build(HASH, archive, files, progress=stop)
    started: list[int] = []
    again = build(HASH, archive, files, progress=lambda done, total, text: started.append(done))
    assert started[0] == 256 and again == corpus[2]


def pairs_in_batches(owners: np.ndarray, order: np.ndarray) -> float:
    """Mean number of pairs of one owner in the whole batches of an epoch."""
    batches = [owners[order[start : start + BATCH]] for start in range(0, len(order) - BATCH + 1, BATCH)]
    sizes = np.concatenate([np.unique(batch, return_counts=True)[1] for batch in batches])
    return float((sizes * (sizes - 1) / 2).sum() / len(batches))


@pytest.mark.parametrize("window", [1, 64, 200, IMAGES])
def test_a_batch_holds_as_many_pairs_of_a_study_as_if_epochs_were_shuffled_uniformly(corpus, dataset, window):
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    assert max(index.group_rows) == BATCH, "with window 1 a batch is what lies in one or two row groups"
    for name, per in (("study_id", PER_STUDY), ("patient_id", PER_PATIENT)):
        uniform = (IMAGES / per) * (per * (per - 1) / 2) * BATCH * (BATCH - 1) / (IMAGES * (IMAGES - 1))

        def mean(made: tuple[Files, str, Manifest], name: str = name) -> float:
            owners = np.array(column(made, name))
            epochs = (epoch_order(index.group_rows, index.kept, 0, epoch, window) for epoch in range(60))
            return float(np.mean([pairs_in_batches(owners, order) for order in epochs]))

        assert mean(corpus) == pytest.approx(uniform, rel=0.2)
        if window < IMAGES:
            assert mean(dataset) > 2 * uniform, "the archive's order is not shuffled by windows"


def test_every_number_of_workers_trains_on_the_same_batches(corpus):
    files, folder, manifest = corpus
    index = corpus_index(files, folder, manifest, "train", require_impression=True)
    pixels = open_split(files, folder, manifest, "train").pixels

    def batches(rank: int, world: int) -> list[list[str]]:
        plan = StreamPlan(3, BATCH, 2, 200, rank, world)
        return [batch.reports for batch in resident_batches(pixels, index, plan, 0)]

    whole = batches(0, 1)
    assert len(whole) == 2 * (IMAGES // BATCH)
    for world in (2, 4):
        parts = [batches(rank, world) for rank in range(world)]
        assert [list(chain.from_iterable(shares)) for shares in zip(*parts, strict=True)] == whole


def test_the_manifest_and_the_command_say_the_order_and_the_pairs(archive, tmp_path, capsys):
    command = ["csv_images", "--raw", str(archive), "--storage", str(tmp_path), "--image-size", "8"]
    assert main([*command, "--order", "hash"]) == 0
    printed = capsys.readouterr().out
    manifest = Manifest.from_json((tmp_path / data_folder(HASH, archive) / "manifest.json").read_bytes())
    assert manifest.spec["order"] == "hash"
    assert any("ordered by a hash of their image ids" in note for note in manifest.notes)
    # 600 images are less than a window of 16,384: 100 studies x 15 pairs, 50 patients x 66 pairs, batches of 256.
    share = 256 * 255 / (600 * 599)
    study, patient = (float(f"{number * share:.4g}") for number in (1500, 3300))
    assert manifest.counts["batches"] == {
        "batch_size": 256,
        "window": 16_384,
        "pairs_of_one": {
            "study": {"expected": study, "uniform": study},
            "patient": {"expected": patient, "uniform": patient},
        },
    }
    assert (
        f"a batch of 256, windows of 16,384: {study:g} pairs of one study ({study:g} if shuffled uniformly), "
        f"{patient:g} pairs of one patient ({patient:g} if shuffled uniformly)" in printed
    )
    assert main([*command, "--order", "hash"]) == 0
    assert capsys.readouterr().out == printed, "of a corpus that is there, whose manifest is read, it says the same"
    assert main([*command, "--order", "archive"]) == 0 and "if shuffled" not in capsys.readouterr().out
    other = Manifest.from_json((tmp_path / data_folder(ARCHIVE, archive) / "manifest.json").read_bytes())
    assert "order" not in other.spec and "batches" not in other.counts and other.key != manifest.key


def test_images_without_an_impression_make_no_pairs(archive, tmp_path):
    """They take no part in a pretraining, so they are in no batch."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in archive.glob("*.png"):
        (raw / path.name).hardlink_to(path)
    rows = (archive / "images.csv").read_text().splitlines()
    # The second half of each study is left without: 3 of 6 images, 3 of 15 pairs.
    blank = [row.rpartition(",")[0] + "," if number % 6 >= 3 else row for number, row in enumerate(rows[1:])]
    (raw / "images.csv").write_text("\n".join([rows[0], *blank]) + "\n")
    counts = built(HASH, raw, tmp_path / "storage")[2].counts
    share = 256 * 255 / (300 * 299)
    found = counts["batches"]["pairs_of_one"]["study"]
    assert found == {"expected": float(f"{300 * share:.4g}"), "uniform": float(f"{300 * share:.4g}")}


def test_which_order_a_source_has_and_that_keys_of_datasets_stay(archive):
    assert {name for name, source in SOURCES.items() if source.order == "hash"} == {"mimic_cxr", "chexpert_plus"}
    for source in ("chexpert", "nih_cxr14", "csv_images"):
        assert "order" not in identity_of(BuildSpec(source)), "its builds keep their keys"
        assert identity_of(BuildSpec(source)) == identity_of(BuildSpec(source, order="archive"))
        assert identity_of(BuildSpec(source, order="hash"))["order"] == "hash"
    assert identity_of(BuildSpec("mimic_cxr"))["order"] == "hash"
    assert identity_of(BuildSpec("mimic_cxr")) == identity_of(BuildSpec("mimic_cxr", order="hash"))
    assert "order" not in identity_of(BuildSpec("mimic_cxr", order="archive"))
    assert data_key(BuildSpec("csv_images", 8), archive) == data_key(ARCHIVE, archive) != data_key(HASH, archive)
    with pytest.raises(ValueError, match="order is 'random'; allowed: archive, hash"):
        BuildSpec("mimic_cxr", order="random")


def test_each_split_is_ordered_by_itself_and_nothing_is_lost():
    records = [
        Record(f"i{number}", f"s{number}", f"p{number}", ("train", "val")[number % 3 == 0], f"{number}.png", ())
        for number in range(300)
    ]
    tasks = plan_shards(records, "hash")
    assert [(task.path, len(task.records)) for task in tasks] == [
        ("train/00000.parquet", 128),
        ("train/00001.parquet", 72),
        ("val/00000.parquet", 100),
    ]
    for split in ("train", "val"):
        ids = [record.image_id for task in tasks if task.split == split for record in task.records]
        assert ids == by_hash([record.image_id for record in records if record.split == split])
    assert in_order(records, "archive") == records
