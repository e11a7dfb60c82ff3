"""Which corpus do benchmarks of a step train on?"""

import numpy as np

from datasets_io.corpus.read import CorpusIndex
from trainables.pretraining.task import Corpus


def made_up_corpus(count: int, side: int) -> Corpus:
    """Random images and reports of 5 to 30 words; nothing is streamed."""
    rng = np.random.default_rng(0)
    words = np.array([f"word{i}" for i in range(200)])
    reports = [" ".join(rng.choice(words, rng.integers(5, 31))) for _ in range(count)]
    index = CorpusIndex([count], [("made-up", 0)], np.ones(count, bool), side, reports)
    pixels = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
    return Corpus(index, lambda plan, start: iter(()), index, pixels)
