"""csv_images as people write it: paths, columns, views, reports and ids; what is unclear is said, and keys stay."""

import csv
import os
import socket
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from datasets_io.build import BuildSpec, build, check_archive, data_folder, data_key
from datasets_io.build.__main__ import main
from datasets_io.build.inventory import take_inventory
from datasets_io.build.spec import _key
from datasets_io.schema import ArchiveError, Record
from datasets_io.sources import csv_images
from datasets_io.sources.csv_images import CsvOptions
from datasets_io.sources.parts import csv_scan
from datasets_io.storage.files import Files

SPEC = BuildSpec("csv_images", 16)
NAMES = [f"a/{number}.png" for number in range(4)]
HEAD = ["path", "patient_id", "mass"]


def write(raw: Path, rows: list[list[str]], header: list[str] = HEAD, names: list[str] = NAMES, **how) -> Path:
    raw.mkdir(parents=True, exist_ok=True)
    with open(raw / "images.csv", "w", newline="") as stream:
        csv.writer(stream, **how).writerows([header, *rows])
    for number, name in enumerate(names):
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        Image.linear_gradient("L").resize((20, 24 + number)).save(raw / name, "PNG")
    return raw


def rows(paths: list[str] = NAMES, *more: str) -> list[list[str]]:
    return [[path, f"p{number}", "01"[number % 2], *more] for number, path in enumerate(paths)]


def read(raw: Path) -> list[Record]:
    return list(csv_images.read_records(raw, CsvOptions()))


def said(raw: Path) -> str:
    return " | ".join(csv_images.notes(raw, CsvOptions()))


def key_before(raw: Path) -> str:
    """What the key was before there were corrections."""
    taken = take_inventory(SPEC, raw)
    return _key(SPEC, taken.index, None, taken.absent)


WAYS: dict[str, Callable[[Path], list[str]]] = {
    "backslashes": lambda raw: [name.replace("/", "\\") for name in NAMES],
    "absolute": lambda raw: [str(raw / name) for name in NAMES],
    "absolute, of another machine": lambda raw: [f"/home/somebody/project/set/{name}" for name in NAMES],
    "of a drive": lambda raw: ["D:\\project\\set\\" + name.replace("/", "\\") for name in NAMES],
    "URLs": lambda raw: [(raw / name).as_uri() for name in NAMES],
    "from the folder above": lambda raw: [f"{raw.name}/{name}" for name in NAMES],
    "up and down": lambda raw: [f"../{raw.name}/{name}" for name in NAMES],
    "encoded": lambda raw: [f"a%2F{name[2]}.png" for name in NAMES],
}


@pytest.mark.parametrize("way", WAYS)
def test_paths_in_other_forms_are_those_of_the_folder(way, tmp_path):
    raw = tmp_path / "my set"
    write(raw, rows(WAYS[way](raw)))
    records = read(raw)
    assert [record.path for record in records] == NAMES == [record.image_id for record in records]
    assert "paths" in said(raw)
    if way != "backslashes":
        assert "project" not in said(raw) and str(tmp_path) not in said(raw)
    assert (csv_images.corrections(raw, CsvOptions()) == (csv_scan.BACKSLASHES,)) == ("\\" in WAYS[way](raw)[0])


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_in_another_unicode_form_are_found(form, tmp_path):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    names = [unicodedata.normalize(form, f"bé/{number}.png") for number in range(3)]
    raw = write(tmp_path, rows([unicodedata.normalize(other, name) for name in names]), names=names)
    assert [record.path for record in read(raw)] == names and "Unicode form" in said(raw)


def test_paths_that_are_as_written_stay_as_they_are(tmp_path):
    names = ["a/100%25.png", "a/b c.png", "x/a/0.png", "e\u0301.png"]
    raw = write(tmp_path, rows(names), names=[*names, "a/0.png", "a/100%.png"])
    assert [record.path for record in read(raw)] == names and "paths" not in said(raw)
    absent = write(tmp_path / "absent", rows(), names=[])
    assert [record.path for record in read(absent)] == NAMES, "images that are not there yet change nothing"
    assert data_key(SPEC, absent) == key_before(absent)


def test_no_form_of_a_path_leads_out(tmp_path):
    (tmp_path / "secret.png").touch()
    for path in ("/etc/passwd", "../secret.png", "..\\secret.png", str(tmp_path / "secret.png"), "%2e%2e/secret.png"):
        raw = write(tmp_path / "raw", rows([path]), names=[])
        with pytest.raises(ArchiveError, match=r"none of 1 listed images can|are not below"):
            build(SPEC, raw, Files(str(tmp_path / "storage")))


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 0.1", "Unnamed: 0.1.1", "index", "level_0"])
def test_row_numbers_as_pandas_writes_them_are_no_finding(name, tmp_path):
    numbered = [[str(7 * number), *row] for number, row in enumerate(rows())]
    raw = write(tmp_path, numbered, [name, *HEAD])
    assert csv_images.findings_in(raw, CsvOptions()) == ("mass",) and [r.labels for r in read(raw)] == [(0,), (1,)] * 2
    assert "has row numbers" in said(raw)


@pytest.mark.parametrize("name", ["", "index"])
def test_row_numbers_of_frames_that_were_put_together_are_no_finding(name, tmp_path):
    numbered = [[str(number % 3), *row] for number, row in enumerate(rows())]
    raw = write(tmp_path, numbered, [name, *HEAD])
    assert csv_images.findings_in(raw, CsvOptions()) == ("mass",) and "has row numbers" in said(raw)
    raw = write(tmp_path, [[str(number % 2), *row] for number, row in enumerate(rows())], [name, *HEAD])
    if name:  # labels, for all that anybody can tell
        assert csv_images.findings_in(raw, CsvOptions()) == ("index", "mass")
        assert "column 'index' counts as a finding: take it away if it has row numbers" in said(raw)
    else:
        with pytest.raises(ArchiveError, match=r"column 1 of .* has no name"):
            csv_images.findings_in(raw, CsvOptions())


def test_blanks_nan_and_none_are_neither_ids_nor_reports(tmp_path):
    header = ["path", "patient_id", "image_id", "study_id", "report", "report_findings", "report_impression"]
    blanks = [
        ["", "", "", "", ""],
        [" "] * 5,
        ["nan", "NaN", "nan", "None", "nan"],
        ["None", "<NA>", "", "NaT", "None"],
    ]
    raw = write(tmp_path, [[name, f"p{i}", *blanks[i]] for i, name in enumerate(NAMES)], header)
    found = read(raw)
    assert [(r.image_id, r.study_id) for r in found] == [(name, name) for name in NAMES]
    assert {(r.report_findings, r.report_impression) for r in found} == {(None, None)}
    assert csv_images.corrections(raw, CsvOptions()) == (csv_scan.BLANKS,) and data_key(SPEC, raw) != key_before(raw)
    assert "ids and reports that are blanks, nan or None count as absent" in said(raw)
    raw = write(tmp_path, [[name, f"p{i}", "", "", "None of note.", "", ""] for i, name in enumerate(NAMES)], header)
    assert csv_images.corrections(raw, CsvOptions()) == () and data_key(SPEC, raw) == key_before(raw)
    with pytest.raises(ArchiveError, match="line 2 has an empty path or patient_id"):
        read(write(tmp_path, [[NAMES[0], "nan", *blanks[0]]], header))


def test_findings_have_names_that_can_be_written(tmp_path):
    raw = write(tmp_path, rows(), [*HEAD[:2], "Épanchement (pleural)"])
    assert csv_images.findings_in(raw, CsvOptions()) == ("epanchement_pleural",)
    assert csv_images.corrections(raw, CsvOptions()) == (csv_scan.ACCENTS,)
    for name in ("肺炎", "Πνευμονία"):
        with pytest.raises(ArchiveError, match=rf"has a column '{name}': name the finding with letters from a to z"):
            csv_images.findings_in(write(tmp_path, rows(), [*HEAD[:2], name]), CsvOptions())


def test_a_column_without_a_name_is_left_out_only_where_it_is_empty(tmp_path):
    raw = write(tmp_path, [[*row, ""] for row in rows()], [*HEAD, ""], delimiter=";")
    assert csv_images.findings_in(raw, CsvOptions()) == ("mass",)
    raw = write(tmp_path, [[*row, "1"] for row in rows()], [*HEAD, ""])
    with pytest.raises(ArchiveError, match=r"column 4 of .*images\.csv has no name, and cells that are no row numbers"):
        csv_images.findings_in(raw, CsvOptions())
    for header, message in (
        ([*HEAD, "split", "split"], "2 columns 'split'"),
        ([*HEAD, "Mass"], "columns 'mass' and 'Mass', both mass"),
    ):
        raw = write(tmp_path, rows(NAMES, *["train"] * (len(header) - 3)), header)
        with pytest.raises(ArchiveError, match=message):
            csv_images.index_files(raw, CsvOptions())
            csv_images.findings_in(raw, CsvOptions())


def test_empty_rows_are_no_rows(tmp_path):
    raw = write(tmp_path, [*rows(), [], ["", "", ""], ["", " "]])
    assert len(read(raw)) == 4
    raw = write(tmp_path, [*rows(), ["", "p5", "1"]])
    with pytest.raises(ArchiveError, match="line 6 has an empty path or patient_id"):
        read(raw)


def test_words_for_views_are_understood_or_counted(tmp_path):
    words = ["lat", "P.A.", "odd \x1b[31m", ""]
    raw = write(tmp_path, [[*row, word] for row, word in zip(rows(), words, strict=True)], [*HEAD, "view_position"])
    assert [record.view_position for record in read(raw)] == ["LATERAL", "PA", None, None]
    notes = said(raw)
    assert "1 of 4 rows have a view_position that is not understood (first in line 4)" in notes and "odd" not in notes
    assert "1 of 4 rows have no view_position and count as frontal" in notes
    assert csv_images.corrections(raw, CsvOptions()) == (csv_scan.VIEWS,)


def test_reports_without_an_impression_are_counted(tmp_path):
    texts = ["x\n FINDINGS: f.\n IMPRESSION: i.", "Impression: fine", "Nothing said here.", ""]
    raw = write(tmp_path, [[*row, text] for row, text in zip(rows(), texts, strict=True)], [*HEAD, "report"])
    assert [record.report_impression for record in read(raw)] == ["i.", "fine", None, None]
    assert "1 of 4 rows have a report without an impression that is found (first in line 6)" in said(raw)
    assert csv_images.corrections(raw, CsvOptions()) == (csv_scan.HEADINGS,) and data_key(SPEC, raw) != key_before(raw)


@pytest.mark.parametrize(
    ("report", "found"),
    [
        ("x\n IMPRESSION: Normal.\n CLINICAL IMPRESSION: ?pneumonia\n", (csv_scan.CLINICAL,)),
        ("x\n IMPRESSION: Normal.\n CLINICAL HISTORY: ?pneumonia\n", ()),
        ("IMPRESSION: Normal.\nCLINICAL IMPRESSION: ?pneumonia\n", (csv_scan.HEADINGS,)),
    ],
)
def test_a_csv_whose_impressions_were_clinical_ones_gets_a_key_of_its_own(report, found, tmp_path):
    raw = write(tmp_path, [[*row, report] for row in rows()], [*HEAD, "report"])
    assert {record.report_impression for record in read(raw)} == {"Normal."}
    assert csv_images.corrections(raw, CsvOptions()) == found and (data_key(SPEC, raw) != key_before(raw)) == bool(
        found
    )


def test_a_csv_that_is_read_as_before_keeps_its_key(make_csv_archive):
    """Reports of MIMIC's form, no views: what an encoder was pretrained on for days."""
    raw = make_csv_archive(6)
    assert csv_images.corrections(raw, CsvOptions()) == () and data_key(SPEC, raw) == key_before(raw)
    text = "path,patient_id,view_position,mass,report\n1.png,p1,PA,1,\n2.png,p2,lateral,0,no heading\n3.png,p3,odd,,\n"
    (raw / "images.csv").write_text(text)
    assert csv_images.corrections(raw, CsvOptions()) == () and data_key(SPEC, raw) == key_before(raw)


def test_a_table_under_another_name_is_pointed_at(tmp_path):
    raw = write(tmp_path / "raw", rows())
    for name in ("images.zip", "images.tsv"):
        (raw / "images.csv").rename(raw / name)
        with pytest.raises(ArchiveError, match=rf"has no images.csv, but {name}: say --option table={name}"):
            read(raw)
        assert len(list(csv_images.read_records(raw, CsvOptions(table=name)))) == 4
        (raw / name).rename(raw / "images.csv")
    with pytest.raises(ArchiveError, match="is a link out of"):
        (tmp_path / "other.csv").touch()
        csv_images.index_files(raw, CsvOptions(table="../other.csv"))


ALIKE = [("é", "e\u0301"), ("7", "007"), ("7", "7.0"), ("Ann  Lee", "Ann Lee"), ("p\u00a01", "p 1")]


@pytest.mark.parametrize("salted", [False, True])
@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_one_id_in_two_ways_is_refused_across_splits(one, other, salted, tmp_path):
    split = [[*row[:1], patient, row[2], part] for row, patient, part in
             zip(rows(), (one, other, "x", "y"), ("train", "test", "val", "train"), strict=True)]  # fmt: skip
    raw = write(tmp_path / "raw", split, [*HEAD, "split"])
    (tmp_path / "salt").write_bytes(b"0123456789abcdef")
    spec = BuildSpec("csv_images", 16, options=CsvOptions(salt_file=str(tmp_path / "salt") if salted else None))
    with pytest.raises(ArchiveError, match="1 of 4 patients have the id of another one, written in another way") as why:
        check_archive(spec, raw)
    assert f"{one!a} in train and {other!a} in test" in str(why.value)
    for row in split:
        row[3] = "train"
    assert len(check_archive(spec, write(raw, split, [*HEAD, "split"]))) == 4


def test_ids_that_differ_in_capitals_alone_are_noted(tmp_path):
    patients, splits = ("P1", "p1", "Q1", "q1"), ("train", "test", "val", "val")
    split = [[path, patient, "1", part] for path, patient, part in zip(NAMES, patients, splits, strict=True)]
    raw = write(tmp_path / "raw", split, [*HEAD, "split"])
    manifest = build(SPEC, raw, Files(str(tmp_path / "storage")))
    (note,) = [note for note in manifest.notes if "capitals" in note]
    assert note.startswith("1 patients' ids differ from another one in capitals alone and are in another split")
    assert "'P1' in train and 'p1' in test" in note
    assert manifest.counts["splits"]["test"]["patients"] == 1, "they are not merged"
    (tmp_path / "salt").write_bytes(b"0123456789abcdef")
    (note,) = csv_images.notes(raw, CsvOptions(salt_file=str(tmp_path / "salt")))
    assert note.startswith("1 patients' ids differ") and "P1" not in note


def test_nothing_that_a_terminal_obeys_comes_out_of_a_build(tmp_path, capsys):
    hostile = "\x1b]0;owned\x07\x9b31m\u202e"
    names = [f"a/{number}.png" for number in range(20)]
    listed = [[name, f"p{number}", "1"] for number, name in enumerate(names)]
    listed += [[f"a/{hostile}.png", "p1", "1"], ["a/none.png", hostile, "1"], [f"/{hostile}/0.png", "p2", "0"]]
    raw = write(tmp_path / "raw", listed, names=names)
    storage = tmp_path / "storage"
    arguments = ["--raw", str(raw), "--storage", str(storage), "--image-size", "16", "--max-rejects"]
    assert main(["csv_images", *arguments, "0.5"]) == 0
    folder = storage / data_folder(SPEC, raw)
    rejects = pq.read_table(folder / "rejects.parquet").to_pylist()
    assert {reject["reason"] for reject in rejects} == {
        "an id has control characters", "the path leaves the raw folder"
    }  # fmt: skip
    assert all(value.isprintable() for reject in rejects for value in reject.values())
    ids = {row["patient_id"] for shard in folder.glob("t*/*.parquet") for row in pq.read_table(shard).to_pylist()}
    assert ids and all(text.isprintable() for text in ids)
    assert csv_scan.CONTROLS in csv_images.corrections(raw, CsvOptions())
    arguments[3] = str(tmp_path / "another")
    assert main(["csv_images", *arguments, "0"]) == 3
    write(raw, [[*row[:2], hostile] for row in listed], names=names)
    assert main(["csv_images", *arguments, "0"]) == 2
    out = capsys.readouterr()
    assert "\\x1b]0;owned\\x07" in out.err
    assert not any(letter in out.out + out.err.replace("\x1b[?25h", "") for letter in "\x07\x9b\u202e")


@pytest.mark.timeout(60)
def test_what_is_no_file_costs_a_row_and_no_time(tmp_path):
    raw = write(tmp_path / "raw", rows())
    (raw / NAMES[0]).unlink()
    os.mkfifo(raw / NAMES[0])
    (raw / NAMES[1]).unlink()
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(raw / NAMES[1]))
    manifest = build(SPEC, raw, Files(str(tmp_path / "storage")), max_rejects=0.5)
    assert manifest.reject_reasons == {
        "read: it is a FIFO: only regular files are read": 1,
        "read: it is a socket: only regular files are read": 1,
    }
    server.close()


def test_sexes_and_ages_that_are_not_understood_are_counted(tmp_path):
    words = [["F", "054Y"], ["Woman", "54 years"], ["", ""], ["1", "54.5"]]
    write(tmp_path, [[*row, *more] for row, more in zip(rows(), words, strict=True)], [*HEAD, "sex", "age"])
    assert [(record.sex, record.age) for record in read(tmp_path)] == [
        ("F", 54),
        (None, None),
        (None, None),
        (None, None),
    ]
    for name, form in (("sex", "M or F"), ("age", "whole years")):
        sentence = f"2 of 4 rows have a column {name} that is not understood (first in line 3), which counts as blank"
        assert f"{sentence}: write {form}" in said(tmp_path)
    assert "Woman" not in said(tmp_path)


@pytest.mark.parametrize("path", ["a/" + "x" * 300 + ".png", "y" * 5000, "/".join(["z" * 200] * 30)])
def test_a_path_that_is_longer_than_any_files_is_a_reject_like_others(path, tmp_path):
    files = Files(str(tmp_path / "storage"))
    write(tmp_path / "raw", [*rows(), [path, "p9", "0"]])
    manifest = build(SPEC, tmp_path / "raw", files, max_rejects=0.2)
    assert manifest.counts["images"] == len(NAMES)
    assert manifest.reject_reasons == {"read: the file cannot be read (File name too long)": 1}
    write(tmp_path / "raw", [[path, "p9", "0"]])
    with pytest.raises(ArchiveError, match="1 of 1 listed images are not below"):
        build(SPEC, tmp_path / "raw", files)


@pytest.mark.parametrize(
    ("column", "meant"),
    [("Split", "split"), ("ViewPosition", "view_position"), ("Study ID", "study_id"), ("SEX", "sex")],
)
def test_a_known_column_under_another_spelling_is_no_finding_in_silence(column, meant, tmp_path):
    write(tmp_path, rows(NAMES, "0"), [*HEAD, column])
    assert f"column {column!r} counts as a finding: rename it to {meant} if that is meant" in said(tmp_path)
    assert len(read(tmp_path)[0].labels) == 2, "and it stays one, so that no key moves"
    write(tmp_path, rows(NAMES, "train", "PA"), [*HEAD, meant, column])
    with pytest.raises(ArchiveError, match=rf"line 2: label {column} is 'PA'; allowed: 1, 0, -1 .* or blank$"):
        read(tmp_path)
    write(tmp_path, rows(NAMES, "PA"), [*HEAD, column])
    with pytest.raises(
        ArchiveError, match=rf"label {column} is 'PA'; .*; rename the column to {meant} if that is meant"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    ("column", "meant"), [("Path", "path"), ("Patient ID", "patient_id"), ("PatientID", "patient_id")]
)
def test_a_column_that_is_needed_is_named_under_its_other_spelling(column, meant, tmp_path):
    write(tmp_path, rows(), [column if name == meant else name for name in HEAD])
    with pytest.raises(ArchiveError, match=rf"has a column {column!r} and none {meant!r}: rename it to {meant}$"):
        csv_images.index_files(tmp_path, CsvOptions())


def test_files_that_no_row_names_are_counted(tmp_path):
    raw = write(tmp_path, rows(NAMES[:2]))
    for name in ("a/note.txt", "a/.hidden.png", "b/elsewhere.png"):
        (raw / name).parent.mkdir(exist_ok=True)
        (raw / name).write_bytes(b"")
    assert "files among its images that no row of images.csv names, left out: 2" in said(raw)
    assert "no row" not in said(write(tmp_path / "whole", rows()))


def test_files_of_folders_that_no_row_names_are_counted_too(tmp_path):
    """A folder for each patient, as archives have them, and a csv that was cut between two of them."""
    names = [f"files/p{number}/{image}.png" for number in range(4) for image in range(2)]
    raw = write(tmp_path, rows(names[:4]), names=[*names, "masks/p0/0.png", "files/.hidden/0.png"])
    assert "files among its images that no row of images.csv names, left out: 4" in said(raw)
    bounded = [csv_images.unnamed_among(raw, names[:4], most) for most in (2, 3)]
    assert bounded == [(0, 2), (0, 3)], "the last one is the folder above, which has no file"


def test_images_that_a_linked_folder_leads_to_are_named_ones(tmp_path):
    raw = write(tmp_path, rows([f"link/{number}.png" for number in range(4)]))
    (raw / "link").symlink_to("a")
    assert "no row" not in said(raw)


def test_no_folder_outside_is_looked_into_for_other_files(tmp_path):
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "of_somebody.png").write_bytes(b"")
    raw = write(tmp_path / "set", rows())
    (raw / "out").symlink_to(tmp_path / "private")
    for path in ("../private/x.png", "out/x.png", "/etc/x.png", "a\0/x.png"):
        write(raw, rows([*NAMES, path]))
        assert "no row" not in said(raw)


@pytest.mark.parametrize(
    ("word", "split"),
    [("training", "train"), ("Validation", "val"), ("dev", "val"), ("development", "val"), ("testing", "test")],
)
def test_splits_under_their_other_names_are_those_splits(word, split, tmp_path):
    assert {record.split for record in read(write(tmp_path, rows(NAMES, word), [*HEAD, "split"]))} == {split}


def test_a_split_of_no_known_name_is_an_error_that_says_the_names(tmp_path):
    with pytest.raises(ArchiveError, match="split is 'holdout'; allowed: train, val, test"):
        read(write(tmp_path, rows(NAMES, "holdout"), [*HEAD, "split"]))


@pytest.mark.parametrize(
    ("text", "label"), [("1.00", 1), ("0.000", 0), ("-1.00", -1), ("1.", 1), ("-0.0", 0), ("0.0", 0), (" -1 ", -1)]
)
def test_labels_with_any_number_of_places_are_those_numbers(text, label, tmp_path):
    assert read(write(tmp_path, [[NAMES[0], "p", text]]))[0].labels == (label,)


@pytest.mark.parametrize("text", ["1.01", "0.5", "2.0", "1e0", "+1", "--1", "1.0.0", ".0", "١"])
def test_other_numbers_are_no_labels(text, tmp_path):
    with pytest.raises(ArchiveError, match="allowed: 1, 0, -1"):
        read(write(tmp_path, [[NAMES[0], "p", text]]))
