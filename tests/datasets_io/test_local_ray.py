"""Is the token of a local Ray readable by its owner only, whole, and left alone where the user has one?"""

import errno
import os
import shutil
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from datasets_io.local_ray import LONGEST_SOCKET, MOST_BYTES, TOKEN, ensure_token, obstacle, unanswered
from datasets_io.ray_private import check_socket_path, token_that_ray_reads


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """An empty home folder, no token in the environment, and a umask that lets everyone read."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.setenv(name, "to be put back by monkeypatch")
        monkeypatch.delenv(name)
    old = os.umask(0)
    yield tmp_path
    os.umask(old)


def test_only_its_owner_can_read_the_token(home):
    ensure_token()
    path = home / TOKEN
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(path.read_text()) == 64 and os.listdir(path.parent) == [path.name]
    assert "RAY_AUTH_TOKEN" not in os.environ


def test_ray_takes_the_token_as_its_own(home):
    assert token_that_ray_reads() is None
    ensure_token()
    assert token_that_ray_reads() == (home / TOKEN).read_text()


def test_a_token_that_is_there_is_left_alone(home):
    path = home / TOKEN
    path.parent.mkdir()
    path.write_text("mine")
    ensure_token()
    assert path.read_text() == "mine" and os.listdir(path.parent) == [path.name]


def test_an_empty_file_is_no_token(home):
    """Ray would write one into it, in whatever mode it has."""
    path = home / TOKEN
    path.parent.mkdir()
    path.write_text("\n")
    ensure_token()
    assert path.read_text() == "\n" and len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_of_drivers_that_start_at_once_all_read_the_same_whole_token(home):
    def seen(_) -> str:
        ensure_token()
        return (home / TOKEN).read_text()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(seen, range(64)))) == 1
    assert len((home / TOKEN).read_text()) == 64


@pytest.mark.parametrize(
    "name, value", [("RAY_AUTH_TOKEN", "x"), ("RAY_AUTH_TOKEN_PATH", "x"), ("RAY_AUTH_MODE", "disabled")]
)
def test_who_says_how_it_is_done_is_asked_for_nothing(home, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    ensure_token()
    assert list(home.iterdir()) == [] and os.environ[name] == value


def test_where_the_home_takes_no_token_the_process_has_one_of_its_own(home):
    (home / TOKEN.parent).write_text("a file where a folder should be")
    ensure_token()
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64


def test_a_user_without_a_home_has_a_token_of_its_own(home, monkeypatch):
    """In a container: HOME is not set, and the user's number stands in no list of users."""
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(os, "getuid", lambda: 123_456_789)
    monkeypatch.setattr(Path, "mkdir", forbidden)
    ensure_token()
    assert os.environ["HOME"] == "/" and len(os.environ["RAY_AUTH_TOKEN"]) == 64


def forbidden(*arguments, **named):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_nothing_keeps_ray_from_starting_here():
    assert obstacle() is None


def test_a_machine_that_does_not_reach_itself_is_named_at_once():
    """In a network namespace of its own, whose loopback interface is down."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rn", "true"]).returncode:
        pytest.skip("no network namespaces here")
    code = "from datasets_io.local_ray import obstacle; print(obstacle())"
    done = subprocess.run(["unshare", "-rn", sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("this machine does not reach itself (127.0.0.1: "), done.stderr
    assert "ip link set lo up" in done.stdout


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_folder_that_ray_cannot_write_is_named(tmp_path, monkeypatch, name):
    for variable in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr("datasets_io.local_ray.MOST_BYTES", 1000)  # a test's folders have long names
    assert obstacle() is None
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    found = obstacle()
    assert found and f"in {tmp_path}, which cannot be written: export RAY_TMPDIR=" in found
    (tmp_path / "ray").mkdir()
    assert obstacle() is None, "what counts is the folder that is there"


def test_a_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("datasets_io.local_ray.MOST_BYTES", 1000)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "file" / "x"))
    assert "which cannot be written: export RAY_TMPDIR=" in (obstacle() or "")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "new" / "x"))
    assert obstacle() is None, "Ray makes it"


def test_a_folder_whose_name_is_too_long_for_sockets_is_named(monkeypatch):
    """As clusters give each job one of its own. The longest name that fits is as Ray's own check has it."""
    monkeypatch.setattr("datasets_io.local_ray._writable", lambda folder: True)
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    fits = MOST_BYTES - len(LONGEST_SOCKET.format(os.getpid()))
    for length, wanted in ((fits, None), (fits + 1, "1 characters too long"), (90, "export RAY_TMPDIR=/tmp")):
        folder = "/" + "f" * (length - 1)
        monkeypatch.setenv("TMPDIR", folder)
        found = obstacle()
        assert found is None if wanted is None else wanted in (found or "")
        if length <= fits:
            check_socket_path(folder + LONGEST_SOCKET.format(os.getpid()))
        else:
            with pytest.raises(OSError, match="cannot exceed"):
                check_socket_path(folder + LONGEST_SOCKET.format(os.getpid()))


def test_a_system_without_proc_is_named(monkeypatch):
    there = Path.exists
    monkeypatch.setattr(Path, "exists", lambda path: str(path) != "/proc/self" and there(path))
    assert "mount -t proc" in (obstacle() or "")


@pytest.mark.parametrize(
    "form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "ray://me:word@127.0.0.1:{}/x", "ray://me:wo/r:d@127.0.0.1:{}"]
)
def test_a_head_that_does_not_answer_is_named_at_once(form):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = form.format(server.getsockname()[1])
        assert unanswered(address) is None
    found = unanswered(address) or ""
    assert found.startswith(f"RAY_ADDRESS is {address}, and nothing answers there (") and "unset RAY_ADDRESS" in found


def test_what_is_no_port_is_left_to_ray():
    assert [unanswered(address) for address in ("auto", "local", "", "head", "ray://head", "[::1]")] == [None] * 6
    assert "its port is above 65535" in (unanswered("127.0.0.1:99999") or "")
