"""PadChest: labels by exact names, views, Spanish reports, and an archive with its defects or half copied."""

import pytest

from datasets_io.build import BuildSpec, build
from datasets_io.build.verify import verify
from datasets_io.schema import ArchiveError, NoImages
from datasets_io.sources.padchest import FINDINGS, MORE_VIEWS, PadchestOptions, corrections, notes, read_records
from datasets_io.sources.parts.padchest_labels import FAMILIES, SILENT, codes_of
from datasets_io.storage.files import Files
from tests.datasets_io.sources.made_up import cut, padchest_row, write_padchest


def named(labels: tuple) -> set[str]:
    return {finding for finding, code in zip(FINDINGS, labels, strict=True) if code == 1}


def test_a_row_becomes_a_record(tmp_path):
    write_padchest(tmp_path, [padchest_row(number) for number in range(6)])
    records = list(read_records(tmp_path, PadchestOptions()))
    first, second = records[:2]
    assert (first.path, first.view_position) == (f"images/0/{first.image_id}", "PA")
    assert (tmp_path / first.path).is_file() and second.view_position == "LATERAL"
    assert (first.study_id, first.patient_id, first.age, first.sex) == ("study0", "patient0", 64, "M")
    assert records[4].sex is None, "O is neither M nor F"
    assert first.report_impression == "sin hallazg patolog . cardiomegali ." and first.report_findings is None
    assert [named(record.labels) for record in records] == [
        {"cardiomegaly", "pleural_effusion"},
        set(),
        set(),  # pericardial effusion, pseudonodule, breast mass, subcutaneous emphysema
        {"pleural_effusion", "pneumothorax", "copd_signs"},
        {"nodule"},
        set(),
    ]
    assert records[1].labels == (0,) * len(FINDINGS), "normal"
    assert set(records[4].labels) == {1, None}, "unchanged: what is not named may be there as before"
    assert set(records[5].labels) == {None}, "no labels"


def test_projections_are_understood_or_counted(tmp_path):
    words = ("PA", "L", "AP", "AP_horizontal", "EXCLUDE", "COSTAL")
    write_padchest(tmp_path, [padchest_row(number, Projection=word) for number, word in enumerate(words)])
    assert corrections(tmp_path, PadchestOptions()) == (), "the archive's own words keep its key"
    text = " | ".join(notes(tmp_path, PadchestOptions()))
    assert "1 of 6 images have a Projection that names no view (first in line 7; 1 of them COSTAL" in text
    words = ("pa", "LATERAL", "P.A.", "COSTAL", "UNK", "", "EXCLUDE")
    write_padchest(tmp_path, [padchest_row(number, Projection=word) for number, word in enumerate(words)])
    views = [record.view_position for record in read_records(tmp_path, PadchestOptions())]
    assert views == ["PA", "LATERAL", "PA", None, None, None, None]
    assert corrections(tmp_path, PadchestOptions()) == (MORE_VIEWS,)
    text = " | ".join(notes(tmp_path, PadchestOptions()))
    assert "3 of 7 images have a Projection that names no view (first in line 5; 1 of them COSTAL" in text
    assert "count as frontal" in text


@pytest.mark.parametrize("word", sorted(SILENT))
def test_absence_is_unknown_where_the_labels_are_silent_or_the_option_says_so(word):
    assert set(codes_of(frozenset({word, "nodule"}), absent_is_zero=True)) == {1, None}
    assert set(codes_of(frozenset({"nodule"}), absent_is_zero=True)) == {1, 0}
    assert set(codes_of(frozenset({"nodule"}), absent_is_zero=False)) == {1, None}


def test_families_have_exact_names_and_no_trap():
    names = [name for family in FAMILIES.values() for name in family]
    assert all(name == " ".join(name.lower().split()) for name in names)
    twice = {name for name in names if names.count(name) > 1}
    assert twice == {"hydropneumothorax", "consolidation", "air bronchogram"}
    traps = {"pericardial effusion", "pseudonodule", "nipple shadow", "breast mass", "subcutaneous emphysema", "normal"}
    assert not traps & set(names)


def test_labels_of_a_network_are_blank_where_physicians_are_asked_for(tmp_path):
    write_padchest(tmp_path, [padchest_row(number) for number in range(8)])
    records = list(read_records(tmp_path, PadchestOptions(labels="physician")))
    assert [set(record.labels) == {None} for record in records] == [n % 4 == 3 or n == 5 for n in range(8)]
    assert any("physicians gave the labels of 6 of 8 images" in note for note in notes(tmp_path, PadchestOptions()))


@pytest.mark.parametrize(
    ("cells", "match"),
    [
        ({"Labels": "__import__('os').system('true')"}, "line 2: Labels is"),
        ({"Labels": "['nodule'"}, "which is no list of texts"),
        ({"Labels": "[1, 2]"}, "which is no list of texts"),
        ({"Labels": "(" * 9000}, "which is no list of texts"),
        ({"ImageDir": "../.."}, "ImageDir is"),
        ({"PatientID": " "}, "empty ImageID, PatientID or StudyID"),
    ],
)
def test_cells_that_are_no_labels_or_ids_are_refused_and_run_nothing(cells, match, tmp_path):
    write_padchest(tmp_path, [padchest_row(0)])
    write_padchest(tmp_path, [padchest_row(0, **cells)], layout="images/0/{image}")
    with pytest.raises(ArchiveError, match=match):
        list(read_records(tmp_path, PadchestOptions()))


@pytest.mark.parametrize(
    "layout", ["images/{dir}/{image}", "{dir}/{image}", "images/{image}", "{image}", "images-224/{image}"]
)
def test_images_are_found_wherever_the_zips_were_unpacked(layout, tmp_path):
    paths = write_padchest(tmp_path, [padchest_row(number) for number in range(4)], layout)
    assert [tmp_path / record.path for record in read_records(tmp_path, PadchestOptions())] == paths


@pytest.mark.parametrize("layout", ["images-224/{image}", "images/{image}", "{image}"])
def test_folders_of_numbers_that_are_empty_do_not_hide_images_in_one_folder(layout, tmp_path):
    paths = write_padchest(tmp_path, [padchest_row(number) for number in range(4)], layout)
    for name in ("images/0", "1"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "1" / "._0.png").touch()
    assert [tmp_path / record.path for record in read_records(tmp_path, PadchestOptions())] == paths
    write_padchest(tmp_path, [padchest_row(0)])
    assert next(read_records(tmp_path, PadchestOptions())).path.startswith("images/0/")


def test_packed_zips_and_a_missing_csv_say_what_to_do(tmp_path):
    for path in write_padchest(tmp_path / "PadChest", [padchest_row(0)]):
        path.unlink()
    (tmp_path / "PadChest" / "images" / "0").rmdir()
    (tmp_path / "PadChest" / "0.zip").touch()
    with pytest.raises(ArchiveError, match=r"0.zip is still packed: unpack each N.zip into images/N"):
        list(read_records(tmp_path / "PadChest", PadchestOptions()))
    with pytest.raises(ArchiveError, match=r"did you mean --raw .*PadChest"):
        list(read_records(tmp_path, PadchestOptions()))
    with pytest.raises(ValueError, match="labels is 'physicians'; allowed: all, physician"):
        PadchestOptions(labels="physicians")


@pytest.mark.parametrize(
    ("layout", "place"),
    [
        ("PadChest/{dir}/{image}", "PadChest"),
        ("images/images/{dir}/{image}", "images/images"),
        ("a/pngs/{image}", "a/pngs"),
        ("x\x1b/{image}", r"x\\x1b"),
    ],
)
def test_images_in_a_folder_deeper_are_named_and_not_said_to_be_packed(layout, place, tmp_path):
    write_padchest(tmp_path, [padchest_row(number) for number in range(4)], layout)
    (tmp_path / "0.zip").touch()  # that was unpacked already
    with pytest.raises(NoImages, match=rf"PNGs lie in {place}/: move what is in that folder to images/$"):
        list(read_records(tmp_path, PadchestOptions()))


def test_a_whole_archive_is_taken_whole(tmp_path):
    write_padchest(tmp_path / "raw", [padchest_row(number) for number in range(24)])
    files = Files(str(tmp_path / "storage"))
    manifest = build(BuildSpec("padchest", 32), tmp_path / "raw", files)
    counts = manifest.counts
    assert (counts["records"], counts["images"], counts["rejects"]) == (24, 24, 0)
    assert verify(files, f"data/padchest-{manifest.key}", manifest) == []
    assert counts["reports"]["studies"] == 12 and len(counts["splits"]) == 3
    assert manifest.notes[0] == "made up, or a part of the archive: 24 images; 160,861 were published"


def test_its_known_defects_are_rejected_or_blank_and_counted(tmp_path):
    rows = [padchest_row(number) for number in range(24)]
    rows[2] = padchest_row(2, Projection="EXCLUDE")
    rows[4] = padchest_row(4, Projection="COSTAL", PhotometricInterpretation_DICOM="MONOCHROME1", Report="")
    rows[6] = padchest_row(6, Projection="AP_horizontal", PatientBirth="", Labels="['exclude']")
    rows.append(rows[0])  # a row twice
    paths = write_padchest(tmp_path / "raw", rows)
    paths[8].unlink()
    cut(paths[10])
    manifest = build(BuildSpec("padchest", 32), tmp_path / "raw", Files(str(tmp_path / "storage")), max_rejects=0.2)
    counts = manifest.counts
    assert (counts["records"], counts["images"], counts["rejects"]) == (25, 22, 3)
    assert sum(split["images"] for split in counts["splits"].values()) + 3 == 25
    text = " ".join(manifest.notes)
    assert "1 images have Projection EXCLUDE" in text and "1 images were MONOCHROME1" in text
    records = {record.image_id: record for record in read_records(tmp_path / "raw", PadchestOptions())}
    of = [records[row["ImageID"]] for row in rows]
    assert of[2].report_impression is None and set(of[2].labels) == {None} and of[2].view_position is None
    assert (of[4].view_position, of[4].report_impression) == (None, None)
    assert (of[6].view_position, of[6].age) == ("AP", None) and set(of[6].labels) == {None}


def test_half_a_copy_ends_before_an_image_is_read(tmp_path):
    for path in write_padchest(tmp_path / "raw", [padchest_row(number) for number in range(24)])[::2]:
        path.unlink()
    storage = tmp_path / "storage"
    with pytest.raises(ArchiveError, match="12 of 24 listed images are not below"):
        build(BuildSpec("padchest", 32), tmp_path / "raw", Files(str(storage)))
    manifest = build(BuildSpec("padchest", 32), tmp_path / "raw", Files(str(storage)), max_rejects=0.5)
    assert (manifest.counts["records"], manifest.counts["images"], manifest.counts["rejects"]) == (24, 12, 12)


def test_a_backslash_in_a_label_is_read_without_a_warning(tmp_path, recwarn):
    write_padchest(tmp_path, [padchest_row(0, Labels="['nodule', 'nodule\\d']")])
    assert [named(record.labels) for record in read_records(tmp_path, PadchestOptions())] == [{"nodule"}]
    assert [str(warning.message) for warning in recwarn] == []
