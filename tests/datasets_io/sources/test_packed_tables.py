"""Are tables that lie packed under their usual packed name, `train.csv.gz`, read as their unpacked ones are?"""

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pytest

from datasets_io.build import BuildSpec, data_key
from datasets_io.build.inventory import take_inventory
from datasets_io.schema import ArchiveError
from datasets_io.sources import chexpert
from datasets_io.sources.chexpert import FRONTAL_CODES, ChexpertOptions
from datasets_io.sources.reading.archive import find_file, or_packed, unpacked_name
from datasets_io.sources.reading.elsewhere import packed_in
from datasets_io.sources.registry import get_source
from tests.datasets_io.small_mimic import write_mimic
from tests.datasets_io.sources.made_up import padchest_row, plus_row, write_padchest, write_plus, write_png
from tests.datasets_io.sources.made_up_boxed import MADE_UP
from tests.datasets_io.sources.test_chexpert_rows import HEAD, LABELS, archive, write
from tests.datasets_io.sources.test_elsewhere import write_nih

BOX_LIST = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n00000001_000.png,Mass,1,2,3,4\n"
TABLES = {
    "vindr_cxr": ("annotations/image_labels_train.csv", "annotations/annotations_train.csv"),
    "vinbigdata": ("train.csv",),
    "rsna_pneumonia": (
        "stage_2_train_labels.csv",
        "stage_2_detailed_class_info.csv",
        "pneumonia-challenge-dataset-mappings_2018.json",
    ),
    "siim_pneumothorax": ("train-rle.csv",),
    "chexlocalize": (
        "CheXpert/test_labels.csv",
        "CheXpert/val_labels.csv",
        "CheXlocalize/gt_segmentations_test.json",
        "CheXlocalize/gt_segmentations_val.json",
    ),
    "chexpert": ("train.csv", "valid.csv", "test_labels.csv"),
    "nih_cxr14": ("Data_Entry_2017.csv", "train_val_list.txt", "test_list.txt", "BBox_List_2017.csv"),
    "mimic_cxr": ("mimic-cxr-2.0.0-split.csv", "mimic-cxr-2.0.0-chexpert.csv"),
    "padchest": ("PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv",),
    "chexpert_plus": ("df_chexpert_plus_240401.csv", "chexbert_labels/impression_fixed.json"),
    "open_i": ("indiana_reports.csv", "indiana_projections.csv"),
    "csv_images": ("images.csv",),
}
GZ_FIRST = ("mimic_cxr", "padchest")  # whose tables are published packed
CASES = [(layout, table) for layout, tables in TABLES.items() for table in tables]


def zipped(data: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive_:
        archive_.writestr("table", data)
    return sink.getvalue()


PACK = {".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress, ".zip": zipped}


def made(layout: str, raw: Path) -> str:
    """Writes an archive. Returns the name of its source."""
    if layout in MADE_UP:
        MADE_UP[layout][1](raw, "whole")
        return MADE_UP[layout][0]
    if layout == "chexpert":
        archive(raw, [("Frontal", "LL"), ("Frontal", "PA")])
        write(raw / "test_labels.csv", HEAD, [("test/patient7/study1/v.jpg", "", "", "Frontal", "AP", *LABELS)])
    elif layout == "nih_cxr14":
        write_nih(raw)
        (raw / "BBox_List_2017.csv").write_text(BOX_LIST)
    elif layout == "mimic_cxr":
        write_mimic(raw, 4)
        rows = [f"{10000032 + n},{50414267 + n}," + ",".join(["1.0"] * 14) + "\n" for n in range(4)]
        header = f"subject_id,study_id,{','.join(chexpert.COLUMNS)}\n"
        (raw / "mimic-cxr-2.0.0-chexpert.csv").write_text("".join([header, *rows]))
    elif layout == "padchest":
        write_padchest(raw, [padchest_row(number) for number in range(4)])
        (table,) = raw.glob("*.csv.gz")
        table.with_suffix("").write_bytes(gzip.decompress(table.read_bytes()))
        table.unlink()
    elif layout == "chexpert_plus":
        images = [f"{split}/patient00001/study1/view1_frontal" for split in ("train", "valid")]
        write_plus(raw, [plus_row(image) for image in images], {images[0]: {"Edema": 1.0}})
    elif layout == "open_i":
        write_png(raw / "images" / "images_normalized" / "1_IM-0001-3001.dcm.png", 1)
        (raw / "indiana_reports.csv").write_text("uid,MeSH,findings,impression\n1,normal,Clear.,Normal.\n")
        (raw / "indiana_projections.csv").write_text("uid,filename,projection\n1,1_IM-0001-3001.dcm.png,Lateral\n")
    else:
        raw.mkdir()
        (raw / "images.csv").write_text("path,patient_id,split,mass\na.png,1,train,1\nb.png,2,test,0\n")
    return layout


def read(name: str, raw: Path) -> tuple[list, list, list[str]]:
    """Records, regions, and notes without the endings of packed tables."""
    source = get_source(name)
    options = source.options()
    regions = list(source.read_regions(raw, options)) if source.read_regions else []
    notes = [note.replace(ending, "") for note in source.notes(raw, options) for ending in [packed_ending(note)]]
    return list(source.read_records(raw, options)), regions, notes


def packed_ending(note: str) -> str:
    return next((ending for ending in PACK if ending in note), "\0")


def pack(path: Path, ending: str) -> Path:
    packed = path.with_name(path.name + ending)
    packed.write_bytes(PACK[ending](path.read_bytes()))
    path.unlink()
    return packed


@pytest.mark.parametrize(("layout", "table"), CASES)
def test_a_table_that_is_packed_is_read_as_the_unpacked_one(layout, table, tmp_path):
    raw = tmp_path / "raw"
    source = made(layout, raw)
    spec = BuildSpec(source, 16)
    plain, whole, key = (raw / table).read_bytes(), read(source, raw), data_key(spec, raw)
    for ending in PACK:
        packed = pack(raw / table, ending)
        assert read(source, raw) == whole, ending
        if table != "BBox_List_2017.csv":  # which moves no key
            files = get_source(source).index_files(raw, get_source(source).options())
            assert packed in files and raw / table not in files
            assert data_key(spec, raw) != key
        # Both there: what was read before is read, under the key that it had.
        (raw / table).write_bytes(plain)
        packed.write_bytes(b"no table")
        if ending != ".gz" or source not in GZ_FIRST:
            assert data_key(spec, raw) == key and read(source, raw) == whole
        packed.unlink()
    assert read(source, raw) == whole and data_key(spec, raw) == key


def test_unpacked_tables_come_before_packed_ones_under_other_names_and_in_other_folders(tmp_path):
    """So that an archive whose unpacked tables were read keeps its key."""
    (tmp_path / "b").mkdir()
    for name in ("one.csv.gz", "b/two.csv"):
        (tmp_path / name).touch()
    assert find_file(tmp_path, ("one.csv", "b/two.csv")) == tmp_path / "b" / "two.csv"
    assert find_file(tmp_path, ("one.csv", "none.csv")) == tmp_path / "one.csv.gz"
    (tmp_path / "three.csv.xz").mkdir()
    (tmp_path / "three.csv.xz" / "three.csv.xz").touch()
    assert find_file(tmp_path, ("three.csv",)) == tmp_path / "three.csv.xz" / "three.csv.xz"
    (tmp_path / "b" / "four.csv").mkdir()
    (tmp_path / "b" / "four.csv" / "four.csv").touch()
    assert find_file(tmp_path, ("b/four.csv",)) == tmp_path / "b" / "four.csv" / "four.csv"
    assert or_packed(("a.csv", "b.csv.gz")) == ("a.csv", "b.csv.gz", "a.csv.gz", "a.csv.xz", "a.csv.bz2", "a.csv.zip")
    assert [unpacked_name(Path(name)) for name in ("a.csv", "b/a.csv.xz")] == ["a.csv", "a.csv"]


def test_a_packed_table_behind_a_link_out_of_the_archive_is_not_read(tmp_path):
    raw = tmp_path / "raw"
    made("rsna_pneumonia", raw)
    outside = tmp_path / "outside.csv.gz"
    classes = raw / "stage_2_detailed_class_info.csv"
    pack(classes, ".gz").rename(outside)
    Path(f"{classes}.gz").symlink_to(outside)
    with pytest.raises(ArchiveError, match=r"stage_2_detailed_class_info\.csv\.gz is a link out of"):
        read("rsna_pneumonia", raw)


def test_tables_of_chexpert_in_a_batch_come_before_packed_ones_at_the_top(tmp_path):
    raw = tmp_path / "raw"
    batch = raw / "CheXpert-v1.0 batch 1 (validate & csv)"
    archive(raw, [("Frontal", "PA")], batch)
    key = data_key(BuildSpec("chexpert", 16), raw)
    (raw / "train.csv.gz").write_bytes(b"no table")
    (raw / "test.csv.gz").write_bytes(gzip.compress(b"no table"))
    write(batch / "groundtruth.csv", HEAD, [("test/patient7/study1/v.jpg", "", "", "Frontal", "AP", *LABELS)])
    found = chexpert.index_files(raw, ChexpertOptions())
    assert [path.relative_to(batch).as_posix() for path in found] == ["train.csv", "valid.csv", "groundtruth.csv"]
    (batch / "groundtruth.csv").unlink()
    (raw / "test.csv.gz").unlink()
    assert data_key(BuildSpec("chexpert", 16), raw) == key
    pack(batch / "train.csv", ".zip")
    (raw / "train.csv.gz").unlink()
    assert chexpert.index_files(raw, ChexpertOptions())[0] == batch / "train.csv.zip"
    assert len(list(chexpert.read_records(raw, ChexpertOptions()))) == 2


@pytest.mark.parametrize("kept", ["gz", "gz under the plain name", "utf-16", "bars"])
def test_rows_of_chexpert_that_are_corrected_are_found_however_a_table_is_kept(kept, tmp_path):
    """Else a corpus of before the correction would be taken for one of today."""
    raw = archive(tmp_path / "raw", [("Frontal", "LL"), ("Frontal", "PA")])
    table = raw / "train.csv"
    plain = table.read_text()
    if kept == "gz":
        pack(table, ".gz")
    elif kept == "utf-16":
        table.write_text(plain, encoding="utf-16")
    elif kept == "bars":
        table.write_text(plain.replace(",", "|"))
    else:
        table.write_bytes(gzip.compress(plain.encode()))
    assert chexpert.corrections(raw, ChexpertOptions()) == (FRONTAL_CODES,)


def test_notes_on_test_labels_of_chexpert_name_files_that_are_there(tmp_path):
    raw = tmp_path / "raw"
    made("chexpert", raw)
    packed = pack(raw / "test_labels.csv", ".gz")
    assert not [note for note in chexpert.notes(raw, ChexpertOptions()) if "test" in note]
    (raw / "groundtruth.csv.xz").write_bytes(lzma.compress(gzip.decompress(packed.read_bytes())))
    said = "the test labels are those of test_labels.csv.gz; groundtruth.csv.xz beside it was not read"
    assert said in chexpert.notes(raw, ChexpertOptions())


def test_a_packed_list_of_nih_boxes_is_a_file_that_was_looked_for(tmp_path):
    """No key depends on it: what the manifest has of it says whether a corpus was built with these boxes."""
    raw = tmp_path / "raw"
    made("nih_cxr14", raw)
    pack(raw / "BBox_List_2017.csv", ".gz")
    boxes = take_inventory(BuildSpec("nih_cxr14", 16), raw).of_kind("boxes")
    assert boxes is not None and boxes.there == ["BBox_List_2017.csv.gz"]


def test_packed_tables_are_not_taken_for_packed_images(tmp_path):
    for name in ("a.csv.gz", "b.json.zip", "c.TXT.XZ"):
        (tmp_path / name).touch()
    assert packed_in(tmp_path) == []
    for name in ("images.tar.xz", "x.dcm.gz", "images.zip", "all.tar.zst"):
        (tmp_path / name).touch()
    assert packed_in(tmp_path) == ["all.tar.zst", "images.tar.xz", "images.zip", "x.dcm.gz"]
