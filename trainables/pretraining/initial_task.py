"""An encoder without a corpus, made by a Ray task whose process imports what that needs and no more. [ray]"""

import ray

from trainables.events import EventChannel, Progress
from trainables.pretraining.encoder_job import EncoderJob, run_initial


# Short, and others wait for it while they hold the cores; its process is not kept: it holds half a gigabyte.
@ray.remote(num_cpus=0, max_retries=2, max_calls=1)
def make_initial_encoder(job: EncoderJob, storage: str, progress_actor: EventChannel) -> None:
    """Make and publish the encoder of a job with an initial recipe, and tell the actor how it went."""

    def emit(progress: Progress) -> None:
        progress_actor.encoder.remote(progress)

    run_initial(job, storage, emit)
