"""How odd files are read may change without moving a key: what notes the rules, and what is made again."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.build.__main__ import main
from datasets_io.build.shards import ShardJob, finished_shard, part_path, plan_shards
from datasets_io.build.side_tables import FLAGS
from datasets_io.build.verify import verify
from datasets_io.corpus.manifest import MANIFEST, OLD_RULES, Manifest
from datasets_io.pixels.grey import PixelSpec
from datasets_io.schema import PIXEL_RULES
from datasets_io.sources.registry import get_source
from datasets_io.storage.files import Files

SPEC = BuildSpec("csv_images", image_size=16)
TALL = BuildSpec("csv_images", image_size=16, shape="aspect")


@pytest.fixture
def odd_archive(tmp_path, write_dicom) -> Path:
    """A picture on its side, one as it should be, a DICOM with padding, and two of which the second half is zeros."""
    raw = tmp_path / "raw"
    raw.mkdir()
    noise = np.random.default_rng(0).integers(1000, 2000, (80, 64), dtype=np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray((noise >> 3).astype(np.uint8)).save(raw / "side.jpg", exif=exif)
    Image.fromarray((noise >> 3).astype(np.uint8)).save(raw / "plain.png")
    padded = noise.copy()
    padded[:, :9] = 65535
    write_dicom(raw / "padded.dcm", padded, {"PixelPaddingValue": 65535})
    stopped = noise.copy()
    stopped.ravel()[40 * 64 + 20 :] = 0
    write_dicom(raw / "stopped.dcm", stopped)
    data = (raw / "plain.png").read_bytes()
    (raw / "half.png").write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
    names = ("side.jpg", "plain.png", "padded.dcm", "stopped.dcm", "half.png")
    (raw / "images.csv").write_text("path,patient_id,split\n" + "".join(f"{name},{name},train\n" for name in names))
    return raw


def test_what_was_turned_or_padded_is_counted_flagged_and_noted(odd_archive, tmp_path):
    files = Files(str(tmp_path / "storage"))
    manifest = build(TALL, odd_archive, files, max_rejects=0.5)
    folder = data_folder(TALL, odd_archive)
    assert manifest.counts["pixels"] == {"rules": PIXEL_RULES, "turned": 1, "padded": 1, "uncopied": 1}
    assert pq.read_table(files.full(f"{folder}/flags.parquet")).to_pylist() == [
        {"image_id": "side.jpg", "flag": "exif_orientation"},
        {"image_id": "padded.dcm", "flag": "pixel_padding"},
        {"image_id": "stopped.dcm", "flag": "zeros_follow"},
    ]
    assert [note for note in manifest.notes if FLAGS in note] == [
        "1 pictures were turned upright, as their EXIF orientation says: see flags.parquet",
        "1 pictures were scaled without the padding that their DICOM header names: see flags.parquet",
        "1 plain DICOM pictures stop in the middle of a row, and zeros follow: was a part of the file not copied? See "
        "flags.parquet",
    ]
    assert manifest.reject_reasons == {"decode: a chunk of the PNG has another checksum (CRC): the file is damaged": 1}
    rows = pq.read_table(files.full(f"{folder}/{manifest.shards[0].path}")).to_pylist()
    assert [(row["original_rows"], row["original_columns"]) for row in rows] == [(64, 80), *[(80, 64)] * 3]
    assert verify(files, folder, manifest) == []


def test_a_view_position_in_unknown_words_is_counted_flagged_and_noted(tmp_path, write_dicom):
    """It counts as frontal, which somebody must be told. A csv goes first, and no word of a header is quoted."""
    raw, files = tmp_path / "raw", Files(str(tmp_path / "storage"))
    raw.mkdir()
    noise = np.random.default_rng(0).integers(1000, 2000, (80, 64), dtype=np.uint16)
    words = {"a": "DORSAL OBLIQUE", "b": "PA", "c": "", "d": "DORSAL OBLIQUE", "e": "DORSAL OBLIQUE"}
    for name, word in words.items():
        write_dicom(raw / f"{name}.dcm", noise, {"ViewPosition": word})
    lines = [f"{name}.dcm,{name},train,{'AP' if name == 'd' else ''}\n" for name in words]
    (raw / "images.csv").write_text("path,patient_id,split,view_position\n" + "".join(lines))
    manifest = build(SPEC, raw, files)
    assert manifest.counts["pixels"]["unknown_views"] == 2
    flags = pq.read_table(files.full(f"{data_folder(SPEC, raw)}/flags.parquet")).to_pylist()
    assert flags == [{"image_id": f"{name}.dcm", "flag": "unknown_view_position"} for name in "ae"]
    (note,) = (note for note in manifest.notes if FLAGS in note)
    assert note.startswith("2 DICOM headers have a ViewPosition that is not understood, which counts as frontal")
    assert "OBLIQUE" not in manifest.to_json()


def test_a_complete_corpus_of_earlier_rules_is_used_on_with_a_note(odd_archive, tmp_path, make_csv_archive):
    files = Files(str(tmp_path / "storage"))
    manifest = build(SPEC, odd_archive, files, max_rejects=0.5)
    assert manifest.pixel_rules == PIXEL_RULES and OLD_RULES not in manifest.remarks
    path = f"{data_folder(SPEC, odd_archive)}/{MANIFEST}"
    old = json.loads(files.read(path))
    del old["counts"]["pixels"], old["sha256"]  # as it was written before there were rules and seals
    files.write(path, json.dumps(old).encode())
    opened = build(SPEC, odd_archive, files, max_rejects=0.5)
    assert opened.pixel_rules == 2 and opened.remarks == (*opened.notes, OLD_RULES)
    assert (opened.fingerprint, opened.key) == (manifest.fingerprint, manifest.key)
    assert Manifest.from_json(opened.to_json()) == opened, "what is stored is left as it is"


def test_an_unfinished_build_of_earlier_rules_makes_its_shards_again(odd_archive, tmp_path):
    files, folder = Files(str(tmp_path / "storage")), data_folder(SPEC, odd_archive)
    build(SPEC, odd_archive, files, max_rejects=0.5)
    options = get_source("csv_images").options()
    records = list(get_source("csv_images").read_records(odd_archive, options))
    (task,) = plan_shards(records, "archive")
    job = ShardJob(str(odd_archive.resolve()), files.uri, folder, (), PixelSpec(16))
    result = finished_shard(job, task, files)
    assert result is not None and (result.rules, result.turned, result.padded) == (PIXEL_RULES, (0,), (2,))
    made = json.loads(files.read(part_path(folder, task.path)))
    for rules in ({}, {"rules": PIXEL_RULES - 1}):  # parts of before there were rules do not say
        old = {name: value for name, value in made.items() if name not in ("rules", "turned", "padded")} | rules
        files.write(part_path(folder, task.path), json.dumps(old).encode())
        assert finished_shard(job, task, files) is None


def test_a_manifest_that_was_cut_is_named_with_what_to_do(make_csv_archive, tmp_path):
    raw, files = make_csv_archive(4), Files(str(tmp_path / "storage"))
    build(SPEC, raw, files)
    path = f"{data_folder(SPEC, raw)}/{MANIFEST}"
    files.write(path, files.read(path)[:300])
    with pytest.raises(
        ValueError, match=rf"^{path}: not a manifest.json .*: remove its folder and build the corpus again"
    ):
        build(SPEC, raw, files)


def test_a_codec_that_cannot_be_imported_ends_the_build_with_a_sentence(
    make_csv_archive, tmp_path, monkeypatch, capsys
):
    raw, storage = make_csv_archive(6), tmp_path / "storage"
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/imagecodecs.py").write_text("raise ImportError('libx.so.1: no such file')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    arguments = ["csv_images", "--raw", str(raw), "--storage", str(storage)]
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "does not work, whatever the archive: ImportError: libx.so.1: no such file, in " in said
    assert "Traceback" not in said and "rejects" not in said and not list(storage.rglob("rejects.parquet"))
    monkeypatch.delenv("PYTHONPATH")
    assert main(arguments) == 0
