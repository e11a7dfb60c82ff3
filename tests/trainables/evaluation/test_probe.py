"""Linear probing: cached features give what training through the frozen backbone gives, which nothing changes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from trainables.evaluation.dataset import Part, is_carved, targets_of
from trainables.evaluation.probe import (
    GATHERED,
    BestHeads,
    CachedFeatures,
    HeadSettings,
    ProbeResult,
    _check,
    _epoch,
    _inputs,
    cache_features,
    heads_or_errors,
    train_heads,
)
from trainables.evaluation.supervised import (
    LabelledImages,
    Supervised,
    TrainingSettings,
    epoch_rows,
    masked_bce,
    new_head,
)
from trainables.networks.backbones import build_backbone, feature_dim
from trainables.protocols import fine_tune, linear_probe
from trainables.recipe import BackboneSpec, DownstreamRecipe, LabelPolicy, OptimizerSpec
from trainables.training.checkpoint import copy_state
from trainables.training.loop import TrainingDiverged
from trainables.training.precision import Compute
from trainables.views.evaluation_spec import EvalSpec

CPU = Compute(torch.device("cpu"))
FAST = OptimizerSpec("adam", 1e-2, (0.9, 0.999))
RECIPE = DownstreamRecipe(4, 16, "val_loss", EvalSpec(32, flip_p=0.5), optimizer=FAST)


def part(n: int, seed: int, findings: int = 3) -> Part:
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (n, 32, 32), dtype=np.uint8)
    targets = (generator.random((n, findings)) < 0.4).astype(np.float32)
    pixels[targets[:, 0] == 1, :16] //= 2
    ids = np.array([f"i{k}" for k in range(n)])
    return Part(pixels, targets, generator.random((n, findings)) < 0.9, ids, ids, ids)


def supervised(phase, train, val, seed, backbone, optimizer=FAST, recipe=RECIPE) -> Supervised:
    head = new_head(feature_dim(backbone), 3, seed)
    images = LabelledImages(train, np.arange(len(train)), val)
    return Supervised(backbone, head, images, TrainingSettings(recipe, phase, seed, recipe.num_epochs, optimizer), CPU)


@pytest.fixture
def backbone():
    network = build_backbone(BackboneSpec("demo_cnn", 32), seed=3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
    return network


@pytest.mark.parametrize(
    "optimizer",
    [
        FAST,
        replace(FAST, weight_decay=0.5),
        replace(FAST, name="adamw", betas=(0.8, 0.99), weight_decay=0.5),
        replace(FAST, name="adamw", weight_decay=0.5, exclude_norm_bias=True),
    ],
    ids=["Adam", "Adam with decay", "AdamW", "AdamW that spares biases"],
)
def test_cached_equals_uncached_seed_by_seed(backbone, optimizer):
    train, val, seeds = part(53, 0), part(21, 1), (0, 1, 2, 3, 4)
    features = cache_features(backbone, RECIPE, train, val, CPU)
    assert features.train.shape == (2, 53, 128)
    subsets = [np.arange(53) for _ in seeds]
    results = train_heads(features, train, val, subsets, HeadSettings(RECIPE, seeds, RECIPE.num_epochs, optimizer))
    for seed, cached in zip(seeds, results, strict=True):
        state = supervised(linear_probe.PROTOCOL.last_phase, train, val, seed, backbone, optimizer).run()
        assert state.best_epoch == cached.best_epoch
        torch.testing.assert_close(state.best_tensors["head"]["weight"], cached.weight, rtol=0, atol=1e-6)
        torch.testing.assert_close(state.best_tensors["head"]["bias"], cached.bias, rtol=0, atol=1e-6)
        for a, b in zip(state.history, cached.history, strict=True):
            assert a["val_loss"] == pytest.approx(b["val_loss"], abs=1e-6)
            assert a["train_bce"] == pytest.approx(b["train_bce"], abs=1e-6)


@pytest.mark.parametrize("spared", [False, True], ids=["one group", "biases spared"])
def test_a_probe_on_cached_features_lowers_its_rate_as_an_uncached_one(backbone, spared):
    """Each seed by its own epochs without progress: the rates of five seeds differ after some."""
    recipe = replace(RECIPE, num_epochs=8, lr_plateau_factor=0.1)
    optimizer = replace(FAST, name="adamw", learning_rate=0.5, weight_decay=0.01, exclude_norm_bias=spared)
    train, val, seeds = part(53, 0), part(21, 1), (0, 1, 2, 3, 4)
    features = cache_features(backbone, recipe, train, val, CPU)
    settings = HeadSettings(recipe, seeds, recipe.num_epochs, optimizer)
    results = train_heads(features, train, val, [np.arange(53) for _ in seeds], settings)
    scales = set()
    for seed, cached in zip(seeds, results, strict=True):
        phase = linear_probe.PROTOCOL.last_phase
        state = supervised(phase, train, val, seed, backbone, optimizer, recipe).run()
        scales.add(state.rate_scale)
        assert state.best_epoch == cached.best_epoch
        torch.testing.assert_close(state.best_tensors["head"]["weight"], cached.weight, rtol=0, atol=1e-5)
        for a, b in zip(state.history, cached.history, strict=True):
            assert a["val_loss"] == pytest.approx(b["val_loss"], abs=1e-5)
    assert len(scales) > 1 and min(scales) < 0.1, "else the seeds could share one rate, or none fell twice"


def test_the_epoch_of_each_seed_is_picked_on_its_own_validation_images(backbone):
    train, val, seeds = part(53, 0), part(40, 1), (0, 1, 2)
    features = cache_features(backbone, RECIPE, train, val, CPU)
    rows = [np.arange(0, 12), np.arange(12, 30), np.array([3, 7, 31])]
    settings = HeadSettings(RECIPE, seeds, RECIPE.num_epochs, FAST)
    results = train_heads(features, train, val, [np.arange(53)] * 3, settings, rows)
    for seed, own, cached in zip(seeds, rows, results, strict=True):
        state = supervised(linear_probe.PROTOCOL.last_phase, train, val.take(own), seed, backbone).run()
        for a, b in zip(state.history, cached.history, strict=True):
            assert a["val_loss"] == pytest.approx(b["val_loss"], abs=1e-6)
        assert state.best_epoch == cached.best_epoch


@pytest.mark.parametrize("findings", [1, 5, 14])
@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (7, 1), (16, 1), (64, 1), (16, 2), (64, 2)])
def test_a_seed_comes_out_in_the_same_bits_alone_and_beside_others(findings, batch, threads):
    """What --redo of one cell computes is compared with what was computed beside four other seeds."""
    recipe = replace(RECIPE, batch_size=batch, lr_plateau_factor=0.1)
    rng, width, count = np.random.default_rng(0), 131, 67
    train, val = part(count, 0, findings), part(45, 1, findings)
    features = CachedFeatures(
        *(torch.from_numpy(rng.standard_normal(shape, np.float32)) for shape in ((2, count, width), (45, width)))
    )
    seeds, rows = (5, 7, 9, 11, 13), [np.arange(count)] * 5
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = train_heads(features, train, val, rows, HeadSettings(recipe, seeds, 3, FAST))
        for group in ((0,), (1,), (4,), (1, 3), (0, 2, 3, 4)):
            settings = HeadSettings(recipe, tuple(seeds[i] for i in group), 3, FAST)
            for i, found in zip(group, train_heads(features, train, val, rows[: len(group)], settings), strict=True):
                assert torch.equal(found.weight, together[i].weight) and torch.equal(found.bias, together[i].bias)
                assert found.history == together[i].history
    finally:
        torch.set_num_threads(before)


def test_a_head_as_a_layer_gives_its_logits():
    generator = torch.Generator().manual_seed(0)
    weight, bias, inputs = (torch.randn(shape, generator=generator) for shape in ((3, 5), (3,), (4, 5)))
    found = ProbeResult(weight, bias, 0, []).as_linear()(inputs)
    torch.testing.assert_close(found, inputs @ weight.T + bias)


class Weights:
    """Two heads of one finding and one feature."""

    def __init__(self, value: float):
        self.weights, self.biases = [torch.full((1, 1), value)] * 2, [torch.full((1,), value)] * 2


def test_of_equal_scores_the_first_epoch_is_kept_and_a_seed_without_a_score_is_named():
    best = BestHeads((5, 7))
    kept = [best.offer(0, Weights(epoch), {"epoch": epoch, "score": score}) for epoch, score in enumerate((1, 2, 2, 1))]
    assert kept == [True, True, False, False]
    with pytest.raises(TrainingDiverged, match=r"no epoch of seeds \[7\] has a score"):
        best.results()
    assert not best.offer(1, Weights(0), {"epoch": 0, "score": float("nan")})
    best.offer(1, Weights(3), {"epoch": 1, "score": 0.0})
    first, second = best.results()
    assert (first.best_epoch, float(first.weight), float(first.bias), len(first.history)) == (1, 1.0, 1.0, 4)
    assert (second.best_epoch, float(second.weight), len(second.history)) == (1, 3.0, 2)


def test_a_seed_that_diverges_costs_the_others_nothing(backbone, monkeypatch):
    train, val = part(40, 0), part(20, 1)
    features = cache_features(backbone, RECIPE, train, val, CPU)
    settings, rows, val_rows = HeadSettings(RECIPE, (5, 7, 9), 2, FAST), [np.arange(40)] * 3, [np.arange(20)] * 3
    expected = train_heads(features, train, val, rows, settings)

    def spoilt(width, findings, seed):
        head = new_head(width, findings, seed)
        if seed == 7:
            head.weight.data.fill_(float("inf"))
        return head

    monkeypatch.setattr("trainables.evaluation.probe.new_head", spoilt)
    first, bad, last = heads_or_errors(features, train, val, rows, settings, val_rows)
    assert isinstance(bad, TrainingDiverged) and "for seeds [7]" in str(bad)
    for found, before in ((first, expected[0]), (last, expected[2])):
        torch.testing.assert_close(found.weight, before.weight, rtol=0, atol=1e-7)


def test_a_loss_that_is_not_finite_is_told_with_the_epoch_before():
    best, total = BestHeads((5, 7)), torch.tensor([1.0, float("inf")])
    with pytest.raises(TrainingDiverged, match=r"epoch 0 for seeds \[7\].*none: first epoch"):
        _check(total, best, 0)
    for epoch in range(3):
        best.offer(1, Weights(0), {"epoch": epoch, "score": 0.5})
    with pytest.raises(TrainingDiverged, match=r"means: \{7: \{'epoch': 2, 'score': 0.5\}\}"):
        _check(total, best, 3)
    _check(torch.zeros(2), best, 3)


def test_the_known_entries_of_a_batch_share_its_mean():
    """Batches of two images and two findings with four, one and no known labels."""
    known = torch.tensor([[1, 1], [1, 1], [0, 1], [0, 0], [0, 0], [0, 0]], dtype=torch.bool)
    settings = HeadSettings(replace(RECIPE, batch_size=2), (0,), 1, FAST)
    order = epoch_rows(6, 0, 0)
    seen = _epoch(settings, [np.argsort(order)], 0, torch.zeros(6, 2), known)  # so that they come as they are here
    assert seen.shares[0].tolist() == [[0.25, 0.25], [0.25, 0.25], [0, 1], [0, 0], [0, 0], [0, 0]]


@pytest.mark.parametrize(("width", "batch", "at_once"), [(32, 4, GATHERED), (24, 2, GATHERED), (10, 7, 1), (8, 1, 1)])
def test_a_batch_has_its_images_features_and_begins_a_line_of_the_cache(width, batch, at_once):
    """Products may differ in their last bit by that; several batches that all begin one are gathered at once."""
    count = 2 * GATHERED * batch + batch + 1
    cached, places = torch.rand(2 * count, width), torch.stack([torch.randperm(2 * count)[:count] for _ in range(3)])
    batches = list(_inputs(cached, places, batch))
    for s in range(3):
        assert torch.equal(torch.cat([of_seeds[s] for of_seeds in batches]), cached[places[s]])
        assert {len(of_seeds[s]) for of_seeds in batches[:-1]} == {batch}
        assert not any(of_seeds[s].data_ptr() % 64 for of_seeds in batches)
        gathered = [of_seeds[s].untyped_storage().data_ptr() for of_seeds in batches]
        assert len(set(gathered[:GATHERED])) == GATHERED // at_once


def test_a_probe_leaves_the_backbone_bit_identical_and_fine_tuning_does_not(backbone):
    train, val = part(40, 0), part(20, 1)
    before = copy_state(backbone)
    supervised(linear_probe.PROTOCOL.last_phase, train, val, 0, backbone).run()
    after = copy_state(backbone)
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    backbone.requires_grad_(True)
    state = supervised(fine_tune.PROTOCOL.last_phase, train, val, 0, backbone).run()
    changed = [name for name in before if not torch.equal(before[name], state.best_tensors["backbone"][name])]
    assert any("running_mean" in name for name in changed) and any(name.endswith("0.weight") for name in changed)


def test_masked_loss_counts_known_entries_only():
    logits, targets = torch.randn(5, 3, dtype=torch.float64), torch.randint(0, 2, (5, 3)).double()
    known = torch.tensor([[1, 0, 1]] * 5, dtype=torch.bool)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, [0, 2]], targets[:, [0, 2]])
    assert float(masked_bce(logits, targets, known)) == pytest.approx(float(expected), abs=1e-12)
    assert float(masked_bce(logits, targets, torch.zeros_like(known))) == 0.0


@pytest.mark.parametrize(
    ("policy", "targets", "known"),
    [
        (LabelPolicy("ones", "zeros"), [1, 0, 1, 0], [1, 1, 1, 1]),
        (LabelPolicy("zeros", "ignore"), [1, 0, 0, 0], [1, 1, 1, 0]),
        (LabelPolicy("ignore", "zeros"), [1, 0, 0, 0], [1, 1, 0, 1]),
    ],
)
def test_label_policies(policy, targets, known):
    raw = np.array([[1], [0], [-1], [-2]], dtype=np.int8)  # positive, negative, uncertain, blank
    found_targets, found_known = targets_of(raw, policy, evaluation=False)
    assert found_targets[:, 0].tolist() == targets and found_known[:, 0].astype(int).tolist() == known
    _, evaluated = targets_of(raw, policy, evaluation=True)
    assert evaluated[:, 0].tolist() == [True, True, False, False]
    # Where test labels were read from reports too, the policy is that of training, in evaluation as well.
    same = targets_of(raw, replace(policy, evaluation="policy"), evaluation=True)
    assert (same[0][:, 0].tolist(), same[1][:, 0].astype(int).tolist()) == (targets, known)
    with pytest.raises(ValueError, match="evaluation is 'polic'; allowed: 'known', 'policy'"):
        replace(policy, evaluation="polic")


def test_carving_is_by_patient_and_about_the_stated_share():
    carved = [is_carved(f"patient{i:05d}", 10) for i in range(5000)]
    assert 0.08 < sum(carved) / 5000 < 0.12 and carved == [is_carved(f"patient{i:05d}", 10) for i in range(5000)]


def test_features_that_are_no_numbers_are_the_encoders_fault_and_not_the_probes(backbone):
    with torch.no_grad():
        backbone.layers[3].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(
        FloatingPointError, match=r"for 9 of 9 images; its weights are not finite either: 1 of \d+ .*3\.w"
    ):
        cache_features(backbone, RECIPE, part(9, 0), part(5, 1), CPU)
    overflowing = build_backbone(BackboneSpec("demo_cnn", 32), seed=3)
    with torch.no_grad():
        for parameter in overflowing.parameters():
            parameter.mul_(1e30)
    with pytest.raises(FloatingPointError, match="its weights are finite, so it overflows"):
        cache_features(overflowing, RECIPE, part(9, 0), part(5, 1), CPU)


def test_one_image_left_over_trains_a_network_that_ends_at_one_place():
    """As a ResNet of 32 pixels: batch norm has no variance of one value a channel, and raised from within the cell."""
    norms = torch.nn.BatchNorm2d(4), torch.nn.BatchNorm2d(4)
    layers = torch.nn.Conv2d(3, 4, 3, stride=2), norms[0], torch.nn.AdaptiveAvgPool2d(1), norms[1], torch.nn.Flatten()
    network = torch.nn.Sequential(*layers)
    network.num_features = 4
    before = copy_state(network)
    task = supervised(fine_tune.PROTOCOL.last_phase, part(17, 0), part(8, 1), 0, network)
    network.train()
    batches = list(task.stream(task.steps_per_epoch * (task.num_epochs - 1)))
    assert [len(images) for images, _, _ in batches] == [16, 1]
    task.backward(batches[1], 1)
    # The statistics are those of before, of the layer that could have moved too; the weights have their gradient.
    assert all(torch.equal(value, before[name]) for name, value in network.named_buffers())
    assert all(norm.training for norm in norms) and bool(layers[0].weight.grad.abs().sum() > 0)
    task.backward(batches[0], 0)
    assert int(norms[0].num_batches_tracked) == int(norms[1].num_batches_tracked) == 1
    task.run()
    # A network whose map is larger takes one image's own statistics, as ever.
    demo = build_backbone(BackboneSpec("demo_cnn", 32), seed=3)
    task = supervised(fine_tune.PROTOCOL.last_phase, part(17, 0), part(8, 1), 0, demo)
    demo.train()
    task.backward(list(task.stream(0))[1], 1)
    assert int(demo.layers[1].num_batches_tracked) == 1
