"""Would Ray take the cluster files, and do they keep what is promised: token, loopback dashboard, rights of pods?"""

import re
import shlex
import socket
import subprocess
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from benchmarks.supply_chain.locked import read_locked
from datasets_io.build import __main__ as build_command
from datasets_io.build.spec import BuildSpec, options_of
from datasets_io.ray_private import kubernetes_account, launcher_config
from sweep.studies import paper

ROOT = Path(__file__).parents[1]
LAUNCHER_FILES = ("cluster.yaml", "docs/clusters/on-prem.yaml")


def load(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def kubernetes():
    return list(yaml.safe_load_all((ROOT / "docs/clusters/kuberay-rayjob.yaml").read_text(encoding="utf-8")))


@pytest.fixture(params=LAUNCHER_FILES)
def config(request):
    return load(request.param)


def commands(config, *kinds):
    return [command for kind in kinds for command in config.get(f"{kind}_commands", [])]


def test_ray_takes_the_file(config):
    prepared = launcher_config(config)
    assert prepared["head_start_ray_commands"] == config["head_start_ray_commands"]


def test_a_misspelt_field_is_refused(config):
    config["max_wrokers"] = 3
    with pytest.raises(Exception, match="max_wrokers"):
        launcher_config(config)


def test_every_command_is_shell_that_parses(config):
    for command in commands(config, "setup", "head_setup", "head_start_ray", "worker_start_ray"):
        subprocess.run(["bash", "-n", "-c", command], check=True)
        shlex.split(command)
        assert "#" not in command, f"a YAML comment slipped into a folded command: {command}"


def test_every_node_runs_with_the_token(config):
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert "chmod 600 ~/.ray/auth_token" in config["setup_commands"][0]
    starts = [c for c in commands(config, "head_start_ray", "worker_start_ray") if "ray start" in c]
    assert len(starts) == 2 and all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    assert any("RAY_AUTH_MODE=token" in command for command in config["setup_commands"])


def test_the_dashboard_answers_on_loopback_only(config):
    head = " ".join(config["head_start_ray_commands"])
    assert "--dashboard-host=127.0.0.1" in head and "0.0.0.0" not in head
    assert "ray-client-server-port" not in head


def test_no_port_but_ssh_is_opened():
    for permission in load("cluster.yaml")["provider"].get("security_group", {}).get("IpPermissions", []):
        assert (permission["FromPort"], permission["ToPort"]) == (22, 22)


def test_workers_come_and_go():
    config = load("cluster.yaml")
    gpu = config["available_node_types"]["gpu"]
    assert gpu["min_workers"] == 0 and gpu["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert config["head_node_type"] == "head"
    assert "InstanceMarketOptions" not in config["available_node_types"]["head"]["node_config"]


def test_the_project_is_whole_and_pinned_on_every_node(config):
    """What is mounted is all that an installation needs, and all of it exists here."""
    mounts = {remote: local for remote, local in config["file_mounts"].items() if remote.startswith("~/radsweep/")}
    assert {Path(remote).name for remote in mounts} == {
        "datasets_io",
        "trainables",
        "sweep",
        "pyproject.toml",
        "locked",
        "README.md",
        "LICENSE",
    }
    missing = [local for local in mounts.values() if not (ROOT / local).exists()]
    assert not missing
    install = [command for command in config["setup_commands"] if "pip install" in command]
    assert len(install) == 1 and install[0].startswith("cd ~/radsweep && ")
    steps = [step for step in install[0].split(" && ") if step.startswith("pip install --quiet ")]
    assert [step.removeprefix("pip install --quiet ") for step in steps] == [
        "--require-hashes -r locked/build.txt",
        "--require-hashes --no-build-isolation -r locked/run.txt",
        "--no-deps --no-build-isolation --editable .",
    ]
    others = commands(config, "initialization", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    assert not [command for command in others if "pip install" in command], "what nobody compared"
    if "s3://" in str(config["setup_commands"]):
        assert "boto3" in {package.name for package in read_locked(ROOT / "locked/run.txt")}, (
            "else the later write stands"
        )


def test_the_environment_can_be_set_up_twice(config, tmp_path):
    """The commands that write the environment, run for real in an empty home: same result once and twice."""
    wanted = [c for c in commands(config, "setup", "head_setup") if "radsweep_env" in c]
    results = []
    for _ in range(2):
        for command in wanted:
            subprocess.run(["bash", "-c", command], check=True, env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})
        results.append(((tmp_path / ".radsweep_env").read_text(), (tmp_path / ".bashrc").read_text()))
    assert results[0] == results[1]
    show = '. ~/.bashrc; echo "$RAY_AUTH_MODE|$RADSWEEP_STORAGE|$RAY_ADDRESS|$PATH"'
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", show], env=environment, check=True, capture_output=True, text=True)
    mode, storage, address, path = done.stdout.strip().split("|")
    assert (mode, address) == ("token", "auto") and storage.endswith("/radsweep")
    assert path == f"{tmp_path}/radsweep-env/bin:/usr/bin:/bin"


def test_drivers_find_the_cluster_and_nodes_do_not_look_for_one(config):
    assert any("RAY_ADDRESS=auto" in command for command in config["head_setup_commands"])
    for command in commands(config, "head_start_ray", "worker_start_ray"):
        assert "ray start" not in command or "env -u RAY_ADDRESS" in command


def test_the_shards_that_are_made_beforehand_are_those_of_the_paper(monkeypatch):
    text = (ROOT / "docs/clusters/README.md").read_text(encoding="utf-8")
    lines = [shlex.split(line)[3:] for line in text.splitlines() if line.startswith("python -m datasets_io.build ")]
    made: list[BuildSpec] = []
    monkeypatch.setattr(build_command, "_build", lambda spec, *_: made.append(spec) or 0)
    assert [build_command.main(arguments) for arguments in lines] == [0] * len(lines)
    study = paper()
    wanted = [study.corpus, *(dataset.build for dataset in study.datasets)]
    assert [replace(spec, options=options_of(spec)) for spec in made] == [
        replace(spec, options=options_of(spec)) for spec in wanted
    ]


def test_commands_of_the_pages_name_every_archive_of_the_paper():
    """One that names some of them ends with the name of the first that it lacks."""
    wanted = {spec.source for spec in paper().builds()}
    pages = [ROOT / "README.md", *(path for path in (ROOT / "docs").rglob("*") if path.suffix in (".md", ".sbatch"))]
    found = 0
    for page in pages:
        text = page.read_text(encoding="utf-8").replace("\\\n", " ")
        for line in text.splitlines():
            if "--study paper " in line and "--raw" in line:
                found += 1
                assert set(re.findall(r"--raw (\w+)=", line)) == wanted, f"{page.name}: {line}"
    assert found >= 5


@pytest.mark.parametrize(
    ("name", "fields"),
    [("cluster.yaml", 3), ("docs/clusters/on-prem.yaml", 4), ("docs/clusters/kuberay-rayjob.yaml", 5)],
)
def test_the_fields_to_fill_in_are_marked_and_counted(name, fields):
    marks = re.findall(r"# FILL IN (\d)", (ROOT / name).read_text(encoding="utf-8"))
    assert sorted(marks) == [str(i + 1) for i in range(fields)]


def pods(job):
    """(pod's specification, its labels) of the submitter, the head and each group of workers."""
    cluster = job["spec"]["rayClusterSpec"]
    groups = (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
    templates = [job["spec"]["submitterPodTemplate"], *(group["template"] for group in groups)]
    return [(template["spec"], template["metadata"]["labels"]) for template in templates]


def test_the_kubernetes_job_has_a_token_and_no_way_in():
    job, *policies = kubernetes()
    cluster = job["spec"]["rayClusterSpec"]
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    assert {policy["kind"] for policy in policies} == {"NetworkPolicy"}
    for policy in policies:
        for kind, side in (("ingress", "from"), ("egress", "to")):
            for rule in policy["spec"].get(kind, []):
                assert rule[side] and all(rule[side]), "an empty list or selector is everybody"
                if not any("podSelector" in peer and "namespaceSelector" not in peer for peer in rule[side]):
                    assert rule["ports"], "who is not of this job has ports"


def test_the_network_policy_holds_every_pod_in_both_directions():
    job, policy, of_head = kubernetes()
    selected = policy["spec"]["podSelector"]["matchLabels"]
    assert all(selected.items() <= labels.items() for _, labels in pods(job))
    assert sorted(policy["spec"]["policyTypes"]) == ["Egress", "Ingress"]
    assert {"podSelector": {"matchLabels": selected}} in policy["spec"]["egress"][0]["to"]
    assert {port["port"] for port in policy["spec"]["egress"][1]["ports"]} == {53}
    assert of_head["spec"]["podSelector"]["matchLabels"] == {**selected, "ray.io/node-type": "head"}
    blocks = [peer["ipBlock"]["cidr"] for each in (policy, of_head) for rule in each["spec"]["egress"]
              for peer in rule["to"] if "ipBlock" in peer]  # fmt: skip
    assert blocks and all(block.startswith("192.0.2.") for block in blocks), (
        "addresses for examples: nothing is reached"
    )


def test_the_kubernetes_pods_are_restricted():
    """The Pod Security Standard `restricted` as Kubernetes states it, and a root that is read-only."""
    job = kubernetes()[0]
    options = job["spec"]["rayClusterSpec"]["autoscalerOptions"]
    for pod, _ in pods(job):
        of_pod = pod["securityContext"]
        assert of_pod["runAsNonRoot"] is True and of_pod["runAsUser"] > 0 and of_pod["runAsGroup"] > 0
        assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all(volume.keys() <= {"name", "emptyDir", "projected"} for volume in pod["volumes"])
        for container in (*pod["containers"], *([options] if pod["containers"][0]["name"] == "ray-head" else [])):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
            }  # fmt: skip
            places = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
            empty = {volume["name"] for volume in pod["volumes"] if "emptyDir" in volume}
            assert places["/tmp"] in empty and places.get("/dev/shm", "tmp") in empty
            assert set(places.values()) <= {volume["name"] for volume in pod["volumes"]}


def test_the_account_of_kubernetes_is_the_autoscalers_alone():
    job = kubernetes()[0]
    cluster = job["spec"]["rayClusterSpec"]
    assert all(pod["automountServiceAccountToken"] is False for pod, _ in pods(job))
    head = cluster["headGroupSpec"]["template"]["spec"]
    (volume,) = [volume for volume in head["volumes"] if "projected" in volume]
    (mount,) = [m for m in cluster["autoscalerOptions"]["volumeMounts"] if m["name"] == volume["name"]]
    files = [
        *(s["serviceAccountToken"]["path"] for s in volume["projected"]["sources"] if "serviceAccountToken" in s),
        *(item["path"] for s in volume["projected"]["sources"] for item in s.get("configMap", {}).get("items", [])),
    ]
    assert [f"{mount['mountPath']}/{file}" for file in files] == list(kubernetes_account())
    for pod, _ in pods(job):
        for container in pod["containers"]:
            assert volume["name"] not in {mount["name"] for mount in container["volumeMounts"]}


def test_the_kubernetes_pods_are_alike():
    job = kubernetes()[0]
    (submitter,), (head,), (worker,) = (pod["containers"] for pod, _ in pods(job))
    assert submitter["image"] == head["image"] == worker["image"]
    assert submitter["env"] == head["env"] == worker["env"]
    used = set(re.findall(r"\$(\w+)", job["spec"]["entrypoint"]))
    assert used == {each["name"] for each in submitter["env"]}, (
        "the submitter's shell reads the command, not the head's"
    )
    assert re.fullmatch(r"[\w./-]+@sha256:\w+", head["image"]), "a tag can change what it names"
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["minReplicas"] == 0


def test_commands_in_the_guide_and_the_job_use_flags_that_exist():
    from typer.testing import CliRunner

    from sweep.run.__main__ import app

    flags = set(re.findall(r"--[a-z][a-z-]*", CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output))
    texts = [(ROOT / "docs/clusters/README.md").read_text(encoding="utf-8"), kubernetes()[0]["spec"]["entrypoint"]]
    used = {
        flag
        for text in texts
        for line in re.findall(r"-m sweep\.run([^'\n]*)", text)
        for flag in re.findall(r"--[a-z][a-z-]*", line)
    }
    assert used and used <= flags


def test_versions_of_ray_agree_with_the_constraints():
    pinned = re.search(r"(?m)^ray(?:\[.*\])?==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"))
    if pinned is None:
        pytest.skip("constraints.txt does not pin ray")
    assert kubernetes()[0]["spec"]["rayClusterSpec"]["rayVersion"] == pinned[1]


BATCH_FILES = ("docs/clusters/slurm.sbatch", "docs/clusters/slurm-array.sbatch")


@pytest.fixture(params=BATCH_FILES)
def batch_file(request):
    """A file for SLURM; tests/cluster/test_slurm.py submits it where that can be."""
    return request.param


def test_a_shell_reads_the_batch_file(batch_file):
    assert subprocess.run(["bash", "-n", ROOT / batch_file], capture_output=True, text=True).stderr == ""


def test_a_job_ends_no_others_ray_and_is_requeued(batch_file):
    text = (ROOT / batch_file).read_text(encoding="utf-8")
    commands = "\n".join(line.partition(" #")[0] for line in text.splitlines() if not line.startswith("#"))
    assert "ray stop" not in commands and "symmetric-run" not in commands
    options = " ".join(line.partition(" ")[2] for line in text.splitlines() if line.startswith("#SBATCH "))
    assert "--requeue" in options and "--signal=B:USR1@" in options and "--open-mode=append" in options
    assert "RAY_AUTH_MODE=token" in commands and "umask 077" in commands


def parts_of_the_job(*patterns: str) -> str:
    """The parts of the file that match, in this order."""
    text = (ROOT / BATCH_FILES[0]).read_text(encoding="utf-8")
    found = [re.search(pattern, text, re.MULTILINE | re.DOTALL) for pattern in patterns]
    return "\n".join(part[0] for part in found if part is not None)


def free_tens() -> int:
    """A port of which the next twenty are free, as far as looking tells."""
    for first in range(27000, 29000, 10):
        with suppress(OSError), ExitStack() as held:
            for port in range(first, first + 20):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise AssertionError("no twenty free ports")


@pytest.mark.parametrize("taken", [0, 1, 2, 3, None])
def test_a_job_takes_the_next_ten_ports_where_one_of_its_four_is_another_jobs(taken):
    first = free_tens()
    code = parts_of_the_job(r"^listens\(\).*?^}", r"^taken\(\).*?^}", r"^while taken [^\n]*$")
    with socket.create_server(("127.0.0.1", first + taken)) if taken is not None else nullcontext():
        found = shell(f"head=127.0.0.1 port={first}; {code}; echo $port")
    assert int(found) == (first if taken is None else first + 10)


@pytest.mark.parametrize("taken", [True, False])
def test_a_node_takes_another_port_for_its_agent_where_another_job_has_it(taken):
    first = free_tens()
    code = parts_of_the_job(r"^listens\(\).*?^}", r"^    own=.*?^    done$")
    with socket.create_server(("127.0.0.1", first + 2)) if taken else nullcontext():
        address = "address() { echo 127.0.0.1; }"
        found = shell(f"{address}; SLURM_NODEID=1; set -- 192.0.2.1 {first}; {code}; echo $own $agent")
    assert found == f"127.0.0.1 {first + (12 if taken else 2)}"


def shell(code: str) -> str:
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()
