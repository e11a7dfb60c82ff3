"""What has happened since the last snapshot: progress of encoders and outcomes of cells."""

from dataclasses import dataclass, field

from sweep.store.status_names import Status
from trainables.events import Outcome, Progress


@dataclass
class ProgressSnapshot:
    """Events since they were last asked for."""

    encoders: list[Progress] = field(default_factory=list)
    cells: list[Outcome] = field(default_factory=list)


def finished_keys(progress: ProgressSnapshot) -> list[str]:
    """Keys of the encoders and cells that have a result now."""
    events: tuple[Progress | Outcome, ...] = (*progress.encoders, *progress.cells)
    return [event.key for event in events if event.status == Status.DONE]
