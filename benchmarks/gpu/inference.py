"""Are features, probes and text vectors of the device those of the CPU, and how fast are they?"""

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.gpu.bench import Bench, check, figure, relative
from benchmarks.gpu.made_up import FINDINGS, downstream_recipe, labelled, small_size
from trainables.evaluation.features import features_of
from trainables.evaluation.knn import knn_probabilities
from trainables.evaluation.probe import CachedFeatures, HeadSettings, train_heads
from trainables.networks.backbones import build_backbone
from trainables.networks.text import TextTower
from trainables.recipe import BackboneSpec, OptimizerSpec
from trainables.training.precision import resolve

CPU = torch.device("cpu")
WORDS = 500
EPOCHS = 3
# Of float32 on both sides: sums of some thousand products, layer after layer.
ROUNDING = 1e-4


def section(bench: Bench) -> Iterator[dict]:
    """Features in float32 from the CPU's, whatever the batch; heads of a probe; neighbours; a text tower."""
    yield from features(bench)
    yield from heads(bench)
    yield from texts(bench)


def features(bench: Bench) -> Iterator[dict]:
    backbone_name, side, batch, _ = small_size(bench)
    part, recipe = labelled(2 * batch, side), downstream_recipe(side, batch)
    network = build_backbone(BackboneSpec(backbone_name, side), seed=0)
    found = {}
    for device in (CPU, bench.device):
        compute = resolve("float32", device)
        found[device] = torch.cat(list(features_of(network.to(device), recipe, part, compute))).cpu()
    yield check("features_from_the_cpu", "relative", relative(found[bench.device], found[CPU]), ROUNDING)
    few = np.arange(3)
    alone = torch.cat(list(features_of(network, recipe, part.take(few), resolve("float32", bench.device))))
    apart = relative(alone, found[bench.device][few])
    yield check("features_in_another_batch", "relative", apart, ROUNDING)
    size = bench.size
    large, whole = build_backbone(BackboneSpec(size.backbone, size.side), 0).to(bench.device), labelled(256, size.side)
    rate_recipe = downstream_recipe(size.side, size.batch)
    whole = whole if bench.device.type == "cuda" else whole.take(np.arange(8))
    compute = resolve("auto", bench.device)
    seconds = bench.seconds(lambda: list(features_of(large, rate_recipe, whole, compute)), size.rounds)
    yield figure("forward_only", "images/s", len(whole) / seconds, higher_is_better=True)


def heads(bench: Bench) -> Iterator[dict]:
    """Validation logits of two seeds' heads after three epochs, and k nearest neighbours."""
    rng, count, width = np.random.default_rng(0), 64, 32
    part = labelled(count, 8)
    inputs = torch.from_numpy(rng.standard_normal((1, count, width)).astype(np.float32))
    settings = HeadSettings(downstream_recipe(8, 16), (0, 1), EPOCHS, OptimizerSpec("adam", 1e-2, (0.9, 0.999)))
    subsets = [np.arange(count)] * 2
    logits, neighbours = {}, {}
    for device in (CPU, bench.device):
        resolve("float32", device)
        cached = CachedFeatures(inputs.to(device), inputs[0].to(device))
        trained = train_heads(cached, part, part, subsets, settings)
        logits[device] = torch.stack([inputs[0] @ head.weight.T + head.bias for head in trained])
        found = knn_probabilities(cached.val, part.targets, part.known, cached.val)
        neighbours[device] = torch.from_numpy(found)
    assert logits[CPU].shape == (2, count, FINDINGS)
    # Adam divides by the gradient's own size: where that is nothing but rounding, a step's sign is chance.
    yield check("probe_logits_from_the_cpu", "relative", relative(logits[bench.device], logits[CPU]), 10 * ROUNDING)
    yield check("neighbours_from_the_cpu", "relative", relative(neighbours[bench.device], neighbours[CPU]), ROUNDING)


def tokens(count: int, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) ids and mask of texts of 5 tokens to the longest."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(5, longest + 1, count)
    mask = torch.from_numpy((np.arange(lengths.max()) < lengths[:, None]).astype(np.int64))
    return torch.from_numpy(rng.integers(3, WORDS, mask.shape)) * mask, mask


def texts(bench: Bench) -> Iterator[dict]:
    """A tower in buckets and padded to the longest, on both devices in float32; and its rate, forward and backward."""
    *_, batch, small = small_size(bench)
    ids, mask = tokens(batch, 40)
    torch.manual_seed(0)
    tower = TextTower(small, WORDS).eval()
    with torch.no_grad():
        exact = tower.double().pooled(ids, mask)
        tower.float().to(bench.device)
        resolve("float32", bench.device)
        there = [part.to(bench.device) for part in (ids, mask)]
        for name, call in (("in_buckets", tower), ("to_the_longest", tower.pooled)):
            yield check(f"text_{name}_from_float64", "relative", relative(call(*there), exact), ROUNDING)
    compute = resolve("auto", bench.device)
    large = TextTower(bench.size.text, WORDS).to(bench.device).train()
    many = [part.to(bench.device) for part in tokens(bench.size.pretrain_batch, 40)]

    def trained(call) -> None:
        with compute.autocast():
            out = call(*many)
        out.float().sum().backward()
        large.zero_grad(set_to_none=True)

    seconds = bench.sides({"ours": lambda: trained(large), "peer": lambda: trained(large.pooled)}, bench.size.rounds)
    rates = {name: bench.size.pretrain_batch / value for name, value in seconds.items()}
    yield figure(
        "text_tower",
        "reports/s",
        rates["ours"],
        peer=rates["peer"],
        peer_name="padded to the longest",
        higher_is_better=True,
    )
