"""What has happened since the last look: progress of encoders and outcomes of cells."""

from dataclasses import dataclass, field

from sweep.store.status_names import Status
from trainables.events import Outcome, Progress


@dataclass
class News:
    """Events since the display last asked."""

    encoders: list[Progress] = field(default_factory=list)
    cells: list[Outcome] = field(default_factory=list)


def _done(news: News) -> list[str]:
    return [event.key for event in (*news.encoders, *news.cells) if event.status == Status.DONE]
