"""Several hosts on one machine: network namespaces joined by a bridge, each with its own address, files and sshd."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SUBNET = "10.77.0"
BRIDGE, PREFIX = "radsweep-br", "radsweep"
HOSTS = {"client": 1, "head": 2, "worker1": 3, "worker2": 4}
HOME = "/srv"  # of root, on these hosts: the real one may hold the Python that runs this
SHARED = "/mnt"  # the folder that all hosts share, as an on-premises cluster has one
OWN = ("--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc")  # what a host has of its own

# Inside a host: its own process numbers (`ray stop` ends every Ray process that it can see), name, /tmp, /dev/shm
# and home folder. Only SHARED and the installed software are common.
HOST = """
set -e
mount --make-rprivate /
mount --bind {shared} {SHARED}
mount --bind {home} {HOME}
mount --bind {shared}/passwd /etc/passwd
mount --bind {shared}/hosts /etc/hosts
test ! -e /etc/resolv.conf || mount --bind {shared}/resolv.conf /etc/resolv.conf
mkdir -p {SHARED}/checkout
mount --bind {root} {SHARED}/checkout
mount -t tmpfs -o size=1g tmpfs /tmp && chmod 1777 /tmp
mkdir -p {root}
mount --bind {SHARED}/checkout {root}
mount -t tmpfs -o size=512m tmpfs /dev/shm
hostname {name}
mkdir -p /run/sshd
exec {command}
"""
TOOLS, PACKAGES = ("ip", "sshd", "ssh", "rsync", "unshare"), "iproute2 openssh-server rsync util-linux"


def why_not(tools: Sequence[str] = TOOLS, packages: str = PACKAGES) -> str | None:
    """Why there can be no hosts here; None where there can. packages: of Debian, which have the tools."""
    for tool in tools:
        if shutil.which(tool, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            return f"needs {tool}: apt-get install {packages}"
    if os.geteuid() != 0:
        return "needs root, to make network namespaces"
    space, inside = f"{PREFIX}-probe", "mount --make-rprivate / && mount -t tmpfs tmpfs /srv && hostname probe"
    probes = (
        ["ip", "netns", "add", space],
        ["ip", "link", "add", "rsvprobe", "type", "bridge"],
        ["ip", "link", "add", "rsvprobe0", "type", "veth", "peer", "name", "eth0", "netns", space],
        ["ip", "netns", "exec", space, "unshare", *OWN, "sh", "-c", inside],
    )
    try:
        for probe in probes:
            done = subprocess.run(probe, capture_output=True, text=True)
            if done.returncode:
                return f"this machine gives no right to make hosts: {' '.join(probe)}: {done.stderr.strip()}"
    finally:
        for leftover in (["link", "del", "rsvprobe0"], ["link", "del", "rsvprobe"], ["netns", "del", space]):
            subprocess.run(["ip", *leftover], capture_output=True)
    return None


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


class Hosts:
    """From `with` to its end. `on(host, command)` runs a command there.

    hosts: name -> last number of its address; gateway: whose address is that of the way out, which leads nowhere.
    """

    project = ROOT
    hosts, gateway = HOSTS, "client"

    def __init__(self, folder: Path):
        self.folder, self.shared = folder, folder / "shared"
        self.processes: dict[str, subprocess.Popen] = {}

    def __enter__(self) -> "Hosts":
        self._clean()
        self.shared.mkdir(parents=True)
        self._prepare()
        users = Path("/etc/passwd").read_text().splitlines()
        users = [line for line in users if not line.startswith("root:")]
        (self.shared / "passwd").write_text("\n".join([f"root:x:0:0:root:{HOME}:/bin/bash", *users]) + "\n")
        # This machine's name server is out of reach for a host: each question would wait ten seconds for it.
        names = [f"{self.address(name)} {name}" for name in self.hosts]
        (self.shared / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names]) + "\n")
        (self.shared / "resolv.conf").write_text("")
        try:
            self._make_network()
            for name in self.hosts:
                self._start(name)
            self._wait_until_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error) -> None:
        for process in self.processes.values():
            process.kill()  # the first process of a host: all others of it end with it
            process.wait()
        self._clean()

    def _prepare(self) -> None:
        """Write into the shared folder what the hosts need to start."""
        keys = self.shared / "keys"
        keys.mkdir(mode=0o700)
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / name)], check=True)
        shutil.copy(keys / "user.pub", keys / "authorized")

    def _wait_until_up(self) -> None:
        for name in ("head", "worker1", "worker2"):
            self._wait_for_ssh(name)

    @classmethod
    def address(cls, name: str) -> str:
        return f"{SUBNET}.{cls.hosts[name]}"

    def _clean(self) -> None:
        listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
        for name in self.hosts:
            if f"{PREFIX}-{name}" in listed:
                _ip("netns", "del", f"{PREFIX}-{name}")
        # A deleted namespace removes its end of the link only some time later.
        for link in (BRIDGE, *(f"rsv{number}" for number in self.hosts.values())):
            subprocess.run(["ip", "link", "del", link], capture_output=True)

    def _make_network(self) -> None:
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("link", "set", BRIDGE, "up")
        for name, number in self.hosts.items():
            space, outer = f"{PREFIX}-{name}", f"rsv{number}"
            _ip("netns", "add", space)
            _ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", outer, "master", BRIDGE, "up")
            _ip("-n", space, "addr", "add", f"{self.address(name)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "route", "add", "default", "via", self.address(self.gateway))

    def cut(self, name: str) -> None:
        """Take a host's network link down; the host itself goes on."""
        _ip("link", "set", f"rsv{self.hosts[name]}", "down")

    def heal(self, name: str) -> None:
        _ip("link", "set", f"rsv{self.hosts[name]}", "up")

    def _start(self, name: str) -> None:
        home = self.folder / "homes" / name
        home.mkdir(parents=True)
        (home / ".bashrc").write_text("")
        (home / "radsweep-env").symlink_to(Path(sys.executable).parents[1])
        script = HOST.format(
            shared=self.shared, SHARED=SHARED, HOME=HOME, home=home, name=name, command=self._command(name), root=ROOT
        )
        with open(self.folder / f"{name}.log", "w") as log:
            self.processes[name] = subprocess.Popen(
                ["ip", "netns", "exec", f"{PREFIX}-{name}", "unshare", *OWN, "bash", "-c", script],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def _command(self, name: str) -> str:
        """The first process of a host."""
        keys = f"{SHARED}/keys"
        sshd = (
            f"/usr/sbin/sshd -D -e -f /dev/null -h {keys}/host -o ListenAddress={self.address(name)} "
            f"-o AuthorizedKeysFile={keys}/authorized -o StrictModes=no -o PidFile=none -o UsePAM=no "
            "-o PasswordAuthentication=no -o MaxStartups=100 -o MaxSessions=100"
        )
        return "sleep 1000000" if name == "client" else sshd

    def _first_process(self, name: str) -> int:
        """The host's own first process, by which others enter it."""
        pid = self.processes[name].pid
        for _ in range(300):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if children:
                return int(children[0])
            time.sleep(0.1)
        raise RuntimeError(f"{name} did not start: {(self.folder / f'{name}.log').read_text()}")

    def _wait_for_ssh(self, name: str) -> None:
        for _ in range(60):
            done = self.on("client", f"ssh {self.ssh_options()} root@{self.address(name)} hostname")
            if done.returncode == 0 and done.stdout.strip() == name:
                return
            time.sleep(1)
        raise RuntimeError(f"no ssh to {name}: {done.stderr} {(self.folder / f'{name}.log').read_text()}")

    @staticmethod
    def ssh_options() -> str:
        return f"-i {SHARED}/keys/user -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"

    def on(self, name: str, command: str, timeout: float = 1800) -> subprocess.CompletedProcess:
        """A shell command on a host, with the environment of a new login."""
        return subprocess.run(**self._inside(name, command), capture_output=True, text=True, timeout=timeout)

    def begin(self, name: str, command: str) -> subprocess.Popen:
        """The same, not waited for."""
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(**self._inside(name, command), **silent)

    def _inside(self, name: str, command: str) -> dict:
        enter = ["nsenter", "--target", str(self._first_process(name)), "--mount", "--uts", "--ipc", "--net", "--pid"]
        path = f"{HOME}/radsweep-env/bin:{os.environ['PATH']}"
        clean = {"HOME": HOME, "PATH": path, "TERM": "dumb", "LANG": "C.UTF-8", "RAY_AUTH_MODE": "token"}
        return {"args": [*enter, "bash", "-c", f"cd {ROOT} && {command}"], "env": clean}

    def cluster_file(self, storage: str) -> str:
        """docs/clusters/on-prem.yaml filled in for these hosts.

        Two things differ: nothing is installed, since the hosts have no network and share the software of this
        machine; and each host offers Ray one core, since all three are one machine.
        """
        config = yaml.safe_load((ROOT / "docs/clusters/on-prem.yaml").read_text(encoding="utf-8"))
        workers = [self.address("worker1"), self.address("worker2")]
        config["provider"] |= {"head_ip": self.address("head"), "worker_ips": workers}
        config["auth"] = {"ssh_user": "root", "ssh_private_key": f"{SHARED}/keys/user"}
        config["file_mounts"] = {
            remote: str(local if local.startswith("~") else ROOT / local)
            for remote, local in config["file_mounts"].items()
        }
        config["setup_commands"] = [
            command.replace("/mnt/shared/radsweep", storage)
            for command in config["setup_commands"]
            if "pip install" not in command
        ] + ["echo 'export PYTHONPATH=$HOME/radsweep' >> ~/.radsweep_env"]
        for kind in ("head", "worker"):
            commands = config[f"{kind}_start_ray_commands"]
            config[f"{kind}_start_ray_commands"] = [
                command.replace("ray start ", "ray start --num-cpus=1 --object-store-memory=120000000 ")
                for command in commands
            ]
        (self.shared / "cluster.yaml").write_text(yaml.safe_dump(config))
        return f"{SHARED}/cluster.yaml"

    def nodes(self) -> int:
        """Living nodes of the cluster, as the head sees them."""
        script = (
            "import ray; ray.init(address='auto', logging_level='ERROR'); "
            "print('alive', sum(node['Alive'] for node in ray.nodes()))"
        )
        found = re.search(r"alive (\d+)", self.on("head", f'python -c "{script}"').stdout)
        return int(found[1]) if found else 0

    def wait_for_nodes(self, number: int, seconds: float) -> float:
        """Seconds until so many nodes are alive. Raises TimeoutError."""
        started = time.monotonic()
        while (alive := self.nodes()) != number:
            if time.monotonic() - started > seconds:
                raise TimeoutError(f"{alive} nodes are alive after {seconds} s, not {number}")
            time.sleep(1)
        return time.monotonic() - started
