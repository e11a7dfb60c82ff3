"""What the search over cells is given: its jobs, what each of them waits for, and the machines."""

from dataclasses import dataclass

from sweep.engine.progress_actor import ProgressHandle
from sweep.engine.schedule import ScheduledJob, Shape
from trainables.evaluation.cell_job import DownstreamJob
from trainables.recipe import Resources


@dataclass(frozen=True)
class CellWork:
    """All that a pass's cells need.

    done: folders that were finished before; pretrainings: folders in the making; state: the name of Ray Tune's folder.
    """

    jobs: tuple[DownstreamJob, ...]
    tasks: tuple[ScheduledJob, ...]
    done: set[str]
    storage: str
    resources: Resources
    shape: Shape
    pretrainings: tuple[str, ...]
    progress: ProgressHandle | None
    state: str
