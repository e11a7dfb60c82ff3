"""Does the image that docs/clusters/Containerfile builds run for any user, with a read-only root and no network?"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from images import BASE, DEPENDENCIES, LIMITS, ROOT, Engine, why_not

pytestmark = pytest.mark.timeout(1800)
FILE = "docs/clusters/Containerfile"
IMAGE, USER, STORAGE = "localhost/radsweep", 12345, "/storage"
CELLS = 4  # of image_study.py: LP with all labels, FT with each label_percent


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Iterator[Engine]:
    """With the image in it, built without an index of packages, and with those of locked/build.txt alone.

    Those of locked/run.txt are 7 GB: this environment's are mounted when the image runs.
    """
    if reason := why_not():
        pytest.skip(reason)
    with Engine(tmp_path_factory.mktemp("image")) as engine:
        build(engine)
        yield engine


def build(engine: Engine) -> None:
    engine.make_base()
    probe = engine("run", "--rm", "--network", "none", *limits(), BASE, "true")
    if probe.returncode:
        pytest.skip(f"this machine lets no container run: {probe.stderr.strip()[-300:]}")
    wheels, settings = engine.folder / "wheels", engine.folder / "pip.conf"
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--dest", wheels]
    fetched = subprocess.run([*fetch, "-r", ROOT / "locked/build.txt"], capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(f"no package index answers: {fetched.stderr.strip()[-300:]}")
    settings.write_text("[global]\nno-index = true\nfind-links = /wheels\n")
    engine.checked(
        "build", "--isolation", "chroot", "--tag", IMAGE, "--file", FILE, "--ignorefile", f"{FILE}.dockerignore",
        "--build-arg", f"BASE={BASE}", "--build-arg", "LOCKED=build",
        "--volume", f"{wheels}:/wheels:ro", "--volume", f"{settings}:/etc/pip.conf:ro", ".",
    )  # fmt: skip


def limits() -> list[str]:
    return [word for limit in LIMITS for word in ("--ulimit", limit)]


def run(engine: Engine, *arguments: object, options: tuple[object, ...] = (), timeout: float = 900):
    """The image with these arguments, as a user without a name who may do nothing, with packages from outside."""
    return engine(
        "run", "--rm", "--read-only", "--network", "none", "--user", f"{USER}:{USER}", "--passwd=false",
        "--cap-drop", "all", "--security-opt", "no-new-privileges", "--shm-size", "1g", *limits(),
        "--volume", f"{DEPENDENCIES}:/packages:ro", "--env", "PYTHONPATH=/packages:/study",
        "--volume", f"{ROOT}/tests:/study/tests:ro", *options, IMAGE, *arguments, timeout=timeout,
    )  # fmt: skip


@pytest.mark.cluster
def test_it_says_what_it_is(engine):
    (config,) = json.loads(engine.checked("image", "inspect", IMAGE))
    labels = config["Labels"]
    assert labels["org.opencontainers.image.base.name"] == BASE
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert config["User"] == "10001:10001"
    assert not [word for word in config["Config"]["Env"] if "pip" in word.lower()]


@pytest.mark.cluster
def test_nothing_is_left_in_it_but_what_runs(engine):
    """No cache, no wheel, no source; and no file of the environment that a user may change or may not read."""
    look = (
        "find / -xdev \\( -path '*/.cache/*' -o -name '*.whl' -not -path '*/ensurepip/*' -o -path '/src*' \\); "
        "find /opt/radsweep \\( -writable -o -not -perm -o+r \\) -not -type l"
    )
    done = run(engine, "-c", look, options=("--entrypoint", "sh"))
    assert not done.stdout.strip() and "/opt" not in done.stderr, done.stdout + done.stderr


@pytest.mark.cluster
def test_help_and_doctor(engine, tmp_path):
    done = run(engine)
    assert done.returncode == 0 and "training-free" in done.stdout, done.stdout + done.stderr
    storage = of_user(tmp_path / "storage")
    done = run(engine, "doctor", "--storage", STORAGE, options=("--volume", f"{storage}:{STORAGE}"))
    assert done.returncode == 0 and "0 of" not in done.stdout.splitlines()[-1], done.stdout + done.stderr
    assert "/tmp/.cache/radsweep" in done.stdout


def cells(storage: Path) -> int:
    return len(list(storage.glob("cells/*/result.json")))


def of_user(folder: Path) -> Path:
    folder.mkdir()
    shutil.chown(folder, USER, USER)
    return folder


@pytest.mark.cluster
def test_a_sweep_runs_to_its_end(engine, tmp_path):
    storage = of_user(tmp_path / "storage")
    words = ("run", "--study", "/study/tests/cluster/image_study.py", "--storage", STORAGE)
    done = run(engine, *words, options=("--volume", f"{storage}:{STORAGE}"))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert cells(storage) == CELLS and (storage / "reports/image/report.html").is_file()
    assert {path.stat().st_uid for path in storage.rglob("*")} == {USER}


def of_pod(pod: dict, container: dict) -> list[str]:
    """What Kubernetes would give the container, as podman's flags: rights, a volume for each mount, variables."""
    user, rights = pod["securityContext"], container["securityContext"]
    flags = [
        "--user",
        f"{user['runAsUser']}:{user['runAsGroup']}",
        "--passwd=false",
        "--read-only-tmpfs=false",
        *limits(),
    ]
    flags += ["--read-only"] if rights["readOnlyRootFilesystem"] else []
    flags += ["--security-opt", "no-new-privileges"] if not rights["allowPrivilegeEscalation"] else []
    flags += [word for name in rights["capabilities"]["drop"] for word in ("--cap-drop", name)]
    volumes = [volume["name"] for volume in pod["volumes"] if "emptyDir" in volume]
    places = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] in volumes]
    flags += [word for place in places for word in ("--tmpfs", f"{place}:rw,mode=0777,size=2g")]
    return [*flags, *(word for each in container["env"] for word in ("--env", f"{each['name']}={STORAGE}"))]


@pytest.mark.chaos
def test_the_kubernetes_job_runs_with_the_rights_of_its_file(engine, tmp_path):
    """As KubeRay starts the head and hands a command over, but in podman: two containers that share a network."""
    job = next(yaml.safe_load_all((ROOT / "docs/clusters/kuberay-rayjob.yaml").read_text(encoding="utf-8")))["spec"]
    head, submitter = job["rayClusterSpec"]["headGroupSpec"]["template"]["spec"], job["submitterPodTemplate"]["spec"]
    storage, command = tmp_path / "storage", tmp_path / "ray"
    storage.mkdir()
    shutil.chown(storage, head["securityContext"]["runAsUser"], head["securityContext"]["runAsGroup"])
    command.write_text('#!/bin/sh\nexec python -m ray.scripts.scripts "$@"\n')  # its package is not in this image
    command.chmod(0o755)
    common = [
        "--volume", f"{command}:/opt/radsweep/bin/ray:ro", "--volume", f"{DEPENDENCIES}:/packages:ro",
        "--volume", f"{ROOT}/tests:/study/tests:ro", "--env", "PYTHONPATH=/packages:/study",
        "--env", "RAY_AUTH_MODE=token", "--env", "RAY_AUTH_TOKEN=0123456789abcdef0123456789abcdef",
        "--entrypoint", '["/bin/bash", "-c", "--"]',
    ]  # fmt: skip
    start = "ulimit -n 4096; ray start --head --block --no-monitor --dashboard-host=0.0.0.0 --num-cpus=2"
    engine.checked(
        "run", "--detach", "--name", "head", "--network", "none", *of_pod(head, head["containers"][0]), *common,
        "--volume", f"{storage}:{STORAGE}", IMAGE, start,
    )  # fmt: skip
    try:
        wait_for_head(engine)
        words = job["entrypoint"].replace("paper", "/study/tests/cluster/image_study.py")
        submit = f"ray job submit --address http://127.0.0.1:8265 -- {words}"
        rights = of_pod(submitter, submitter["containers"][0])
        done = engine("run", "--rm", "--network", "container:head", *rights, *common, IMAGE, submit, timeout=900)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:] + engine("logs", "head").stdout[-3000:]
        assert cells(storage) == CELLS
    finally:
        engine("rm", "--force", "--time", "0", "head")


def wait_for_head(engine: Engine) -> None:
    """As the operator's probe asks."""
    ask = "import urllib.request as r; print(r.urlopen('http://localhost:52365/api/healthz', timeout=5).read())"
    deadline = time.monotonic() + 120
    while "success" not in (said := engine("exec", "head", "python", "-c", ask)).stdout:
        assert time.monotonic() < deadline, said.stdout + said.stderr + engine("logs", "head").stdout
        time.sleep(1)
