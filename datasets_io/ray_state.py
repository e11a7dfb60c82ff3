"""Where does Ray keep its state while it runs, and which of it did drivers leave that are dead?"""

import os
import re
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from datasets_io.storage.disk import is_of_group
from datasets_io.storage.files import Files, below
from datasets_io.storage.own_folder import own_temporary_folder
from datasets_io.storage.processes import is_running, started, this_machine
from datasets_io.storage.secrets import has_secrets

BELOW_STORAGE = "ray"
CELLS_STATE, SEARCH_STATE, GROUP_STATE = "cells", "tune", "pretrain"
# <kind>-<machine>-<process>.<its start>-<8 hex>: the driver's, as in the names of temporary files.
_NAME = re.compile(rf"({CELLS_STATE}|{SEARCH_STATE}|{GROUP_STATE})-([0-9a-f]{{8}})-(\d{{1,10}})\.(\d*)-[0-9a-f]{{8}}")
UNSEEN_SECONDS = 86400.0  # after which what a driver of another machine left is removed, where it has no lease either
ATTEMPTS, PAUSE_SECONDS = 3, 0.3  # a process of Ray that is just ending may write once more


def ray_folder(uri: str) -> str:
    """Where Ray Tune and Ray Train keep their state while they run: below the storage, since a head may be lost.

    Tune writes there what it was given, the URI as well: of one with a password the state stays on this machine. Raises
    ValueError where no folder of this machine is this user's alone.
    """
    if not has_secrets(uri):
        return below(uri, BELOW_STORAGE)
    if (own := own_temporary_folder("tune")) is None:
        text = f"no temporary folder can hold a folder radsweep-tune-{os.getuid()} that is this user's alone"
        raise ValueError(
            f"--storage has a password, so that Ray keeps its state on this machine, and {text}: set "
            "TMPDIR to a folder of your own, or give the password by the environment"
        )
    return str(own)


def state_name(kind: str) -> str:
    """A new name for a folder of Ray's state, by the driver that this process is."""
    return f"{kind}-{this_machine()}-{os.getpid()}.{started(os.getpid())}-{uuid.uuid4().hex[:8]}"


@contextmanager
def ray_state(uri: str, name: str) -> Iterator[str]:
    """`ray_folder`, with a folder of that name in it, which is gone at the end, also of an interrupt.

    Meanwhile what this process writes is for its owner alone, or for a group: Ray would make it for all users of the
    machine to read.
    """
    root = ray_folder(uri)
    Files(below(root, name)).make_folder()
    before = os.umask(0o007 if _is_for_group(root) else 0o077)
    try:
        yield root
    finally:
        os.umask(before)
        with suppress(OSError):  # the storage may be what failed
            Files(root).remove(name)


def remove_own_state(uri: str) -> None:
    """What this driver's processes have left, once Ray has ended: they are ended in the middle of an interrupt."""
    own = (this_machine(), str(os.getpid()), started(os.getpid()))
    for attempt in range(ATTEMPTS):
        left = [name for name, whose in _states(uri) if whose == own]
        if left and attempt:
            time.sleep(PAUSE_SECONDS)
        _remove(uri, left)


def remove_left_state(uri: str, machines: Collection[str] = ()) -> None:
    """What dead drivers have left, and only folders whose names say so; links are not followed.

    machines: of the living drivers, by their leases. What a driver of another machine has left counts as left below a
    storage alone, after UNSEEN_SECONDS without a change: on this machine another container may run it.
    """
    _remove(uri, [name for name, whose in _states(uri) if _is_left(uri, name, whose, machines)])


def _states(uri: str) -> list[tuple[str, tuple[str, str, str]]]:
    """Name of each folder of this form -> machine, process and its start, of the driver."""
    with suppress(ValueError, OSError):  # a folder that is not this user's alone has nothing of this user
        files = Files(ray_folder(uri))
        if files.is_local and os.path.islink(files.given):
            return []
        named = [(name, _NAME.fullmatch(name)) for name in files.folders("")]
        return [
            (name, (found[2], found[3], found[4]))
            for name, found in named
            if found and not (files.is_local and os.path.islink(files.full(name)))
        ]
    return []


def _is_left(uri: str, name: str, whose: tuple[str, str, str], machines: Collection[str]) -> bool:
    machine, process, since = whose
    if machine == this_machine():
        return not is_running(int(process), since)
    if machine in machines or has_secrets(uri):
        return False
    files = Files(ray_folder(uri))
    times = [entry.modified for entry in files.entries(name)]
    if files.is_local:
        with suppress(OSError):
            times.append(os.stat(files.full(name)).st_mtime)
    return bool(times) and all(at is not None and time.time() - at > UNSEEN_SECONDS for at in times)


def _remove(uri: str, names: list[str]) -> None:
    for name in names:
        with suppress(OSError):  # the next command tries again
            Files(ray_folder(uri)).remove(name)


def _is_for_group(root: str) -> bool:
    files = Files(root)
    return files.is_local and is_of_group(files.root)
