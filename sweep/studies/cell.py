"""What one number of the table is: EncoderRun and Cell, each with a key over all that decides its value."""

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from datasets_io.fingerprint import canonical_json, fingerprint
from trainables.recipe import DownstreamRecipe

_RECIPE_KEYS: dict[int, tuple[Any, str]] = {}


def recipe_key(recipe: Any) -> str:
    """Fingerprint of a frozen recipe; remembered by identity, since thousands of cells share one object.

    Its hash would walk the whole recipe for each cell. The recipe is kept, so that no other gets its id.
    """
    known = _RECIPE_KEYS.get(id(recipe))
    if known is None:
        if len(_RECIPE_KEYS) >= 4096:
            _RECIPE_KEYS.clear()
        known = _RECIPE_KEYS[id(recipe)] = recipe, fingerprint(recipe)
    return known[1]


def _key(*parts: Any) -> str:
    return hashlib.sha256(canonical_json(list(parts)).encode()).hexdigest()[:12]


@lru_cache(maxsize=4096)
def _hash_up_to_seed(*parts: Any) -> Any:
    """SHA-256 over the JSON list of these parts, still open: what the cells of all seeds have in common."""
    return hashlib.sha256((canonical_json(list(parts))[:-1] + ",").encode())


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
        """As _key("cell", ..., seed, recipe): the text is the same, its beginning is hashed once for all seeds."""
        opened = _hash_up_to_seed(
            "cell", self.encoder.key, self.dataset, self.data_fingerprint, self.protocol, self.label_percent
        ).copy()
        opened.update(f'{self.seed},"{recipe_key(self.recipe)}"]'.encode())
        return opened.hexdigest()[:12]

    def __str__(self) -> str:
        return f"{self.encoder}-{self.dataset}-{self.protocol}{self.label_percent}-s{self.seed}"
