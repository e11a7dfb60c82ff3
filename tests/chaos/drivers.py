"""The command as a process of its own, on small studies: how it is begun, waited for, and what must be left of it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from datasets_io.storage.files import TEMPORARY, Files
from sweep.run.chaos import accept_interrupts, finished, results_of
from sweep.store.lease import LEASES

ROOT = Path(__file__).resolve().parents[2]
TINY, SMALL = "tests/chaos/tiny_study.py", "tests/sweep/small_study.py"
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | {"COLUMNS": "200", "NO_COLOR": "1"}


def command(storage: Path, *more: str, study: str = TINY) -> list[str]:
    return [sys.executable, "-m", "sweep.run", "--study", study, "--storage", str(storage), *more]


def run(storage: Path, *more: str, study: str = TINY, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(storage, *more, study=study),
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=ENVIRONMENT | environment,
        timeout=850,
    )


def start(storage: Path, study: str = TINY, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        command(storage, study=study),
        cwd=ROOT,
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=accept_interrupts,
    )


class Logged:
    """A driver whose output goes to a file, as nobody reads it while it works."""

    def __init__(self, arguments: list[str], log: Path, **environment: str):
        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                arguments,
                cwd=ROOT,
                env=ENVIRONMENT | environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=accept_interrupts,
            )

    @property
    def goes_on(self) -> bool:
        return self.process.poll() is None

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def end(self, timeout: float = 1800) -> int:
        return self.process.wait(timeout=timeout)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def wait_for(storage: Path, kind: str, count: int, driver: subprocess.Popen) -> None:
    deadline = time.monotonic() + 600
    while len([path for path in finished(storage) if f"/{kind}/" in path]) < count:
        assert driver.poll() is None, f"the driver ended by itself with {driver.returncode}"
        assert time.monotonic() < deadline, "no progress"
        time.sleep(0.1)


def another_item_lands(storage: Path, driver: Logged, items: int = 1) -> bool:
    """Wait until so many more items are finished. False where the driver ended before."""
    wanted, deadline = len(finished(storage)) + items, time.monotonic() + 600
    while len(finished(storage)) < wanted:
        if not driver.goes_on:
            return False
        assert time.monotonic() < deadline, "no progress: " + driver.said()[-3000:]
        time.sleep(0.05)
    return driver.goes_on


def without(parts: tuple[str, ...], of: Path, to: Path) -> Path:
    """A copy of a storage without some of its parts."""
    shutil.copytree(of, to, ignore=shutil.ignore_patterns(*parts))
    return to


def assert_same_without_leftovers(storage: Path, calm: Path, study: str, before: dict[str, int] | None = None) -> None:
    """The table of an undisturbed run, nothing that was finished made again, no lease, no temporary file."""
    assert results_of(storage, study) == results_of(calm, study) is not None
    assert (before or {}).items() <= finished(storage).items(), "0 finished items are computed again"
    assert Files(str(storage)).list(LEASES) == []
    assert not [path for path in storage.rglob(f"*{TEMPORARY}*") if path.is_file()]
