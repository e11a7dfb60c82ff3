"""What does a running sweep tell of its progress, and when: written to a file, so that an estimate can be tried on it.

python -m benchmarks.shared.recorded_run FILE [FLAGS of sweep.run]. Runs the command in this process; what its time left
is told goes to FILE as JSON lines: what is to do, each event with its time, and every two seconds the seconds that all
processors of the machine were busy until then, and those that the command and the processes below it were.
"""

import json
import lzma
import os
import sys
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, TextIO, cast
from unittest.mock import patch

from benchmarks.shared.process_tree import TICKS, stats_below
from sweep.monitoring.progress import ProgressSnapshot
from sweep.monitoring.time_left import Left, Places, TimeLeft
from sweep.studies.cell import Cell
from sweep.studies.costs import Cost
from sweep.studies.learnt_seconds import Observations
from trainables.events import Outcome, Progress

CORES_EVERY_SECONDS = 2.0


def machine_core_seconds() -> float:
    """Seconds in which this machine's processors were not idle, all together, since it was started."""
    user, nice, system, _, _, irq, softirq, *_ = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq) / TICKS


def tree_core_seconds(seen: dict[tuple[int, int], float]) -> float:
    """Of this process and all that it has begun. seen: (pid, start) -> seconds, to keep those that have ended."""
    seen |= {(stat.pid, stat.started): stat.core_seconds for stat in stats_below(os.getpid())}
    return sum(seen.values())


class Recorder:
    """Takes what a TimeLeft is told."""

    def __init__(self, file: TextIO):
        self.file, self.seen, self.cores, self.cores_at = file, {}, [0.0, 0.0], -1e9

    seen: dict[tuple[int, int], float]

    def begin(self, costs: Mapping[str, Cost], cells: Iterable[Cell], places: Places, now: float) -> None:
        """What is to do."""
        kinds = list(dict.fromkeys(costs.values()))
        number = {kind: i for i, kind in enumerate(kinds)}
        self._write(
            now=now,
            places=asdict(places),
            kinds=[asdict(kind) for kind in kinds],
            costs={key: number[cost] for key, cost in costs.items()},
            cells={cell.key: cell.encoder.key for cell in cells},
        )

    def update(self, progress: ProgressSnapshot, now: float) -> None:
        """What has happened."""
        if now - self.cores_at > CORES_EVERY_SECONDS:
            self.cores, self.cores_at = [machine_core_seconds(), tree_core_seconds(self.seen)], now
            self._write(now=now, wall=time.time(), cores=self.cores)
        if progress.encoders or progress.cells:
            self._write(now=now, encoders=list(map(_told, progress.encoders)), done=list(map(_told, progress.cells)))

    def _write(self, **line: Any) -> None:
        print(json.dumps(line), file=self.file, flush=True)


def _told(event: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(event).items() if value is not None and name != "metrics"}


def _play(lines: Sequence[dict[str, Any]], every: float) -> Iterator[tuple[float, Left]]:
    first, *events = lines
    costs = {key: Cost(**first["kinds"][kind]) for key, kind in first["costs"].items()}
    cells = [SimpleNamespace(key=key, encoder=SimpleNamespace(key=encoder)) for key, encoder in first["cells"].items()]
    time_left = TimeLeft(costs, cast(list[Cell], cells), Places(**first["places"]))
    asked = first["now"]
    for line in events:
        while asked + every <= line["now"]:
            asked += every
            yield asked, time_left.read(asked)
        encoders = [Progress(**event) for event in line.get("encoders", ())]
        outcomes = [Outcome(**event) for event in line.get("done", ())]
        time_left.update(ProgressSnapshot(encoders, outcomes), line["now"])


@dataclass(frozen=True)
class Said:
    """One line: when, the seconds that were said to be left, and those that counting cells gives; None: nothing."""

    at: float
    seconds: float
    counted: float | None


@dataclass(frozen=True)
class Replayed:
    """What is said again, at seconds since the work was begun with; ended: when the last of it was done."""

    said: list[Said]
    ended: float


def replayed(path: Path, every: float = 1.0) -> Replayed:
    """What the code of now says of a recorded run, which may be compressed (.xz), asked every so many seconds."""
    text = lzma.decompress(path.read_bytes()) if path.suffix == ".xz" else path.read_bytes()
    lines = [json.loads(line) for line in text.splitlines()]
    began, total = lines[0]["now"], len(lines[0]["cells"])
    landed = [line["now"] for line in lines[1:] for _ in line.get("done", ())]
    said = []
    for at, left in _play(lines, every):
        done = bisect_right(landed, at)
        if left.seconds is not None:
            counted = (at - began) * (total - done) / done if done else None
            said.append(Said(at - began, left.seconds, counted))
    return Replayed(said, max(landed) - began)


class Recorded(TimeLeft):
    """As its parent, and told to the `recorder` too: the driver makes it with what a TimeLeft takes."""

    recorder: ClassVar[Recorder]

    def __init__(
        self, costs: Mapping[str, Cost], cells: Iterable[Cell], places: Places, finished: Observations | None = None
    ):
        cells = tuple(cells)
        self.recorder.begin(costs, cells, places, time.monotonic())
        super().__init__(costs, cells, places, finished)

    def update(self, progress: ProgressSnapshot, now: float) -> None:
        """Of TimeLeft."""
        self.recorder.update(progress, now)
        super().update(progress, now)


def main() -> None:
    from sweep.engine import execution
    from sweep.run.__main__ import app

    with open(sys.argv.pop(1), "w") as file:
        Recorded.recorder = Recorder(file)
        with patch.object(execution, "TimeLeft", Recorded):  # what the driver makes
            app(standalone_mode=True)


if __name__ == "__main__":
    main()
