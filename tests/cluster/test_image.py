"""Does the image that docs/clusters/Containerfile builds run for any user, with a read-only root and no network?"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from images import BASE, DEPENDENCIES, LIMITS, ROOT, Engine, why_not

from sweep.run.chaos import finished

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
FILE = "docs/clusters/Containerfile"
IMAGE, USER = "localhost/radsweep", 12345


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Iterator[Engine]:
    """With the image in it, built without a network of what docs/clusters/Containerfile copies and locked/build.txt.

    The packages of locked/run.txt are 7 GB: they are those of this environment, mounted when the image runs.
    """
    if reason := why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("image")
    engine = Engine(folder)
    engine.make_base()
    probe = engine("run", "--rm", "--network", "none", *limits(), BASE, "true")
    if probe.returncode:
        pytest.skip(f"this machine lets no container run: {probe.stderr.strip()[-300:]}")
    wheels = folder / "wheels"
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--dest", wheels]
    fetched = subprocess.run([*fetch, "-r", ROOT / "locked/build.txt"], capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"no package index answers: {fetched.stderr.strip()[-300:]}")
    (folder / "pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    engine.checked(
        "build", "--isolation", "chroot", "--network", "none", "--tag", IMAGE, "--file", FILE,
        "--ignorefile", f"{FILE}.dockerignore", "--build-arg", f"BASE={BASE}", "--build-arg", "LOCKED=build",
        "--volume", f"{wheels}:/wheels:ro", "--volume", f"{folder}/pip.conf:/etc/pip.conf:ro", ".",
    )  # fmt: skip
    yield engine
    shutil.rmtree(folder)


def limits() -> list[str]:
    return [word for limit in LIMITS for word in ("--ulimit", limit)]


def run(engine: Engine, *arguments: object, options: tuple[object, ...] = (), timeout: float = 900):
    """The image with these arguments, as a user without a name who may do nothing, with packages from outside."""
    return engine(
        "run", "--rm", "--read-only", "--network", "none", "--user", f"{USER}:{USER}", "--passwd=false",
        "--cap-drop", "all", "--security-opt", "no-new-privileges", "--shm-size", "1g", *limits(),
        "--volume", f"{DEPENDENCIES}:/packages:ro", "--env", "PYTHONPATH=/packages:/work",
        "--volume", f"{ROOT}/tests:/work/tests:ro", *options, IMAGE, *arguments, timeout=timeout,
    )  # fmt: skip


def test_it_says_what_it_is(engine):
    (config,) = json.loads(engine.checked("image", "inspect", IMAGE))
    labels = config["Labels"]
    assert labels["org.opencontainers.image.base.name"] == BASE
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert config["User"] == "10001:10001"
    assert not [word for word in config["Config"]["Env"] if "pip" in word.lower()]


def test_nothing_is_left_in_it_but_what_runs(engine):
    """No cache, no wheel, no source; and no file of the environment that a user may change or may not read."""
    look = (
        "find / -xdev \\( -path '*/.cache/*' -o -name '*.whl' -not -path '*/ensurepip/*' -o -path '/src*' \\); "
        "find /opt/radsweep \\( -writable -o -not -perm -o+r \\) -not -type l"
    )
    done = run(engine, "-c", look, options=("--entrypoint", "sh"))
    assert not done.stdout.strip() and "/opt" not in done.stderr, done.stdout + done.stderr


def test_help_and_doctor(engine, tmp_path):
    done = run(engine)
    assert done.returncode == 0 and "--storage" in done.stdout, done.stdout + done.stderr
    storage = of_user(tmp_path / "storage")
    done = run(engine, "doctor", "--storage", "/storage", options=("--volume", f"{storage}:/storage"))
    assert done.returncode == 0 and "0 of" not in done.stdout.splitlines()[-1], done.stdout + done.stderr
    assert "/tmp/.cache/radsweep" in done.stdout


def of_user(folder: Path) -> Path:
    folder.mkdir()
    shutil.chown(folder, USER, USER)
    return folder


def test_a_sweep_runs_to_its_end(engine, tmp_path):
    storage = of_user(tmp_path / "storage")
    words = ("run", "--study", "/work/tests/cluster/image_study.py", "--storage", "/storage")
    done = run(engine, *words, options=("--volume", f"{storage}:/storage"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert len(finished(storage)) == 6 and (storage / "reports/image/report.html").is_file()
    assert {path.stat().st_uid for path in storage.rglob("*")} == {USER}
