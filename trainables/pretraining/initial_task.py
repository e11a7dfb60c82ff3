"""Encoders without a corpus, made by a Ray task whose process imports what that needs and no more. [ray]"""

import ray

from trainables.events import EventChannel, Progress
from trainables.pretraining.encoder_job import EncoderJob, run_initial


# Short, and others wait for them while they hold the cores; its process is not kept: it holds half a gigabyte.
@ray.remote(num_cpus=0, max_retries=0, max_calls=1)
def make_initial_encoders(jobs: tuple[EncoderJob, ...], storage: str, progress_actor: EventChannel) -> None:
    """Make and publish the encoders of jobs with an initial recipe, and tell the actor how each went.

    One after the other in this process, whose start costs ten times as much as a small encoder.
    """

    def emit(progress: Progress) -> None:
        progress_actor.encoder.remote(progress)

    for job in jobs:
        run_initial(job, storage, emit)
