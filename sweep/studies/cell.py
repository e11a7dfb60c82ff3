"""What one number of the table is: EncoderRun and Cell, each with a key over all that decides its value."""

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from datasets_io.fingerprint import canonical_json, derive_seed, fingerprint
from trainables.protocols.registry import identity_of
from trainables.recipe import DownstreamRecipe


@dataclass(frozen=True)
class EncoderRun:
    """One encoder: a row of the table for one pretraining seed.

    recipe: an EncoderRecipe, or a frozen dataclass of a study file with a `backbone`. `corpus`, the name of its use in
    the study, and `data_fingerprint` are None for rows that see no corpus; `parent` is the encoder whose weights it
    starts from.
    network_seed: the downstream seed that draws this network, for a row whose network each seed draws anew
    (RandomInit): its cells are those of this seed. None: one network serves all downstream seeds.
    """

    row: str
    pretrain_seed: int
    recipe: Any
    corpus: str | None = None
    data_fingerprint: str | None = None
    parent: "EncoderRun | None" = None
    network_seed: int | None = None

    # The parent's key is part of it, so that a change of the first encoder moves every key that depends on it.
    @cached_property
    def key(self) -> str:
        """First 12 hex digits of a SHA-256 over all that decides its weights: folders of the storage end in it."""
        parent = self.parent.key if self.parent else None
        # Only where there is one: the keys of all other encoders are what they were before there was the field.
        network = [] if self.network_seed is None else [self.network_seed]
        return fingerprint(
            ["encoder", self.row, self.pretrain_seed, fingerprint(self.recipe), self.data_fingerprint, parent, *network]
        )

    @property
    def weights_seed(self) -> int:
        """What its weights are drawn by: the pretraining seed, and the downstream seed where that draws a network."""
        if self.network_seed is None:
            return self.pretrain_seed
        return derive_seed(self.pretrain_seed, "network", self.network_seed)

    @cached_property
    def backbone_key(self) -> str:
        """The fingerprint of its network: a cell costs the same on all encoders that share it."""
        return fingerprint(self.recipe.backbone)

    @property
    def needs_corpus(self) -> bool:
        """Whether it is pretrained on the corpus."""
        return self.corpus is not None

    def __str__(self) -> str:
        pretraining = f"{self.row}-p{self.pretrain_seed}"
        return pretraining if self.network_seed is None else f"{pretraining}-s{self.network_seed}"


def seen_at(encoder: EncoderRun, recipe: DownstreamRecipe) -> int | None:
    """The side at which a network sees this dataset, where that is another than EvalSpec's; else None.

    It is part of the keys of such results: they were once computed at EvalSpec's size, whatever the network's was.
    """
    backbone = encoder.recipe.backbone
    if backbone.preprocessing is not None or backbone.image_size == recipe.eval_spec.size:
        return None
    return int(backbone.image_size)


@lru_cache(maxsize=4096)
def _json_up_to_seed(*parts: str | int) -> str:
    """The JSON list of these parts, still open: what the keys of a place's seeds have in common."""
    return canonical_json(list(parts))[:-1] + ","


@dataclass(frozen=True)
class Cell:
    """One evaluation: encoder x dataset x protocol x label percentage x seed.

    dataset: the name of its use in the study (`Dataset.instance`). build: label of the shards that it reads, where the
    dataset has several for different rows; None: the dataset's name. data_fingerprint is theirs.
    """

    encoder: EncoderRun
    dataset: str
    protocol: str
    label_percent: int
    seed: int
    recipe: DownstreamRecipe
    data_fingerprint: str
    build: str | None = None

    @property
    def shards(self) -> str:
        """Label of the build that it reads: what folders, manifests and counts are kept under."""
        return self.dataset if self.build is None else self.build

    # The fingerprint of ["cell", encoder's key, dataset, data, protocol's identity, percentage, seed, recipe's key],
    # and `seen_at` where that is a size. The text is put together by hand, since json.dumps of eight parts a hundred
    # thousand times would be half of planning.
    @cached_property
    def key(self) -> str:
        """First 12 hex digits of a SHA-256 over all that decides its result: folders of the storage end in it."""
        opened = _json_up_to_seed(
            "cell",
            self.encoder.key,
            self.dataset,
            self.data_fingerprint,
            identity_of(self.protocol),
            self.label_percent,
        )
        seen = seen_at(self.encoder, self.recipe)
        size = "" if seen is None else f",{seen}"
        return hashlib.sha256(f'{opened}{self.seed},"{self.recipe.key}"{size}]'.encode()).hexdigest()[:12]

    def __str__(self) -> str:
        encoder = f"{self.encoder.row}-p{self.encoder.pretrain_seed}"  # the seed at the end is a drawn network's too
        return f"{encoder}-{self.dataset}-{self.protocol}{self.label_percent}-s{self.seed}"


Item = EncoderRun | Cell  # what a sweep computes and a storage keeps in a folder
