"""What one number of the table is: EncoderRun and Cell, each with a key over all that decides its value."""

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from datasets_io.fingerprint import canonical_json, fingerprint
from trainables.recipe import DownstreamRecipe


@lru_cache(maxsize=4096)
def recipe_key(recipe: Any) -> str:
    """Fingerprint of a frozen recipe; remembered, since thousands of cells share one."""
    return fingerprint(recipe)


def _key(*parts: Any) -> str:
    return hashlib.sha256(canonical_json(list(parts)).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class EncoderRun:
    """One encoder: a row of the table for one pretraining seed.

    `corpus` and `data_fingerprint` are None for rows that see no corpus; `parent` is the encoder whose
    weights it starts from.
    """

    row: str
    pretrain_seed: int
    recipe: Any
    corpus: str | None = None
    data_fingerprint: str | None = None
    parent: "EncoderRun | None" = None

    @cached_property
    def key(self) -> str:
        parent = self.parent.key if self.parent else None
        return _key("encoder", self.row, self.pretrain_seed, recipe_key(self.recipe), self.data_fingerprint, parent)

    @property
    def needs_corpus(self) -> bool:
        return self.corpus is not None

    def __str__(self) -> str:
        return f"{self.row}-p{self.pretrain_seed}"


@dataclass(frozen=True)
class Cell:
    """One evaluation: encoder x dataset x protocol x label percentage x seed."""

    encoder: EncoderRun
    dataset: str
    protocol: str
    label_percent: int
    seed: int
    recipe: DownstreamRecipe
    data_fingerprint: str

    @cached_property
    def key(self) -> str:
        return _key(
            "cell", self.encoder.key, self.dataset, self.data_fingerprint, self.protocol, self.label_percent,
            self.seed, recipe_key(self.recipe),
        )

    def __str__(self) -> str:
        return f"{self.encoder}-{self.dataset}-{self.protocol}{self.label_percent}-s{self.seed}"
