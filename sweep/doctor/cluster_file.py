"""Would `ray up` take this cluster file, and does it keep what is promised: token, loopback dashboard?"""

import io
import logging
import re
import shlex
import shutil
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from datasets_io.ray_private import launcher_config
from sweep.doctor.check import FAIL, OK, Check

# Values that the files come with and that no one can have meant.
PLACEHOLDERS = ("s3://my-bucket", "192.0.2.", "registry.example.org")
CLOUD_CLIENTS = {"aws": "boto3", "gcp": "googleapiclient", "azure": "azure"}


def check_cluster_file(path: Path) -> list[Check]:
    """A file for `ray up`, or a RayJob for Kubernetes, which is told apart by its `kind`."""
    name = "cluster file"
    try:
        text = path.read_text(encoding="utf-8")
        documents = [document for document in yaml.safe_load_all(text) if document]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return [
            Check(name, FAIL, f"{path} cannot be read: {error}", f"mend its YAML: $EDITOR {shlex.quote(str(path))}")
        ]
    if documents and documents[0].get("kind"):
        return [*_fields(path, text), *_kubernetes(path, documents[0])]
    if len(documents) != 1:
        return [Check(name, FAIL, f"{path} has {len(documents)} documents, not one", "cp cluster.yaml and fill it in")]
    config = documents[0]
    return [_schema(path, config), *_fields(path, text), *_security(path, config), *_launcher(path, config)]


def _schema(path: Path, config: dict[str, Any]) -> Check:
    logging.getLogger("ray.autoscaler").setLevel(logging.WARNING)  # it remarks on each default
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):  # remarks on mounts of single files
            launcher_config(config)
    except Exception as error:  # Ray raises whatever its validators and providers raise
        reason = str(error).split("\n")[0]
        return Check(
            "cluster file", FAIL, f"{path}: Ray does not take it: {reason}", f"$EDITOR {shlex.quote(str(path))}"
        )
    return Check("cluster file", OK, f"{path}: Ray's schema takes it")


def _fields(path: Path, text: str) -> list[Check]:
    """Lines marked FILL IN that still have what they came with."""
    open_lines = []
    for number, line in enumerate(text.splitlines(), 1):
        if re.search(r"# FILL IN \d", line) and any(value in line for value in PLACEHOLDERS):
            open_lines.append(number)
    if not open_lines:
        return [Check("cluster fields", OK, "no field has the placeholder that it came with")]
    lines = ", ".join(map(str, open_lines))
    mend = f"$EDITOR +{open_lines[0]} {shlex.quote(str(path))}"
    return [Check("cluster fields", FAIL, f"{path}: still to be filled in: line {lines}", mend)]


def _security(path: Path, config: dict[str, Any]) -> list[Check]:
    """Whether every node that the file starts asks for the token, and the dashboard answers on the head only."""
    head = " ".join(config.get("head_start_ray_commands", []))
    worker = " ".join(config.get("worker_start_ray_commands", []))
    problems = []
    if "--dashboard-host=127.0.0.1" not in head:
        problems.append("head_start_ray_commands: add --dashboard-host=127.0.0.1 (the dashboard is open otherwise)")
    for name, command in (("head", head), ("worker", worker)):
        if "ray start" in command and "RAY_AUTH_MODE=token" not in command:
            problems.append(f"{name}_start_ray_commands: set RAY_AUTH_MODE=token before ray start")
    if problems:
        text = f"{path}: {'; '.join(problems)}"
        return [Check("cluster security", FAIL, text, f"$EDITOR {shlex.quote(str(path))}  (see docs/clusters)")]
    return [Check("cluster security", OK, "every node asks for the token; the dashboard answers on the head only")]


def _launcher(path: Path, config: dict[str, Any]) -> list[Check]:
    """What this machine needs to launch it: ssh, rsync, the cloud's client, and the files that are mounted."""
    checks = []
    missing = [tool for tool in ("ssh", "rsync") if shutil.which(tool) is None]
    if missing:
        text = f"{' and '.join(missing)} not found: `ray up` reaches machines with them"
        checks.append(Check("launcher", FAIL, text, "sudo apt-get install -y openssh-client rsync"))
    client = CLOUD_CLIENTS.get(config.get("provider", {}).get("type", ""))
    if client is not None and find_spec(client) is None:
        checks.append(Check("launcher", FAIL, f"{client} is not installed", f"pip install {client}"))
    local = [str(place) for place in config.get("file_mounts", {}).values() if not str(place).startswith("~")]
    absent = [place for place in local if not Path(place).exists()]
    if absent:
        text = f"file_mounts names what is not here: {', '.join(absent)}"
        checks.append(Check("launcher", FAIL, text, "run `ray up` from the project's top folder: cd radsweep"))
    return checks or [Check("launcher", OK, "ssh, rsync and all mounted files are here")]


def _kubernetes(path: Path, job: dict[str, Any]) -> list[Check]:
    """A RayJob: its token, and whether the Kubernetes cluster takes it; kubectl's dry run creates nothing."""
    checks = []
    cluster = job.get("spec", {}).get("rayClusterSpec", {})
    if (job.get("kind"), cluster.get("authOptions")) != ("RayJob", {"mode": "token"}):
        text = f"{path}: not a RayJob with authOptions.mode token"
        checks.append(Check("cluster security", FAIL, text, "start from docs/clusters/kuberay-rayjob.yaml"))
    if shutil.which("kubectl") is None:
        checks.append(Check("launcher", FAIL, "kubectl not found", "https://kubernetes.io/docs/tasks/tools/"))
    else:
        done = subprocess.run(["kubectl", "apply", "--dry-run=server", "-f", str(path)], capture_output=True, text=True)
        if done.returncode:
            text = f"the cluster does not take {path}: {done.stderr.strip().splitlines()[-1]}"
            checks.append(
                Check("cluster file", FAIL, text, f"kubectl apply --dry-run=server -f {shlex.quote(str(path))}")
            )
    return checks or [Check("cluster file", OK, f"{path}: the Kubernetes cluster takes it")]
