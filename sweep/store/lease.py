"""Which items does another living driver compute already? Leases with an expiry, and no lock that needs a person.

A lease saves work and decides nothing: results are right without it, since the first valid write of a cell stands.
Each driver keeps one small file with a number that grows every few seconds, and a list of the items that it computes.
A file whose number another driver has seen stand still for LEASE_SECONDS, by that driver's own clock, or whose process
on this machine is gone, counts for nothing and is removed by whoever sees it. Clocks of two machines are compared only
between drivers that claim in the same moment: who goes first, and nothing else.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace

from datasets_io.storage.disk import WrongKind
from datasets_io.storage.files import Files
from datasets_io.storage.processes import is_running, started, this_machine

LEASES = "leases"
LEASE_SECONDS = float(os.environ.get("RADSWEEP_LEASE_SECONDS", "60"))
RENEWALS = 6  # a lease is rewritten so often within LEASE_SECONDS, so that a slow write or two do not end it
LONGEST_HOST = 64  # characters that are shown of what a storage says: Linux allows so many
CLAIMING, HOLDING = "claiming", "holding"


@dataclass(frozen=True)
class Holder:
    """A driver as its lease names it.

    machine: an id of the machine, since hosts may share a name. state: CLAIMING or HOLDING. ticket: seconds since 1970
    at which it claimed, which order drivers that claim at the same moment. started: when the process began, as
    `processes.started` says. beat: grows with each renewal. Raises ValueError for values of other kinds.
    """

    id: str
    host: str
    machine: str
    pid: int
    state: str
    ticket: float
    started: str = ""
    beat: int = 0

    def __post_init__(self) -> None:
        texts = (self.id, self.host, self.machine, self.state, self.started)
        numbers = (self.pid, self.beat)
        if (
            not all(isinstance(text, str) for text in texts)
            or not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers)
            or type(self.ticket) not in (int, float)
            or not abs(self.ticket) < 1 << 62  # not so for NaN either
            or self.state not in (CLAIMING, HOLDING)
        ):
            raise ValueError(f"no lease: {self.__dict__}")

    def __str__(self) -> str:
        host = self.host if len(self.host) <= LONGEST_HOST else f"{self.host[:LONGEST_HOST]}..."
        return f"process {self.pid} on {host}"


HOLDER_FIELDS = tuple(field.name for field in fields(Holder))  # those that a later version adds are passed over


class Lease:
    """This driver's lease, from `with` to its end. `claim` says which of the wanted items are free.

    seconds: after which a lease that was not renewed counts for nothing; None: LEASE_SECONDS. clock: seconds that only
    grow, of this process.
    """

    def __init__(
        self,
        files: Files,
        seconds: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.files, self.sleep, self.clock = files, sleep, clock
        self.seconds = LEASE_SECONDS if seconds is None else seconds
        own = (socket.gethostname(), this_machine(), os.getpid())
        self.me = Holder(uuid.uuid4().hex[:12], *own, CLAIMING, 0.0, started(os.getpid()))
        self.items: set[str] = set()
        self.lock, self.stop = threading.Lock(), threading.Event()  # lock: of `me` and its files, between two threads
        self.seen: dict[str, tuple[bytes | None, float]] = {}  # of another lease: what it said, and since when

    def __enter__(self) -> "Lease":
        threading.Thread(target=self._renew, daemon=True, name="radsweep-lease").start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        with self.lock:
            if not self.me.ticket:  # nothing was claimed
                return
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

    def held(self, wanted: Iterable[str]) -> dict[str, Holder]:
        """Those of the wanted items that others compute or claim just now, with their drivers; nothing is claimed."""
        wanted = set(wanted)
        return {key: holder for holder, items in self._others() for key in items & wanted}

    def living(self) -> list[Holder]:
        """The other drivers that run and hold or claim something."""
        return [holder for holder, items in self._others() if items]

    def runs(self, holder: Holder) -> bool:
        """Whether a driver still runs: known at once on this machine, else when it renews its lease or falls silent."""
        while (said := self._said(holder.id)) is not None:
            now = holder_of(said)
            if holder.machine == self.me.machine:
                return _is_there(holder)
            if now is not None and now.beat != holder.beat:
                return True
            if self._silent_for(holder.id, said) > self.seconds:
                return False
            self.sleep(0.5)
        return False

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
            self.me, self.items = replace(self.me, state=state, ticket=ticket), items
            self._write_items()
            self._beat()

    def _write_items(self) -> None:
        self.files.write(self._items(self.me.id), "\n".join(sorted(self.items)).encode())

    def _beat(self) -> None:
        self.me = replace(self.me, beat=self.me.beat + 1)
        self.files.write(self._path(self.me.id), json.dumps(asdict(self.me)).encode())

    def _renew(self) -> None:
        while not self.stop.wait(self.seconds / RENEWALS):
            with self.lock, suppress(OSError):  # the next renewal tries again
                if not self.stop.is_set() and self.me.ticket:
                    if not self.files.exists(self._items(self.me.id)):
                        self._write_items()  # somebody took this lease for one of a driver that has ended
                    self._beat()

    def _others(self) -> list[tuple[Holder, set[str]]]:
        found: list[tuple[Holder, set[str]]] = []
        names = {path.removeprefix(f"{LEASES}/").rpartition(".")[0] for path in self.files.list(LEASES)}
        for name in sorted(names - {self.me.id}):
            said = self._said(name)
            holder = None if said is None else holder_of(said)
            if holder is not None and holder.id != name:  # it would be looked for under another file's name
                holder = None
            gone = holder is not None and holder.machine == self.me.machine and not _is_there(holder)
            if gone or self._silent_for(name, said) > self.seconds:  # also one that is damaged or lacks a file
                self.files.remove(self._path(name))
                self.files.remove(self._items(name))
            elif holder is not None:
                with suppress(FileNotFoundError, ValueError):  # it has just ended, or its list is damaged
                    found.append((holder, set(self.files.read(self._items(name)).decode().split())))
        return found

    def _silent_for(self, name: str, said: bytes | None) -> float:
        """Seconds for which this driver has seen a lease say the same."""
        now = self.clock()
        if name not in self.seen or self.seen[name][0] != said:
            self.seen[name] = (said, now)
        return now - self.seen[name][1]

    def _said(self, name: str) -> bytes | None:
        """None where it has just ended, or is the rest of one."""
        try:
            return self.files.read(self._path(name))
        except (FileNotFoundError, WrongKind):
            return None


def holder_of(said: bytes) -> Holder | None:
    """None where it is damaged and so no lease."""
    try:
        value = json.loads(said)
        return Holder(**{name: value[name] for name in HOLDER_FIELDS if name in value})
    except (ValueError, TypeError, RecursionError):
        return None


def _is_there(holder: Holder) -> bool:
    return is_running(holder.pid, holder.started)
