"""Which temporary files were left by writers that are dead?"""

import os
import re
import tempfile
from collections.abc import Iterable

from datasets_io.storage.local_listing import TEMPORARY
from datasets_io.storage.processes import is_running, this_machine

ORPHAN_SECONDS = 3600  # no write takes that long
# The name's end is .tmp-<machine>-<process>.<its start>-<uuid>, once without the start; -a where take_name tries.
_OURS = re.compile(rf"(.*){re.escape(TEMPORARY)}[0-9a-f]{{8}}-\d+(\.\d*)?-[0-9a-f]{{32}}(-[ab])?", re.DOTALL)


def orphans_below(folder: str) -> list[str]:
    """Those of a folder of ours and of all below it; a user's own files may lie there too, under any other name."""
    named = (f"{place}/{name}" for place, _, names in os.walk(folder) for name in names if _OURS.fullmatch(name))
    return [path for path in named if _is_orphan(path)]


def orphans_of(paths: Iterable[str]) -> list[str]:
    """Those of these files, where they have the form that our names have; nothing else in their folders."""
    found: list[str] = []
    names: dict[str, list[str]] = {}
    for path in paths:
        folder, _, name = path.rpartition("/")
        names.setdefault(folder, []).append(name)
    for folder, written in names.items():
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            if any(is_temporary_of(name, one) for one in written) and _is_orphan(f"{folder}/{name}"):
                found.append(f"{folder}/{name}")
    return found


def is_temporary_of(name: str, target: str) -> bool:
    """Whether a file's name has the form of those under which a file of the name `target` is written."""
    found = _OURS.fullmatch(name)
    return found is not None and target.startswith(found[1])


def storage_time(folder: str) -> float:
    """Seconds since 1970 by the clock that dates a folder's files: this machine's may be hours off. Raises OSError."""
    with tempfile.TemporaryFile(dir=folder) as probe:
        return os.fstat(probe.fileno()).st_mtime


def _is_orphan(path: str) -> bool:
    """Whether its writer is dead. path: of a file whose name has our form."""
    machine, _, rest = path.rpartition(TEMPORARY)[2].partition("-")
    process, _, since = rest.partition("-")[0].partition(".")
    if machine == this_machine() and process.isdecimal() and not is_running(int(process), since):
        return True
    try:
        # Or an hour ahead, where that clock was set back since; a writer that lives all the same writes it again.
        return abs(storage_time(os.path.dirname(path)) - os.stat(path).st_mtime) > ORPHAN_SECONDS
    except OSError:  # its writer has just finished; or nothing can be written now, so that the time is not known
        return False
