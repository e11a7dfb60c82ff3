"""What comes from outside is opened only where it is a file, and printed without what a terminal obeys."""

import os
import socket

import pytest

from datasets_io.schema import ArchiveError
from datasets_io.untrusted import LONGEST, NotRegular, json_file, open_regular, printable, sentence

HOSTILE = {
    "a\x1b[31mred": "a\\x1b[31mred",
    "a\x9b31m": "a\\x9b31m",
    "two\nlines\r": "two\\nlines\\r",
    "abc\u202egnp.exe": "abc\\u202egnp.exe",
    "\ud800 half, and of a file's name \udcff": "\\ud800 half, and of a file's name \\udcff",
    "tag\U000e0041": "tag\\U000e0041",
    "\u200bno width\ufeff": "\\u200bno width\\ufeff",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_terminal_obeys_is_written_out(text):
    assert printable(text) == HOSTILE[text] == printable(HOSTILE[text])
    assert printable(text).isprintable()


@pytest.mark.parametrize("text", ["Kein Erguß", "e\u0301", "胸部", "می\u200cخواهم", "a/b c.png", "C:\\x", ""])
def test_what_people_write_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize("data", [b"\xff{}", b"[" * 100_000, b"{", b"", b"9" * 6000])
def test_a_file_that_is_no_json_is_one_kind_of_error(tmp_path, data):
    (tmp_path / "x.json").write_bytes(data)
    with pytest.raises(ValueError):
        json_file(tmp_path / "x.json")


def test_json_is_read_from_regular_files_alone(tmp_path):
    (tmp_path / "x.json").write_bytes(b'\xef\xbb\xbf{"a": [1]}')
    assert json_file(tmp_path / "x.json", "utf-8-sig") == {"a": [1]}
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotRegular, match="a FIFO"):
        json_file(tmp_path / "pipe")


def test_an_error_about_an_archive_is_printable_and_short_whoever_raises_it():
    error = ArchiveError(f"bad \x1b]0;title\x07 {'x' * 3_000_000} end")
    assert str(error).startswith("bad \\x1b]0;title\\x07 x") and str(error).endswith("x end")
    assert len(str(error)) <= LONGEST and "characters left out" in str(error)
    assert str(ArchiveError(*error.args)) == str(error), "as it is made again in another process"
    assert sentence("as it is") == "as it is" == str(ArchiveError("as it is"))


@pytest.mark.timeout(5)
def test_only_regular_files_are_opened_and_others_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    kinds = {"fifo": "a FIFO", "link": "a FIFO", "socket": "a socket", ".": "a folder"}
    for name, kind in kinds.items():
        with pytest.raises(NotRegular, match=f"it is {kind}"):
            open_regular(tmp_path / name)
    with pytest.raises(NotRegular, match="it is a device file"):
        open_regular("/dev/zero")
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "absent")
    (tmp_path / "file").write_bytes(b"bytes")
    with open_regular(tmp_path / "file") as stream:
        assert stream.read() == b"bytes"
    server.close()
