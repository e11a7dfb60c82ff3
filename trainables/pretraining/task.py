"""One worker's part of one pretraining: recipe + corpus -> the best epoch's weights, resumable at any step."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datasets_io.corpus.read import CorpusBatch, CorpusIndex, StreamPlan
from datasets_io.fingerprint import derive_seed
from trainables.batch import Batch, Pictures
from trainables.networks.backbones import build_backbone, feature_dim
from trainables.networks.normalisation import convert_to_global
from trainables.networks.text import TextTower, Tokenizer, build_tokenizer, text_lengths
from trainables.objectives.base import BuildContext, Objective
from trainables.pretraining.feed import Feed
from trainables.pretraining.kept_state import check_groups, check_loop, check_means
from trainables.recipe import PretrainRecipe, Resources
from trainables.training import distributed
from trainables.training.checkpoint import state_from_bytes
from trainables.training.devices import seed_step
from trainables.training.gradient_cache import cached_backward, num_chunks
from trainables.training.loop import LoopPlan, LoopState, fit
from trainables.training.optim import build_optimizer
from trainables.training.precision import resolve, scaled_sum
from trainables.transfer import sent
from trainables.views.backbone_input import scaled
from trainables.views.parameters import draw_for_step
from trainables.views.render import normalise, render


@dataclass(frozen=True)
class Corpus:
    """What a pretraining reads: an index and a way to open batches, for training and validation.

    train_batches: (plan, first step) -> this worker's batches from that step to the end of the last epoch.
    val_pixels: (N, S, S) uint8, perhaps a read-only map of a file.
    """

    train: CorpusIndex
    train_batches: Callable[[StreamPlan, int], Iterator[CorpusBatch]]
    val: CorpusIndex
    val_pixels: np.ndarray


class Model(nn.Module):
    """Backbone and objective as one module, so that one wrapper averages all their gradients."""

    def __init__(self, backbone: nn.Module, objective: Objective):
        super().__init__()
        self.backbone, self.objective = backbone, objective

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Named losses of this worker's share of a batch."""
        losses: dict[str, Tensor] = self.objective(self.backbone, batch)
        return losses


def validation_batch_size(global_batch_size: int, num_val: int) -> int:
    """Contrastive losses depend on the batch size: the training one, or the largest power of two that fits."""
    if num_val >= global_batch_size:
        return global_batch_size
    return 1 << (num_val.bit_length() - 1)  # 2^floor(log2(num_val)); it divides by a power of two of workers


def check_sizes(global_batch_size: int, num_train: int, num_val: int, workers: int) -> None:
    """Raise ValueError, the same on all workers, for a batch that does not come out even or a corpus too small."""
    if num_train < global_batch_size:
        raise ValueError(
            f"the corpus has {num_train} training images that take part, fewer than global_batch_size "
            f"{global_batch_size}: not one step; choose a smaller batch or a larger corpus"
        )
    if num_val < 2:
        raise ValueError(f"the corpus has {num_val} validation images that take part; every objective needs at least 2")
    sizes = {"global_batch_size": global_batch_size}
    sizes["validation batch"] = validation_batch_size(global_batch_size, num_val)
    for name, size in sizes.items():
        if size % workers:
            raise ValueError(
                f"{name} {size} / {workers} workers = {size / workers:g} images a worker: it must be a whole number; "
                "choose another Resources.pretrain_workers or global_batch_size"
            )


def sends_pictures(objective: Objective, workers: int, device: torch.device) -> bool:
    """Whether workers send each other stored pictures, and not the views of them, a byte a pixel in place of twelve.

    Each then renders what it is sent, which costs a GPU next to nothing and the cores of a CPU more than the sending.
    """
    return workers > 1 and device.type != "cpu" and bool(objective.shuffled_views)


class Pretraining:
    """A loop Task: one worker's part of a pretraining. Every worker of the group makes one, in the same order.

    initial: the tensors that the backbone starts from, None for its own initialisation. Raises ValueError for sizes
    that do not divide among the workers (check_sizes).
    """

    def __init__(
        self,
        recipe: PretrainRecipe,
        seed: int,
        corpus: Corpus,
        resources: Resources,
        initial: dict[str, Tensor] | None,
        device: torch.device,
    ):
        self.recipe, self.seed, self.corpus, self.resources = recipe, seed, corpus, resources
        self.device = device
        self.compute = resolve(resources.precision, device, resources.deterministic)
        self.scaler = self.compute.scaler()
        self.rank, self.world = distributed.rank(), distributed.world_size()
        check_sizes(recipe.global_batch_size, corpus.train.num_kept, corpus.val.num_kept, self.world)
        if recipe.gradient_cache_chunk is not None:
            num_chunks(recipe.global_batch_size, recipe.gradient_cache_chunk, self.world)
        self.tokenizer = self._tokenizer()
        objective = self._build_model(initial)
        self.modules: dict[str, nn.Module] = {"backbone": self.model.backbone, "objective": objective}
        self.dtype = next(self.model.backbone.parameters()).dtype
        self.optimizer = build_optimizer(recipe.optimizer, self.modules.values())
        # The gradient cache averages by itself.
        cached = recipe.gradient_cache_chunk is not None
        self.forward = self.model if cached else distributed.wrap(self.model, device)
        self.feed = Feed(device)
        self.stream_plan = StreamPlan(
            seed, recipe.global_batch_size, recipe.num_epochs, recipe.shuffle_window, self.rank, self.world
        )
        self.loop_plan = LoopPlan(
            recipe.num_epochs,
            self.stream_plan.steps_per_epoch(corpus.train),
            recipe.optimizer.learning_rate,
            recipe.schedule,
            recipe.warmup_steps,
            recipe.patience,
        )
        self.views = {name: spec for name, spec in recipe.views if name in objective.views}
        self.sends_pictures = not cached and sends_pictures(objective, self.world, device)
        # One order for all epochs, so that validation losses of epochs can be compared.
        self.val_rows = np.random.default_rng(derive_seed(seed, "val_order")).permutation(
            np.flatnonzero(corpus.val.kept)
        )

    def _build_model(self, initial: dict[str, Tensor] | None) -> Objective:
        """Make self.model on the device; its objective. Every worker builds the same from the same seed."""
        recipe, seed, corpus = self.recipe, self.seed, self.corpus
        backbone = build_backbone(recipe.backbone, derive_seed(seed, "backbone"))
        if initial is not None:
            backbone.load_state_dict(initial)
        torch.manual_seed(derive_seed(seed, "objective"))
        objective: Objective = recipe.objective.build(
            BuildContext(
                backbone=backbone,
                feature_dim=feature_dim(backbone),
                global_batch_size=recipe.global_batch_size,
                num_train_images=corpus.train.num_kept,
                seed=derive_seed(seed, "shuffle"),
                text_config=recipe.text,
                vocabulary_size=self.tokenizer.vocabulary_size if self.tokenizer else None,
            )
        )
        self.model = Model(backbone, objective)
        if self.world > 1:
            convert_to_global(self.model)  # in place; one worker's batch norm sees the global batch anyway
        if self.device.type != "cpu":
            for part in self.model.modules():
                if isinstance(part, TextTower):
                    part.widen_masks()
        self.model.to(self.device)
        if self.device.type == "cuda":
            # The fastest of cuDNN's convolutions by a trial of each: all steps have the same shapes. Which one wins may
            # differ from run to run, and with it the last bits.
            torch.backends.cudnn.benchmark = self.resources.cudnn_benchmark and not self.compute.deterministic
        if self.channels_last:
            self.model.to(memory_format=torch.channels_last)
        if self.resources.compile:
            self.model.backbone.compile()  # in place: names of parameters and checkpoints stay
        return objective

    @property
    def channels_last(self) -> bool:
        """Whether images are in the memory format that tensor cores read: they have half precision only."""
        return self.device.type == "cuda" and self.compute.half is not None

    def _tokenizer(self) -> Tokenizer | None:
        if self.recipe.text is None or not self.recipe.objective_needs_text:
            return None
        kept = [report for report, keep in zip(self.corpus.train.reports, self.corpus.train.kept, strict=True) if keep]
        return build_tokenizer(self.recipe.text, kept)

    # -- batches ---------------------------------------------------------------------------------

    def stream(self, start_step: int) -> Iterator[Batch]:
        """This worker's batches from a step on, prepared ahead in a thread."""
        source = self.corpus.train_batches(self.stream_plan, start_step)
        size = self.recipe.global_batch_size
        batches = (self.make_batch(raw, "views", step, size) for step, raw in enumerate(source, start_step))
        return self.feed.batches(batches, self.resources.prefetch_batches)

    def make_batch(self, raw: CorpusBatch, purpose: str, step: int, global_batch_size: int) -> Batch:
        """Views and tokens of this worker's rows. Views are drawn for the global batch: workers change nothing.

        purpose: `views` of training, `val_views` of validation, which needs no pictures of other workers.
        """
        share = len(raw.pixels)
        first = self.rank * share  # this worker's rows of the global batch
        pixels = sent(torch.from_numpy(np.ascontiguousarray(raw.pixels)), self.device)
        size = raw.pixels.shape[-1]
        drawn = {
            name: draw_for_step(spec, global_batch_size, size, size, derive_seed(self.seed, purpose, name, step))
            for name, spec in self.views.items()
        }

        def rendered(name: str, pixels: Tensor, rows: Tensor | slice) -> Tensor:
            return self._normalised(render(drawn[name].of(rows), pixels)).to(self.dtype)

        pictures = Pictures(pixels, rendered) if self.sends_pictures and purpose == "views" else None
        names = drawn if pictures is None else self.model.objective.feature_views
        views = {name: rendered(name, pixels, slice(first, first + share)) for name in names}
        if self.tokenizer is None:
            return Batch(views, pictures=pictures)
        ids, mask = self.tokenizer(raw.reports)
        return Batch(views, sent(ids, self.device), sent(mask, self.device), text_lengths(mask), pictures)

    def _normalised(self, grey: Tensor) -> Tensor:
        """(B, S, S) in [0, 1] -> (B, C, S, S), by the backbone's own range, mean and deviation or ImageNet's."""
        own, last = self.recipe.backbone.preprocessing, self.channels_last
        return normalise(grey, channels_last=last) if own is None else scaled(own, grey, channels_last=last)

    # -- what the loop calls --------------------------------------------------------------------

    def backward(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Losses are means over workers: so all of them see the same history, and all stop where one diverges."""
        # Dropout is seeded by step, not carried along: a resumed run needs no generator state.
        seed_step(derive_seed(self.seed, "dropout", step, self.rank), self.device)
        chunk = self.recipe.gradient_cache_chunk
        if chunk is not None:
            return distributed.means(cached_backward(self.model, batch, chunk, self.scaler, self.compute.autocast))
        with self.compute.autocast():
            losses = self.forward(batch)
        scaled_sum(losses, self.scaler).backward()
        return distributed.means(losses)

    def after_step(self) -> None:
        """What the objective does after a step: momentum copy, queues."""
        self.model.objective.after_step(self.model.backbone)

    def evaluate(self) -> dict[str, float]:
        """Validation loss under augmentations that are the same in every epoch; the score is its negative."""
        size = validation_batch_size(self.recipe.global_batch_size, len(self.val_rows))
        share = size // self.world
        sums: dict[str, Tensor] = {}
        norms: dict[str, float] = {}
        count = len(self.val_rows) // size
        for number in range(count):
            rows = self.val_rows[number * size + self.rank * share :][:share]
            raw = CorpusBatch(self.corpus.val_pixels[rows], [self.corpus.val.reports[i] for i in rows])
            batch = self.make_batch(raw, "val_views", number, size)
            with torch.no_grad(), self.compute.autocast():
                losses = self.model(batch)
            for name, value in losses.items():
                value = value.detach().double()
                sums[name] = sums[name] + value if name in sums else value
            if number == 0 and len(losses) > 1:  # one batch tells enough, and one part has nothing to be compared with
                norms = self.gradient_norms(batch)
        values = torch.stack(list(distributed.means(sums).values())).tolist()
        means = {name: value / count for name, value in zip(sums, values, strict=True)}
        total = sum(means.values())
        return {**{f"val_{name}": value for name, value in means.items()}, **norms, "val_loss": total, "score": -total}

    def gradient_norms(self, batch: Batch) -> dict[str, float]:
        """Norm of each loss part's gradient at the backbone: shows when one part drowns the other."""
        parameters = [p for p in self.model.backbone.parameters() if p.requires_grad]
        with self.compute.autocast():
            losses = self.model(batch)
        norms = {}
        for name, value in losses.items():
            scaled = self.scaler.scale(value)
            gradients = torch.autograd.grad(scaled, parameters, retain_graph=True, allow_unused=True)
            squares = [distributed.mean(g).double().pow(2).sum() for g in gradients if g is not None]
            # (scaled / value) is the scaler's factor: 1 where there is no float16.
            norms[f"gradient_norm_{name}"] = float(sum(squares)) ** 0.5 / float((scaled / value).detach())
        return norms

    # -- state -----------------------------------------------------------------------------------

    def state_tree(self, state: LoopState) -> dict[str, Any]:
        """All that a run needs to go on to the bit: model with queues, optimiser, scaler, loop.

        Its tensors are the living ones: to be copied before the next step.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            # The history as JSON text: its numbers, integers among them, come back to the bit.
            "loop": {**vars(state), "history": json.dumps(state.history)},
        }

    def load_state(self, data: bytes) -> LoopState:
        """Take over the saved bytes of a state_tree; the loop's state then.

        Raises what any line of it may for a state that this training does not have; by then it is half taken over.
        """
        content = state_from_bytes(data)
        loop, history = content["loop"], json.loads(content["loop"]["history"])
        check_loop(loop, history, self.modules, self.loop_plan.total_steps)
        check_groups(self.optimizer, content["optimizer"])
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        check_means(self.optimizer)
        if content["scaler"]:  # else it was stored where no gradient is scaled, as on a GPU with bfloat16
            self.scaler.load_state_dict(content["scaler"])
        sums = {name: value.to(self.device) for name, value in loop["sums"].items()}
        return LoopState(**{**loop, "history": history, "sums": sums})

    def objective_weights(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """What of the objective is worth keeping: heads and text tower, not queues and momentum copies."""
        kept = {name for name, _ in self.model.objective.named_parameters()}
        # Batch norm's running statistics are buffers, and a head is nothing without them.
        kept |= {name for name in tensors if "running_" in name}
        copies = ("key_backbone.", "key_head.")
        return {n: v for n, v in tensors.items() if n in kept and not any(part in n for part in copies)}

    def run(
        self, state: LoopState, on_step: Callable[[LoopState], None], on_epoch: Callable[[LoopState], None]
    ) -> LoopState:
        """Train from `state` to the end; the state with the best epoch's tensors."""
        return fit(self, self.optimizer, self.loop_plan, state, on_step, on_epoch)
