"""What has happened since the last look: progress of encoders and outcomes of cells."""

from dataclasses import dataclass, field

from sweep.store.status_names import Status
from trainables.events import Outcome, Progress


@dataclass
class ProgressSnapshot:
    """Events since they were last asked for."""

    encoders: list[Progress] = field(default_factory=list)
    cells: list[Outcome] = field(default_factory=list)


def finished_keys(progress: ProgressSnapshot) -> list[str]:
    return [event.key for event in (*progress.encoders, *progress.cells) if event.status == Status.DONE]
