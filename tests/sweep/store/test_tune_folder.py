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


def test_another_users_folder_is_refused_without_the_password(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"radsweep-tune-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="set TMPDIR to a folder of your own") as caught:
        tune_folder(SECRET)
    assert "Hunter2" not in str(caught.value)
