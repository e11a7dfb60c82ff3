"""Whole builds: nothing lost, the same bytes every time, and it goes on after a kill."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from datasets_io.build import BuildSpec, TooManyRejects, build, data_folder, data_key
from datasets_io.build import corpus as build_module
from datasets_io.build import shards as shards_module
from datasets_io.build.__main__ import main
from datasets_io.build.verify import verify
from datasets_io.corpus.manifest import Manifest
from datasets_io.pixels.decode import decode_file
from datasets_io.pixels.grey import PixelSpec
from datasets_io.pixels.worker import BrokenInstallation, broken
from datasets_io.schema import ArchiveError
from datasets_io.sources.csv_images import CsvOptions
from datasets_io.sources.nih_cxr14 import NihOptions
from datasets_io.storage.files import Files
from datasets_io.storage.processes import this_machine

SPEC = BuildSpec("csv_images", image_size=16)


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 16 records in groups of 8, so that a few dozen images make several."""
    monkeypatch.setattr(shards_module, "RECORDS_PER_SHARD", 16)
    monkeypatch.setattr(shards_module, "ROWS_PER_GROUP", 8)


def contents(files: Files, folder: str) -> dict[str, bytes]:
    """Every file that a reader sees; parts/ hold file times."""
    return {path: files.read(path) for path in files.list(folder) if "/parts/" not in path}


def table_of(files: Files, folder: str, manifest: Manifest) -> list[dict]:
    return [row for shard in manifest.shards for row in pq.read_table(files.full(f"{folder}/{shard.path}")).to_pylist()]


def test_every_record_is_an_image_or_a_reject(make_csv_archive, tmp_path, small_shards):
    raw = make_csv_archive(101, broken=(3, 40), absent=(7,))
    with open(raw / "images.csv", "a") as stream:
        stream.write("images/0000.png,p0,1,\n../../etc/passwd,p0,1,\n")
    files = Files(str(tmp_path / "storage"))
    manifest = build(SPEC, raw, files, max_rejects=0.1)
    folder = data_folder(SPEC, raw)
    rejects = pq.read_table(files.full(f"{folder}/rejects.parquet")).to_pylist()
    assert {(reject["path"], reject["stage"]) for reject in rejects} == {
        ("images/0003.png", "decode"),
        ("images/0040.png", "decode"),
        ("images/0007.png", "read"),
        ("images/0000.png", "index"),
        ("../../etc/passwd", "index"),
    }
    rows = table_of(files, folder, manifest)
    assert len(rows) == 98 and len(rows) + len(rejects) == manifest.counts["records"] == 103
    assert sum(manifest.reject_reasons.values()) == manifest.counts["rejects"] == 5
    for row in rows:
        number = int(row["image_id"][7:11])
        assert row["patient_id"] == f"p{number // 2}"
        assert row["label_big_heart"] == (1, 0, -1, None)[number % 4]
        assert (row["report_findings"], row["report_impression"]) == ("f.", f"i{number}.")
        assert (row["original_rows"], row["original_columns"]) == (20, 24)
        expected = decode_file(raw / row["image_id"], PixelSpec(16)).pixels.tobytes()
        assert row["pixels"] == expected
    for shard in manifest.shards:
        metadata = pq.read_metadata(files.full(f"{folder}/{shard.path}"))
        assert tuple(metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)) == shard.row_groups
        assert all(group == 8 for group in shard.row_groups[:-1])
    assert verify(files, folder, manifest) == []


def test_the_number_of_decoders_and_the_day_change_no_byte(make_csv_archive, tmp_path, small_shards, monkeypatch):
    raw = make_csv_archive(60, broken=(5,))
    found = []
    for number, workers in enumerate((1, 3)):
        monkeypatch.setattr(build_module, "MAX_LOCAL_DECODERS", workers)
        monkeypatch.setattr(build_module, "IMAGES_PER_DECODER", 10)
        files = Files(str(tmp_path / str(number)))
        build(SPEC, raw, files, max_rejects=0.1)
        found.append(contents(files, data_folder(SPEC, raw)))
        os.utime(raw / "images" / "0000.png", (1e9, 1e9))
    assert found[0] == found[1] and len(found[0]) >= 5


@pytest.mark.timeout(300)
def test_ray_makes_the_same_bytes(make_csv_archive, tmp_path, monkeypatch, local_ray):
    monkeypatch.setattr(shards_module, "RECORDS_PER_SHARD", 16)
    raw = make_csv_archive(60, broken=(5,))
    here, there = Files(str(tmp_path / "here")), Files(str(tmp_path / "there"))
    build(SPEC, raw, here, max_rejects=0.1)
    monkeypatch.setattr(build_module, "RAY_PAYS_BYTES", 0)
    seen = []
    build(SPEC, raw, there, max_rejects=0.1, progress=lambda done, total, text: seen.append((done, total)))
    folder = data_folder(SPEC, raw)
    assert contents(there, folder) == contents(here, folder)
    assert seen[0] == (0, 60) and seen[-1] == (60, 60) and len(seen) > 3


def test_an_installation_that_is_broken_on_ray_is_a_sentence(make_csv_archive, tmp_path, monkeypatch, local_ray):
    def no_codec(row):
        raise broken("ImportError: libx.so.1: no such file\n  or folder")

    monkeypatch.setattr(build_module, "RAY_PAYS_BYTES", 0)
    monkeypatch.setattr(build_module, "make_shard_row", no_codec)
    with pytest.raises(BrokenInstallation) as caught:
        build(SPEC, make_csv_archive(6), Files(str(tmp_path / "storage")))
    assert str(caught.value) == str(broken("ImportError: libx.so.1: no such file or folder"))


def test_a_cluster_that_does_not_answer_is_a_sentence_at_once(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # neither connected nor asked for
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(ValueError, match=r"RAY_ADDRESS is 127\.0\.0\.1:1, and nothing answers there"):
        build_module._ray_ready(True)


def test_a_complete_corpus_is_returned_at_once(make_csv_archive, tmp_path):
    raw = make_csv_archive(6)
    files = Files(str(tmp_path / "storage"))
    manifest = build(SPEC, raw, files)
    shutil.rmtree(raw / "images")
    calls = []
    assert build(SPEC, raw, files, progress=lambda *args: calls.append(args)) == manifest
    assert calls == []


def test_an_interrupted_build_keeps_its_finished_shards(make_csv_archive, tmp_path, small_shards):
    raw = make_csv_archive(80)
    whole = Files(str(tmp_path / "whole"))
    build(SPEC, raw, whole)
    files = Files(str(tmp_path / "cut"))

    class Stop(Exception):
        pass

    def stop(done: int, total: int, text: str) -> None:
        if done >= 36:
            raise Stop

    with pytest.raises(Stop):
        build(SPEC, raw, files, progress=stop)
    folder = data_folder(SPEC, raw)
    finished = {path: os.stat(files.full(path)).st_mtime_ns for path in files.list(folder) if path.endswith(".parquet")}
    assert len(finished) == 2 and not files.exists(f"{folder}/manifest.json")
    started = []
    build(SPEC, raw, files, progress=lambda done, total, text: started.append(done))
    assert started[0] == 32, "the finished shards count as done"
    assert {path: os.stat(files.full(path)).st_mtime_ns for path in finished} == finished
    assert contents(files, folder) == contents(whole, folder)


def test_damaged_parts_and_shards_are_made_again(make_csv_archive, tmp_path, small_shards):
    raw = make_csv_archive(80)
    files = Files(str(tmp_path / "storage"))
    build(SPEC, raw, files)
    folder = data_folder(SPEC, raw)
    expected = contents(files, folder)
    files.remove(f"{folder}/manifest.json")
    files.write(f"{folder}/train/00000.parquet", b"cut")
    files.write(f"{folder}/parts/train-00001.json", b"{")
    files.remove(f"{folder}/train/00002.parquet")
    build(SPEC, raw, files)
    assert contents(files, folder) == expected


KILLED = (
    "import sys; from datasets_io.build import shards; shards.RECORDS_PER_SHARD = 8\n"
    "from datasets_io.build.__main__ import main; sys.exit(main(sys.argv[1:]))"
)


@pytest.mark.timeout(300)
def test_kill_9_at_random_moments_leaves_the_bytes_of_an_unbroken_build(make_csv_archive, tmp_path, monkeypatch):
    raw = make_csv_archive(400, broken=(150,))
    monkeypatch.setattr(shards_module, "RECORDS_PER_SHARD", 8)
    whole, files = Files(str(tmp_path / "whole")), Files(str(tmp_path / "killed"))
    build(SPEC, raw, whole)
    folder = data_folder(SPEC, raw)
    arguments = ["csv_images", "--raw", str(raw), "--storage", files.root, "--image-size", "16"]
    command = [sys.executable, "-c", KILLED, *arguments]
    generator = random.Random(0)
    for parts in range(4, 44, 4):  # ten kills; there are 52 parts
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(files.list(f"{folder}/parts")) < parts and child.poll() is None:
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.01))
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not files.exists(f"{folder}/manifest.json"), "the last kill came too late to test anything"
    subprocess.run(command, check=True, capture_output=True)
    assert contents(files, folder) == contents(whole, folder)
    assert not list(tmp_path.glob("killed/**/*.tmp-*"))


def test_a_changed_file_is_read_again_and_leftovers_of_a_killed_build_go(make_csv_archive, tmp_path, small_shards):
    """A build ended by too many rejects goes on: an accepted file has been replaced meanwhile."""
    raw = make_csv_archive(80, broken=(30,))
    files = Files(str(tmp_path / "storage"))
    with pytest.raises(TooManyRejects):
        build(SPEC, raw, files, max_rejects=0)
    folder = data_folder(SPEC, raw)
    made = {path: os.stat(files.full(path)).st_mtime_ns for path in files.list(folder) if "/0" in path}
    killed = subprocess.Popen([sys.executable, "-c", ""])
    killed.wait()
    assert not list(tmp_path.glob("storage/**/*.tmp-*"))
    leftover = Path(files.full(f"{folder}/train/00000.parquet.tmp-{this_machine()}-{killed.pid}-{'0' * 32}"))
    leftover.touch()
    changed = raw / "images" / "0041.png"
    Image.fromarray(np.arange(480, dtype=np.uint8).reshape(20, 24)).save(changed)
    manifest = build(SPEC, raw, files, max_rejects=0.1)
    assert not leftover.exists()
    again = [path for path, time_ns in made.items() if os.stat(files.full(path)).st_mtime_ns != time_ns]
    assert len(again) == 1 and len(made) == len(manifest.shards)
    (row,) = [row for row in table_of(files, folder, manifest) if row["image_id"] == "images/0041.png"]
    assert row["pixels"] == decode_file(changed, PixelSpec(16)).pixels.tobytes()


def test_too_many_rejects_keep_the_shards_and_a_mended_file_is_read_again(make_csv_archive, tmp_path, small_shards):
    raw = make_csv_archive(40, broken=(3, 4, 5))
    files = Files(str(tmp_path / "storage"))
    reason = r"3 x decode: the PNG has no end \(IEND\): the file is cut short"
    with pytest.raises(TooManyRejects, match=rf"3 of 40 images gave no picture \({reason}\)"):
        build(SPEC, raw, files)
    folder = data_folder(SPEC, raw)
    assert files.exists(f"{folder}/rejects.parquet") and not files.exists(f"{folder}/manifest.json")
    assert files.exists(f"{folder}/train/00000.parquet")
    good = (raw / "images" / "0000.png").read_bytes()
    for number in (3, 4, 5):
        (raw / "images" / f"{number:04d}.png").write_bytes(good)
    assert build(SPEC, raw, files).counts["images"] == 40


def test_a_half_copied_archive_is_refused_before_any_work(make_csv_archive, tmp_path):
    raw = make_csv_archive(40, absent=tuple(range(20, 40)))
    files = Files(str(tmp_path / "storage"))
    with pytest.raises(ArchiveError, match=r"20 of 40 listed images are not below .* \(e.g. images/0020"):
        build(SPEC, raw, files)
    assert files.list("") == []


def test_patients_in_two_splits_stop_a_build(tmp_path):
    (tmp_path / "images.csv").write_text("path,patient_id,split\n1.png,p1,train\n2.png,p1,test\n")
    with pytest.raises(ArchiveError, match="patient p1 in train and test"):
        build(SPEC, tmp_path, Files(str(tmp_path / "storage")))


def test_the_key_moves_with_spec_and_csv_and_not_with_the_place(make_csv_archive, tmp_path):
    raw = make_csv_archive(4)
    key = data_key(SPEC, raw)
    shutil.copytree(raw, tmp_path / "elsewhere")
    assert data_key(SPEC, tmp_path / "elsewhere") == key
    assert data_key(BuildSpec("csv_images", 16, options=CsvOptions()), raw) == key
    moved = {
        data_key(BuildSpec("csv_images", 32), raw),
        data_key(BuildSpec("csv_images", 16, "jpg"), raw),
        data_key(SPEC, raw, limit=2),
        key,
    }
    assert len(moved) == 4
    with open(raw / "images.csv", "a") as stream:
        stream.write("images/0004.png,p9,1,\n")
    assert data_key(SPEC, raw) not in moved


def test_a_limited_build_takes_evenly_spaced_images_and_says_so(make_csv_archive, tmp_path):
    raw = make_csv_archive(40)
    files = Files(str(tmp_path / "storage"))
    manifest = build(SPEC, raw, files, limit=10)
    rows = table_of(files, data_folder(SPEC, raw, limit=10), manifest)
    assert sorted(int(row["image_id"][7:11]) for row in rows) == list(range(0, 40, 4))
    assert any("--limit 10" in note for note in manifest.notes)
    assert build(SPEC, raw, files).counts["images"] == 40


def test_equal_pictures_in_two_splits_are_noted(tmp_path):
    lines = ["path,patient_id,split"]
    for number, split in enumerate(("train", "val", "test")):
        picture = np.arange(256, dtype=np.uint8).reshape(16, 16) // (1 + number // 2)
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,p{number},{split}")
    (tmp_path / "images.csv").write_text("\n".join(lines))
    manifest = build(SPEC, tmp_path, Files(str(tmp_path / "storage")))
    assert any(note.startswith("1 pictures are in more than one split") for note in manifest.notes)
    leaks = manifest.counts["leaks"]
    assert leaks["equal_pictures"] == 1
    assert leaks["near_duplicates"]["pairs"]["train-val"] == 1
    near = pq.read_table(tmp_path / "storage" / data_folder(SPEC, tmp_path) / "near_duplicates.parquet").to_pylist()
    assert near[0] == {
        "image_id": "0.png",
        "split": "train",
        "other_image_id": "1.png",
        "other_split": "val",
        "distance": 0,
    }


def test_no_word_of_a_dicom_header_or_of_a_broken_file_gets_into_the_storage(tmp_path, write_dicom):
    generator = np.random.default_rng(0)
    lines = ["path,patient_id"]
    for number in range(6):
        array = generator.integers(0, 4096, (20, 20), dtype=np.uint16)
        elements = {
            "StudyDescription": "CANARY study",
            "ViewPosition": "CANARY" if number else "AP",
            "AccessionNumber": "CANARY",
            "StationName": "canary",
            "Modality": "CANARY" if number == 1 else "DX",
            "PhotometricInterpretation": "CANARY" if number == 2 else "MONOCHROME2",
            "BurnedInAnnotation": "YES" if number == 3 else "NO",
        }
        write_dicom(tmp_path / f"{number}.dcm", array, elements)
        lines.append(f"{number}.dcm,p{number}")
    (tmp_path / "images.csv").write_text("\n".join(lines))
    files = Files(str(tmp_path / "storage"))
    manifest = build(SPEC, tmp_path, files, max_rejects=1)
    assert manifest.counts["images"] >= 4 and any("burned in" in note for note in manifest.notes)
    flags = pq.read_table(tmp_path / "storage" / data_folder(SPEC, tmp_path) / "flags.parquet").to_pylist()
    burned_in = [flag["image_id"] for flag in flags if flag["flag"] == "burned_in_annotation"]
    assert burned_in == ["3.dcm"] and manifest.counts["burned_in"] == 1
    unknown = [flag["image_id"] for flag in flags if flag["flag"] == "unknown_view_position"]
    built = [f"{number}.dcm" for number in range(1, 6) if number != 2]  # number 2 gave no picture
    assert sorted(unknown) == built and len(flags) == 1 + len(built)
    for path in files.list(""):
        assert b"canary" not in files.read(path).lower(), path


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"source": "brax"}, "known: chexlocalize, chexpert, "),
        ({"image_size": 4}, "allowed: 8 to 2048"),
        ({"intensity": "equal"}, "allowed: minmax"),
        ({"options": NihOptions()}, "must be a CsvOptions"),
    ],
)
def test_a_wrong_spec_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        BuildSpec(**{"source": "csv_images", **wrong})


def test_verify_finds_every_kind_of_damage(make_csv_archive, tmp_path, small_shards):
    raw = make_csv_archive(80)
    files = Files(str(tmp_path / "storage"))
    manifest = build(SPEC, raw, files)
    folder = data_folder(SPEC, raw)
    data = bytearray(files.read(f"{folder}/train/00001.parquet"))
    data[len(data) // 2] ^= 1
    files.write(f"{folder}/train/00001.parquet", bytes(data))
    files.remove(f"{folder}/train/00002.parquet")
    problems = verify(files, folder, manifest)
    assert len(problems) == 2
    assert "train/00001.parquet is damaged" in problems[0] and "train/00002.parquet cannot be read" in problems[1]
    rejects = f"{folder}/rejects.parquet"
    data = files.read(rejects)
    files.write(rejects, data[:-3])
    assert verify(files, folder, manifest)[2:] == ["rejects.parquet cannot be read (CorruptArtefact)"]
    one = pa.table({name: ["x"] for name in ("image_id", "path", "stage", "reason")})
    pq.write_table(one, files.full(rejects), store_schema=False)
    (problem,) = verify(files, folder, manifest)[2:]
    assert problem == "rejects.parquet has 1 rejects, the manifest 0, or their reasons differ"
    text = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"], pa.binary()).buffers())
    pq.write_table(one.set_column(3, "reason", text), files.full(rejects), store_schema=False)
    assert verify(files, folder, manifest)[2:] == ["rejects.parquet cannot be read (UnicodeDecodeError)"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--raw=-x", "--storage", "s"], "--raw needs a value, and '-x' looks like the next flag"),
        (["--raw", "a", "--storage=--verify"], "--storage needs a value, and '--verify' looks like the next flag"),
        (["--raw", "a", "--limit", "--verify"], "--limit needs a value, and '--verify' looks like the next flag"),
        (["--raw", "", "--storage", "s"], "--raw is empty: give a value"),
        (["--raw", "a", "--storage", "s", "--intensity", "minmx"], "allowed: minmax, jpg, voi; did you mean 'minmax'?"),
        (
            ["--raw", "a", "--storage", "s", "--order", "hsh"],
            "it is 'hsh'; allowed: archive, hash; did you mean 'hash'?",
        ),
    ],
)
def test_a_value_that_none_can_be_is_a_usage_error(arguments, message, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert main(["chexpert", *arguments]) == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["chexprt", "--storage", "s"],
            "there is no source 'chexprt'; known: chexlocalize, chexpert, .*; did you mean 'chexpert'",
        ),
        (
            ["nih_cxr14", "--storage", "s", "--option", "splt=lists"],
            "allowed: split=..., lists_dir=...; did you mean 'spl",
        ),
        (
            ["nih_cxr14", "--storage", "s", "--option", "split=offical"],
            "split is 'offical'; .*; did you mean 'official'",
        ),
        (["chexpert", "--storage", "FILE"], "--storage FILE: .*FILE is a file; give a folder"),
        (["chexpert", "--storage", "FILE/below"], "--storage FILE/below: .*FILE is a file"),
    ],
)
def test_a_word_or_a_place_that_is_wrong_is_refused_before_any_work(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").write_text("x")
    assert main([*arguments, "--raw", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert re.search(message, said) and said.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["FILE"]


def test_exit_codes_and_one_sentence_for_bad_input(make_csv_archive, tmp_path, capsys):
    raw = make_csv_archive(20, broken=(2, 3))
    storage = ["--storage", str(tmp_path / "storage"), "--image-size", "16"]

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        captured = capsys.readouterr()
        return code, captured.out, captured.err.strip()

    assert run("csv_images", "--raw", str(raw), *storage)[0] == 3
    code, out, _ = run("csv_images", "--raw", str(raw), *storage, "--max-rejects", "0.2", "--verify")
    assert code == 0 and "20 records = 18 images + 2 rejects" in out and "shards are as the manifest says" in out
    for arguments in (
        ["padchest", "--raw", str(raw), *storage],
        ["chexpert", "--raw", str(raw), *storage],
        ["csv_images", "--raw", str(tmp_path / "nowhere"), *storage],
        ["csv_images", "--raw", str(raw), *storage, "--max-rejects", "3"],
        ["csv_images", "--raw", str(raw), *storage, "--limit", "0"],
        ["csv_images", "--raw", str(raw), *storage, "--option", "split=x"],
        ["csv_images", "--raw", str(raw), *storage, "--option", "table=other.csv"],
    ):
        code, out, error = run(*arguments)
        assert code == 2 and out == "" and len(error.splitlines()) == 1, (arguments, error)
    folder = data_folder(SPEC, raw)
    files = Files(str(tmp_path / "storage"))
    shard = next(path for path in files.list(folder) if path.endswith("00000.parquet"))
    files.write(shard, files.read(shard)[:-1] + b"x")
    assert run("csv_images", "--raw", str(raw), *storage, "--verify")[0] == 3
