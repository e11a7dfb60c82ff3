"""What does a status say: counts, failures with reasons, the rate, and the table so far. Pure."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sweep.cli.display import TableRows
from sweep.status.eta import Eta
from sweep.store.damage import Damage
from sweep.studies.cell import Item


@dataclass(frozen=True)
class Counts:
    """left includes running; blocked waits for something that failed. left and blocked are None without a study."""

    total: int
    done: int
    failed: int
    running: int
    left: int | None = None
    blocked: int | None = None


@dataclass(frozen=True)
class Failure:
    """error: its first line, of something damaged one sentence; a traceback is in the folder's failed.json."""

    name: str
    folder: str
    error: str


@dataclass(frozen=True)
class StudyStatus:
    """A storage at one moment: what it has of one study, or of all where `study` is None.

    running: names of what is being worked on. pace: the rate and the time left; idle: seconds since the last result.
    drivers: the commands that work on it, as far as their leases tell. damaged: data, encoders and cells.
    """

    study: str | None
    storage: str
    encoders: Counts
    cells: Counts
    failures: tuple[Failure, ...]
    running: tuple[str, ...]
    pace: Eta
    idle: float | None
    drivers: tuple[str, ...] = ()
    tables: tuple[TableRows, ...] = ()
    notes: tuple[str, ...] = ()
    damaged: tuple[Failure, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether nothing is left that sweep.run would do."""
        return self.encoders.left == 0 and self.cells.left == 0


def as_failures(damage: Iterable[Damage]) -> tuple[Failure, ...]:
    """What is damaged, by folder."""
    return tuple(sorted((Failure(one.name, one.folder, one.sentence) for one in damage), key=lambda f: f.folder))


def counts_of(
    items: Sequence[Item],
    done: Collection[str],
    failed: Collection[str],
    running: Collection[str],
    left: int,
    blocked: int,
) -> Counts:
    """Of a plan's encoders or cells. done, failed: keys of items; running: their names."""
    return Counts(
        len(items),
        sum(item.key in done for item in items),
        sum(item.key in failed for item in items),
        sum(str(item) in running for item in items),
        left,
        blocked,
    )
