"""What one group of workers is given: its runs, the queue that hands them out, and where results go."""

from dataclasses import dataclass

from trainables.events import EventChannel
from trainables.pretraining.encoder_job import EncoderJob
from trainables.pretraining.run_queue import RunQueueHandle
from trainables.recipe import Resources


@dataclass(frozen=True)
class WorkerGroup:
    """One group of workers and what it works on. storage: its URI; progress: None where nobody watches."""

    name: str
    jobs: tuple[EncoderJob, ...]
    queue: RunQueueHandle
    storage: str
    resources: Resources
    progress: EventChannel | None
