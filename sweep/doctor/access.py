"""Who can reach Ray here: the token and its file, the dashboard's port, the head of a cluster."""

import os
import shlex
import socket
import stat
from pathlib import Path

from datasets_io.local_ray import MOST_PORT, MOST_SHOWN, host_and_port, named_cluster, overlooked
from sweep.doctor.check import FAIL, OK, WARN, Check

DASHBOARD_PORT, HEAD_PORT = 8265, 6379
# umask 077: the file is the owner's alone from the moment it is made. What the command prints is the token itself.
MAKE_TOKEN = "(umask 077; ray get-auth-token --generate > /dev/null)"
CONNECT_SECONDS = 3.0


def token_file() -> Path:
    """Where Ray looks for the token."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()


def check_token(on_cluster: bool, path: Path | None = None) -> Check:
    """Whether Ray asks for a token, and whether only its owner can read it. The token itself is never printed.

    on_cluster: a cluster file was given, or RAY_ADDRESS; then a token must be there, else one is made. path: of the
    token's file; Ray's own where None.
    """
    path = path or token_file()
    mode = os.environ.get("RAY_AUTH_MODE")
    if mode not in (None, "", "token"):
        text = f"RAY_AUTH_MODE is {mode}: whoever reaches Ray's ports can run anything as you"
        return Check("token", FAIL, text, "export RAY_AUTH_MODE=token")
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Check("token", OK, "in RAY_AUTH_TOKEN")
    if not path.is_file() or not path.read_text().strip():
        if on_cluster:
            return Check("token", FAIL, f"{path} does not exist: a cluster with tokens refuses this driver", MAKE_TOKEN)
        return Check("token", OK, "none yet: one is made when Ray starts on this machine, for you alone to read")
    permissions = stat.S_IMODE(path.stat().st_mode)
    if permissions & 0o077:  # any right of the group or of others
        text = f"{path} has mode {permissions:o}: other users of this machine can read it"
        return Check("token", FAIL if on_cluster else WARN, text, f"chmod 600 {shlex.quote(str(path))}")
    return Check("token", OK, f"{path}, readable by its owner only")


def outside_address() -> str | None:
    """This machine's address on the network that leads out; nothing is sent. None where there is no network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # An address for documentation (RFC 5737). Connecting a UDP socket only looks up the route.
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return address


def accepts_connections(host: str, port: int) -> bool:
    """Whether something listens there and can be reached within CONNECT_SECONDS."""
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS):
            return True
    except (OSError, ValueError):  # ValueError: of a host that can be none, as a..b
        return False


def check_dashboard_port(port: int = DASHBOARD_PORT, outside: str | None = None) -> Check:
    """A dashboard may answer this machine only: whoever reaches it can run jobs.

    outside: this machine's address to others, looked up where None.
    """
    outside = outside or outside_address()
    if outside is not None and accepts_connections(outside, port):
        text = f"port {port} answers at {outside}: others on the network can reach the dashboard"
        mend = "ray stop && ray start --head --dashboard-host=127.0.0.1  (or close the port in the firewall)"
        return Check("dashboard port", FAIL, text, mend)
    if accepts_connections("127.0.0.1", port):
        return Check("dashboard port", OK, f"port {port} is in use on this machine only; Ray takes the next one")
    return Check("dashboard port", OK, f"port {port} is free, and closed to other machines")


def check_head(address: str | None) -> list[Check]:
    """Whether the cluster that RAY_ADDRESS names can be reached; nothing where it names none."""
    if not address or address in ("auto", "local"):
        return []
    if (place := host_and_port(address)) is None:
        text = f"RAY_ADDRESS is {address[:MOST_SHOWN]!r}, not HOST:PORT with a port of 1 to {MOST_PORT}"
        return [Check("head", FAIL, text, f"export RAY_ADDRESS=HOST:{HEAD_PORT}")]
    if accepts_connections(*place):
        return [Check("head", OK, f"{address} answers")]
    text = f"RAY_ADDRESS is {address[:MOST_SHOWN]}, and nothing answers there"
    return [Check("head", FAIL, text, "unset RAY_ADDRESS  (to run here), or start the cluster: ray up cluster.yaml")]


def access_checks(on_cluster: bool) -> list[Check]:
    """Token, dashboard and head. on_cluster: a cluster file was given."""
    address = named_cluster()
    checks = [check_token(on_cluster or address is not None), check_dashboard_port(), *check_head(address)]
    if (others := overlooked()) is not None:
        mend = "export RAY_ADDRESS=HOST:PORT of the job's cluster, or RAY_ADDRESS=local"
        checks.append(Check("cluster", FAIL if others.refuse else WARN, others.sentence, mend))
    return checks
