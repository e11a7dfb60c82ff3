"""Where does Ray keep its state, who may read it, and is what dead drivers left removed, and nothing else?"""

import os
import tempfile
from pathlib import Path

import pytest

from datasets_io.ray_state import UNSEEN_SECONDS, ray_folder, ray_state, remove_left_state, remove_own_state, state_name
from datasets_io.storage.files import Files
from datasets_io.storage.processes import this_machine
from sweep.store.cleanup import clean_up

SECRET = "s3://KEY:Hunter2Hunter2@bucket/radsweep"


def test_a_password_is_not_written_into_the_storage(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert ray_folder("s3://bucket/radsweep") == "s3://bucket/radsweep/ray"
    place = tmp_path / f"radsweep-tune-{os.getuid()}"  # not one name for all users: the first would keep the others out
    with ray_state(SECRET, state_name("cells")) as folder:
        assert folder == str(place)
    assert place.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "uri",
    ["s3://KEY:pa'ssword@bucket/x", "s3://KEY:1/hunter2@bucket/x", "s3://bucket/x?secret%5Fkey=it's", "s3://K:'@b"],
)
def test_a_password_of_any_characters_is_one(tmp_path, monkeypatch, uri):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert ray_folder(uri) == str(tmp_path / f"radsweep-tune-{os.getuid()}")


def test_another_users_folder_is_refused_without_the_password(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"radsweep-tune-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="set TMPDIR to a folder of your own") as caught:
        ray_folder(SECRET)
    assert "Hunter2" not in str(caught.value)


def test_a_machine_without_a_temporary_folder_is_one_sentence(monkeypatch):
    def none():
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(ValueError, match=r"no temporary folder can hold .* set TMPDIR to a folder of your own"):
        ray_folder(SECRET)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_the_state_is_private_and_gone_after_an_interrupt(tmp_path, error):
    before = os.umask(0o022)
    try:
        name = state_name("cells")
        with pytest.raises(error), ray_state(str(tmp_path), name) as folder:
            assert folder == str(tmp_path / "ray") and (tmp_path / "ray" / name).stat().st_mode & 0o777 == 0o700
            (tmp_path / "ray" / name / "a").mkdir()
            (tmp_path / "ray" / name / "a" / "tuner.pkl").write_text("x")
            assert (tmp_path / "ray" / name / "a").stat().st_mode & 0o777 == 0o700
            assert (tmp_path / "ray" / name / "a" / "tuner.pkl").stat().st_mode & 0o777 == 0o600
            raise error
        assert os.umask(0o022) == 0o022 and not list((tmp_path / "ray").iterdir())
    finally:
        os.umask(before)


def dead(kind: str = "cells", machine: str | None = None) -> str:
    """The name that a driver gave whose process is gone."""
    return f"{kind}-{machine or this_machine()}-{os.getpid()}.1-0123abcd"


@pytest.mark.parametrize("secret", [False, True])
def test_what_dead_drivers_left_is_removed_and_nothing_else(tmp_path, monkeypatch, secret):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    uri = SECRET if secret else str(tmp_path / "storage")
    Files(ray_folder(uri)).make_folder()
    place, kept = Path(ray_folder(uri)), tmp_path / "elsewhere"
    (kept / "a").mkdir(parents=True)
    for name in [*map(dead, ("cells", "tune", "pretrain"))]:
        (place / name / "a").mkdir(parents=True)
        (place / name / "a" / "tuner.pkl").write_text("x")
        (place / name / "link").symlink_to(kept)
    (place / f"{dead()[:-1]}0").symlink_to(kept)
    stay = {state_name("cells"), "cells-0123abcd", "mine", f"{dead()}x", dead(machine="0" * 8), f"x{dead()}"}
    for name in stay:
        (place / name).mkdir()
    (place / f"{dead()[:-1]}1").write_text("a file")
    remove_left_state(uri)
    assert {path.name for path in place.iterdir()} == stay | {f"{dead()[:-1]}0", f"{dead()[:-1]}1"}
    assert (kept / "a").exists()
    remove_own_state(uri)
    assert len(list(place.iterdir())) == len(stay) + 1


def test_what_another_machine_left_is_removed_a_day_later_where_it_has_no_lease(tmp_path):
    name = dead(machine="0" * 8)
    (tmp_path / "ray" / name).mkdir(parents=True)
    (tmp_path / "ray" / name / "a.pkl").write_text("x")
    remove_left_state(str(tmp_path))
    for path in (tmp_path / "ray" / name / "a.pkl", tmp_path / "ray" / name):
        os.utime(path, (1, path.stat().st_mtime - 2 * UNSEEN_SECONDS))
    remove_left_state(str(tmp_path), {"0" * 8})
    assert (tmp_path / "ray" / name / "a.pkl").exists()
    remove_left_state(str(tmp_path))
    assert not list((tmp_path / "ray").iterdir())


def test_a_folder_of_states_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "elsewhere" / dead()).mkdir(parents=True)
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "ray").symlink_to(tmp_path / "elsewhere")
    clean_up(Files(str(tmp_path / "storage")))
    assert (tmp_path / "elsewhere" / dead()).exists()


def test_the_next_command_that_tidies_removes_them(tmp_path):
    (tmp_path / "ray" / dead() / "a").mkdir(parents=True)
    clean_up(Files(str(tmp_path)))
    assert not list((tmp_path / "ray").iterdir())
