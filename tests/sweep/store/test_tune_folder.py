"""Where does Ray Tune keep its state, of a storage whose URI has a password and of any other?"""

import os
import tempfile

import pytest

from sweep.store.store import made_tune_folder, tune_folder

SECRET = "s3://KEY:Hunter2Hunter2@bucket/radsweep"


def test_a_password_is_not_written_into_the_storage(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert tune_folder("s3://bucket/radsweep") == "s3://bucket/radsweep/ray"
    place = tmp_path / f"radsweep-tune-{os.getuid()}"  # not one name for all users: the first would keep the others out
    assert made_tune_folder(SECRET) == str(place)
    assert place.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "uri",
    ["s3://KEY:pa'ssword@bucket/x", "s3://KEY:1/hunter2@bucket/x", "s3://bucket/x?secret%5Fkey=it's", "s3://K:'@b"],
)
def test_a_password_of_any_characters_is_one(tmp_path, monkeypatch, uri):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert tune_folder(uri) == str(tmp_path / f"radsweep-tune-{os.getuid()}")


def test_another_users_folder_is_refused_without_the_password(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"radsweep-tune-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="set TMPDIR to a folder of your own") as caught:
        tune_folder(SECRET)
    assert "Hunter2" not in str(caught.value)


def test_a_machine_without_a_temporary_folder_is_one_sentence(monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(ValueError, match="no temporary folder can hold .* set TMPDIR to a folder of your own"):
        tune_folder(SECRET)
