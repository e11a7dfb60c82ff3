"""The real layouts, whole: what is in the shards is what the archive's csv files list, no more and no less."""

import csv
import gzip
import hashlib
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.build.verify import verify
from datasets_io.corpus.manifest import Manifest
from datasets_io.pixels.decode import decode_file
from datasets_io.pixels.grey import PixelSpec
from datasets_io.schema import SPLITS
from datasets_io.sources import chexpert, mimic_cxr, nih_cxr14
from datasets_io.sources.reading.archive import snake_case
from datasets_io.storage.files import Files

LAYOUTS = [
    ("mimic_cxr", "MIMIC-CXR", 112),
    ("chexpert", "CheXpert-v1.0-small", 783),
    ("nih_cxr14", "NIH-ChestX-ray14", 542),
    ("nih_cxr14", "NIH-ChestX-ray14-thumb64", 710),
]
CODES = {"1.0": "positive", "1": "positive", "0.0": "negative", "0": "negative", "-1.0": "uncertain", "": "blank"}


def rows_of(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else open(path) as stream:
        return list(csv.DictReader(stream))


def codes_in_csv(source: str, raw: Path) -> tuple[int, Counter]:
    """Rows of the archive's csv files, and (finding, code) -> number of images, read without the source's code."""
    if source == "nih_cxr14":
        rows = rows_of(raw / "Data_Entry_2017.csv")
        codes = [
            (snake_case(name), "positive" if name in row["Finding Labels"].split("|") else "negative")
            for row in rows
            for name in nih_cxr14.CSV_NAMES
        ]
        return len(rows), Counter(codes)
    if source == "chexpert":
        rows, columns = rows_of(raw / "train.csv") + rows_of(raw / "valid.csv"), chexpert.COLUMNS
    else:
        of_study = {row["study_id"]: row for row in rows_of(raw / "mimic-cxr-2.0.0-chexpert.csv.gz")}
        rows = [of_study[row["study_id"]] for row in rows_of(raw / "cxr-record-list.csv.gz")]
        columns = mimic_cxr.COLUMNS
    return len(rows), Counter((snake_case(column), CODES[row[column]]) for row in rows for column in columns)


def table_of(files: Files, folder: str, manifest: Manifest) -> list[dict]:
    return [row for shard in manifest.shards for row in pq.read_table(files.full(f"{folder}/{shard.path}")).to_pylist()]


@pytest.mark.parametrize(("source", "layout", "records"), LAYOUTS)
def test_real_layouts_are_taken_whole(source, layout, records, shared_data, tmp_path):
    raw = shared_data / "real_cxr" / layout
    files = Files(str(tmp_path))
    spec = BuildSpec(source, image_size=32)
    manifest = build(spec, raw, files)
    folder, counts = data_folder(spec, raw), manifest.counts
    assert (counts["records"], counts["images"], counts["rejects"]) == (records, records, 0)
    assert sum(split["images"] for split in counts["splits"].values()) == records
    listed, codes = codes_in_csv(source, raw)
    found = {(finding, name): n for finding, of in counts["findings"].items() for name, n in of.items() if n}
    assert listed == records and found == dict(codes)
    assert verify(files, folder, manifest) == []
    rows = table_of(files, folder, manifest)
    assert len({row["pixels"] for row in rows}) > 0.9 * records, "pictures must differ"
    if source == "mimic_cxr":
        assert {row["view_position"] for row in rows} == {"AP", "PA"}
        check_reports(raw, counts)
        check_order([row["image_id"] for row in rows], raw, manifest)


def check_order(ids: list[str], raw: Path, manifest: Manifest) -> None:
    """A corpus is in the order of a hash of its image ids, which is not that of its record list."""
    start = 0
    for split in SPLITS:
        count = sum(shard.rows for shard in manifest.shards if shard.split == split)
        part, start = ids[start : start + count], start + count
        assert part == sorted(part, key=lambda name: hashlib.sha256(f"order\n{name}".encode()).digest())
    listed = [row["dicom_id"] for row in rows_of(raw / "cxr-record-list.csv.gz")]
    assert sorted(ids) == sorted(listed) and ids != listed
    pairs = manifest.counts["batches"]["pairs_of_one"]  # fewer images than a window: one uniform permutation
    assert all(each["expected"] == each["uniform"] > 0 for each in pairs.values())


def check_reports(raw: Path, counts: dict) -> None:
    """Images and studies without an impression are those whose report has no such heading."""
    has = {path.stem[1:]: "IMPRESSION:" in path.read_text() for path in raw.rglob("s*.txt")}
    images = rows_of(raw / "cxr-record-list.csv.gz")
    assert sum(of["without_impression"] for of in counts["splits"].values()) == sum(
        not has[row["study_id"]] for row in images
    )
    reports = counts["reports"]
    assert reports["studies_with_impression"] == sum(has.values())
    assert reports["studies_without_impression"] == len(has) - sum(has.values()) > 0
    assert reports["studies"] == len(has)
    assert 0 < reports["distinct_impressions"] < reports["studies_with_impression"] >= reports["repeated_impressions"]


def test_dicom_without_the_csv_files_of_jpg_has_the_view_positions_of_its_headers(shared_data, tmp_path):
    official = shared_data / "real_cxr" / "MIMIC-CXR"
    raw, files, spec = tmp_path / "raw", Files(str(tmp_path / "storage")), BuildSpec("mimic_cxr", image_size=32)
    shutil.copytree(official, raw, ignore=shutil.ignore_patterns("mimic-cxr-2.0.0-*"))
    manifest = build(spec, raw, files)
    assert sum("is missing" in note for note in manifest.notes) == 3
    rows = table_of(files, data_folder(spec, raw), manifest)
    views = {row["dicom_id"]: row["ViewPosition"] for row in rows_of(official / "mimic-cxr-2.0.0-metadata.csv.gz")}
    assert {row["image_id"]: row["view_position"] for row in rows} == views
    assert all(row["label_edema"] is None for row in rows) and len(rows) == 112


def test_the_jpg_tree_gives_the_same_rows_as_the_dicom_tree(shared_data, tmp_path):
    """Reports elsewhere, pictures as JPG: all but the pixels is equal, and the pixels are nearly so."""
    official = shared_data / "real_cxr" / "MIMIC-CXR"
    raw, files = tmp_path / "raw", Files(str(tmp_path / "storage"))
    raw.mkdir()
    for path in official.glob("mimic-cxr-2.0.0-*"):
        shutil.copy(path, raw)
    for path in official.rglob("*.dcm"):
        target = (raw / path.relative_to(official)).with_suffix(".jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(decode_file(path, PixelSpec(64)).pixels).save(target, quality=100)
    options = mimic_cxr.MimicOptions(reports_dir=str(official))
    rows = {}
    for folder, spec in ((raw, BuildSpec("mimic_cxr", 64, options=options)), (official, BuildSpec("mimic_cxr", 64))):
        manifest = build(spec, folder, files)
        rows[folder] = {row["image_id"]: row for row in table_of(files, data_folder(spec, folder), manifest)}
        assert manifest.counts["images"] == 112 and manifest.counts["rejects"] == 0
    assert rows[raw].keys() == rows[official].keys()
    for image, row in rows[raw].items():
        other = rows[official][image]
        difference = max(abs(a - b) for a, b in zip(row.pop("pixels"), other.pop("pixels"), strict=True))
        assert difference <= 8
        for name in ("original_rows", "original_columns"):
            del row[name], other[name]
        assert row == other
