"""Does a study come out the same when its driver and its workers are killed at random? The command that shows it."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from datasets_io.granted import machine_cores
from datasets_io.ray_private import agent_titles
from datasets_io.storage.artefacts import RESULT
from datasets_io.storage.files import TEMPORARY, Files
from datasets_io.storage.secrets import without_secrets
from sweep.store.lease import LEASES
from sweep.store.store import CELLS, ENCODERS

MARK = "RADSWEEP_CHAOS"
UNDISTURBED, DISTURBED = "undisturbed", "with-faults"  # the two storages, in a folder of their own
FAULTS = ("driver SIGKILL", "driver SIGTERM", "driver SIGINT", "driver SIGINT twice", "worker SIGKILL")
STOPS_WITHIN_SECONDS = 10.0
ORPHANS_END_WITHIN_SECONDS = 30.0
# Where a driver is killed outright, two of Ray's agents try for 60 s to tell the head, which is gone too, of it. They
# hold no core and nothing of a sweep.
AGENTS_END_WITHIN_SECONDS = 75.0


def worker_titles() -> tuple[str, ...]:
    """How the titles begin of the processes that compute a study, by what Ray runs in them: actors, trials, tasks.

    Ray's own agents are not among them: where one ends, Ray ends the whole host, which is a fault of another kind.
    """
    # Imports Ray and torch, which the tests that only start drivers do without.
    from datasets_io.ray_private import PROCESS_TITLE, train_titles, trial_title
    from sweep.engine.execution import GROUP_TASK, INITIAL_TASK, SEARCH_TASK
    from sweep.engine.progress_actor import ProgressActor
    from trainables.pretraining.run_queue import RunQueue

    own = (SEARCH_TASK, GROUP_TASK, INITIAL_TASK, ProgressActor.__name__, RunQueue.__name__)
    return (trial_title(), *train_titles(), *(f"{PROCESS_TITLE}{name}" for name in own))


@dataclass
class FaultLog:
    """What was done to a study, and what came of it. faults: their names; stops: seconds each interrupt took.

    problems: sentences; none means that every promise held.
    """

    faults: list[str] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)
    finished_before_kills: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Process:
    """One process. started: in the kernel's ticks since boot, which tells it from a later one with the same number.

    command: its title; marked: whether it has the mark in its environment.
    """

    pid: int
    parent: int
    session: int
    started: int
    command: str
    marked: bool

    @property
    def shown(self) -> str:
        """The start of its command; first without secrets, since of a password cut in two nobody knows what it was."""
        return without_secrets(self.command)[:80]


def processes(mark: str) -> dict[int, Process]:
    """All processes of this machine but this one, by number."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            # "pid (name) state ppid ...", and the name may hold ")": what follows the last one begins with the state.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            marked = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes()
        except OSError:  # it has just ended, or is another user's
            continue
        if fields[0] != "Z":  # it has ended, and only waits for its parent to ask how
            pid = int(folder.name)
            found[pid] = Process(pid, int(fields[1]), int(fields[3]), int(fields[19]), command, marked)
    return found


def family(mark: str, sessions: set[int], seen: set[tuple[int, int]]) -> list[Process]:
    """Everything a driver started: by mark, session, descent, or because an earlier call found it to be so.

    Ray's workers write their title over their environment, so the mark alone does not find them. seen: (pid, started)
    of what was found; this call adds to it, since a process whose parent has ended has lost its descent.
    """
    every = processes(mark)
    ours = {pid for pid, p in every.items() if p.marked or p.session in sessions or (pid, p.started) in seen}
    while more := {pid for pid, p in every.items() if p.parent in ours} - ours:
        ours |= more
    seen |= {(pid, every[pid].started) for pid in ours}
    return [every[pid] for pid in sorted(ours)]


def finished(storage: Path) -> dict[str, int]:
    """result.json -> when it was written: a finished item that is computed again gets another."""
    return {
        str(path): path.stat().st_mtime_ns for kind in (CELLS, ENCODERS) for path in storage.glob(f"{kind}/*/{RESULT}")
    }


def accept_interrupts() -> None:
    """For a new process: a shell's background job ignores SIGINT, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class FaultInjector:
    """Runs a command again and again, ending it or a worker of it at random moments, until it comes through."""

    def __init__(self, command: list[str], storage: Path, seed: int, say: Callable[[str], None]):
        self.command, self.storage, self.say = command, storage, say
        self.random, self.log, self.faults = random.Random(seed), FaultLog(), FAULTS
        self.worker_titles, self.agent_titles = worker_titles(), agent_titles()
        self.mark = uuid.uuid4().hex
        self.sessions: set[int] = set()
        self.seen: set[tuple[int, int]] = set()

    def run(self, faults: int, shortest: float, longest: float) -> FaultLog:
        """So many faults, each `shortest` to `longest` seconds after the start of work, then undisturbed to the end."""
        left = faults
        while True:
            driver = self._start()
            code = self._disturb(driver, left, shortest, longest) if left else driver.wait()
            left = faults - len(self.log.faults)
            self._check_ended(self.agent_titles, ORPHANS_END_WITHIN_SECONDS)
            if code is not None:
                break
        self._check_ended((), AGENTS_END_WITHIN_SECONDS)
        if code != 0:
            self.log.problems.append(f"the last run ended with exit code {code}")
        if self.storage.is_dir():
            self._check_storage()
        return self.log

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, MARK: self.mark}
        with open(f"{self.storage}.log", "ab") as log:
            driver = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # by which its processes are found, and Ctrl-C here does not reach it
                preexec_fn=accept_interrupts,
            )
        self.sessions.add(driver.pid)
        return driver

    def _family(self) -> list[Process]:
        return family(self.mark, self.sessions, self.seen)

    def _disturb(self, driver: subprocess.Popen[bytes], left: int, shortest: float, longest: float) -> int | None:
        """The exit code if it came through by itself; None where it was ended."""
        while left:
            if (code := self._wait(driver, shortest, longest)) is not None:
                return code
            fault = self.random.choice(self.faults)
            before = finished(self.storage)
            self.log.finished_before_kills = max(self.log.finished_before_kills, len(before))
            if fault == "worker SIGKILL":
                if not self._kill_worker():
                    continue
                self._note(fault, before)
                left -= 1
                continue
            self._note(fault, before)
            self._end(driver, fault)
            after = finished(self.storage)
            again = [path for path, when in before.items() if after.get(path) != when]
            self.log.problems += [f"{path} was lost or computed again" for path in again]
            return None
        return driver.wait()

    def _wait(self, driver: subprocess.Popen[bytes], shortest: float, longest: float) -> int | None:
        """To the moment of the next fault: half of them at any time, half among items that land. Or the exit code."""
        # Just after an item landed others are being published, and files are half written.
        if self.random.random() < 0.5:
            before = len(finished(self.storage))
            while driver.poll() is None and len(finished(self.storage)) <= before:
                time.sleep(0.05)
            longest, shortest = shortest, 0.0
        with suppress(subprocess.TimeoutExpired):
            return driver.wait(timeout=self.random.uniform(shortest, longest))
        return None

    def _note(self, fault: str, before: dict[str, int]) -> None:
        self.log.faults.append(fault)
        self.say(f"fault {len(self.log.faults)}: {fault}, with {len(before)} items finished")

    def _kill_worker(self) -> bool:
        workers = [process.pid for process in self._family() if process.command.startswith(self.worker_titles)]
        if not workers:
            return False
        try:
            os.kill(self.random.choice(workers), signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def _end(self, driver: subprocess.Popen[bytes], fault: str) -> None:
        number = {"SIGKILL": signal.SIGKILL, "SIGTERM": signal.SIGTERM}.get(fault.split()[1], signal.SIGINT)
        self._family()  # what has no parent after the driver's end is remembered as its own
        started = time.monotonic()
        driver.send_signal(number)
        if fault.endswith("twice"):
            time.sleep(self.random.uniform(0.1, 2.0))  # while the first is being answered
            driver.send_signal(number)
        try:
            code = driver.wait(timeout=120)
        except subprocess.TimeoutExpired:
            self.log.problems.append(f"{fault}: still there after 120 s")
            driver.kill()
            driver.wait()
            return
        if number != signal.SIGKILL:
            self._note_stop(fault, time.monotonic() - started)
            if code not in (130, -signal.SIGINT, 0):
                self.log.problems.append(f"{fault}: exit code {code}, not 130")

    def _note_stop(self, fault: str, seconds: float) -> None:
        """On a machine that is busy with other things all takes longer, by about as much as it is overcommitted."""
        self.log.stops.append(seconds)
        self.say(f"stopped after {seconds:.1f} s")
        allowed = STOPS_WITHIN_SECONDS * max(1.0, os.getloadavg()[0] / machine_cores())
        if seconds > allowed:
            self.log.problems.append(f"{fault}: a stop took {seconds:.1f} s, more than {allowed:.0f}")

    def _check_ended(self, but: tuple[str, ...], within: float) -> None:
        """Nothing of a driver that ended goes on; what does is named, and ended so that the next run is undisturbed."""
        deadline = time.monotonic() + within
        while orphans := [process for process in self._family() if not process.command.startswith(but)]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.25)
        for process in orphans:
            text = f"process {process.pid} went on after its driver's end: {process.shown}"
            self.log.problems.append(text)
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    def _check_storage(self) -> None:
        files = Files(str(self.storage))
        self.log.problems += [f"{path} is left" for path in files.list(LEASES)]
        left = [path for path in self.storage.rglob(f"*{TEMPORARY}*") if path.is_file()]
        self.log.problems += [f"{path} is left" for path in left]


def results_of(storage: Path, study: str) -> bytes | None:
    """The study's results.csv, as it lies in a local storage; None where there is none."""
    path = storage / "reports" / study / "results.csv"
    return path.read_bytes() if path.is_file() else None


def show_chaos(
    study: str,
    study_name: str,
    raw: list[str],
    faults: int,
    say: Callable[[str], None],
    folder: Path | None = None,
    seed: int | None = None,
    shortest: float = 2.0,
    longest: float = 40.0,
) -> bool:
    """Run a study undisturbed and with faults, in a folder of its own, and compare. Whether every promise held.

    study: as --study takes it; study_name: the name of its reports. shortest, longest: seconds before each fault.
    """
    seed = random.SystemRandom().randrange(1 << 30) if seed is None else seed
    base = Path(tempfile.mkdtemp(prefix="radsweep-chaos-")) if folder is None else folder
    raws = [part for value in raw for part in ("--raw", value)]
    tables: dict[str, bytes | None] = {}
    log = FaultLog()
    for name in (UNDISTURBED, DISTURBED):
        storage = base / name
        command = [sys.executable, "-m", "sweep.run", "--study", study, "--storage", str(storage), *raws]
        say(f"{name}: {' '.join(command[1:])}")
        injector = FaultInjector(command, storage, seed, say)
        log = injector.run(faults if name == DISTURBED else 0, shortest, longest)
        tables[name] = results_of(storage, study_name)
        if tables[name] is None:
            log.problems.append(f"{name}: no results.csv; see {storage}.log")
            break
    same = tables.get(UNDISTURBED) is not None and tables.get(UNDISTURBED) == tables.get(DISTURBED)
    if not same:
        log.problems.append("results.csv is not the same")
    say(f"faults: {len(log.faults)} (seed {seed}): {', '.join(log.faults) or 'none'}")
    if log.stops:
        say(f"stops took {min(log.stops):.1f} to {max(log.stops):.1f} s")
    say(f"results.csv with and without faults: {'the same bytes' if same else 'DIFFERENT'} ({base})")
    for problem in log.problems:
        say(f"problem: {problem}")
    return not log.problems
