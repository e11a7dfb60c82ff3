"""The manifest as text, and its counts."""

import hashlib
import json

import pytest

from datasets_io.corpus.manifest import MANIFEST, Manifest, Shard, corpus_fingerprint, count_records
from datasets_io.corpus.read import read_manifest
from datasets_io.schema import Record
from datasets_io.storage.files import Files

SHARDS = (Shard("train/00000.parquet", "train", 3, (2, 1), "a" * 64),)


@pytest.fixture
def manifest() -> Manifest:
    return Manifest(
        source="csv_images",
        source_version=1,
        key="0123456789ab",
        spec={"image_size": 16},
        findings=("mass",),
        has_reports=True,
        image_size=16,
        index_files={"images.csv": "b" * 64},
        counts={"images": 3},
        shards=SHARDS,
        reject_reasons={"read: the file is absent": 1},
        notes=("a note",),
        fingerprint=corpus_fingerprint("0123456789ab", SHARDS),
    )


def test_a_manifest_comes_back_from_its_text(manifest):
    assert Manifest.from_json(manifest.to_json()) == manifest
    assert Manifest.from_json(manifest.to_json().encode()) == manifest


def test_a_changed_or_foreign_manifest_is_refused(manifest):
    value = json.loads(manifest.to_json())
    value["shards"][0]["sha256"] = "c" * 64
    with pytest.raises(ValueError, match="changed by hand"):
        Manifest.from_json(json.dumps(value))
    for text in ("", "[]", "{}", json.dumps({name: value[name] for name in value if name != "spec"})):
        with pytest.raises(ValueError, match="not a manifest"):
            Manifest.from_json(text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: v["shards"][0].update(split="test"), "train/00000.parquet is of the split 'test'"),
        (lambda v: v["shards"][0].update(rows=4), "has 4 rows, and 3 in its row groups"),
        (lambda v: v["shards"][0].update(row_groups=[2]), "has 3 rows, and 2 in its row groups"),
        (lambda v: v["counts"].update(splits={"train": {"images": 7}}), "train split has 7 images, and 3 in its"),
        (lambda v: v["counts"].update(splits={"val": {"images": 1}}), "val split has 1 images, and 0 in its shards"),
        (lambda v: v.update(image_size=32), "its image_size is 32, and 16 in its spec"),
        (lambda v: v["spec"].update(source="chexpert"), "its source is 'csv_images', and 'chexpert' in its spec"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(manifest, change, said):
    """Its fingerprint is over the shards' hashes, and does not change where rows of training become those of a test."""
    value = json.loads(manifest.to_json())
    change(value)
    with pytest.raises(ValueError, match="contradicts itself") as refused:
        Manifest.from_json(json.dumps(value))
    assert said in str(refused.value)


def test_a_manifest_in_the_folder_of_another_build_is_refused(manifest, tmp_path):
    files = Files(str(tmp_path))
    for folder in ("data/csv_images-0123456789ab", "data/csv_images-ba9876543210", "elsewhere"):
        files.write(f"{folder}/{MANIFEST}", manifest.to_json().encode())
    assert read_manifest(files, "data/csv_images-0123456789ab") == read_manifest(files, "elsewhere") == manifest
    with pytest.raises(ValueError, match="it is the manifest of csv_images-0123456789ab: build the corpus again"):
        read_manifest(files, "data/csv_images-ba9876543210")


def test_fields_that_a_later_version_adds_are_passed_over(manifest):
    """As those of results: schema_version is raised where a reader would misread, not where there is more to read."""
    value = json.loads(manifest.to_json())
    value["licence"] = {"name": "of a later version"}
    value["shards"][0]["codec"] = "of a later version"
    value["counts"]["later"] = 1
    read = Manifest.from_json(sealed(value))
    assert read.counts.pop("later") == 1 and read == manifest


def sealed(value: dict) -> str:
    """As its writer seals it, by another way: SHA-256 of the text without the line of the seal."""
    value.pop("sha256", None)
    text = json.dumps(value, indent=1, sort_keys=True) + "\n"
    return json.dumps({**value, "sha256": hashlib.sha256(text.encode()).hexdigest()})


def test_its_seal_is_of_all_that_is_written(manifest):
    assert json.loads(manifest.to_json()) == json.loads(sealed(json.loads(manifest.to_json())))


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("has_reports", False),
        ("source_version", 2),
        ("shards/0/row_groups", [1, 2]),
        ("findings", ["edema", "mass"]),
        ("spec/shape", "aspect"),
        ("notes", []),
        ("later", "a field that nobody wrote"),
        ("sha256", "0" * 64),
        ("sha256", None),
    ],
)
def test_a_change_that_no_other_value_denies_is_seen_by_the_seal(manifest, path, new):
    value = json.loads(manifest.to_json())
    _set(value, path, new)
    with pytest.raises(ValueError, match="its seal differs; build it again"):
        Manifest.from_json(json.dumps(value))


def test_a_manifest_of_before_seals_is_read(manifest):
    value = json.loads(manifest.to_json())
    del value["sha256"]
    assert Manifest.from_json(json.dumps(value)) == manifest


def test_counts_are_those_of_the_accepted_records():
    records = [
        Record("a", "s1", "p1", "train", "a", (1, None), report_impression="x"),
        Record("b", "s1", "p1", "train", "b", (0, -1), report_impression="x"),
        Record("c", "s2", "p2", "test", "c", (1, -1)),
    ]
    counts = count_records(("mass", "edema"), records, num_records=5, num_rejects=2)
    assert (counts["records"], counts["images"], counts["rejects"]) == (5, 3, 2)
    assert counts["splits"]["train"] == {
        "images": 2,
        "studies": 1,
        "patients": 1,
        "with_impression": 2,
        "without_impression": 0,
    }
    assert counts["splits"]["val"]["images"] == 0
    assert counts["splits"]["test"]["without_impression"] == 1
    assert counts["findings"]["mass"] == {"positive": 2, "negative": 1, "uncertain": 0, "blank": 0}
    assert counts["findings"]["edema"] == {"positive": 0, "negative": 0, "uncertain": 2, "blank": 1}
    with pytest.raises(AssertionError, match="is not 6 records"):
        count_records(("mass", "edema"), records, num_records=6, num_rejects=2)


def _set(value: dict, path: str, new: object) -> None:
    *parents, last = path.split("/")
    for name in parents:
        value = value[int(name)] if isinstance(value, list) else value.setdefault(name, {})
    value[last] = new


@pytest.mark.parametrize(
    ("path", "new"),
    [
        ("counts/rejects", "7"),
        ("counts/images", -1),
        ("counts/images", 10**30),
        ("counts/splits", []),
        ("counts/splits/train", {"images": [3]}),
        ("counts/splits/train", {"patients": True}),
        ("counts/findings", {"mass": {"positive": 1.5}}),
        ("counts/pixels", {"rules": "3"}),
        ("counts/reports", [1]),
        ("shards/0/path", "../../other/00000.parquet"),
        ("shards/0/path", "/etc/passwd"),
        ("shards/0/path", "train\\..\\00000.parquet"),
        ("shards/0/path", "train//00000.parquet"),
        ("shards/0/path", f"train/{'é' * 128}"),
        ("shards/0/path", "train/\x1b[2J.parquet"),
        ("shards/0/path", "train/\x9b31m.parquet"),
        ("shards/0/path", "train/\u202egnp.parquet"),
        ("counts/splits", {"\x1b[2J": {}}),
        ("counts/findings", {"\u202e": {}}),
        ("key", "\x1b]0;pwned\x07"),
        ("key", "\u202e9b31m"),
        ("shards/0/split", "holdout"),
        ("shards/0/row_groups", [2.0, 1]),
        ("shards/0/sha256", "b"),
        ("shards", {"a": 1}),
        ("findings", ["mass", 7]),
        ("findings", ["mass", "\x1b[2J"]),
        ("source", "\ud800"),
        ("findings", "mass"),
        ("image_size", 0),
        ("image_size", "16"),
        ("has_reports", "yes"),
        ("spec", []),
        ("spec", {"options": 5}),
        ("spec", {"options": [["table", "x.csv"]]}),
        ("spec", {"shape": 7}),
        ("key", None),
        ("notes", [["a"]]),
        ("reject_reasons", {"read": "many"}),
        ("fingerprint", 3),
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_name(manifest, path, new):
    value = json.loads(manifest.to_json())
    _set(value, path, new)
    with pytest.raises(ValueError, match="not a manifest") as refused:
        Manifest.from_json(json.dumps(value))
    assert path.split("/")[0] in str(refused.value) and "\x1b" not in str(refused.value)


@pytest.mark.parametrize("text", ["[" * 100_000, "NaN", "1e999", "\ud800", b"\xff\xfe", "[" * 400 + "]" * 400])
def test_what_no_parser_likes_is_one_sentence(text):
    with pytest.raises(ValueError, match="not a manifest"):
        Manifest.from_json(text)


def test_lists_within_lists_and_numbers_that_json_does_not_have_are_refused_anywhere(manifest):
    text = manifest.to_json()
    deep = "[" * 60 + "]" * 60
    for other in (
        text.replace('"image_size": 16\n', f'"image_size": {deep}\n'),
        text.replace(": 16\n", ": Infinity\n"),
    ):
        assert other != text
        with pytest.raises(ValueError, match=r"lists within lists|no number of JSON"):
            Manifest.from_json(other)
