"""How are batches made while a GPU trains? On a stream of their own; a step waits for its batch on the device only."""

from collections.abc import Iterator
from contextlib import closing

import torch

from trainables.batch import Batch
from trainables.pretraining.prefetch import prefetched


class Feed:
    """Batches prepared ahead in a thread; on a GPU by a stream beside that of the training.

    Sent from pinned memory, of which torch keeps as much as is in flight, and rendered while the step before computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def batches(self, made: Iterator[Batch], depth: int) -> Iterator[Batch]:
        """The same batches, `depth` of them ahead."""
        if self.stream is None:
            return prefetched(made, depth)
        return self._received(prefetched(self._on_stream(made, self.stream), depth))

    def _on_stream(self, made: Iterator[Batch], stream: torch.cuda.Stream) -> Iterator[tuple[Batch, torch.cuda.Event]]:
        while True:
            # Streams are chosen by thread: what `made` computes here, in its thread, is computed on this one.
            with torch.cuda.stream(stream):
                batch = next(made, None)
                ready = torch.cuda.Event()
                ready.record(stream)
            if batch is None:
                return
            yield batch, ready

    def _received(self, made: Iterator[tuple[Batch, torch.cuda.Event]]) -> Iterator[Batch]:
        with closing(made):  # type: ignore[type-var]  # a generator, as all that `prefetched` gives
            for batch, ready in made:
                training = torch.cuda.current_stream(self.device)
                training.wait_event(ready)  # the GPU waits; this process goes on
                for tensor in batch.on_device():
                    # Else its memory would be given to the next batch while the training still reads it.
                    tensor.record_stream(training)
                yield batch
