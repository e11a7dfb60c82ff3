"""Open-I: reports from XML that can harm nobody, headings as a whole; an archive with its defects, and half copied."""

import os
import shlex
import shutil
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from datasets_io.build import BuildSpec, build, data_key
from datasets_io.build.verify import verify
from datasets_io.schema import ArchiveError, NoImages
from datasets_io.sources.open_i import FINDINGS, OpenIOptions, corrections, index_files, notes, read_records
from datasets_io.sources.parts.open_i_reports import UNREPORTED, read_reports
from datasets_io.sources.parts.safe_xml import MAX_BYTES, read_xml
from datasets_io.storage.files import Files
from tests.datasets_io.sources.made_up import cut, open_i_xml, write_open_i, write_png, write_table

NUMBERS = [1, 2, 3, 4, 5, 6, 9, 10, 11, 12]  # with gaps, as in the archive


def named(labels: tuple) -> set[str]:
    return {finding for finding, code in zip(FINDINGS, labels, strict=True) if code == 1}


def test_a_report_gives_a_record_for_each_of_its_images(tmp_path):
    write_open_i(tmp_path, NUMBERS)
    records = list(read_records(tmp_path, OpenIOptions()))
    assert len(records) == 20 and len({record.image_id for record in records}) == 20
    first, last = records[0], records[-1]
    assert (first.image_id, first.study_id, first.patient_id) == ("CXR1_IM-0001-1001", "1", "1")
    assert (first.report_findings, first.report_impression) == ("Clear.", "Text 1.")
    assert (last.image_id, last.path) == ("CXR12_IM-0012-2001", "NLMCXR_png/CXR12_12_IM-0012-2001.png")
    assert all((tmp_path / record.path).is_file() for record in records)
    assert {record.study_id for record in records if record.report_findings is None} == {"5", "10"}
    of = {record.study_id: record.labels for record in records}
    assert named(of["1"]) == {"cardiomegaly", "atelectasis"} and set(of["1"]) == {1, 0}
    assert named(of["2"]) == set(), (
        "pericardial effusion, cystic fibrosis, subcutaneous emphysema, a mass of the breast"
    )
    assert named(of["3"]) == {"lung_opacity", "pleural_thickening", "pleural_effusion", "pneumothorax"}
    assert set(of["4"]) == {None}, "nobody indexed it"
    assert set(of["5"]) == {1, None} and named(of["5"]) == {"nodule"}, "of a bad picture absence is not known"
    assert set(of["6"]) == {0}, "normal"


def test_numbers_of_patients_are_reports_and_the_notes_say_so(tmp_path):
    write_open_i(tmp_path, NUMBERS)
    text = " ".join(notes(tmp_path, OpenIOptions(absent="blank")))
    assert "each report is taken for a patient" in text and "10 of 3,955 reports" in text and "is blank" in text
    assert "laterals count as frontal" in text
    assert {code for record in read_records(tmp_path, OpenIOptions(absent="blank")) for code in record.labels} == {
        1,
        None,
    }
    rows = [
        {"uid": "1", "filename": f"1_IM-0001-{n}001.dcm.png", "projection": w}
        for n, w in ((1, "Frontal"), (2, "Lateral"))
    ]
    write_table(tmp_path / "indiana_projections.csv", ["uid", "filename", "projection"], rows)
    views = [record.view_position for record in read_records(tmp_path, OpenIOptions())]
    assert views[:3] == ["FRONTAL", "LATERAL", None]
    text = " ".join(notes(tmp_path, OpenIOptions()))
    assert "laterals" not in text
    assert "indiana_projections.csv says of 18 of 20 images neither Frontal nor Lateral" in text, "it was cut"


def test_the_dicom_tree_and_the_png_tree_give_the_same_records(tmp_path, write_dicom):
    write_open_i(tmp_path / "png", NUMBERS)
    write_open_i(tmp_path / "dcm", NUMBERS, write_dicom)
    one, other = (list(read_records(tmp_path / kind, OpenIOptions())) for kind in ("png", "dcm"))
    assert [record.image_id for record in one] == [record.image_id for record in other]
    assert other[0].path == "NLMCXR_dcm/1/1_IM-0001-1001.dcm" and (tmp_path / "dcm" / other[-1].path).is_file()
    with pytest.raises(ArchiveError, match="has no PNG such as"):
        list(read_records(tmp_path / "dcm", OpenIOptions(images="png")))
    (tmp_path / "dcm" / other[0].path).unlink()
    assert next(read_records(tmp_path / "dcm", OpenIOptions())).path == other[0].path, "it is named where it would be"


def test_the_copy_on_kaggle_gives_the_same_ids(tmp_path):
    columns = ["uid", "MeSH", "Problems", "image", "indication", "comparison", "findings", "impression"]
    row = {"uid": "7", "MeSH": "Cardiomegaly/borderline;Opacity/lung", "findings": "Big.", "impression": "Big heart."}
    write_table(tmp_path / "indiana_reports.csv", columns, [row])
    with pytest.raises(ArchiveError, match=r"not indiana_projections.csv"):
        index_files(tmp_path, OpenIOptions())
    views = [
        {"uid": "7", "filename": f"7_IM-0009-{n}001.dcm.png", "projection": w}
        for n, w in ((1, "Frontal"), (2, "Lateral"))
    ]
    write_table(tmp_path / "indiana_projections.csv", ["uid", "filename", "projection"], views)
    for place, view in enumerate(views):
        write_png(tmp_path / "images" / "images_normalized" / view["filename"], place)
    records = list(read_records(tmp_path, OpenIOptions()))
    assert [record.image_id for record in records] == ["CXR7_IM-0009-1001", "CXR7_IM-0009-2001"]
    assert [record.view_position for record in records] == ["FRONTAL", "LATERAL"]
    assert named(records[0].labels) == {"cardiomegaly", "lung_opacity"} and records[0].report_findings == "Big."
    assert (tmp_path / records[1].path).is_file()


def kaggle(raw: Path, count: int, reports: int) -> None:
    """The copy on Kaggle with `count` reports of one image each, of which the csv has the first ones."""
    texts = [{"uid": str(number), "MeSH": "normal", "impression": "Clear."} for number in range(1, reports + 1)]
    write_table(raw / "indiana_reports.csv", ["uid", "MeSH", "findings", "impression"], texts)
    names = {number: f"{number}_IM-0001-1001.dcm.png" for number in range(1, count + 1)}
    views = [{"uid": str(number), "filename": name, "projection": "Frontal"} for number, name in names.items()]
    write_table(raw / "indiana_projections.csv", list(views[0]), views)
    for number, name in names.items():
        write_png(raw / "images" / "images_normalized" / name, number)


def test_images_of_the_copy_on_kaggle_without_a_report_are_kept_or_refused(tmp_path):
    spec, files = BuildSpec("open_i", 16), Files(str(tmp_path / "storage"))
    raw = tmp_path / "raw"
    kaggle(raw, 100, 100)
    assert corrections(raw, OpenIOptions()) == ()
    kaggle(raw, 100, 99)
    assert corrections(raw, OpenIOptions()) == (UNREPORTED,)
    records = list(read_records(raw, OpenIOptions()))
    assert len(records) == 100 and (records[-1].study_id, records[-1].report_impression) == ("100", None)
    assert set(records[-1].labels) == {None} and set(records[0].labels) == {0}
    manifest = build(spec, raw, files)
    assert (manifest.counts["records"], manifest.counts["images"]) == (100, 100)
    text = " | ".join(manifest.notes)
    assert "1 images of indiana_projections.csv have no report" in text and "99 of 3,955 reports" in text
    kaggle(raw, 100, 50)
    match = r"50 of 100 images of indiana_projections.csv have no report in .*indiana_reports.csv \(e.g. of uid 51\)"
    for step in ("with images", "without"):
        with pytest.raises(ArchiveError, match=match):
            list(read_records(raw, OpenIOptions()))
        if step == "with images":
            shutil.rmtree(raw / "images")


BOMB = (
    '<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>'
    "<eCitation>&c;</eCitation>"
)
OUTSIDE = '<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/hostname">]><eCitation><major>&a;</major></eCitation>'


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (BOMB, "has a document type"),
        (OUTSIDE, "has a document type"),
        ("<a>" * 100 + "</a>" * 100, "more than 64 deep"),
        (f"<a>{'x' * MAX_BYTES}</a>", "has more than 1,048,576 bytes"),
        ("<eCitation><MeSH>", "no whole XML"),
        ("", "no whole XML"),
        ("<a>&unknown;</a>", "no whole XML"),
    ],
)
def test_xml_that_would_grow_fetch_or_is_cut_is_refused(text, match, tmp_path):
    path = tmp_path / "1.xml"
    path.write_text(text)
    with pytest.raises(ArchiveError, match=match):
        read_xml(path, tmp_path)


@pytest.mark.parametrize("encoding", ["nonsense", "hex", "rot13", "zlib", "undefined", "utf-32"])
def test_a_report_in_an_encoding_that_is_none_of_texts_is_named(encoding, tmp_path):
    write_open_i(tmp_path, NUMBERS)
    path = tmp_path / "ecgen-radiology" / "3.xml"
    path.write_text(f'<?xml version="1.0" encoding="{encoding}"?>\n<eCitation/>')
    with pytest.raises(ArchiveError, match=f"{path} is no whole XML file"):
        list(read_records(tmp_path, OpenIOptions()))


def test_a_report_that_is_a_link_out_or_names_another_reports_image_is_refused(tmp_path):
    write_open_i(tmp_path / "raw", NUMBERS)
    report = tmp_path / "raw" / "ecgen-radiology" / "1.xml"
    text = report.read_text()
    report.write_text(text.replace("CXR1_IM", "CXR2_IM"))
    with pytest.raises(ArchiveError, match="image 'CXR2_IM-0001-1001' is not like CXR1_IM"):
        list(read_records(tmp_path / "raw", OpenIOptions()))
    (tmp_path / "elsewhere.xml").write_text(text)
    report.unlink()
    report.symlink_to(tmp_path / "elsewhere.xml")
    with pytest.raises(ArchiveError, match="a link out of"):
        list(read_records(tmp_path / "raw", OpenIOptions()))


def test_a_report_that_is_no_regular_file_is_named_and_not_left_out(tmp_path):
    write_open_i(tmp_path, [1, 2])
    report = tmp_path / "ecgen-radiology" / "2.xml"
    report.unlink()
    for make, what in ((os.mkfifo, "it is a FIFO"), (os.mkdir, "it is a folder")):
        make(report)
        with pytest.raises(ArchiveError, match=rf"2.xml cannot be read \({what}: only regular files are read"):
            list(read_records(tmp_path, OpenIOptions()))
        report.rmdir() if report.is_dir() else report.unlink()
    report.symlink_to(tmp_path / "away.xml")
    with pytest.raises(ArchiveError, match=r"2.xml cannot be read \(No such file"):
        list(read_records(tmp_path, OpenIOptions()))


def test_what_is_packed_or_one_level_too_high_is_said(tmp_path):
    paths = write_open_i(tmp_path / "OpenI", NUMBERS)
    with pytest.raises(ArchiveError, match=r"did you mean --raw .*OpenI"):
        index_files(tmp_path, OpenIOptions())
    for path in paths:
        path.unlink()
    (tmp_path / "OpenI" / "NLMCXR_png.tgz").touch()
    with pytest.raises(ArchiveError, match=r"tar xzf .*NLMCXR_png.tgz"):
        list(read_records(tmp_path / "OpenI", OpenIOptions()))
    (tmp_path / "NLMCXR_reports.tgz").touch()
    with pytest.raises(ArchiveError, match=r"tar xzf .*NLMCXR_reports.tgz"):
        index_files(tmp_path, OpenIOptions())
    with pytest.raises(ValueError, match="images is 'jpg'; allowed: auto, png, dcm"):
        OpenIOptions(images="jpg")


@pytest.mark.parametrize("place", ["NLMCXR_png/NLMCXR_png", "a/b/pngs", "images/x"])
def test_images_in_a_folder_deeper_are_named_and_not_said_to_be_packed(place, tmp_path):
    write_open_i(tmp_path, NUMBERS)
    (tmp_path / "NLMCXR_png").rename(tmp_path / "away")
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "away").rename(tmp_path / place)
    (tmp_path / "NLMCXR_png.tgz").touch()  # that was unpacked already
    with pytest.raises(NoImages, match=rf"images lie in {place}/, .*: move what is in it to NLMCXR_png/$"):
        list(read_records(tmp_path, OpenIOptions()))


def test_dicom_files_in_a_folder_deeper_are_named(tmp_path, write_dicom):
    write_open_i(tmp_path, NUMBERS, write_dicom)
    (tmp_path / "NLMCXR_dcm").rename(tmp_path / "other")
    with pytest.raises(NoImages, match=r"images lie in other/, .*: move what is in it to NLMCXR_dcm/$"):
        list(read_records(tmp_path, OpenIOptions()))
    with pytest.raises(NoImages, match=r"has no PNG .*: unpack NLMCXR_png.tgz or NLMCXR_dcm.tgz there$"):
        list(read_records(tmp_path, OpenIOptions(images="png")))


@pytest.mark.parametrize("name", ["OpenI", "My Drive", "it's"])
def test_the_command_that_unpacks_images_works_as_pasted(name, tmp_path):
    raw = tmp_path / name
    name_of_first = write_open_i(raw, NUMBERS)[0].name
    shutil.rmtree(raw / "NLMCXR_png")
    with tarfile.open(raw / "NLMCXR_png.tgz", "w:gz") as archive:
        (tmp_path / "picture.png").touch()
        archive.add(tmp_path / "picture.png", name_of_first)
    with pytest.raises(NoImages) as caught:
        list(read_records(raw, OpenIOptions()))
    command = str(caught.value).partition("unpack it: ")[2]
    assert ("'" in command) == (name != "OpenI")
    subprocess.run(command, shell=True, check=True)
    assert (raw / "NLMCXR_png" / name_of_first).is_file()
    shutil.rmtree(raw / "ecgen-radiology")
    (raw / "NLMCXR_reports.tgz").touch()
    with pytest.raises(ArchiveError) as caught:
        index_files(raw, OpenIOptions())
    words = shlex.split(str(caught.value).partition("unpack it: ")[2])
    assert words == ["tar", "xzf", f"{raw}/NLMCXR_reports.tgz", "-C", str(raw)]


def test_the_folder_that_the_reports_were_unpacked_to_is_not_the_archive(tmp_path):
    write_open_i(tmp_path, NUMBERS)
    (tmp_path / "NLMCXR_reports").mkdir()
    (tmp_path / "ecgen-radiology").rename(tmp_path / "NLMCXR_reports" / "ecgen-radiology")
    assert len(list(read_records(tmp_path, OpenIOptions()))) == 20
    with pytest.raises(ArchiveError, match=rf"did you mean --raw {tmp_path}\?$"):
        list(read_records(tmp_path / "NLMCXR_reports", OpenIOptions()))


def test_a_whole_archive_is_taken_whole_and_its_reports_are_in_its_key(tmp_path):
    write_open_i(tmp_path / "raw", NUMBERS)
    files, spec = Files(str(tmp_path / "storage")), BuildSpec("open_i", 32)
    manifest = build(spec, tmp_path / "raw", files)
    counts = manifest.counts
    assert (counts["records"], counts["images"], counts["rejects"]) == (20, 20, 0)
    assert verify(files, f"data/open_i-{manifest.key}", manifest) == []
    assert list(manifest.index_files) == ["ecgen-radiology"], "3,955 files are one entry"
    assert counts["reports"]["studies_with_impression"] == 10
    report = tmp_path / "raw" / "ecgen-radiology" / "1.xml"
    report.write_text(report.read_text().replace("Text 1.", "Text one."))
    assert data_key(spec, tmp_path / "raw") != manifest.key


def test_its_known_defects_are_counted(tmp_path):
    paths = write_open_i(tmp_path / "raw", NUMBERS)
    folder = tmp_path / "raw" / "ecgen-radiology"
    (folder / "20.xml").write_text(open_i_xml(20, [], ["normal"], "Text.", "Text."))  # no image
    (folder / "21.xml").write_text(open_i_xml(21, ["CXR21_IM-0021-1001"], [], "XXXX", ""))  # its image is not there
    (folder / "Thumbs.db").touch()
    cut(paths[3])
    manifest = build(BuildSpec("open_i", 32), tmp_path / "raw", Files(str(tmp_path / "storage")), max_rejects=0.2)
    counts = manifest.counts
    assert (counts["records"], counts["images"], counts["rejects"]) == (21, 19, 2)
    assert any("12 of 3,955 reports are there, 1 of them without an image" in note for note in manifest.notes)


def test_half_a_copy_ends_before_an_image_is_read(tmp_path):
    for path in write_open_i(tmp_path / "raw", NUMBERS)[::2]:
        path.unlink()
    files = Files(str(tmp_path / "storage"))
    with pytest.raises(ArchiveError, match="10 of 20 listed images are not below"):
        build(BuildSpec("open_i", 32), tmp_path / "raw", files)
    counts = build(BuildSpec("open_i", 32), tmp_path / "raw", files, max_rejects=0.5).counts
    assert (counts["records"], counts["images"], counts["rejects"]) == (20, 10, 10)
    cut(tmp_path / "raw" / "ecgen-radiology" / "3.xml")
    with pytest.raises(ArchiveError, match=r"3.xml is no whole XML file .*: unpack it again"):
        build(BuildSpec("open_i", 32), tmp_path / "raw", files)


def test_real_reports_are_read_whole(shared_data, tmp_path):
    """The counts are those of the archive, by a look at each file with another parser."""
    with tarfile.open(shared_data / "real_cxr" / "iu_reports_verbatim.tgz") as archive:
        archive.extractall(tmp_path, filter="data")
    reports = list(read_reports(tmp_path))
    assert len(reports) == 2801 and sum(len(report.images) for report in reports) == 5277
    assert Counter(len(report.images) for report in reports) == {2: 2256, 1: 314, 3: 137, 0: 84, 4: 10}
    headings = Counter(heading for report in reports for heading in {term.split("/")[0] for term in report.terms})
    assert (headings["normal"], headings["Pulmonary Atelectasis"], headings["No Indexing"]) == (979, 236, 66)
    by_number = {report.number: report for report in reports}
    assert by_number["207"].impression == "No acute cardiopulmonary process. No obvious rib fractures. ."
