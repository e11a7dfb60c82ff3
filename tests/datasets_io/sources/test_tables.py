"""Tables as people have them: packed, in other encodings, with other delimiters; and some that are traps."""

import bz2
import codecs
import gzip
import io
import lzma
import os
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import pytest

from datasets_io.schema import ArchiveError
from datasets_io.sources.reading import table_text
from datasets_io.sources.reading.archive import find_file, label_code, read_header, read_names, read_table, require_file

TEXT = 'path,patient_id,note\na/1.png,p1,"Erguß, links\nunten"\n\n,,\na/2.png,p2,\n'
ROWS = [
    (3, {"path": "a/1.png", "patient_id": "p1", "note": "Erguß, links\nunten"}),
    (6, {"path": "a/2.png", "patient_id": "p2", "note": ""}),
]


def zipped(data: bytes, names: tuple[str, ...] = ("images.csv", "__MACOSX/._images.csv")) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.writestr(name, data)
    return out.getvalue()


def as_table(path: Path, data: bytes) -> list[tuple[int, dict[str, str]]]:
    path.write_bytes(data)
    return list(read_table(path, ("path", "patient_id")))


PACKERS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip in two members": lambda data: gzip.compress(data[:40], mtime=0) + gzip.compress(data[40:]),
    "xz": lzma.compress,
    "xz in two streams": lambda data: lzma.compress(data[:40]) + b"\0" * 4 + lzma.compress(data[40:]),
    "bzip2": bz2.compress,
    "zip": zipped,
}


@pytest.mark.parametrize("name", ["images.csv", "images.csv.gz"])
@pytest.mark.parametrize("packer", PACKERS)
def test_a_table_is_known_by_its_bytes_not_by_its_name(packer, name, tmp_path):
    assert as_table(tmp_path / name, PACKERS[packer](TEXT.encode())) == ROWS


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_encodings_that_say_what_they_are_are_read(encoding, tmp_path):
    assert as_table(tmp_path / "images.csv", TEXT.encode(encoding)) == ROWS
    big = codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be")
    assert as_table(tmp_path / "images.csv", gzip.compress(big, mtime=0)) == ROWS


def test_a_byte_of_another_encoding_is_named_with_its_line_and_file(tmp_path):
    lines = ["path,patient_id", *(f"a/{number}.png,p{number}" for number in range(5000)), "a/x.png,Müller"]
    for packer in (bytes, gzip.compress):
        with pytest.raises(
            ArchiveError, match=r"/images.csv is not UTF-8 \(byte 0xfc in line 5002\): save it as UTF-8"
        ):
            as_table(tmp_path / "images.csv", packer("\n".join(lines).encode("cp1252")))
    with pytest.raises(ArchiveError, match="zero byte in line 1; UTF-16 without its mark"):
        as_table(tmp_path / "images.csv", TEXT.encode("utf-16-le"))
    with pytest.raises(ArchiveError, match=r"names.txt is not UTF-8 \(byte 0xe9 in line 2\)"):
        (tmp_path / "names.txt").write_bytes(b"a.png\n\xe9.png\n")
        read_names(tmp_path / "names.txt")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends_are_those_of_the_header(delimiter, end, tmp_path):
    rows = [("path", " patient_id ", "Mass; left, upper"), ("a/1.png", "p1", "1"), ("a/2.png", "p2", "")]
    quoted = [delimiter.join(f'"{cell}"' if place == 2 else cell for place, cell in enumerate(row)) for row in rows]
    found = as_table(tmp_path / "images.csv", end.join(quoted).encode())
    assert [row["patient_id"] for _, row in found] == ["p1", "p2"]
    assert found[0] == (2, {"path": "a/1.png", "patient_id": "p1", "Mass; left, upper": "1"})
    assert read_header(tmp_path / "images.csv") == ["path", "patient_id", "Mass; left, upper"]
    (tmp_path / "comma.csv").write_bytes(b"path;patient_id;nodule, mass\n")
    assert read_header(tmp_path / "comma.csv") == ["path", "patient_id", "nodule, mass"], "without quotes too"
    said = as_table(tmp_path / "images.csv", b"sep=;\npath;patient_id\na/1.png;p1\n")
    assert said == [(3, {"path": "a/1.png", "patient_id": "p1"})]


def test_columns_that_are_missing_double_or_nameless(tmp_path):
    table = tmp_path / "images.csv"
    with pytest.raises(ArchiveError, match=r"no column patient_id; its header is \['path', 'patient'\]"):
        as_table(table, b"path,patient\n")
    with pytest.raises(ArchiveError, match="has 2 columns 'path': keep one"):
        as_table(table, b"path,patient_id,path\n")
    assert as_table(table, b",path,patient_id,\n0,a.png,p1\n")[0][1] == {
        "Unnamed: 0": "0", "path": "a.png", "patient_id": "p1", "Unnamed: 3": ""
    }  # fmt: skip
    table.write_bytes(b"")
    assert read_header(table) == []
    with pytest.raises(ArchiveError, match="line 2 does not have the header's fields"):
        as_table(table, b"path,patient_id\na.png\n")
    with pytest.raises(ArchiveError, match="line 2 does not have the header's fields"):
        as_table(table, b"path,patient_id\na.png,p1,more\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(TEXT.encode(), mtime=0)[:-9], "cannot be read"),
        (lzma.compress(TEXT.encode())[:-20], "cannot be read"),
        (zipped(TEXT.encode())[:-30], "cannot be read"),
        (zipped(b"", ("a.csv", "b.csv")), "is a zip file of 2 files"),
        (zipped(b"", ("xl/workbook.xml", "docProps/app.xml")), "an Excel workbook: save it as CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an Excel workbook"),
        (b"PAR1....", "a Parquet file"),
        (b"<!DOCTYPE html>", "a web page"),
        (b'path,patient_id\na.png,"p1\n', r"line 2 cannot be read \(unexpected end of data\)"),
    ],
)
def test_what_is_no_whole_table_is_named(data, message, tmp_path):
    with pytest.raises(ArchiveError, match=message):
        as_table(tmp_path / "images.csv", data)


def tar_of(data: bytes, mode: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        member = tarfile.TarInfo("images.csv")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_file_under_the_name_of_a_table_is_named(mode, tmp_path):
    with pytest.raises(
        ArchiveError, match=r"images\.csv is no table but a tar file: unpack it with `tar xf`"
    ) as caught:
        as_table(tmp_path / "images.csv", tar_of(TEXT.encode(), mode))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("inner", sorted(PACKERS.keys() - {"plain"}))
@pytest.mark.parametrize("outer", sorted(PACKERS.keys() - {"plain"}))
def test_a_table_that_is_packed_twice_says_so(inner, outer, tmp_path):
    data = PACKERS[outer](PACKERS[inner](TEXT.encode()))
    with pytest.raises(ArchiveError, match=r"images\.csv is packed twice: unpack it once"):
        as_table(tmp_path / "images.csv", data)


def test_what_no_table_is_is_named_within_a_packed_file_too(tmp_path):
    with pytest.raises(ArchiveError, match=r"is no table but a Parquet file: save it as csv"):
        as_table(tmp_path / "images.csv", gzip.compress(b"PAR1" + bytes(20), mtime=0))


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (b"\n", "its line 1 is blank: take it away, so that the header comes first"),
        (b"  \r\n\r\n", "its line 1 is blank"),
        (b",,\n", "its line 1 is blank"),
        (b"\xef\xbb\xbf\n", "its line 1 is blank"),
        (b"sep=,\n\n", "its line 2 is blank"),
        (None, "its line 1 is not there: the file is empty"),
    ],
)
def test_a_blank_line_where_the_header_should_be_is_named(before, text, tmp_path):
    data = b"" if before is None else before + TEXT.encode()
    with pytest.raises(ArchiveError, match=f"has no column path, patient_id: {text}"):
        as_table(tmp_path / "images.csv", data)


# 3 MB or less that unpack to gigabytes: a small gzip member over and over.
BOMBS = {
    "one line": (b"", b"x" * (1 << 20), 3000),
    "the same row": (b"", b"a.png,p1\n" * (1 << 17), 8),
    "one long row over and over": (b"", (b"a.png,p1," + b"y" * 1000 + b"\n") * (1 << 10), 600),
    "a quote without an end": (b'a.png,"', b"z\n" * (1 << 18), 4),
    "commas": (b"a,b", b"," * (1 << 20), 2),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("header", [b"path,patient_id\n", b""])
@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_cannot_take_all_memory(name, header, tmp_path, monkeypatch):
    monkeypatch.setattr(table_text, "LINES_ALLOWED", 5000)
    first, member, times = BOMBS[name]
    data = gzip.compress(header + first, mtime=0) + gzip.compress(member, 9) * times
    assert len(data) < 4 << 20
    (tmp_path / "images.csv.gz").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError, match=r"images\.csv\.gz"):
            for _ in read_table(tmp_path / "images.csv.gz", ("path", "patient_id")):
                pass
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_a_long_table_that_shrinks_well_is_read(tmp_path, monkeypatch):
    """Counted names and nothing but zeros: the most regular table that an archive has."""
    monkeypatch.setattr(table_text, "ALWAYS_ALLOWED", 0)
    monkeypatch.setattr(table_text, "LINES_ALLOWED", 0)
    lines = [f"train/patient{number:05d}/study1/view1_frontal.jpg,{number}{',0' * 14}" for number in range(6_000)]
    text = "\n".join([f"path,patient_id{''.join(f',f{place}' for place in range(14))}", *lines])
    for packer in (gzip.compress, bz2.compress):
        assert len(as_table(tmp_path / "images.csv", packer(text.encode()))) == 6_000


@pytest.mark.timeout(5)
def test_a_table_is_a_regular_file_below_its_folder(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (tmp_path / "secret.csv").write_text("the,first,line\n")
    (raw / "images.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(ArchiveError, match=r"images\.csv is a link out of .*/raw: nothing outside") as error:
        require_file(raw, ("images.csv",), "a set")
    assert "first" not in str(error.value)
    (raw / "images.csv").unlink()
    os.mkfifo(raw / "images.csv")
    with pytest.raises(ArchiveError, match=r"images\.csv is a FIFO: only regular files are read"):
        require_file(raw, ("images.csv",), "a set")
    for read in (lambda: list(read_table(raw / "images.csv", ())), lambda: read_names(raw / "images.csv")):
        with pytest.raises(ArchiveError, match="it is a FIFO"):
            read()
    (raw / "images.csv").unlink()
    (raw / "kept.csv").write_text("path\n")
    (raw / "images.csv").symlink_to("kept.csv")
    assert find_file(raw, ("absent.csv", "images.csv")) == raw / "images.csv", "a link within stays within"
    (tmp_path / "linked").symlink_to(raw)
    assert find_file(tmp_path / "linked", ("images.csv",)) is not None, "the folder itself may be a link"
    assert find_file(raw, ("../secret.csv".replace("secret", "absent"), "sub/none.csv")) is None
    with pytest.raises(ArchiveError, match="is a link out of"):
        find_file(raw, ("../secret.csv",))


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("nan", "leave the cell blank"),
        ("None", "leave the cell blank"),
        ("True", "write 1 for yes and 0 for no"),
        ("no", "write 1 for yes and 0 for no"),
        ("2", "uncertain. or blank$"),
    ],
)
def test_a_label_in_words_is_refused_with_what_to_write(text, hint):
    with pytest.raises(ArchiveError, match=f"line 7: label mass is '{text}'; allowed: 1, 0, -1.*{hint}"):
        label_code(text, Path("images.csv"), 7, "mass")
    assert [label_code(text, Path("t"), 1, "mass") for text in ("1.0", " 0", "-1", "")] == [1, 0, -1, None]


def test_a_quote_that_is_not_closed_is_named_as_one(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('path,report\na,"Clear.\n' + "b,c\n" * 50_000)
    with pytest.raises(ArchiveError, match=r"line \d+ cannot be read .*is a quote not closed"):
        list(read_table(path, ("path",)))
