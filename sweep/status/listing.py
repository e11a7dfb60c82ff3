"""Which folders does a storage hold, finished, failed or written to lately, and who works on it?"""

from contextlib import suppress
from dataclasses import dataclass

from datasets_io.storage.artefacts import FAILED, RESULT
from datasets_io.storage.disk import WrongKind
from sweep.store.lease import LEASE_SECONDS, LEASES, holder_of
from sweep.store.store import CELLS, ENCODERS, ReadStore

FRESH_SECONDS = 900.0  # a folder without a result that was written to so lately is being worked on


@dataclass(frozen=True)
class Listing:
    """All folders of encoders and cells, by one listing of each kind.

    done, failed: folder -> when its result or failure was written, in seconds since 1970. fresh: folders that have
    neither and were written to in the last FRESH_SECONDS, while a command works on the storage. sizes: path -> bytes,
    of every file. drivers: the commands that work on it.
    """

    done: dict[str, float]
    failed: dict[str, float]
    fresh: frozenset[str]
    sizes: dict[str, int]
    drivers: tuple[str, ...]

    @staticmethod
    def read(store: ReadStore, now: float) -> "Listing":
        """What the storage holds at `now`, in seconds since 1970 by this machine's clock."""
        done: dict[str, float] = {}
        failed: dict[str, float] = {}
        latest: dict[str, float] = {}
        sizes: dict[str, int] = {}
        for kind in (ENCODERS, CELLS):
            for entry in store.files.entries(kind):
                folder, _, name = entry.path.rpartition("/")
                sizes[entry.path] = entry.bytes
                when = now if entry.modified is None else entry.modified
                latest[folder] = max(when, latest.get(folder, 0.0))
                if name in (RESULT, FAILED):
                    (done if name == RESULT else failed)[folder] = when
        # A failure is removed after the result is written: what has both is finished.
        failed = {folder: when for folder, when in failed.items() if folder not in done}
        # Running is told by writes, not by leases: a lease holds all that its driver will do, running or not. But
        # without any nothing runs, and what was written to lately was interrupted.
        drivers = drivers_of(store, now)
        open_folders = latest.keys() - done.keys() - failed.keys() if drivers else ()
        fresh = frozenset(folder for folder in open_folders if now - latest[folder] < FRESH_SECONDS)
        return Listing(done, failed, fresh, sizes, drivers)


def drivers_of(store: ReadStore, now: float) -> tuple[str, ...]:
    """The commands that work on a storage: those whose lease was renewed lately. now: seconds since 1970."""
    # Twice a lease's time: this machine's clock may differ from the storage's, and status only prints them.
    found: list[str] = []
    for entry in store.files.entries(LEASES):
        if entry.path.endswith(".json") and entry.modified and abs(now - entry.modified) < 2 * LEASE_SECONDS:
            with suppress(FileNotFoundError, WrongKind):  # it has just ended, or is none
                holder = holder_of(store.files.read(entry.path))
                found += [str(holder)] if holder else []
    return tuple(sorted(found))
