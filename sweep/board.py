"""What is going on: one small actor that running work tells and the display asks. [ray]"""

from dataclasses import dataclass, field

import ray

from trainables.events import Outcome, Progress


@dataclass
class News:
    """Events since the display last asked."""

    encoders: list[Progress] = field(default_factory=list)
    cells: list[Outcome] = field(default_factory=list)


@ray.remote(num_cpus=0)
class Board:
    """Holds events until they are taken. Nothing depends on it: the store is the record."""

    def __init__(self):
        self.news = News()

    def encoder(self, progress: Progress) -> None:
        self.news.encoders.append(progress)

    def cell(self, outcome: Outcome) -> None:
        self.news.cells.append(outcome)

    def take(self) -> News:
        news, self.news = self.news, News()
        return news
