"""Stored files of another version: an older one is read, a newer one is refused in a sentence and stays as it is."""

import json

import pytest

from datasets_io.corpus.manifest import MANIFEST_SCHEMA, Manifest, Shard, corpus_fingerprint
from datasets_io.storage.artefacts import RESULT, RESULT_SCHEMA, open_artefacts, publish, quarantine, seal, unseal
from datasets_io.storage.files import Files
from datasets_io.storage.schema_version import NewerSchema, check_schema

FOLDER = "cells/c"
PATH = f"{FOLDER}/{RESULT}"


@pytest.fixture
def files(tmp_path) -> Files:
    made = Files(str(tmp_path))
    publish(made, FOLDER, {"a.bin": b"abc"}, {"value": 1.0})
    return made


def rewrite(files: Files, **changes) -> bytes:
    """The sealed result.json with other content; None removes a field."""
    content = {**unseal(files.read(PATH), PATH), **changes}
    files.write(PATH, seal({name: value for name, value in content.items() if value is not None}))
    return files.read(PATH)


def test_a_result_says_its_version(files):
    assert open_artefacts(files, FOLDER).result["schema_version"] == RESULT_SCHEMA == 1


def test_a_result_from_before_the_field_is_read(files):
    assert b"schema_version" not in rewrite(files, schema_version=None)
    artefacts = open_artefacts(files, FOLDER)
    assert artefacts.result["value"] == 1.0 and artefacts.read("a.bin") == b"abc"
    assert publish(files, FOLDER, {"a.bin": b"abc"}, {"value": 1.0}) is False, "it stands, as any valid result does"


@pytest.mark.parametrize("version", [RESULT_SCHEMA + 1, 0, "2", True])
def test_another_version_is_refused_and_neither_moved_nor_replaced(files, version):
    text = rewrite(files, schema_version=version)
    match = f"{PATH} has schema_version {version!r} and this radsweep reads up to {RESULT_SCHEMA}"
    for attempt in (
        lambda: open_artefacts(files, FOLDER),
        lambda: quarantine(files, FOLDER),
        lambda: publish(files, FOLDER, {"a.bin": b"abd"}, {"value": 2.0}),
    ):
        with pytest.raises(NewerSchema, match=match):
            attempt()
    assert files.read(PATH) == text and not files.list("quarantine")


def manifest_text(**changes) -> str:
    shards = (Shard("train/00000.parquet", "train", 3, (2, 1), "a" * 64),)
    manifest = Manifest(
        source="csv_images",
        source_version=1,
        key="0123456789ab",
        spec={},
        findings=(),
        has_reports=False,
        image_size=16,
        index_files={},
        counts={},
        shards=shards,
        reject_reasons={},
        notes=(),
        fingerprint=corpus_fingerprint("0123456789ab", shards),
    )
    content = {**json.loads(manifest.to_json()), **changes}
    return json.dumps({name: value for name, value in content.items() if value is not None})


def test_a_manifest_says_its_version_and_one_from_before_is_the_same():
    assert json.loads(manifest_text())["schema_version"] == MANIFEST_SCHEMA == 1
    before = manifest_text(schema_version=None, sha256=None)  # nor was there a seal
    assert "schema_version" not in before
    assert Manifest.from_json(before) == Manifest.from_json(manifest_text())


def test_a_newer_manifest_is_refused_even_where_it_has_fields_of_its_own():
    with pytest.raises(NewerSchema, match=r"manifest\.json has schema_version 2 and this radsweep reads up to 1"):
        Manifest.from_json(manifest_text(schema_version=2, something_new=1))


def test_the_sentence_names_both_versions():
    with pytest.raises(NewerSchema, match=r"result\.json has schema_version 7 and this radsweep reads up to 3"):
        check_schema({"schema_version": 7}, 3, "result.json")
    check_schema({"schema_version": 3}, 3, "result.json")
