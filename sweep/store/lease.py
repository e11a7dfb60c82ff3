"""Which items does another living driver compute already? Leases with an expiry, and no lock that needs a person.

A lease saves work and decides nothing: results are right without it, since the first valid write of a cell stands.
Each driver keeps one small file, rewritten every few seconds, and a list of the items that it computes. A file that
was not rewritten for LEASE_SECONDS, by the storage's own clock, or whose process on this machine is gone, counts for
nothing and is removed by whoever reads it.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass

from datasets_io.storage.files import Files, is_running, this_machine

LEASES = "leases"
LEASE_SECONDS = float(os.environ.get("RADSWEEP_LEASE_SECONDS", "60"))
RENEWALS = 6  # a lease is rewritten so often within LEASE_SECONDS, so that a slow write or two do not end it
CLAIMING, HOLDING = "claiming", "holding"


@dataclass(frozen=True)
class Holder:
    """A driver as its lease names it.

    machine: an id of the machine, since hosts may share a name. state: CLAIMING or HOLDING. ticket: seconds since 1970
    at which it claimed, which order drivers that claim at the same moment.
    """

    id: str
    host: str
    machine: str
    pid: int
    state: str
    ticket: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Lease:
    """This driver's lease, from `with` to its end. `claim` says which of the wanted items are free.

    seconds: after which a lease that was not renewed counts for nothing; None: LEASE_SECONDS.
    """

    def __init__(self, files: Files, seconds: float | None = None, sleep: Callable[[float], None] = time.sleep):
        self.files, self.sleep = files, sleep
        self.seconds = LEASE_SECONDS if seconds is None else seconds
        self.me = Holder(uuid.uuid4().hex[:12], socket.gethostname(), this_machine(), os.getpid(), CLAIMING, 0.0)
        self.lock, self.stop = threading.Lock(), threading.Event()  # lock: of `me` and its files, between two threads

    def __enter__(self) -> "Lease":
        threading.Thread(target=self._renew, daemon=True, name="radsweep-lease").start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        with self.lock:
            for path in (self._path(self.me.id), self._items(self.me.id)):
                with suppress(OSError):  # it expires by itself
                    self.files.remove(path)

    def claim(self, wanted: Iterable[str]) -> tuple[set[str], dict[str, Holder]]:
        """The wanted items that are now this driver's, and those that others compute, with their drivers.

        Of two drivers that claim at once the later ticket yields; a driver that holds is never overruled. The storage
        has no lock, so each driver first writes what it wants and then reads what others want: of two that claim the
        same item at least one reads the other's claim. An earlier claim counts as held.
        """
        wanted = set(wanted)
        self._write(CLAIMING, wanted, time.time())
        while True:
            others = self._others()
            held = {key: holder for holder, items in others if self._outranks(holder) for key in items & wanted}
            # Later claims of the same items: these drivers may not have read this claim yet, and could still hold.
            unsure = [holder for holder, items in others if not self._outranks(holder) and items & (wanted - set(held))]
            if not unsure:
                break
            self.sleep(0.2)  # by then they have read this claim and yielded, or they hold
        mine = wanted - set(held)
        self._write(HOLDING, mine, self.me.ticket)
        return mine, held

    def keep(self, items: Iterable[str]) -> None:
        """Hold only these from now on, of what this driver holds; with none of them the lease stays, empty."""
        self._write(HOLDING, set(items), self.me.ticket)

    def living(self) -> list[Holder]:
        """The other drivers that run and hold or claim something."""
        return [holder for holder, items in self._others() if items]

    # -- files ---------------------------------------------------------------------------------------

    def _outranks(self, other: Holder) -> bool:
        return other.state == HOLDING or (other.ticket, other.id) < (self.me.ticket, self.me.id)

    @staticmethod
    def _path(holder: str) -> str:
        return f"{LEASES}/{holder}.json"

    @staticmethod
    def _items(holder: str) -> str:
        return f"{LEASES}/{holder}.txt"

    def _write(self, state: str, items: set[str], ticket: float) -> None:
        """Items first, then the state: a reader of HOLDING finds the list that was claimed, never a shorter one."""
        with self.lock:
            self.me = Holder(**{**asdict(self.me), "state": state, "ticket": ticket})
            self.files.write(self._items(self.me.id), "\n".join(sorted(items)).encode())
            self.files.write(self._path(self.me.id), json.dumps(asdict(self.me)).encode())

    def _renew(self) -> None:
        while not self.stop.wait(self.seconds / RENEWALS):
            with self.lock, suppress(OSError):  # the next renewal tries again
                if not self.stop.is_set() and self.me.ticket:
                    self.files.write(self._path(self.me.id), json.dumps(asdict(self.me)).encode())

    def _others(self) -> list[tuple[Holder, set[str]]]:
        with self.lock:  # `ages` counts from the newest file, by the storage's clock: this one makes that now
            self.files.write(self._path(self.me.id), json.dumps(asdict(self.me)).encode())
        found: list[tuple[Holder, set[str]]] = []
        ages = self.files.ages(LEASES)
        for path, age in ages.items():
            name = path.removeprefix(f"{LEASES}/").rpartition(".")[0]
            if name == self.me.id or (path == self._items(name) and self._path(name) in ages):
                continue  # a list is read with its lease; one without a lease is the rest of one, and expires below
            holder = self._holder(path)
            gone = holder is not None and holder.machine == self.me.machine and not is_running(holder.pid)
            if gone or age > self.seconds:  # also one that is damaged or lacks a file
                self.files.remove(self._path(name))
                self.files.remove(self._items(name))
            elif holder is not None:
                with suppress(FileNotFoundError, ValueError):  # it has just ended, or its list is damaged
                    found.append((holder, set(self.files.read(self._items(name)).decode().split())))
        return found

    def _holder(self, path: str) -> Holder | None:
        """None where it has just ended, or is damaged and so no lease."""
        try:
            return Holder(**json.loads(self.files.read(path)))
        except (FileNotFoundError, ValueError, TypeError):
            return None
