"""Can a local Ray start here, and may its owner alone read the token that guards it? Does a cluster's head answer?"""

import os
import secrets
import socket
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

TOKEN = Path(".ray") / "auth_token"  # in the home folder, where Ray looks
OTHER_ADDRESS = "unset RAY_ADDRESS, to run here, or start the cluster"
LOOPBACK_SECONDS, HEAD_SECONDS = 5.0, 10.0
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
    folder = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
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

    None for one without a port, such as `auto`: Ray knows at once.
    """
    place = address.rpartition("://")[2].partition("/")[0].rpartition("@")[2]
    host, _, port = place.rpartition(":")  # the last colon: an IPv6 address has several
    if not host or not port.isdecimal():
        return None
    try:
        socket.create_connection((host.strip("[]"), int(port)), HEAD_SECONDS).close()
    except (OSError, OverflowError) as error:
        return f"RAY_ADDRESS is {address}, and nothing answers there ({error}): {OTHER_ADDRESS}"
    return None
