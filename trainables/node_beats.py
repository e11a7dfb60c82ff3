"""Which processes of a node are not stopped? Each beats in a file of its own, and one of them speaks for all.

No clock is compared: a beat counts until its file has stood still for some seconds of the observer's own clock. Who
speaks is not agreed upon: of those whose beat is seen the one whose name comes first; where it is stopped too, its beat
stands still, and the next one speaks. Where they cannot see each other's files, each speaks for itself.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from datasets_io.storage.own_folder import own_temporary_folder
from datasets_io.storage.processes import is_running

STILL_SECONDS = 15.0  # three beats; the driver waits for a minute and more before it takes a process for stopped


class NodeBeats:
    """The beat of one process. folder: of the processes that know each other; pid, birth: of this one.

    clock: seconds that only grow, of this process.
    """

    def __init__(self, folder: Path | None, pid: int, birth: str, clock: Callable[[], float] = time.monotonic):
        self.folder, self.me, self.clock = folder, (pid, birth), clock
        self.seen: dict[tuple[int, str], tuple[int, float]] = {}  # of another: its last beat, and since when

    def beat(self) -> list[tuple[int, str]]:
        """Beat. pid and birth of all that beat, this one among them, where it speaks for them; else nothing."""
        others = self._others() if self._written() else []
        first = min([self.me, *others])
        return sorted([self.me, *others]) if first == self.me else []

    def _written(self) -> bool:
        if self.folder is None:
            return False
        pid, birth = self.me
        try:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            path = self.folder / f"{pid}-{birth}"
            path.touch(mode=0o600)
            os.utime(path, ns=(time.time_ns(), time.monotonic_ns()))  # another number each time, whatever the clock
            return True
        except OSError:  # a full disk, or a cleaner of old files
            return False

    def _others(self) -> list[tuple[int, str]]:
        """Those whose beat has not stood still. What ended processes left is removed."""
        assert self.folder is not None, "only where this process could write its own"
        now, found = self.clock(), []
        with suppress(OSError):
            for entry in list(os.scandir(self.folder)):
                pid, _, birth = entry.name.partition("-")
                if not pid.isdecimal() or (other := (int(pid), birth)) == self.me:
                    continue
                with suppress(OSError):  # it has just been removed
                    beat = entry.stat(follow_symlinks=False).st_mtime_ns
                    if other not in self.seen or self.seen[other][0] != beat:
                        self.seen[other] = (beat, now)
                    if now - self.seen[other][1] <= STILL_SECONDS:
                        found.append(other)
                    elif not is_running(*other):
                        os.unlink(entry.path)
        return found


def folder_of(node: str, job: str) -> Path | None:
    """Where processes of one node that work for one driver beat; None where no folder is this user's alone."""
    place = own_temporary_folder("beats")
    if place is None:
        return None
    for old in place.glob(f"{node}-*"):  # of earlier drivers of this node; not empty, it stays
        with suppress(OSError):
            old.rmdir()
    return place / f"{node}-{job}"
