"""MoCo v2: queries against a queue of a slowly moving copy's keys (He et al., 2020; Chen et al., 2020)."""

import copy
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from datasets_io.fingerprint import derive_seed
from trainables.batch import SSL_1, SSL_2, Batch, Pictures
from trainables.networks.heads import Head, HeadSpec, unit
from trainables.networks.normalisation import average_running_statistics, convert_to_split
from trainables.objectives.base import (
    TWO_VIEWS,
    BuildContext,
    Objective,
    Pairs,
    check_temperature,
    mean_over_pairs,
    views_of,
)
from trainables.training.distributed import gather, rank, world_size
from trainables.transfer import sent


@dataclass(frozen=True)
class MocoV2Config:
    """momentum: the share of itself that the key encoder keeps in a step, 0 to 1.

    queue_size None: 65,536, or the largest multiple of the batch up to half the corpus where that is smaller.
    symmetric: each view is query once, against the other's queue (two queues). key_bn_splits: the key encoder's
    batch norm sees the shuffled global batch in so many groups, on one worker as on many.
    """

    head: HeadSpec = HeadSpec(dims=(512, 128), norm="batch", act="relu")
    temperature: float = 0.07
    momentum: float = 0.999
    queue_size: int | None = None
    symmetric: bool = True
    key_bn_splits: int = 8
    version: int = 1

    display: ClassVar[str] = "MoCoV2"
    needs_text: ClassVar[bool] = False
    views: ClassVar[tuple[str, ...]] = (SSL_1, SSL_2)

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum is {self.momentum}; allowed: 0 to 1, the share that the copy keeps in a step")
        if self.key_bn_splits < 1:
            raise ValueError(f"key_bn_splits is {self.key_bn_splits}; it must be at least 1 (1: one group)")

    @staticmethod
    def released() -> "MocoV2Config":
        """The released code's head: wider, without batch norm."""
        return MocoV2Config(head=HeadSpec(dims=(2048, 128), act="relu"))

    def build(self, context: BuildContext, pairs: Pairs = TWO_VIEWS) -> "MocoV2":
        """The module with its queues, and a copy of the context's backbone, for these pairs of views."""
        return MocoV2(self, context, pairs)


def queue_size_for(config: MocoV2Config, global_batch_size: int, num_train_images: int) -> int:
    """Keys in a queue. Raises ValueError where the queue would be smaller than a batch.

    config.queue_size, or without one min(65,536, the largest multiple of the batch up to half the corpus): a queue
    of more than the corpus would hold keys of an image as negatives of itself.
    """
    if config.queue_size is None:
        fitting = num_train_images // 2 // global_batch_size * global_batch_size
        return min(65_536, max(fitting, global_batch_size))
    if config.queue_size < global_batch_size:
        raise ValueError(f"queue_size {config.queue_size} is smaller than global_batch_size {global_batch_size}")
    return config.queue_size


def key_groups_per_worker(splits: int, global_batch_size: int, workers: int) -> int:
    """Batch-norm groups of the key encoder on each worker: splits / workers.

    Raises ValueError where groups of at least 2 images do not come out even.
    """
    rows = global_batch_size / splits
    if global_batch_size % splits or splits % workers or rows < 2:
        raise ValueError(
            f"key_bn_splits {splits} does not fit: global_batch_size {global_batch_size} / {splits} = {rows:g} images "
            f"a group must be a whole number of at least 2, and {splits} / {workers} workers a whole number; "
            "choose another MocoV2Config.key_bn_splits"
        )
    return splits // workers


@dataclass(frozen=True)
class _Shuffle:
    """Rows of the shuffled global batch, each (b,) int64.

    rows: those whose keys this worker computes, on the CPU; mine: the same on the device; back: where the keys of its
    own images are among all workers' keys.
    """

    rows: Tensor
    mine: Tensor
    back: Tensor


class MocoV2(Objective):
    """A query head, a momentum copy of backbone and head, and a queue for each view whose keys are used."""

    pointer: Tensor
    step: Tensor
    key_backbone: nn.Module
    key_head: nn.Module

    def __init__(self, config: MocoV2Config, context: BuildContext, pairs: Pairs):
        super().__init__()
        self.config, self.pairs, self.views = config, pairs, views_of(pairs)
        self.seed = context.seed
        groups = key_groups_per_worker(config.key_bn_splits, context.global_batch_size, world_size())
        self.head = Head(config.head, context.feature_dim)
        self.key_backbone = convert_to_split(copy.deepcopy(context.backbone), groups).requires_grad_(False)
        self.key_head = convert_to_split(copy.deepcopy(self.head), groups).requires_grad_(False)
        # (query, key) of every pair, and with `symmetric` also the other way round.
        self.directions = tuple(d for a, b in pairs for d in ([(a, b), (b, a)] if config.symmetric else [(a, b)]))
        self.key_views = tuple(dict.fromkeys(key for _, key in self.directions))
        size = queue_size_for(config, context.global_batch_size, context.num_train_images)
        for view in self.key_views:
            self.register_buffer(f"queue_{view}", unit(torch.randn(size, config.head.dims[-1])))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.long))
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        # `step` as the host knows it: to ask the device would be to wait for it.
        self.host_step = 0
        # Keys of the step in work, for the queues after it: a step's own keys must not be among its negatives.
        self.fresh: dict[str, Tensor] = {}

    @property
    def feature_views(self) -> tuple[str, ...]:
        """Only queries pass the backbone: a view that is key alone must not enter its batch statistics."""
        return tuple(dict.fromkeys(query for query, _ in self.directions))

    @property
    def shuffled_views(self) -> tuple[str, ...]:
        """Those of keys."""
        return self.key_views

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *more: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *more)
        if f"{prefix}step" in state_dict:
            self.host_step = int(state_dict[f"{prefix}step"])

    def project(self, features: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """`query_<view>` and `key_<view>`, (b, D) of unit length; keys without gradient."""
        found = {f"query_{view}": unit(self.head(features[view])) for view in self.feature_views}
        if self.training and batch.pictures is not None:
            return found | self.keys_of(batch.pictures)
        return found | {f"key_{view}": self.keys(batch.views[view]) for view in self.key_views}

    @torch.no_grad()
    def keys(self, images: Tensor) -> Tensor:
        """This worker's keys, (b, D). In training, batch norm sees the global batch in an order of its own.

        Shuffled batch norm (He et al., 2020, 3.3): else a query and its key would share batch statistics, by which
        the positive could be told without looking at the image.
        """
        if not self.training:
            return unit(self.key_head(self.key_backbone(images)))
        everyone, shuffle = gather(images), self._shuffle(len(images), images.device)
        return self._own_keys(everyone[shuffle.mine], shuffle)

    @torch.no_grad()
    def keys_of(self, pictures: Pictures) -> dict[str, Tensor]:
        """`key_<view>`: as `keys` of each view, which is rendered by the worker that computes the key.

        Pictures are sent as they are stored, a byte a pixel and once for all views: a view has twelve times as many.
        """
        everyone, shuffle = gather(pictures.pixels), self._shuffle(len(pictures.pixels), pictures.pixels.device)
        pixels = everyone[shuffle.mine]
        return {
            f"key_{view}": self._own_keys(pictures.render(view, pixels, shuffle.rows), shuffle)
            for view in self.key_views
        }

    def _shuffle(self, share: int, device: torch.device) -> "_Shuffle":
        # The same order on each worker, of (seed, step): worker r computes the r-th share of the shuffled batch, the
        # keys are gathered, and argsort(order), the inverse permutation, gives each worker those of its own images.
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "shuffle_bn", self.host_step))
        order = torch.randperm(world_size() * share, generator=generator)
        own = slice(rank() * share, (rank() + 1) * share)
        mine, back = sent(torch.stack([order[own], torch.argsort(order)[own]]), device)
        return _Shuffle(order[own], mine, back)

    def _own_keys(self, shuffled: Tensor, shuffle: "_Shuffle") -> Tensor:
        return gather(unit(self.key_head(self.key_backbone(shuffled))))[shuffle.back]

    def losses(self, embeddings: dict[str, Tensor]) -> dict[str, Tensor]:
        """`mocov2`: InfoNCE of each direction, their mean. In training the keys are kept for `after_step`."""
        if self.training:
            self.fresh = {view: embeddings[f"key_{view}"].detach() for view in self.key_views}
        parts = []
        for query, key in self.directions:
            queue = self.get_buffer(f"queue_{key}")
            loss = info_nce(embeddings[f"query_{query}"], embeddings[f"key_{key}"], queue, self.config.temperature)
            parts.append({"mocov2": loss})
        return mean_over_pairs(parts)

    @torch.no_grad()
    def after_step(self, backbone: nn.Module) -> None:
        """Move the copy once, and put this step's keys into the queues, the oldest out."""
        pairs = [(self.key_backbone, backbone), (self.key_head, self.head)]
        slow: list[Tensor] = [p for copy_, _ in pairs for p in copy_.parameters()]
        fast: list[Tensor] = [p for _, source in pairs for p in source.parameters()]
        # slow + (1 - m) (fast - slow) = m slow + (1 - m) fast, of all parameters in one call.
        torch._foreach_lerp_(slow, fast, 1 - self.config.momentum)
        pointer = self.pointer.clone()
        for view, local in self.fresh.items():
            keys, queue = gather(local), self.get_buffer(f"queue_{view}")
            # A ring: the pointer is where the oldest key stands.
            places = (torch.arange(len(keys), device=keys.device) + pointer) % len(queue)
            queue[places] = keys.to(queue.dtype)
            self.pointer.copy_((pointer + len(keys)) % len(queue))
        self.step += 1
        self.host_step += 1
        self.fresh = {}
        average_running_statistics(self.key_backbone)
        average_running_statistics(self.key_head)


def info_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Mean of -log softmax of the positive among itself and the queue (He et al., 2020, eq. 1).

    query, key: (b, D); queue: (K, D); all of unit length.
    """
    positive = (query * key).sum(dim=1, keepdim=True)
    # A clone: autograd keeps it for backward, and what is written into the queue in between must not reach it.
    logits = torch.cat([positive, query @ queue.T.clone()], dim=1) / temperature
    return functional.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))
