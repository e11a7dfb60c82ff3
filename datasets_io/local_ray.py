"""Which Ray does a command use, can a local one start here, and may its owner alone read the token that guards it?"""

import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from datasets_io.granted import cores, gpus, memory_grant

TOKEN = Path(".ray") / "auth_token"  # in the home folder, where Ray looks
OTHER_ADDRESS = "unset RAY_ADDRESS, to run here, or start the cluster"
LOOPBACK_SECONDS, HEAD_SECONDS = 5.0, 10.0
CURRENT_CLUSTER = "ray_current_cluster"  # in Ray's folder: the address of the cluster that `ray start` began there
MOST_ANCESTORS = 20
MOST_PORT, PORT_DIGITS = 65535, 5
MOST_SHOWN = 300  # characters of an address
# Of the memory, as Ray itself takes it for its objects; less than this it refuses.
OBJECTS_SHARE, LEAST_OBJECT_BYTES = 0.3, 80_000_000
# The longest of Ray's sockets, below its folder, and how many bytes a socket's path may have.
LONGEST_SOCKET = "/ray/session_2026-01-31_23-59-59_999999_{}/sockets/plasma_store"
MOST_BYTES = 103 if sys.platform == "darwin" else 107


def ensure_token() -> None:
    """For whoever starts Ray on this machine: whoever knows the token can run anything as its owner.

    A token that is there is left as it is. Where the home folder takes none, or has an empty file (as a full disk
    leaves it), into which Ray would write one for everyone to read, this process has one of its own.
    """
    # Nothing is guarded by a token in another mode, and one that the environment names needs no file.
    wanted = os.environ.get("RAY_AUTH_MODE", "token").lower() == "token"
    if not wanted or {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        return
    ensure_home()
    path, token = Path.home() / TOKEN, secrets.token_hex(32)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent) as file:  # its mode is 600
            file.write(token)
            file.flush()
            with suppress(FileExistsError):
                os.link(file.name, path)  # whole or not at all: another driver may start in the same moment
        if not path.read_bytes().strip():
            os.environ["RAY_AUTH_TOKEN"] = token
    # A home folder that is full, read-only or absent must not keep a run from starting.
    except OSError:
        os.environ["RAY_AUTH_TOKEN"] = token


def ensure_home() -> None:
    """HOME is `/` for a user without an entry in passwd and without HOME, as container runtimes set it: Ray asks."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"


def obstacle() -> str | None:
    """A sentence where a local Ray could not start here, and would try for minutes or end without one; else None."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(LOOPBACK_SECONDS)
            with socket.create_connection(server.getsockname(), LOOPBACK_SECONDS):
                server.accept()[0].close()
    except OSError as error:
        return (
            f"this machine does not reach itself (127.0.0.1: {error.strerror or error}), as the processes of Ray must: "
            "bring its loopback interface up (ip link set lo up)"
        )
    if sys.platform == "linux" and not Path("/proc/self").exists():
        return "there is no /proc, where Ray looks up its processes: mount it (mount -t proc proc /proc)"
    folder = _temporary_folder()
    taken = folder / "ray" if (folder / "ray").exists() else folder
    longer = len(os.fsencode(f"{folder}{LONGEST_SOCKET.format(os.getpid())}")) - MOST_BYTES
    if (longer <= 0 or folder.is_dir()) and not _writable(taken):  # none is made that is of no use
        return (
            f"Ray keeps its sockets and logs in {taken}, which cannot be written: export RAY_TMPDIR=/another/folder "
            f"(with a short name: a socket's path has at most {MOST_BYTES} characters)"
        )
    if longer > 0:
        return (
            f"Ray keeps its sockets in {folder}, whose name is {longer} characters too long for that: "
            "export RAY_TMPDIR=/tmp, or another folder with a short name"
        )
    return None


def _writable(folder: Path) -> bool:
    """Makes it where it is not there, as Ray would."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def unanswered(address: str) -> str | None:
    """A sentence where nothing answers at an address as RAY_ADDRESS has it, for which Ray would wait a minute.

    None for one without a port, such as `auto`: Ray knows at once. Another sentence where the port can be none.
    """
    place = host_and_port(address)
    if place is None:
        port = _host_and_port_of(address)[1]
        if not (port.isascii() and port.isdecimal()):
            return None
        text = f"RAY_ADDRESS is {_short(address)}, and its port is above {MOST_PORT}: give HOST:PORT of a cluster"
        return f"{text}, or {OTHER_ADDRESS}"
    try:
        socket.create_connection(place, HEAD_SECONDS).close()
    except (OSError, ValueError) as error:  # ValueError: of a host that can be none, as a..b
        address = _short(address)
        return f"RAY_ADDRESS is {address}, and nothing answers there ({error}): {OTHER_ADDRESS}"
    return None


def host_and_port(address: str) -> tuple[str, int] | None:
    """Of HOST:PORT, ray://HOST:PORT/... or ray://user:password@HOST:PORT; None where no host or no port is named.

    A port is a number of ASCII digits, up to MOST_PORT.
    """
    host, port = _host_and_port_of(address)
    is_port = port.isascii() and port.isdecimal() and len(port) <= PORT_DIGITS and int(port) <= MOST_PORT
    return (host.strip("[]"), int(port)) if host and is_port else None


def _host_and_port_of(address: str) -> tuple[str, str]:
    place = address.partition("://")[2] or address
    place = place.rpartition("@")[2].partition("/")[0]  # in this order: a password may have a slash
    host, _, port = place.rpartition(":")  # the last colon: an IPv6 address has several
    return host, port


def _short(address: str) -> str:
    return address if len(address) <= MOST_SHOWN else f"{address[:MOST_SHOWN]}..."


def named_cluster(environment: Mapping[str, str] = os.environ) -> str | None:
    """What RAY_ADDRESS names; None where it names none, so that a command starts a Ray of its own."""
    address = environment.get("RAY_ADDRESS", "")
    return None if address in ("", "local") else address


def granted_to_ray() -> dict[str, Any]:
    """What a local Ray is told that it has, as `ray.init` takes it: by itself it would count all of the machine."""
    told: dict[str, Any] = {"num_cpus": cores()}
    memory = memory_grant()
    if memory.granted < memory.there:
        told["object_store_memory"] = max(LEAST_OBJECT_BYTES, int(OBJECTS_SHARE * memory.granted))
    return told


class Overlooked(NamedTuple):
    """A sentence on machines that a command would leave unused. refuse: whether it must not begin like that."""

    sentence: str
    refuse: bool


def overlooked(environment: Mapping[str, str] = os.environ) -> Overlooked | None:
    """Where RAY_ADDRESS is not set though there is a cluster that may be meant, or a job has several nodes.

    A cluster that runs on this machine is not joined by itself: on a node that jobs share it may be another job's.
    """
    if environment.get("RAY_ADDRESS"):
        return None
    started_by = next(_symmetric_runs(), None)
    address = started_by or _current_cluster()
    job = environment.get("SLURM_JOB_ID")
    if address is not None and unanswered(address) is None:
        choice = f"export RAY_ADDRESS={address} to run on it, or RAY_ADDRESS=local to start another one on this machine"
        if started_by or job:
            where = "which `ray symmetric-run` started" if started_by else f"on a node of SLURM job {job}"
            return Overlooked(
                f"RAY_ADDRESS is not set, and a Ray cluster answers at {address}, {where}: {choice}", True
            )
        return Overlooked(
            f"a Ray cluster runs at {address} and is not used, as RAY_ADDRESS is not set: {choice}", False
        )
    nodes = environment.get("SLURM_JOB_NUM_NODES", "")
    if job and nodes.isdecimal() and int(nodes) > 1:
        text = (
            f"SLURM job {job} has {nodes} nodes, and RAY_ADDRESS names no cluster of them: this command uses the "
            f"{cores()} cores of this node alone (docs/clusters/slurm.md)"
        )
        return Overlooked(text, False)
    return None


def _temporary_folder() -> Path:
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")


def _current_cluster() -> str | None:
    try:
        return (_temporary_folder() / "ray" / CURRENT_CLUSTER).read_text().strip() or None
    except (OSError, ValueError):
        return None


def _symmetric_runs() -> Iterator[str]:
    """Addresses of the clusters that `ray symmetric-run` started in order to run this process's command."""
    process = os.getppid()
    with suppress(OSError, ValueError, IndexError):  # no Linux, or another user's process
        for _ in range(MOST_ANCESTORS):
            words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
            own = words[: words.index("--")] if "--" in words else []
            if "symmetric-run" in own:
                options = " ".join(own).replace("--address=", "--address ").split()
                yield options[options.index("--address") + 1]
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def ray_start_options() -> list[str]:
    """What is granted, as `ray start` takes it: without these it too would count all of the machine."""
    given = granted_to_ray() | ({} if (count := gpus()) is None else {"num_gpus": count})
    return [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]


if __name__ == "__main__":  # for a batch script: an option a line
    print("\n".join(ray_start_options()))
