"""Masks and readings of Shenzhen and Montgomery that are damaged, named otherwise, or in another encoding."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_io.build import BuildSpec, build, data_folder, data_key
from datasets_io.build.regions import read_regions
from datasets_io.build.verify import verify
from datasets_io.schema import ArchiveError
from datasets_io.sources.parts.nlm_masks import TURNED_MASKS, WHOLE_MASKS
from datasets_io.sources.parts.nlm_tuberculosis import WHOLE_UNITS, WIDE_READINGS, _wide
from datasets_io.sources.regions import mask_of
from datasets_io.sources.registry import get_source
from datasets_io.sources.shenzhen import ONE_MASK, TWO_MASKS
from datasets_io.storage.files import Files
from tests.datasets_io.sources.made_up_boxed import COLUMNS, MADE_UP, ROWS, picture

SETS = ("shenzhen", "montgomery")
FOLDER = {"shenzhen": "masks", "montgomery": "ManualMask/leftMask"}


def made_up(name: str, raw: Path) -> Path:
    MADE_UP[name][1](raw, "whole", write_image)
    return raw


def write_image(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(number)).save(path)


def masks(name: str, raw: Path) -> list[Path]:
    return sorted((raw / FOLDER[name]).glob("*.png"))


def notes(name: str, raw: Path) -> str:
    source = get_source(name)
    return "\n".join(source.notes(raw, source.options()))


def corrections(name: str, raw: Path) -> tuple[str, ...]:
    source = get_source(name)
    return source.corrections(raw, source.options())


def zero_the_rest(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))


def turn(path: Path) -> None:
    """Say that the file is upside down."""
    exif = Image.Exif()
    exif[0x0112] = 3
    picture = Image.open(path)
    picture.load()
    picture.save(path, exif=exif)


@pytest.mark.parametrize("name", SETS)
def test_a_mask_with_an_orientation_stays_with_its_turned_picture(name, tmp_path):
    raw, files, spec = made_up(name, tmp_path / "raw"), Files(str(tmp_path / "storage")), BuildSpec(name, 16)
    for path in raw.rglob("*.png"):
        turn(path)
    counts = build(spec, raw, files).counts["regions"]
    assert counts["kept"] == counts["turned"] == counts["listed"] and counts["left_out"] == {}
    finding, stored = ("lungs", (8, 4)) if name == "shenzhen" else ("left_lung", (8, 26))
    region = next(region for region in read_regions(files, data_folder(spec, raw)) if region.finding == finding)
    rows, columns = np.nonzero(mask_of(region))
    assert (ROWS - 1 - rows.max(), COLUMNS - 1 - columns.max()) == stored


@pytest.mark.parametrize("name", SETS)
def test_a_damaged_mask_costs_that_mask_and_is_named(name, tmp_path):
    raw, files, spec = made_up(name, tmp_path / "raw"), Files(str(tmp_path / "storage")), BuildSpec(name, 16)
    whole = build(spec, raw, files).counts["regions"]
    assert "such_as" not in whole
    first, second, *_ = masks(name, raw)
    zero_the_rest(first)
    Image.fromarray(np.eye(ROWS, COLUMNS, dtype=np.uint8)).save(second)
    manifest = build(spec, raw, files)
    counts, folder = manifest.counts["regions"], data_folder(spec, raw)
    assert (counts["listed"], counts["kept"]) == (whole["listed"], whole["kept"] - 2)
    (note,) = [note for note in manifest.notes if "regions.parquet" in note]
    finding, stem = next(iter(counts["findings"])), "CHNCXR_0001_0" if name == "shenzhen" else "MCUCXR_0001_0"
    assert "1 left out: its mask cannot be used: a chunk of the PNG has another checksum (CRC): the file is" in note
    assert f"damaged (such as {finding} of {stem})" in note and "its greys are 0, 1 of 255" in note
    assert len(read_regions(files, folder)) == counts["kept"] and verify(files, folder, manifest) == []


@pytest.mark.parametrize("name", SETS)
def test_a_mask_that_leads_out_of_the_archive_or_is_no_file_ends_the_build(name, tmp_path):
    raw, source = made_up(name, tmp_path / "raw"), get_source(name)
    first = masks(name, raw)[0]
    shutil.move(first, tmp_path / "outside.png")
    first.symlink_to(tmp_path / "outside.png")
    for call in (source.read_regions, source.corrections):
        with pytest.raises(ArchiveError, match=f"{first} is no file of .*nothing else is read"):
            list(call(raw, source.options()))


@pytest.mark.parametrize("name", SETS)
def test_only_what_was_read_otherwise_before_moves_a_key(name, tmp_path, monkeypatch):
    raw, spec, source = made_up(name, tmp_path), BuildSpec(name, 16), get_source(name)
    mask, reading = masks(name, raw)[0], sorted((raw / "ClinicalReadings").iterdir())[0]
    whole_mask, whole_reading = mask.read_bytes(), reading.read_bytes()
    assert corrections(name, raw) == ()
    for change in (Image.new("L", (4, 4), 1), Image.new("RGBA", (4, 4), "white"), Image.new("P", (4, 4), 0)):
        change.save(mask)
        assert corrections(name, raw) == (), "left out before too, or kept as it was"
    half_seen = np.full((4, 4, 4), 255, np.uint8)
    half_seen[:2, :, 3] = 0
    Image.fromarray(half_seen).save(mask)
    assert corrections(name, raw) == (WHOLE_MASKS,)
    Image.new("L", (4, 4), 255).save(mask, "BMP")
    assert corrections(name, raw) == (WHOLE_MASKS,)
    mask.write_bytes(whole_mask)
    zero_the_rest(mask)
    assert corrections(name, raw) == (WHOLE_MASKS,)
    mask.write_bytes(whole_mask)
    turn(mask)
    assert corrections(name, raw) == (TURNED_MASKS,)
    mask.write_bytes(whole_mask)
    reading.write_bytes(whole_reading.decode().encode("utf-16"))
    assert corrections(name, raw) == (WIDE_READINGS,)
    reading.write_text("male 45\nmiliary TB of both lungs")
    assert corrections(name, raw) == (WHOLE_UNITS,)
    key = data_key(spec, raw)
    monkeypatch.setattr(f"datasets_io.sources.{name}.corrections_of", lambda kind, raw: ())
    assert data_key(spec, raw) != key and source.version == 1


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("name", SETS)
def test_a_reading_in_utf_16_tells_sex_and_age(name, encoding, tmp_path):
    raw, source = made_up(name, tmp_path), get_source(name)
    expected = [(record.sex, record.age) for record in source.read_records(raw, source.options())]
    for path in (raw / "ClinicalReadings").iterdir():
        path.write_bytes(path.read_bytes().decode().encode(encoding))
    assert [(record.sex, record.age) for record in source.read_records(raw, source.options())] == expected
    assert (corrections(name, raw) == (WIDE_READINGS,)) == encoding.startswith("utf-16")


def test_a_short_reading_is_in_no_utf_16():
    assert [_wide(data) for data in (b"", b"m", b"ma", b"\0\0")] == [None] * 4


def test_readings_that_tell_neither_sex_nor_age_are_counted(tmp_path):
    raw = made_up("montgomery", tmp_path)
    assert "neither" not in notes("montgomery", raw)
    reading = sorted((raw / "ClinicalReadings").iterdir())[1]
    reading.write_text("normal")
    assert f"1 of 8 readings tell neither sex nor age (e.g. {reading.name})" in notes("montgomery", raw)
    reading.write_text("Sex: F, Age: 45 M")
    assert f"1 of 8 readings tell a sex and no age (e.g. {reading.name})" in notes("montgomery", raw)


@pytest.mark.parametrize(("name", "stem"), [("shenzhen", "CHNCXR_0001"), ("montgomery", "MCUCXR_0001")])
def test_a_number_with_both_labels_is_noted(name, stem, tmp_path):
    raw = made_up(name, tmp_path)
    assert "one with tuberculosis" not in notes(name, raw)
    for folder, end in (("CXR_png", "png"), ("ClinicalReadings", "txt")):
        shutil.copy(raw / folder / f"{stem}_0.{end}", raw / folder / f"{stem}_1.{end}")
    assert "1 numbers have an image without and one with tuberculosis" in notes(name, raw)
    assert f"(e.g. {stem}_0 and {stem}_1)" in notes(name, raw)


def test_montgomerys_empty_folders_of_masks_are_noted(tmp_path):
    raw = made_up("montgomery", tmp_path)
    assert "no mask" not in notes("montgomery", raw)
    for path in masks("montgomery", raw):
        path.unlink()
    said = notes("montgomery", raw)
    assert "ManualMask/leftMask/ has no mask such as MCUCXR_0001_0.png: no masks of left_lung" in said
    assert "right_lung" not in said


@pytest.mark.parametrize("name", SETS)
def test_masks_that_end_in_capitals_are_noted(name, tmp_path):
    raw = made_up(name, tmp_path)
    first, second, *_ = masks(name, raw)
    first.rename(first.with_suffix(".PNG"))
    second.rename(second.with_suffix(".Png"))
    said = notes(name, raw)
    folder = Path(FOLDER[name]).name
    assert f"2 masks of {folder}/ are not read, as their names end otherwise than in .png: {first.stem}.PNG" in said


def test_lung_masks_that_were_unpacked_too_deep_are_noted_also_beside_lesions(tmp_path):
    raw = made_up("shenzhen", tmp_path)
    assert "no masks" not in notes("shenzhen", raw) and "not read" not in notes("shenzhen", raw)
    (raw / "mask").mkdir()
    (raw / "masks").rename(raw / "mask/mask")
    said = notes("shenzhen", raw)
    assert "there are no masks in mask/, masks/\n" in said
    assert "4 masks of lungs in mask/mask/ are not read: move them to mask/ or masks/" in said
    (raw / "Annotations-2/masks").rename(raw / "Annotations-2/other")
    said = notes("shenzhen", raw)
    assert "there are no masks in mask/, masks/, Annotations-2/masks/" in said
    assert "1 masks of lesions in Annotations-2/other/ are not read: move them to Annotations-2/masks/" in said


def test_montgomerys_masks_that_were_unpacked_too_deep_are_noted(tmp_path):
    raw = made_up("montgomery", tmp_path)
    (raw / "ManualMask").rename(raw / "away")
    (raw / "ManualMask").mkdir()
    (raw / "away").rename(raw / "ManualMask/ManualMask")
    said = notes("montgomery", raw)
    assert "no masks of left_lung; leftMask/ lies in ManualMask/ManualMask/: move it to ManualMask/" in said
    assert "no masks of right_lung; rightMask/ lies in ManualMask/ManualMask/: move it to ManualMask/" in said


def test_a_lung_in_both_folders_is_kept_once_where_equal_and_left_out_where_not(tmp_path):
    raw, files, spec = (
        made_up("shenzhen", tmp_path / "raw"),
        Files(str(tmp_path / "storage")),
        BuildSpec("shenzhen", 16),
    )
    whole, key = build(spec, raw, files).counts["regions"], data_key(spec, raw)
    shutil.copytree(raw / "masks", raw / "mask")
    first, second, third, fourth = masks("shenzhen", raw)
    Image.open(first).convert("RGB").save(first)  # other bytes, the same mask
    Image.fromarray(255 - np.asarray(Image.open(second).convert("L"))).save(second)
    zero_the_rest(third)
    assert corrections("shenzhen", raw) == (WHOLE_MASKS, ONE_MASK) and data_key(spec, raw) != key
    manifest = build(spec, raw, files)
    counts = manifest.counts["regions"]
    assert (counts["listed"], counts["kept"]) == (whole["listed"] + 2, whole["kept"] - 1)
    assert counts["left_out"].pop(TWO_MASKS) == 2 and list(counts["left_out"].values()) == [1]
    assert any(note.startswith("4 lung masks are in mask/ and in masks/: one is kept") for note in manifest.notes)
    kept = [region.image_id for region in read_regions(files, data_folder(spec, raw)) if region.finding == "lungs"]
    assert sorted(kept) == sorted({path.name[:13] for path in (first, third, fourth)})
