"""An archive that changes after a build, or after a stopped one: what decides a corpus is in its key or manifest."""

import dataclasses
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_mimic import write_mimic, write_reports

from datasets_io.build import BuildSpec, TooManyRejects, build, data_folder, data_key, identity_of
from datasets_io.build import shards as shards_module
from datasets_io.build.__main__ import main
from datasets_io.build.complete import SIZES, open_complete
from datasets_io.build.inventory import take_inventory
from datasets_io.build.spec import _index_digests
from datasets_io.build.verify import verify
from datasets_io.corpus.manifest import Manifest
from datasets_io.fingerprint import fingerprint
from datasets_io.pixels.grey import VERSION as PIXELS_VERSION
from datasets_io.schema import ArchiveError
from datasets_io.sources import chexpert
from datasets_io.sources.mimic_cxr import MimicOptions
from datasets_io.sources.registry import get_source
from datasets_io.storage.files import Files

MIMIC, CSV, CHEXPERT = (BuildSpec(source, 16) for source in ("mimic_cxr", "csv_images", "chexpert"))


pytestmark = pytest.mark.usefixtures("kept_decoders")


@pytest.fixture
def make_mimic_archive(tmp_path) -> Callable[..., Path]:
    return partial(write_mimic, tmp_path / "raw")


@pytest.fixture
def files(tmp_path) -> Files:
    return Files(str(tmp_path / "storage"))


def impressions(files: Files, folder: str) -> list[str | None]:
    manifest = Manifest.from_json(files.read(f"{folder}/manifest.json"))
    tables = [pq.read_table(files.full(f"{folder}/{shard.path}")) for shard in manifest.shards]
    return [text for table in tables for text in table["report_impression"].to_pylist()]


def forget_record(files: Files, folder: str, as_folder: str | None = None) -> None:
    """Makes the manifest of a complete corpus one of an earlier version, with that version's key and folder."""
    manifest = Manifest.from_json(files.read(f"{folder}/manifest.json"))
    counts = {name: value for name, value in manifest.counts.items() if name != "files"}
    target = as_folder or folder
    key = target.rpartition("-")[2]
    shards = [[shard.path, shard.sha256] for shard in manifest.shards]
    old = dataclasses.replace(manifest, counts=counts, key=key, fingerprint=fingerprint({"key": key, "shards": shards}))
    if target != folder:
        files.move(folder, target)
    files.write(f"{target}/manifest.json", old.to_json().encode())


def whole_key(spec: BuildSpec, raw: Path) -> str:
    """The key as it was before anything that is absent was in it, written out."""
    versions = [get_source(spec.source).version, PIXELS_VERSION, shards_module.FORMAT]
    return fingerprint({"spec": identity_of(spec), "versions": versions, "index": _index_digests(spec, raw)})


def test_the_key_of_a_whole_archive_is_what_it_always_was(make_mimic_archive, make_csv_archive):
    for spec, raw in ((MIMIC, make_mimic_archive(8)), (CSV, make_csv_archive(8, name="mine"))):
        assert data_key(spec, raw) == whole_key(spec, raw)
        next(raw.rglob("*.*g")).unlink()
        assert data_key(spec, raw) != whole_key(spec, raw)


def test_reports_that_arrive_later_are_read_into_a_corpus_of_their_own(make_mimic_archive, files):
    raw, said = make_mimic_archive(8, reports=False), []
    build(MIMIC, raw, files, say=said.append)
    before = data_folder(MIMIC, raw)
    assert set(impressions(files, before)) == {None} and said == []
    shard = files.read(f"{before}/train/00000.parquet")
    write_reports(raw, raw)
    manifest = build(MIMIC, raw, files, say=said.append)
    after = data_folder(MIMIC, raw)
    assert after != before and manifest.counts["reports"]["studies_with_impression"] == 8
    assert sorted(impressions(files, after))[0] == "normal s50414267."
    (sentence,) = said
    assert sentence == (
        f"{before} was built when 8 of 8 reports were absent (0 are now): it stays as it is,"
        f" and {after} is built beside it"
    )
    assert files.read(f"{before}/train/00000.parquet") == shard
    assert build(MIMIC, raw, files, say=said.append) == manifest and len(said) == 1
    for path in raw.rglob("s*.txt"):
        path.unlink()
    assert build(MIMIC, raw, files) == Manifest.from_json(files.read(f"{before}/manifest.json"))


def test_reports_that_arrive_in_a_folder_of_their_own(make_mimic_archive, tmp_path, files):
    raw, reports = make_mimic_archive(8, reports=False), tmp_path / "reports"
    (reports / "files").mkdir(parents=True)
    spec = dataclasses.replace(MIMIC, options=MimicOptions(reports_dir=str(reports)))
    assert build(spec, raw, files).counts["reports"]["studies_with_impression"] == 0
    write_reports(raw, reports)
    assert build(spec, raw, files).counts["reports"]["studies_with_impression"] == 8
    write_reports(raw, raw)
    assert data_key(spec, raw) == data_key(MIMIC, raw), "it is the same archive wherever its reports lie"


def test_the_command_says_that_another_corpus_is_built_beside(make_mimic_archive, tmp_path, capsys):
    raw = make_mimic_archive(8, reports=False)
    command = ["mimic_cxr", "--raw", str(raw), "--storage", str(tmp_path / "s"), "--image-size", "16"]
    assert main(command) == 0 and "was built when" not in capsys.readouterr().err
    write_reports(raw, raw)
    assert main(command) == 0
    assert "note: data/mimic_cxr-" in (said := capsys.readouterr().err) and "8 of 8 reports were absent" in said


def test_side_tables_that_arrive_later_give_another_key(make_mimic_archive):
    raw = make_mimic_archive(4)
    before = data_key(MIMIC, raw)
    (raw / "mimic-cxr-2.0.0-metadata.csv").write_text("dicom_id,ViewPosition\n")
    assert data_key(MIMIC, raw) != before


@pytest.mark.parametrize("changed", ["the text of a report", "nothing"])
def test_a_stopped_build_makes_a_shard_again_where_a_text_changed(changed, make_mimic_archive, files, monkeypatch):
    monkeypatch.setattr(shards_module, "RECORDS_PER_SHARD", 4)
    raw = make_mimic_archive(32)
    picture = raw / "files/p10/p10000032/s50414267/d0.jpg"
    whole = picture.read_bytes()
    picture.write_bytes(whole[:200])
    with pytest.raises(TooManyRejects):
        build(MIMIC, raw, files, max_rejects=0)
    folder = data_folder(MIMIC, raw)
    made = {path: os.stat(files.full(path)).st_mtime_ns for path in files.list(folder) if "/0" in path}
    picture.write_bytes(whole)
    other = raw / "files/p10/p10000035/s50414270.txt"
    other.write_text(other.read_text().replace("normal", "edema" if changed != "nothing" else "normal"))
    build(MIMIC, raw, files)
    again = [path for path, time_ns in made.items() if os.stat(files.full(path)).st_mtime_ns != time_ns]
    assert len(made) == 8 and len(again) == (1 if changed == "nothing" else 2)
    assert ("edema s50414270." in impressions(files, folder)) == (changed != "nothing")


def write_chexpert(raw: Path) -> None:
    header = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *chexpert.COLUMNS]
    for kind, count in (("train", 12), ("valid", 2)):
        names = [f"{kind}/patient{kind}{number}/study1/view1_frontal.jpg" for number in range(count)]
        rows = [",".join([f"CheXpert-v1.0/{name}", "Male", "5", "Frontal", "AP", *[""] * 14]) for name in names]
        raw.mkdir(exist_ok=True)
        (raw / f"{kind}.csv").write_text("\n".join([",".join(header), *rows]))
        for number, name in enumerate(names):
            write_picture(raw / name, number)
    studies = [f"CheXpert-v1.0/test/patient{number}/study1{',0' * 14}" for number in (1, 2)]
    (raw / "groundtruth.csv").write_text("\n".join([",".join(["Study", *chexpert.COLUMNS]), *studies]))


def write_picture(path: Path, seed: int, sides: tuple[int, int] = (20, 24)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, sides, dtype=np.uint8)).save(path)


def test_the_test_images_of_chexpert_arrive_later(tmp_path, files):
    raw = tmp_path / "raw"
    write_chexpert(raw)
    assert build(CHEXPERT, raw, files, max_rejects=0.2).counts["splits"]["test"]["images"] == 0
    for number, name in enumerate(("1/study1/view1_frontal", "1/study1/view2_lateral", "2/study1/view1_frontal")):
        write_picture(raw / f"test/patient{name}.jpg", 50 + number)
    assert build(CHEXPERT, raw, files, max_rejects=0.2).counts["splits"]["test"]["images"] == 3
    # No csv lists this one, and nothing was absent: the number of images tells.
    write_picture(raw / "test/patient2/study1/view2_lateral.jpg", 60)
    with pytest.raises(
        ArchiveError, match=r"built of other files than .*raw has now: 18 images now, 17 then\. To read"
    ):
        build(CHEXPERT, raw, files, max_rejects=0.2)


def test_an_image_of_another_size_is_named(make_csv_archive, files):
    """A file that was refused or taken, and is another one since."""
    raw = make_csv_archive(40, broken=(7,))
    folder = data_folder(CSV, raw)
    build(CSV, raw, files, max_rejects=0.1)
    assert build(CSV, raw, files).counts["rejects"] == 1
    write_picture(raw / "images/0007.png", 7)
    text = rf"{folder} was built of other files than {raw} has now: 1 of 40 images is another file, .*0007\.png\)"
    with pytest.raises(ArchiveError, match=text + rf"\. To read .* remove {re.escape(files.full(folder))} and"):
        build(CSV, raw, files)
    files.remove(f"{folder}/{SIZES}")
    with pytest.raises(ArchiveError, match="40 images now, 40 then"):
        build(CSV, raw, files)
    files.remove(folder)
    assert build(CSV, raw, files).counts["images"] == 40


def test_an_image_that_was_refused_and_is_whole_now_is_seen_by_its_contents(make_csv_archive, files):
    """A copy that was interrupted may have the size of the whole file, and zeros in it."""
    raw = make_csv_archive(100)
    place = raw / "images/0051.png"
    whole = place.read_bytes()
    place.write_bytes(bytes(len(whole)))
    assert build(CSV, raw, files, max_rejects=0.1).counts["rejects"] == 1
    place.write_bytes(whole)
    os.utime(place, (1e9, 1e9))
    with pytest.raises(ArchiveError, match="of 1 images that it refused some have other contents"):
        build(CSV, raw, files)


@pytest.mark.parametrize(("sides", "text"), [((30, 31), "40 of 40 images are other files"), ((20, 24), "same sizes")])
def test_two_archives_of_equal_tables_do_not_become_one_corpus(sides, text, make_csv_archive, files):
    first, second = make_csv_archive(40, name="first"), make_csv_archive(40, name="second")
    for number in range(40):
        path = second / f"images/{number:04d}.png"
        write_picture(path, 100 + number, sides)
        if sides == (20, 24):  # a PNG may end in anything: so both have one size, as files without compression do
            path.write_bytes(path.read_bytes().ljust(600, b"\0"))
            (first / path.relative_to(second)).write_bytes(
                (first / path.relative_to(second)).read_bytes().ljust(600, b"\0")
            )
    build(CSV, first, files)
    with pytest.raises(ArchiveError, match=text):
        build(CSV, second, files)
    shutil.copytree(first, first.parent / "copy")  # other times, another place
    assert build(CSV, first.parent / "copy", files) == build(CSV, first, files)


def test_what_is_measured_is_one_text_for_one_archive_and_names_no_file(make_mimic_archive, files):
    raw = make_mimic_archive(8)
    manifest = build(MIMIC, raw, files)
    record = manifest.counts["files"]
    assert record["absent"] == "" and record["refused"]["files"] == 0
    sizes = {
        "images": sum(path.stat().st_size for path in raw.rglob("*.jpg")),
        "reports": sum(path.stat().st_size for path in raw.rglob("*.txt")),
    }
    for kind, total in sizes.items():
        of = record["kinds"][kind]
        assert (of["there"], of["absent"], of["bytes"]) == (8, 0, total)
    stored = pq.read_table(files.full(f"{data_folder(MIMIC, raw)}/{SIZES}")).to_pylist()
    assert [row["kind"] for row in stored] == ["images"] * 8 + ["reports"] * 8
    assert sum(row["size"] for row in stored) == sum(sizes.values())
    assert verify(files, data_folder(MIMIC, raw), manifest) == []


def test_a_corpus_of_an_earlier_version_is_taken_where_its_counts_fit(make_mimic_archive, files):
    raw = make_mimic_archive(8)
    manifest = build(MIMIC, raw, files)
    forget_record(files, data_folder(MIMIC, raw))
    assert build(MIMIC, raw, files).fingerprint == manifest.fingerprint


def test_a_corpus_of_an_earlier_version_without_the_reports_that_are_there_is_refused(make_mimic_archive, files):
    raw = make_mimic_archive(8, reports=False)
    old = f"data/mimic_cxr-{whole_key(MIMIC, raw)}"
    build(MIMIC, raw, files)
    forget_record(files, data_folder(MIMIC, raw), old)
    assert build(MIMIC, raw, files).key == old.rpartition("-")[2], "without reports it is still the one"
    assert files.list("data", "manifest.json") == [f"{old}/manifest.json"]
    write_reports(raw, raw)
    with pytest.raises(ArchiveError, match="no study had an impression when it was built, and 8 reports are there now"):
        build(MIMIC, raw, files)


def test_a_corpus_of_an_earlier_version_without_images_that_are_there_is_refused(make_csv_archive, files):
    raw = make_csv_archive(40, absent=(3, 4))
    old = f"data/csv_images-{whole_key(CSV, raw)}"
    build(CSV, raw, files, max_rejects=0.1)
    forget_record(files, data_folder(CSV, raw), old)
    assert build(CSV, raw, files, max_rejects=0.1).counts["rejects"] == 2
    for number in (3, 4):
        write_picture(raw / f"images/{number:04d}.png", number)
    with pytest.raises(ArchiveError, match="2 images were absent when it was built, 0 are now"):
        build(CSV, raw, files)


def test_an_archive_that_changes_while_it_is_read_gets_no_manifest(make_mimic_archive, files):
    raw = make_mimic_archive(8, reports=False)

    def unpack(done: int, total: int, text: str) -> None:
        write_reports(raw, raw)

    with pytest.raises(ArchiveError, match="changed while it was read: run the same command again"):
        build(MIMIC, raw, files, progress=unpack)
    assert files.list("data", "manifest.json") == []
    assert build(MIMIC, raw, files).counts["reports"]["studies_with_impression"] == 8


def test_pictures_that_were_removed_to_make_room_leave_the_corpus(make_mimic_archive, files):
    raw = make_mimic_archive(8)
    manifest = build(MIMIC, raw, files)
    shutil.rmtree(raw / "files")
    assert build(MIMIC, raw, files) == manifest
    (raw / "mimic-cxr-2.0.0-split.csv").write_text("dicom_id,study_id,subject_id,split\nd0,1,2,train\n")
    with pytest.raises(ArchiveError, match="none of the 1 images"):
        build(MIMIC, raw, files)


def test_only_regular_files_inside_of_the_archive_count_as_there(make_csv_archive, tmp_path):
    raw = make_csv_archive(8)
    for number in range(4):
        (raw / f"images/{number:04d}.png").unlink()
    write_picture(tmp_path / "secret.png", 1)
    (raw / "images/0000.png").symlink_to(tmp_path / "secret.png")
    (raw / "images/0001.png").symlink_to(raw / "images/0005.png")
    os.mkfifo(raw / "images/0002.png")
    (raw / "images/0003.png").mkdir()
    with open(raw / "images.csv", "a") as stream:
        stream.write("../secret.png,p9,1,\nimages/a\0.png,p9,1,\nlink/secret.png,p9,1,\nown/0006.png,p9,1,\n")
    (raw / "link").symlink_to(tmp_path)
    (raw / "own").symlink_to(raw / "images")
    (of,) = take_inventory(CSV, raw).kinds
    assert of.absent == ["images/0000.png", "images/0002.png", "images/0003.png", "link/secret.png"]
    assert len(of.there) == 6 and "../secret.png" not in of.paths


def test_a_limited_build_looks_for_its_own_images_alone(make_csv_archive, files):
    raw = make_csv_archive(40, absent=(1, 2))
    (of,) = take_inventory(CSV, raw, 10).kinds
    assert of.paths == tuple(f"images/{number:04d}.png" for number in range(0, 40, 4)) and not of.absent
    build(CSV, raw, files, limit=10)
    assert open_complete(CSV, raw, take_inventory(CSV, raw, 10), files, 10).built
    assert not open_complete(CSV, raw, take_inventory(CSV, raw), files).built


OTHER_TEXT = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"], pa.binary()).buffers())  # no UTF-8


NAMES = ["there", "absent", "bytes", "digest", "sample"]
KINDS = {  # of a record that is none
    "record": {"images": {}},
    "record of names": {"images": NAMES},
    "record of text": {"images": dict.fromkeys(NAMES, "40")},
}


@pytest.mark.parametrize("damage", [*KINDS, "rejects", "text of rejects"])
def test_a_damaged_record_is_not_taken_for_a_changed_archive(damage, make_csv_archive, files):
    raw = make_csv_archive(40, broken=(7,))
    folder = data_folder(CSV, raw)
    manifest = build(CSV, raw, files, max_rejects=0.1)
    if damage in KINDS:
        counts = {**manifest.counts, "files": {**manifest.counts["files"], "kinds": KINDS[damage]}}
        files.write(f"{folder}/manifest.json", dataclasses.replace(manifest, counts=counts).to_json().encode())
    else:
        files.write(f"{folder}/rejects.parquet", b"PAR1")
    if damage == "text of rejects":
        columns = dict.fromkeys(("image_id", "path", "stage", "reason"), OTHER_TEXT)
        pq.write_table(pa.table(columns), files.full(f"{folder}/rejects.parquet"), store_schema=False)
    assert build(CSV, raw, files).fingerprint == manifest.fingerprint


@pytest.mark.parametrize(
    "change", [{"records": None}, {"batches": {"pairs_of_one": 7}}, {"squeezed": "many"}, {"splits": {"holdout": {}}}]
)
def test_counts_that_no_build_writes_are_one_sentence(change, make_csv_archive, files, capfd):
    """Sealed as a build does it: whoever can write to a storage can do so. Each count on its own was a traceback."""
    raw = make_csv_archive(40)
    manifest = build(CSV, raw, files)
    path = f"{data_folder(CSV, raw)}/manifest.json"
    counts = {name: value for name, value in {**manifest.counts, **change}.items() if value is not None}
    files.write(path, dataclasses.replace(manifest, counts=counts).to_json().encode())
    arguments = ["csv_images", "--raw", str(raw), "--storage", files.root]
    assert main([*arguments, "--image-size", str(CSV.image_size)]) == 2
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith(f"{path} is damaged (its counts are not those of a build: ") and "build" in said


def test_a_list_of_boxes_that_arrives_later_is_seen_and_moves_no_key(tmp_path, files):
    """No shard depends on it, so the shards are kept."""
    raw, spec = tmp_path / "raw", BuildSpec("nih_cxr14", 16)
    names = [f"{number:08d}_000.png" for number in range(8)]
    for number, name in enumerate(names):
        write_picture(raw / "images" / name, number)
    rows = [f"{name},No Finding,{number}" for number, name in enumerate(names)]
    (raw / "Data_Entry_2017.csv").write_text("\n".join(["Image Index,Finding Labels,Patient ID", *rows]))
    (raw / "train_val_list.txt").write_text("\n".join(names[:5]))
    (raw / "test_list.txt").write_text("\n".join(names[5:]))
    manifest = build(spec, raw, files)
    folder = data_folder(spec, raw)
    assert manifest.key == whole_key(spec, raw) and build(spec, raw, files) == manifest
    (raw / "BBox_List_2017.csv").write_text("Image Index,Finding Label,Bbox [x,y,w,h],,,\n")
    text = rf"1 of 1 boxes is another file, .*BBox_List_2017\.csv\)\. Remove {files.root}/{folder}/manifest\.json and"
    with pytest.raises(ArchiveError, match=text):
        build(spec, raw, files)
    made = {path: os.stat(files.full(path)).st_mtime_ns for path in files.list(folder) if "/0" in path}
    files.remove(f"{folder}/manifest.json")
    assert build(spec, raw, files).fingerprint == manifest.fingerprint
    assert {path: os.stat(files.full(path)).st_mtime_ns for path in made} == made
