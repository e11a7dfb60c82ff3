"""Which process wrote this, and does it still run? Said so that another process, or another machine, can tell."""

import hashlib
import os
import socket
from functools import cache
from pathlib import Path


@cache
def this_machine() -> str:
    """8 hex digits for the processes whose ids this one can see; the host's name is not written where others read.

    Two containers may have one host name and see different processes; a machine that was started again has none of
    its earlier ones.
    """
    where = [socket.gethostname()]
    for read in (_boot_id, _pid_namespace):
        try:
            where.append(read())
        except OSError:  # not Linux: the name has to do
            continue
    return hashlib.sha256("\n".join(where).encode()).hexdigest()[:8]


def started(process: int) -> str:
    """When a process of this machine began, in ticks since its boot, which tells it from a later one of its id.

    Empty where that is not known, or there is no such process.
    """
    try:
        # After the name in brackets, which may hold anything, come 19 fields, then the start.
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""


def is_running(process: int, since: str = "") -> bool:
    """Whether a process of this machine is there. since: what `started` said of it; empty where nobody did."""
    try:
        os.kill(process, 0)  # signal 0 is not sent; only whether it could be is checked
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        pass
    now = started(process)
    return not since or not now or now == since


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid")
