"""Which processes are below one, those that Ray puts into sessions of their own included, and what have they used?"""

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
CHILD = "child "


@dataclass(frozen=True)
class ProcessStat:
    """One process at one time. started: in ticks since the machine's; a pid alone is given again."""

    pid: int
    started: int
    parent: int
    core_seconds: float


def stat_of(pid: int) -> ProcessStat | None:
    """None: it has ended."""
    try:
        # Behind the command, which may hold anything: the state, then the parent and so on (man 5 proc).
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return ProcessStat(pid, int(fields[19]), int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS)


def processes_below(pid: int) -> set[int]:
    """The process and its descendants."""
    stats = (stat_of(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    parents = {stat.pid: stat.parent for stat in stats if stat is not None}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def stats_below(pid: int) -> list[ProcessStat]:
    """Of the process and of its descendants, without those that end meanwhile."""
    return [stat for stat in map(stat_of, processes_below(pid)) if stat is not None]


class CoreSecondsSince:
    """Processor time of this process and of all below it, from when this was made on.

    Ray waits for none of its workers, so the kernel forgets what they used: what ends counts up to the last look.
    """

    def __init__(self) -> None:
        self.before = self.seen = self._now()

    def look(self) -> float:
        """Seconds until now, never fewer than at the last look."""
        now = self._now()
        ended_children = {name for name in self.before | self.seen if name.startswith(CHILD) and name not in now}
        self.seen = {name: seconds for name, seconds in self.seen.items() if name not in ended_children} | now
        # Of a child that has been waited for all is in "ended": what it had before too.
        counted_again = sum(self.before.get(name, 0.0) for name in ended_children)
        return sum(seconds - self.before.get(name, 0.0) for name, seconds in self.seen.items()) - counted_again

    @staticmethod
    def _now() -> dict[str, float]:
        own = os.getpid()
        found = {
            f"{CHILD if stat.parent == own else ''}{stat.pid} {stat.started}": stat.core_seconds
            for stat in stats_below(own)
            if stat.pid != own
        }
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return {**found, "self": time.process_time(), "ended": ended.ru_utime + ended.ru_stime}
