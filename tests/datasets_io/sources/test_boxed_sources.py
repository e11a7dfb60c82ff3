"""The sources with boxes and masks: made-up archives in their official layouts, whole, with defects, half copied."""

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from datasets_io.build import BuildSpec, data_key
from datasets_io.build.checks import check_archive
from datasets_io.schema import ArchiveError, Record
from datasets_io.sources import chexlocalize, rsna_pneumonia, siim_pneumothorax, vindr_cxr
from datasets_io.sources.parts.nlm_tuberculosis import _sex_and_age
from datasets_io.sources.regions import Region, mask_of
from datasets_io.sources.registry import SOURCES, get_source
from datasets_io.sources.splits import check_splits, hash_split
from tests.datasets_io.sources.made_up_boxed import COLUMNS, MADE_UP, ROWS, STATES, rsna_id, siim_id, vindr_id


def made_up(layout: str, raw: Path, state: str = "whole") -> Path:
    MADE_UP[layout][1](raw, state)
    return raw


def read(name: str, raw: Path, options=None) -> list[Record]:
    source = get_source(name)
    return list(source.read_records(raw, options or source.options()))


def regions(name: str, raw: Path, options=None) -> list[Region]:
    source = get_source(name)
    return list(source.read_regions(raw, options or source.options()))


def notes(name: str, raw: Path, options=None) -> str:
    source = get_source(name)
    return "\n".join(source.notes(raw, options or source.options()))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("layout", MADE_UP)
def test_every_image_of_the_lists_is_one_record(layout, state, tmp_path):
    name, _, images = MADE_UP[layout]
    source, raw = get_source(name), made_up(layout, tmp_path, state)
    records = read(name, raw)
    assert len(records) == len({record.image_id for record in records}) == images
    assert records == read(name, raw) and regions(name, raw) == regions(name, raw)
    check_splits(records)
    assert {record.split for record in records} <= set(source.splits)
    for record in records:
        assert len(record.labels) == len(source.findings) and set(record.labels) <= {0, 1, -1, None}
    there = [record for record in records if (raw / record.path).is_file()]
    assert 0 < len(there) < images if state == "half" else len(there) == images
    spec = BuildSpec(name, 32)
    if state == "half":
        with pytest.raises(ArchiveError, match=r"of \d+ listed images are not below .*: finish copying"):
            check_archive(spec, raw)
        check_archive(spec, raw, max_rejects=0.6)
    else:
        assert check_archive(spec, raw) == records


@pytest.mark.parametrize("name", sorted({name for name, _, _ in MADE_UP.values()}))
def test_an_empty_folder_is_no_archive_without_images(name, tmp_path):
    with pytest.raises(ArchiveError, match=str(tmp_path)):
        read(name, tmp_path)


# -- VinDr-CXR -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("readers", "codes"), [("majority", [0, 0, 1, 1]), ("any", [0, 1, 1, 1]), ("uncertain", [0, -1, 1, 1])]
)
@pytest.mark.parametrize("layout", ["vindr_cxr", "vinbigdata"])
def test_three_readers_become_one_label_as_the_option_says(layout, readers, codes, tmp_path):
    raw, options = made_up(layout, tmp_path), vindr_cxr.VindrOptions(readers=readers)
    finding = "ild" if layout == "vindr_cxr" else "nodule_mass"
    place = vindr_cxr.FINDINGS.index(finding)
    by_id = {record.image_id: record for record in read("vindr_cxr", raw, options)}
    seen = [by_id[vindr_id("train", number)].labels[place] for number in range(20)]
    assert seen == codes * 5
    assert f"where {'any' if readers == 'any' else 'most'}" in notes("vindr_cxr", raw, options)


def test_vindr_test_labels_are_one_consensus_under_the_other_name_of_a_column(tmp_path):
    raw = made_up("vindr_cxr", tmp_path)
    records = read("vindr_cxr", raw)
    assert Counter(record.split == "test" for record in records) == {False: 20, True: 10}
    assert {record.split for record in records[:20]} == {"train", "val"}
    ild, other = (vindr_cxr.FINDINGS.index(name) for name in ("ild", "other_diseases"))
    # One row an image: what the consensus saw is present, and it reads as one reader who saw it or did not.
    assert [record.labels[ild] for record in records[20:]] == [0, 1, 1, 1] * 2 + [0, 1]
    assert {record.labels[other] for record in records} == {0}
    table = raw / "annotations" / "image_labels_test.csv"
    lines = table.read_text().splitlines()
    cells = lines[1].split(",")
    cells[-2] = "1"
    table.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    assert read("vindr_cxr", raw)[20].labels[other] == 1


def test_vindr_boxes_are_of_every_reader_and_counted_where_a_csv_was_cut(tmp_path):
    raw = made_up("vindr_cxr", tmp_path / "whole")
    found = regions("vindr_cxr", raw)
    # Image n has n % 4 of its readers' boxes: 30 in training, and one on 7 of 10 of the test.
    assert Counter(region.reader for region in found) == {"R8": 15, "R9": 10, "R10": 5, "": 7}
    assert found[0] == Region(vindr_id("train", 1), "ild", "box", "R8", 4, 8, 24, 32, in_pixels=True)
    assert "more or fewer than three" not in notes("vindr_cxr", raw)
    raw = made_up("vindr_cxr", tmp_path / "defects", "defects")
    assert "1 training images had more or fewer than three readers" in notes("vindr_cxr", raw)
    (raw / "test" / "annotations_test.csv").unlink()
    assert "annotations_test.csv is not there: no boxes of test images" in notes("vindr_cxr", raw)
    assert len(regions("vindr_cxr", raw)) == 30 - 1


def test_vinbigdata_has_blanks_for_what_it_does_not_label(tmp_path):
    raw = made_up("vinbigdata", tmp_path)
    records = read("vindr_cxr", raw)
    blank = {name for name, code in zip(vindr_cxr.FINDINGS, records[0].labels, strict=True) if code is None}
    assert {"pneumonia", "rib_fracture", "other_diseases"} < blank and len(blank) == 13
    assert {record.split for record in records} == {"train", "val", "test"}
    # A reader's two boxes of one finding stay two boxes, and are one vote.
    assert Counter(region.reader for region in regions("vindr_cxr", raw)) == {"R8": 30, "R9": 10, "R10": 5}


def test_vindr_labels_with_decimal_places_are_the_same(tmp_path):
    raw = made_up("vindr_cxr", tmp_path)
    before = read("vindr_cxr", raw)
    table = raw / "annotations" / "image_labels_train.csv"
    table.write_text(table.read_text().replace(",0", ",0.00").replace(",1", ",1.0"))
    assert read("vindr_cxr", raw) == before


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("image_labels_train.csv", "R9,0", "R8,0", "two rows of one reader"),
        ("image_labels_train.csv", "R8,0", "R8,2", r"line 2: label \w+ is '2'; allowed: 0 or 1$"),
        ("image_labels_train.csv", vindr_id("train", 0), "../etc", "letters and digits"),
        ("image_labels_test.csv", "Other disease", "Others", "no column of other_diseases; its header"),
        ("annotations_train.csv", ",ILD,", ",Gallstone,", "class_name is 'Gallstone'"),
        ("annotations_train.csv", "4.0,8.0", "4.0,", "numbers are needed"),
    ],
)
def test_what_vindr_cannot_mean_is_refused_with_its_line(name, old, new, message, tmp_path):
    raw = made_up("vindr_cxr", tmp_path)
    path = raw / "annotations" / name
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ArchiveError, match=message):
        read("vindr_cxr", raw), regions("vindr_cxr", raw)
    with pytest.raises(ValueError, match="allowed: majority, any, uncertain"):
        vindr_cxr.VindrOptions(readers="all")


# -- RSNA ------------------------------------------------------------------------------------------


def test_rsna_rows_are_boxes_and_the_mapping_gives_nih_ids_and_patients(tmp_path):
    raw = made_up("rsna_pneumonia", tmp_path)
    records = read("rsna_pneumonia", raw)
    first = records[0]
    assert (first.image_id, first.study_id, first.patient_id) == ("00000001_000.png", "00000001_000", "1")
    assert first.path == f"stage_2_train_images/{rsna_id(0)}.dcm"
    assert len({record.patient_id for record in records}) == 10
    assert [record.labels for record in records[:3]] == [(1, 0, 0), (0, 0, 0), (0, 1, 1)]
    found = regions("rsna_pneumonia", raw)
    assert len(found) == 15 and {region.finding for region in found} == {"lung_opacity"}
    assert found[0] == Region("00000001_002.png", "lung_opacity", "box", "", 0.25, 0.5, 0.125, 0.0625)
    assert "count as a patient" not in notes("rsna_pneumonia", raw)


def test_rsna_labels_that_pandas_wrote_as_floats_are_the_same(tmp_path):
    raw = made_up("rsna_pneumonia", tmp_path)
    labels = raw / rsna_pneumonia.LABELS
    records, boxes = read("rsna_pneumonia", raw), regions("rsna_pneumonia", raw)
    header, *rows = labels.read_text().splitlines()
    labels.write_text("\n".join([header, *(f"{row}.0" for row in rows)]) + "\n")
    assert read("rsna_pneumonia", raw) == records and regions("rsna_pneumonia", raw) == boxes != []


def test_rsna_labels_in_a_folder_of_their_own_name_are_read_to_the_end(tmp_path):
    """As some programs unpack Kaggle's zip files; the notes of the manifest come last."""
    raw = made_up("rsna_pneumonia", tmp_path)
    labels = raw / rsna_pneumonia.LABELS
    flat = notes("rsna_pneumonia", raw)
    labels.rename(tmp_path / "labels")
    labels.mkdir()
    (tmp_path / "labels").rename(labels / labels.name)
    assert len(read("rsna_pneumonia", raw)) == 30 and notes("rsna_pneumonia", raw) == flat


def test_rsna_without_its_other_files_says_what_is_not_known(tmp_path):
    raw = made_up("rsna_pneumonia", tmp_path / "raw", "defects")
    records = read("rsna_pneumonia", raw)
    assert records[2].image_id == records[2].patient_id == rsna_id(2)
    assert {record.labels[0] for record in records} == {None}
    said = notes("rsna_pneumonia", raw)
    assert "no_finding is blank" in said and "30 of 30 images count as a patient each" in said
    assert len(rsna_pneumonia.index_files(raw, rsna_pneumonia.RsnaOptions())) == 1
    made_up("rsna_pneumonia", tmp_path / "other")
    options = rsna_pneumonia.RsnaOptions(mapping=str(tmp_path / "other" / rsna_pneumonia.MAPPING))
    assert read("rsna_pneumonia", raw, options)[2].image_id == "00000001_002.png"
    assert rsna_pneumonia.index_files(raw, options)[1] == Path(options.mapping)
    with pytest.raises(ArchiveError, match="option mapping is /nowhere, which is no file"):
        read("rsna_pneumonia", raw, rsna_pneumonia.RsnaOptions(mapping="/nowhere"))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("stage_2_train_labels.csv", f"{rsna_id(0)},,,,,0", f"{rsna_id(0)},,,,,1", "Target must be 1 with a box"),
        ("stage_2_train_labels.csv", f"{rsna_id(0)},,,,,0", f"{rsna_id(0)},1,2,3,4,0", "Target must be 1 with a box"),
        ("stage_2_train_labels.csv", f"{rsna_id(0)},", f"{rsna_id(2)},", "has Target 1 here and another one above"),
        ("stage_2_train_labels.csv", rsna_id(0), "../etc", "patientId a UUID"),
        ("stage_2_train_labels.csv", "256.0,", "inf,", "numbers are needed"),
        ("stage_2_detailed_class_info.csv", f"{rsna_id(0)},Normal", f"{rsna_id(0)},Fine", "class 'Fine'; known"),
        ("stage_2_detailed_class_info.csv", f"{rsna_id(0)},Normal\r\n", "", "no row of image"),
        ("stage_2_detailed_class_info.csv", f"{rsna_id(0)},Normal", f"{rsna_id(0)},Lung Opacity", "has Target 0"),
        ("pneumonia-challenge-dataset-mappings_2018.json", '"img_id"', '"img"', "is not a list of entries"),
        ("pneumonia-challenge-dataset-mappings_2018.json", "]", "", "cannot be read"),
    ],
)
def test_what_rsna_cannot_mean_is_refused(name, old, new, message, tmp_path):
    raw = made_up("rsna_pneumonia", tmp_path)
    text = (raw / name).read_bytes().decode()
    assert old in text
    (raw / name).write_bytes(text.replace(old, new).encode())
    with pytest.raises(ArchiveError, match=message):
        read("rsna_pneumonia", raw), regions("rsna_pneumonia", raw)


# -- SIIM ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["whole", "defects"])
def test_siim_masks_are_relative_runs_down_the_columns_joined_over_rows(state, tmp_path):
    raw = made_up("siim_pneumothorax", tmp_path, state)
    records = read("siim_pneumothorax", raw)
    assert [record.labels for record in records] == [(1,), (0,), (0,), (0,)] * 5
    first, *others = regions("siim_pneumothorax", raw)
    expected = np.zeros((1024, 1024), bool)
    expected[1:4, 1] = expected[1:3, 2] = True  # a gap of 1 + 1024 pixels, 3 inside, 1021 outside, 2 inside
    assert len(others) == 4 and {region.finding for region in others} == {"pneumothorax"}
    for region in others:
        np.testing.assert_array_equal(mask_of(region), expected)
    expected[:2, 0] = True  # the second row of the first image
    assert first.image_id == siim_id(0)
    np.testing.assert_array_equal(mask_of(first), expected)
    assert "1 images have more than one row" in notes("siim_pneumothorax", raw)


def test_siim_splits_by_a_hash_or_by_its_folders(tmp_path):
    raw = made_up("siim_pneumothorax", tmp_path)
    folders = siim_pneumothorax.SiimOptions(split="folders")
    expected = [hash_split(siim_id(n), "siim_pneumothorax train", (("train", 7), ("val", 1))) for n in range(15)]
    assert [record.split for record in read("siim_pneumothorax", raw, folders)[:15]] == expected
    assert {record.split for record in read("siim_pneumothorax", raw, folders)[15:]} == {"test"}
    shutil.rmtree(raw / "dicom-images-test")
    with pytest.raises(ArchiveError, match="lists no image of dicom-images-test"):
        read("siim_pneumothorax", raw, folders)
    with pytest.raises(ValueError, match="allowed: image_70_10_20, folders"):
        siim_pneumothorax.SiimOptions(split="official")
    (raw / "train-rle.csv").rename(raw / "stage_2_train.csv")
    shutil.move(raw / "dicom-images-train", raw / "stage_2_images")
    records = read("siim_pneumothorax", raw)
    assert (
        records[0].path.startswith("stage_2_images/study0/") and records[19].path == f"stage_2_images/{siim_id(19)}.dcm"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1025 3 1021 2", "1025 3 1021", "neither -1 nor pairs"),
        ("1025 3 1021 2", "1025 3 1021 2000000", "neither -1 nor pairs"),
        ("1025 3 1021 2", "1025 3 x 2", "neither -1 nor pairs"),
        ("1025 3 1021 2", "", "neither -1 nor pairs"),
        (f"{siim_id(1)},-1", f"{siim_id(0)},-1", "a mask in one row and -1 in another"),
        ("EncodedPixels", "Pixels", "no column EncodedPixels"),
    ],
)
def test_what_siim_cannot_mean_is_refused(old, new, message, tmp_path):
    raw = made_up("siim_pneumothorax", tmp_path)
    table = raw / "train-rle.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises(ArchiveError, match=message):
        read("siim_pneumothorax", raw)


def test_siim_images_in_two_folders_are_refused(tmp_path):
    raw = made_up("siim_pneumothorax", tmp_path)
    (raw / "dicom-images-test" / f"{siim_id(0)}.dcm").touch()
    with pytest.raises(ArchiveError, match=f"image {siim_id(0)} is in .* twice"):
        read("siim_pneumothorax", raw)


# -- Shenzhen and Montgomery -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("male 45yrs\nnormal", ("M", 45)),
        ("Female, 30 yrs\n", ("F", 30)),
        ("female20yrs", ("F", 20)),
        ("male  11months\n2 years ago", ("M", 0)),
        ("\n\nMale 9 days", ("M", 0)),
        ("male 45\n", ("M", 45)),
        ("Patient's Sex: F\r\nPatient's Age: 027Y\r\nnormal 55 mm", ("F", 27)),
        ("unknown\nnormal\nmale 3yrs", (None, None)),
        ("", (None, None)),
        ("male 45\nmiliary TB of both lungs", ("M", 45)),
        ("45 male", ("M", 45)),
        ("male 34 with PTB", ("M", 34)),
        ("62 woman", ("F", 62)),
        ("M 45", ("M", 45)),
        ("45 M", ("M", 45)),
        ("45F", ("F", 45)),
        ("30 yrs, f", ("F", 30)),
        ("F/u of 34 yrs", (None, 34)),
        ("Gender: F\nAge: 33", ("F", 33)),
        ("Sex: missing\n45", (None, 45)),
        ("Patient's Sex: M\nPatient's Age: 018M", ("M", 1)),
        ("male 30 months", ("M", 2)),
        ("Sex: F, Age: 45 M", ("F", None)),  # a man of 45 years, or a girl of 45 months
        ("45M", (None, None)),
        ("female\n1. TB of both lungs", ("F", None)),
    ],
)
def test_sex_and_age_of_a_reading(text, expected):
    assert _sex_and_age(text) == expected


@pytest.mark.parametrize("state", ["whole", "defects"])
def test_shenzhen_labels_are_in_its_names_and_strays_are_passed_over(state, tmp_path):
    raw = made_up("shenzhen", tmp_path, state)
    records = read("shenzhen", raw)
    assert [record.labels for record in records] == [(0,)] * 6 + [(1,)] * 6
    assert records[1].image_id == "CHNCXR_0002_0" and (records[1].sex, records[1].age) == ("F", 30)
    found = regions("shenzhen", raw)
    names = Counter(region.finding for region in found)
    # Of the two strays one mask is empty, and one is of an image that is not there: the build leaves it out.
    assert names == {"lungs": 4 + (state == "defects"), "small_infiltrate_non_linear": 1}
    expected = np.zeros((ROWS, COLUMNS), bool)
    expected[8:40, 4:20] = True
    np.testing.assert_array_equal(mask_of(found[0]), expected)
    (lesion,) = (raw / "Annotations-2" / "masks").glob("*.png")
    lesion.rename(lesion.with_name("CHNCXR_0007_1_Mr_Smith_2.png"))
    assert {region.finding for region in regions("shenzhen", raw)} == {"lungs", "lesion"}, "a name is no finding"


def test_montgomery_has_a_mask_for_each_lung(tmp_path):
    raw = made_up("montgomery", tmp_path / "whole")
    found = regions("montgomery", raw)
    assert Counter(region.finding for region in found) == {"left_lung": 8, "right_lung": 8}
    left, right = (mask_of(next(r for r in found if r.finding == name)) for name in ("left_lung", "right_lung"))
    assert left.sum() == right.sum() == 32 * 16 and not (left & right).any()
    raw = made_up("montgomery", tmp_path / "defects", "defects")
    assert {region.finding for region in regions("montgomery", raw)} == {"left_lung"}
    assert "rightMask/ is not there: no masks of right_lung" in notes("montgomery", raw)


@pytest.mark.parametrize("name", ["shenzhen", "montgomery"])
def test_images_whose_readings_are_not_there_are_not_a_smaller_set(name, tmp_path):
    raw, options = made_up(name, tmp_path), get_source(name).options()
    next((raw / "ClinicalReadings").glob("*.txt")).unlink()
    with pytest.raises(ArchiveError, match=r"1 images of .*CXR_png have no reading"):
        read(name, raw)
    (tmp_path / "above").mkdir()
    for folder in ("CXR_png", "ClinicalReadings"):
        shutil.move(raw / folder, tmp_path / "above" / folder)
    with pytest.raises(ArchiveError, match=r"no folder CXR_png/.*did you mean --raw .*above\?"):
        get_source(name).index_files(raw, options)


@pytest.mark.parametrize(("name", "other"), [("shenzhen", "montgomery"), ("montgomery", "shenzhen")])
def test_the_folder_of_the_other_set_is_called_by_its_name(name, other, tmp_path):
    raw = made_up(other, tmp_path / "raw")
    said = f"{raw}/ClinicalReadings has .*0001_0.txt: this is the archive of {other}; build {other} from it$"
    for given, lacks in ((raw, "no reading such as ClinicalReadings/"), (tmp_path, "no folder CXR_png/")):
        with pytest.raises(ArchiveError, match=f"{lacks}.*, but {said}"):
            read(name, given)
    for path in (raw / "ClinicalReadings").iterdir():
        path.unlink()
    with pytest.raises(ArchiveError, match=r"no reading such as ClinicalReadings/.*: finish copying the"):
        read(name, raw)


@pytest.mark.parametrize(("name", "masks"), [("montgomery", "ManualMask/leftMask"), ("shenzhen", "masks")])
def test_a_changed_reading_and_masks_that_arrive_later_are_another_archive(name, masks, tmp_path):
    raw, spec = made_up(name, tmp_path), BuildSpec(name, 32)
    whole = data_key(spec, raw)
    assert data_key(spec, raw) == whole
    (raw / masks).rename(tmp_path / "later")
    without = data_key(spec, raw)
    (raw / masks).mkdir()
    half = sorted((tmp_path / "later").iterdir())[0]
    shutil.copy(half, raw / masks)
    assert len({whole, without, data_key(spec, raw)}) == 3
    shutil.copytree(tmp_path / "later", raw / masks, dirs_exist_ok=True)
    assert data_key(spec, raw) == whole
    for stray in (".DS_Store", "Thumbs.db", "desktop.ini", "._CHNCXR_0001_0.txt"):
        (raw / "ClinicalReadings" / stray).write_text("of whoever looked into the folder")
    assert data_key(spec, raw) == whole
    next((raw / "ClinicalReadings").glob("[CM]*.txt")).write_text("Patient's Sex: M")
    assert data_key(spec, raw) != whole


# -- CheXlocalize ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["whole", "defects"])
def test_chexlocalize_has_chexperts_ids_and_masks_under_its_present_names(state, tmp_path):
    raw = made_up("chexlocalize", tmp_path, state)
    records = read("chexlocalize", raw)
    assert Counter(record.split for record in records) == {"val": 6, "test": 9}
    assert records[0].image_id == "valid/patient64541/study1/view1_frontal"
    assert records[0].path == "CheXpert/val/patient64541/study1/view1_frontal.jpg"
    assert (records[0].sex, records[0].age, records[0].view_position) == ("M", 60, "AP")
    assert (records[-1].image_id, records[-1].view_position) == ("test/patient64749/study1/view2_lateral", "LATERAL")
    opacity = chexlocalize.FINDINGS.index("lung_opacity")
    assert [record.labels[opacity] for record in records[:6]] == [1, 0, 0] * 2
    found = regions("chexlocalize", raw)
    # Masks are empty where a finding is absent, and missing for each third image: 2 + 3 are left, all of one finding.
    assert len(found) == 5 + 2 * (state == "defects")
    assert {region.finding for region in found} == {"lung_opacity"}
    assert found[0].image_id == "valid/patient64541/study1/view1_frontal"
    assert np.argwhere(mask_of(found[0])).min(axis=0).tolist() == [10, 5]


def test_chexlocalize_without_val_or_with_folders_of_chexpert(tmp_path):
    raw = made_up("chexlocalize", tmp_path)
    (raw / "CheXpert" / "val").rename(raw / "CheXpert" / "valid")
    records = read("chexlocalize", raw)
    assert records[0].path.startswith("CheXpert/valid/") and records[0].image_id.startswith("valid/")
    (raw / "CheXpert" / "val_labels.csv").unlink()
    (raw / "CheXlocalize" / "gt_segmentations_val.json").unlink()
    assert {record.split for record in read("chexlocalize", raw)} == {"test"}
    said = notes("chexlocalize", raw)
    assert "no train split" in said and "the val split is empty" in said and "no masks of val images" in said
    assert len(regions("chexlocalize", raw)) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda masks: masks["Airspace Opacity"].update(counts="7"), "its counts fill 7 pixels"),
        (lambda masks: masks["Airspace Opacity"].update(size=[10]), "cannot be read"),
        (lambda masks: masks["Airspace Opacity"].update(size=[1 << 20, 1 << 20]), "its size is"),
        (lambda masks: masks["Airspace Opacity"].update(size=[float("inf"), 10]), "cannot be read"),
        (lambda masks: masks["Airspace Opacity"].pop("counts"), "cannot be read"),
        (lambda masks: masks.update(Gallstone=masks["Edema"]), "the mask 'Gallstone' of"),
    ],
)
def test_masks_of_another_form_are_refused_with_their_image(change, message, tmp_path):
    raw = made_up("chexlocalize", tmp_path)
    path = raw / "CheXlocalize" / "gt_segmentations_test.json"
    masks = json.loads(path.read_text())
    change(masks["patient64741_study1_view1_frontal"])
    path.write_text(json.dumps(masks))
    with pytest.raises(ArchiveError, match=message):
        regions("chexlocalize", raw)


def test_sources_say_where_their_pictures_are_also():
    for name, source in SOURCES.items():
        for other in (*source.shares_ids_with, *source.shares_pictures_with):
            assert other in SOURCES and other != name
    assert get_source("rsna_pneumonia").shares_ids_with == ("nih_cxr14",)
    assert get_source("chexlocalize").splits == ("val", "test")
