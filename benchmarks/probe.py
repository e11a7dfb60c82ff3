"""How much less time do five seeds of linear probing take on cached features, against a forward pass in every epoch?

python -m benchmarks.probe [--quick]. NIH-ChestX-ray14's recipe: 30 epochs, batches of 16, no flip; LP and the first
phase of LPFT share what is cached. With test: the five networks' logits of the test images too. Both sides give the
same heads, seed by seed, and the same logits: that is checked in the same run.
One JSON line for each figure on stdout, a table on stderr.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.shared.common import in_turn, report, row
from benchmarks.views import one_core
from sweep.studies import paper
from trainables.evaluation.dataset import Part
from trainables.evaluation.features import features_of, test_logits
from trainables.evaluation.probe import HeadSettings, ProbeResult, cache_features, train_heads
from trainables.evaluation.supervised import LabelledImages, Supervised, TrainingSettings, new_head
from trainables.networks.backbones import build_backbone, feature_dim
from trainables.protocols import linear_probe
from trainables.recipe import BackboneSpec, DownstreamRecipe
from trainables.training.precision import Compute
from trainables.views.evaluation_spec import contents

SEEDS, FINDINGS, TOLERANCE = (0, 1, 2, 3, 4), 14, 1e-6
CPU = Compute(torch.device("cpu"))


@dataclass(frozen=True)
class Size:
    """Of one comparison: the network, the side of its square images, and the images of both splits."""

    backbone: str
    image_size: int
    num_train: int
    num_val: int
    num_test: int
    num_epochs: int


FULL = Size("demo_cnn", 96, 400, 57, 114, 30)  # in the proportions of NIH-ChestX-ray14's split by patient
QUICK = Size("demo_cnn", 16, 37, 20, 11, 3)
# Beside the demo's network, whose passes are so cheap that heads take as long: a small one of those that people use.
FULL_RESNET, QUICK_RESNET = replace(FULL, backbone="resnet18"), replace(QUICK, backbone="resnet18", image_size=32)


class CountingBackbone(nn.Module):
    """Counts the images that pass; what it gives is the inner network's."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner, self.num_images = inner, 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.num_images += len(images)
        return self.inner(images)


def nih_recipe(size: Size) -> DownstreamRecipe:
    """The paper's, at the size of this benchmark."""
    recipe = next(d.recipe for d in paper().datasets if d.source == "nih_cxr14")
    view = replace(recipe.eval_spec, size=size.image_size)
    return replace(recipe, eval_spec=view, num_epochs=size.num_epochs)


def made_up_part(count: int, side: int, seed: int) -> Part:
    rng = np.random.default_rng(seed)
    targets = (rng.random((count, FINDINGS)) < 0.3).astype(np.float32)
    pixels = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
    pixels[targets[:, 0] == 1, : side // 2] //= 2
    ids = np.array([f"image{i}" for i in range(count)])
    return Part(pixels, targets, np.ones(targets.shape, bool), ids, ids, ids)


class Comparison:
    """Both sides on the same images and one frozen backbone."""

    def __init__(self, size: Size):
        self.recipe = nih_recipe(size)
        self.train = made_up_part(size.num_train, size.image_size, 0)
        self.val = made_up_part(size.num_val, size.image_size, 1)
        self.test = made_up_part(size.num_test, size.image_size, 2)
        self.backbone = CountingBackbone(build_backbone(BackboneSpec(size.backbone, size.image_size), seed=0)).eval()
        self.width = feature_dim(self.backbone.inner)
        self.rows = np.arange(size.num_train)

    def cached(self) -> list[ProbeResult]:
        features = cache_features(self.backbone, self.recipe, self.train, self.val, CPU)
        return self.heads(features, SEEDS)

    def heads(self, features, seeds: tuple[int, ...]) -> list[ProbeResult]:
        subsets = [self.rows for _ in seeds]
        settings = HeadSettings(self.recipe, seeds, self.recipe.num_epochs, self.recipe.optimizer)
        return train_heads(features, self.train, self.val, subsets, settings)

    def cached_seed_by_seed(self) -> list[ProbeResult]:
        features = cache_features(self.backbone, self.recipe, self.train, self.val, CPU)
        return [self.heads(features, (seed,))[0] for seed in SEEDS]

    def with_test(self, at_once: bool) -> list[np.ndarray]:
        """All that five seeds take; each test image passes the backbone once, or once for each seed."""
        heads = []
        for result in self.cached():
            head = nn.Linear(self.width, FINDINGS)
            head.load_state_dict({"weight": result.weight, "bias": result.bias})
            heads.append(head)
        if at_once:
            return test_logits(self.backbone, heads, self.recipe, self.test, CPU)
        return [test_logits(self.backbone, [head], self.recipe, self.test, CPU)[0] for head in heads]

    def uncached(self, seed: int) -> dict[str, torch.Tensor]:
        """The same training of one seed with the frozen backbone run on every batch of every epoch."""
        settings = TrainingSettings(
            self.recipe, linear_probe.PROTOCOL.last_phase, seed, self.recipe.num_epochs, self.recipe.optimizer
        )
        images = LabelledImages(self.train, self.rows, self.val)
        task = Supervised(self.backbone, new_head(self.width, FINDINGS, seed), images, settings, CPU)
        return task.run().best_tensors["head"]

    def features_once(self) -> None:
        for part in (self.train, self.val):
            for _ in features_of(self.backbone, self.recipe, part, CPU):
                pass

    def counted(self, side: Callable[[], Any]) -> Callable[[], tuple[Any, int]]:
        """What a side gives, and how many images passed the backbone for it."""

        def run() -> tuple[Any, int]:
            before = self.backbone.num_images
            return side(), self.backbone.num_images - before

        return run


def largest_difference(cached: list[ProbeResult], uncached: list[dict[str, torch.Tensor]]) -> float:
    """Over all seeds' weights and biases. Raises ArithmeticError above 1e-6."""
    worst = 0.0
    for ours, theirs in zip(cached, uncached, strict=True):
        for one, other in ((ours.weight, theirs["weight"]), (ours.bias, theirs["bias"])):
            worst = max(worst, float((one - other).abs().max()))
    if worst > TOLERANCE:
        raise ArithmeticError(f"a cached probe's head differs by {worst}; at most {TOLERANCE} is allowed")
    return worst


def check_passes(comparison: Comparison, cached: int, uncached: int) -> None:
    """What the plan counts: each content once, against every image in every epoch of a seed."""
    recipe, train, val = comparison.recipe, len(comparison.train), len(comparison.val)
    expected = len(contents(recipe.eval_spec)) * train + val, recipe.num_epochs * (train + val)
    if (cached, uncached) != expected:
        raise ArithmeticError(f"{cached} and {uncached} images passed the backbone; the plan counts {expected}")


def figures(size: Size) -> list[dict]:
    """Each round trains one seed without cache, and all five with it."""
    both = Comparison(size)
    seeds, uncached = iter(SEEDS), []

    def next_seed() -> int:
        head, passed = both.counted(lambda: both.uncached(next(seeds)))()
        uncached.append(head)
        return passed

    sides = {
        "cached": both.counted(both.cached),
        "seed by seed": both.cached_seed_by_seed,
        "uncached": next_seed,
        "once": both.features_once,
        "with test": both.counted(lambda: both.with_test(True)),
        "with test by seed": both.counted(lambda: both.with_test(False)),
    }
    values: dict[str, Any] = {}
    both.cached()
    seconds = in_turn(sides, len(SEEDS), warm_ups=0, values=values)
    results, passed = values["cached"]
    worst = largest_difference(results, uncached)
    check_passes(both, passed, values["uncached"])
    return [*rows_of(size, both, seconds, passed, worst), *rows_with_test(size, seconds, values)]


def figures_with_test(size: Size, rounds: int) -> list[dict]:
    """Of a network with which one seed without cache would take too long."""
    both, values = Comparison(size), dict[str, Any]()
    sides = {
        "with test": both.counted(lambda: both.with_test(True)),
        "with test by seed": both.counted(lambda: both.with_test(False)),
    }
    return rows_with_test(size, in_turn(sides, rounds, warm_ups=0, values=values), values)


def rows_with_test(size: Size, seconds: dict[str, float], values: dict[str, Any]) -> list[dict]:
    """Raises ArithmeticError where the logits of both sides are not the same bits."""
    (ours, passed), (theirs, by_seed) = values["with test"], values["with test by seed"]
    if not all(np.array_equal(one, other) for one, other in zip(ours, theirs, strict=True)):
        raise ArithmeticError("logits of heads that are tested together differ from those of each alone")
    name = f"five_seeds_{size.backbone}_{size.image_size}px_with_test"
    peer = {"peer_name": "test images through the backbone for each seed"}
    return [
        row("probe", name, "s", seconds["with test"], peer=seconds["with test by seed"], **peer),
        row("probe", f"{name}_forward_passes", "images", passed, peer=by_seed, **peer),
    ]


def rows_of(size: Size, both: Comparison, seconds: dict[str, float], passed: int, worst: float) -> list[dict]:
    features = cache_features(both.backbone, both.recipe, both.train, both.val, CPU)
    heads = in_turn({"heads": lambda: both.heads(features, SEEDS)}, 3, warm_ups=0)["heads"]
    name, peer = f"five_seeds_{size.backbone}_{size.image_size}px", len(SEEDS) * seconds["uncached"]
    peer_name = "backbone run in every epoch (median of the seeds, x 5)"
    limit, limit_name = seconds["once"], "the forward passes that nothing saves"
    each = len(SEEDS) * size.num_epochs * size.num_train
    counted = len(SEEDS) * size.num_epochs * (size.num_train + size.num_val)
    return [
        row("probe", name, "s", seconds["cached"], peer=peer, peer_name=peer_name, limit=limit, limit_name=limit_name),
        row(
            "probe",
            f"{name}_cached_only",
            "s",
            seconds["seed by seed"],
            peer=peer,
            peer_name=peer_name,
            limit=limit,
            limit_name=limit_name,
        ),
        row("probe", f"{name}_forward_passes", "images", passed, peer=counted, peer_name=peer_name),
        row("probe", f"{name}_head_alone", "us/image and head", 1e6 * heads / each),
        row("probe", f"{name}_largest_difference", "weight", worst),
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.probe", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images and epochs: checks that it works")
    quick = parser.parse_args(arguments).quick
    with one_core():
        rows = figures(QUICK if quick else FULL)
        rows += figures_with_test(QUICK_RESNET, 1) if quick else figures_with_test(FULL_RESNET, 5)
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
