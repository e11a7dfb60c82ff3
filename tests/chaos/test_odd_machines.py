"""The command on machines that lack something: a sentence within a minute, or the same cells as anywhere else."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from drivers import ENVIRONMENT, ROOT, command

from datasets_io.storage.files import Files
from sweep.run.chaos import finished
from sweep.store.lease import LEASES

STUDY = "tests/chaos/small_storage.py"
pytestmark = [
    pytest.mark.chaos,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        shutil.which("unshare") is None or subprocess.run(["unshare", "-rmn", "true"], check=False).returncode != 0,
        reason="this system lets a test have no namespaces",
    ),
]
NO_LINKS = """
#include <errno.h>
int link(const char *a, const char *b) { errno = EPERM; return -1; }
int linkat(int a, const char *b, int c, const char *d, int e) { errno = EPERM; return -1; }
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A storage with data and encoders, so that only cells are left."""
    storage = tmp_path_factory.mktemp("built") / "storage"
    done = subprocess.run(command(storage, study=STUDY), cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shutil.rmtree(storage / "reports")
    for folder in [path for path in (storage / "cells").iterdir() if "-FT" in path.name]:
        shutil.rmtree(folder)
    return storage


def run(built: Path, folder: Path, shell: str, *isolation: str, **more: str) -> tuple[Path, int, str, float]:
    """Storage, exit code, what was said and seconds of the command within `unshare` and behind a line of shell."""
    storage = folder / "storage"
    shutil.copytree(built, storage)
    began = time.monotonic()
    done = subprocess.run(
        ["unshare", *isolation, "sh", "-c", f'{shell}\nexec "$@"', "sh", *command(storage, study=STUDY)],
        cwd=ROOT, env=ENVIRONMENT | more, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=850,
    )  # fmt: skip
    return storage, done.returncode, done.stdout, time.monotonic() - began


def assert_sentence(found: tuple[Path, int, str, float], words: str) -> None:
    storage, code, said, seconds = found
    busy = max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))
    assert code == 3 and words in said and "go on with" in said and "Traceback" not in said, said[-3000:]
    assert seconds < 60 * busy and Files(str(storage)).list(LEASES) == []


def assert_whole(found: tuple[Path, int, str, float]) -> None:
    storage, code, said, _ = found
    assert code == 0 and len(finished(storage)) == 12, said[-3000:]


def test_a_machine_whose_loopback_interface_is_down(built, tmp_path):
    assert_sentence(run(built, tmp_path, "true", "-rn"), "this machine does not reach itself")


def test_a_machine_without_any_other_network(built, tmp_path):
    up = "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh', b'lo', 0x41))"
    assert_whole(run(built, tmp_path, f'python3 -c "{up}"', "-rn"))


def test_a_folder_for_ray_that_is_read_only(built, tmp_path):
    folder = tmp_path / "read_only"
    folder.mkdir()
    mount = f"mount -t tmpfs -o ro tmpfs {folder}"
    assert_sentence(run(built, tmp_path, mount, "-rm", RAY_TMPDIR=str(folder)), "export RAY_TMPDIR=")


def test_a_folder_for_ray_without_the_right_to_execute(built, tmp_path):
    folder = Path("/dev/shm", f"x{os.getpid()}")  # short: the name of a socket has at most 107 characters
    folder.mkdir()
    try:
        mount = f"mount -t tmpfs -o noexec,size=500m tmpfs {folder}"
        assert_whole(run(built, tmp_path, mount, "-rm", RAY_TMPDIR=str(folder), TMPDIR=str(folder)))
    finally:
        folder.rmdir()


def test_a_user_who_is_in_no_list_and_has_no_home(built, tmp_path):
    found = run(built, tmp_path, "unset HOME USER LOGNAME", "-U", "--map-user=12345", "--map-group=12345")
    assert_whole(found)
    assert "no home" not in found[2].lower()


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no compiler for a library without link()")
def test_a_file_system_without_hard_links(built, tmp_path):
    (tmp_path / "links.c").write_text(NO_LINKS)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "links.so", tmp_path / "links.c"], check=True)
    found = run(built, tmp_path, "true", "-r", LD_PRELOAD=str(tmp_path / "links.so"))
    assert_whole(found)
