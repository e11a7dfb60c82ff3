"""Every objective computes what it claims: against independent libraries, the authors' formulas and a plain MoCo."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from pytorch_metric_learning.losses import NTXentLoss, SelfSupervisedLoss, VICRegLoss
from small import (
    BATCH_SIZE,
    CONFIGS,
    VOCABULARY,
    WIDTH,
    agree,
    batch,
    build,
    largest_difference,
    pair,
    rows_of,
    small_config,
    total,
)
from torch import Tensor, nn

from datasets_io.fingerprint import fingerprint
from trainables.batch import MULTI_MODAL, SSL_1, SSL_2
from trainables.networks.backbones import DemoCnn
from trainables.networks.heads import unit
from trainables.networks.text import TinyText
from trainables.objectives import barlow_twins, clip, simclr, vicreg
from trainables.objectives.barlow_twins import BarlowTwinsConfig
from trainables.objectives.base import BuildContext
from trainables.objectives.joint import ALL_PAIRS, JointSettings
from trainables.objectives.simclr import SimClrConfig
from trainables.objectives.vicreg import VicRegConfig
from trainables.registry import IMAGE_IMAGE, IMAGE_TEXT, METHODS, check_method, method_group, needs_reports

# -- independent implementations -----------------------------------------------------------------


def our_clip(lambda_i2t: float, temperature: float) -> Callable:
    return lambda u, v: clip.image_text_loss(clip.unit(u), clip.unit(v), 1 / temperature, lambda_i2t)


def check_clip() -> None:
    def theirs(u: Tensor, v: Tensor) -> Tensor:
        u, v = nn.functional.normalize(u, dim=-1), nn.functional.normalize(v, dim=-1)
        from open_clip.loss import ClipLoss  # a second for each process that collects this file

        return ClipLoss()(u, v, torch.tensor(1 / 0.07, dtype=torch.float64))

    agree(our_clip(0.5, 0.07), theirs, pair(8, 16))


def check_simclr() -> None:
    objective = simclr.SimClr(nn.Identity(), SimClrConfig(), ((SSL_1, SSL_2),))
    agree(lambda a, b: total(objective.pair_losses(a, b)), SelfSupervisedLoss(NTXentLoss(0.1)), pair(8, 16))


@pytest.mark.parametrize("make", [check_clip, check_simclr])
def test_contrastive_losses_equal_open_clip_and_pytorch_metric_learning(make):
    make()


@pytest.mark.parametrize("lambda_i2t", [0.75, 0.5])
def test_convirt_equals_its_formula(lambda_i2t):
    def formula(u: Tensor, v: Tensor) -> Tensor:
        u, v = u / u.norm(dim=1, keepdim=True), v / v.norm(dim=1, keepdim=True)
        similarity = torch.exp(u @ v.T / 0.1)
        image_to_text = -torch.log(similarity.diagonal() / similarity.sum(dim=1))
        text_to_image = -torch.log(similarity.diagonal() / similarity.sum(dim=0))
        return (lambda_i2t * image_to_text + (1 - lambda_i2t) * text_to_image).mean()

    agree(our_clip(lambda_i2t, 0.1), formula, pair(8, 16))


def test_convirts_two_weights_can_be_told_apart():
    values = [float(our_clip(weight, 0.1)(*pair(8, 16))) for weight in (0.75, 0.5)]
    assert abs(values[0] - values[1]) > 1e-3


def test_multiplying_by_the_temperature_would_train_nothing():
    u, v = (unit(z) for z in pair(8, 16))
    assert float(clip.image_text_loss(u, v, 0.07, 0.5)) == pytest.approx(math.log(8), abs=0.07)


@pytest.mark.parametrize(("rows", "width"), [(8, 16), (16, 8)], ids=["gram form", "covariance form"])
def test_vicreg_equals_pytorch_metric_learning(rows, width):
    objective = vicreg.VicReg(nn.Identity(), VicRegConfig(), ((SSL_1, SSL_2),))
    theirs = VICRegLoss()
    agree(lambda a, b: total(objective.pair_losses(a, b)), lambda a, b: theirs(a, ref_emb=b), pair(rows, width))


@pytest.mark.parametrize(("rows", "width"), [(8, 16), (8, 8), (16, 8), (2, 5)])
def test_the_gram_form_equals_the_covariance_matrix(rows, width):
    def by_definition(z: Tensor) -> Tensor:
        centred = z - z.mean(dim=0)
        covariance = centred.T @ centred / (rows - 1)
        return covariance[~torch.eye(width, dtype=torch.bool)].pow(2).sum() / width

    agree(vicreg.covariance_term, by_definition, (pair(rows, width)[0],))


def test_vicregs_added_variance_is_a_switch():
    a, b = (0.3 * z for z in pair(8, 16))
    parts = [
        vicreg.VicReg(nn.Identity(), VicRegConfig(variance_average=average), ((SSL_1, SSL_2),)).pair_losses(a, b)
        for average in (True, False)
    ]
    assert float(parts[1]["vicreg_variance"]) == pytest.approx(2 * float(parts[0]["vicreg_variance"]), rel=1e-12)
    assert parts[0]["vicreg_covariance"] == parts[1]["vicreg_covariance"]


def by_the_authors(a: Tensor, b: Tensor) -> Tensor:
    """C of views that torch's batch norm standardised, and a mask for what is off its diagonal."""
    a, b = (nn.functional.batch_norm(z, None, None, training=True) for z in (a, b))
    c = torch.einsum("ni,nj->ij", a, b) / len(a)
    return (c.diag() - 1).square().sum() + 5e-3 * c[~torch.eye(len(c), dtype=torch.bool)].square().sum()


def by_torchs_covariance(a: Tensor, b: Tensor) -> Tensor:
    """C_ij = cov(a_i, b_j) / sqrt((var a_i + 1e-5) (var b_j + 1e-5)), entry by entry."""
    width = a.shape[1]
    covariance = torch.cov(torch.cat([a, b], dim=1).T, correction=0)
    spread = torch.sqrt(covariance.diag() + 1e-5)
    losses = []
    for i in range(width):
        for j in range(width):
            entry = covariance[i, width + j] / (spread[i] * spread[width + j])
            losses.append((1 - entry) ** 2 if i == j else 5e-3 * entry**2)
    return torch.stack(losses).sum()


@pytest.mark.parametrize("theirs", [by_the_authors, by_torchs_covariance])
@pytest.mark.parametrize(("rows", "width"), [(16, 8), (8, 16)])
def test_barlow_twins_equals_its_formula(theirs, rows, width):
    objective = barlow_twins.BarlowTwins(nn.Identity(), BarlowTwinsConfig(), ((SSL_1, SSL_2),))
    # Shifted and stretched: neither mean 0 nor variance 1 is given.
    a, b = (3 * z * torch.arange(1, width + 1) + 2 for z in pair(rows, width))
    agree(lambda a, b: total(objective.pair_losses(a, b)), theirs, (a, b))


# -- learnable temperature, equal reports ----------------------------------------------------------


def test_a_learnable_temperature_starts_at_the_fixed_one_and_gets_a_gradient():
    fixed, learnable = (build(small_config("clip", learnable_temperature=on)) for on in (False, True))
    losses = [total(model(batch())) for model in (fixed, learnable)]
    assert losses[0].item() == pytest.approx(losses[1].item(), abs=1e-6)  # its logarithm is kept in float32
    losses[1].backward()
    assert abs(float(learnable.objective.log_scale.grad)) > 1e-6
    with torch.no_grad():
        learnable.objective.log_scale.fill_(math.log(1e6))
        hundred = build(small_config("clip", temperature=0.01))
        assert float(total(learnable(batch()))) == pytest.approx(float(total(hundred(batch()))), abs=1e-10)


def test_equal_reports_are_positives_of_each_other_where_asked():
    u, v = (unit(z) for z in pair(4, 6))
    identity = torch.tensor([0, 1, 1, 2])
    targets = torch.tensor([[1, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1]], dtype=torch.float64)
    logits = u @ v.T / 0.07
    rows, columns = logits.log_softmax(dim=1), logits.T.log_softmax(dim=1)
    by_hand = -(targets * (rows + columns)).sum(dim=1).mean() / 2
    assert float(clip.image_text_loss(u, v, 1 / 0.07, 0.5, identity)) == pytest.approx(float(by_hand), abs=1e-12)
    distinct = clip.image_text_loss(u, v, 1 / 0.07, 0.5, torch.arange(4))
    assert float(distinct) == pytest.approx(float(clip.image_text_loss(u, v, 1 / 0.07, 0.5)), abs=1e-12)


def test_reports_are_equal_by_their_tokens_not_by_their_padding():
    ids = torch.tensor([[2, 7, 9, 0, 0], [2, 7, 9, 0, 0], [2, 9, 7, 0, 0], [2, 7, 9, 4, 0], [5, 4, 10, 0, 0]])
    mask = (ids != 0).long()
    numbers = clip.report_identity(ids, mask)
    assert numbers[0] == numbers[1] == clip.report_identity(ids[:1, :3], mask[:1, :3])[0]
    other_padding = torch.where(mask == 0, 1, ids)
    assert torch.equal(numbers, clip.report_identity(other_padding, mask))
    assert len(set(numbers.tolist())) == 4
    # (+3, -3, +1) at three places in a row, times squares and plain places, sums to zero.
    close = torch.tensor([[20, 20, 20], [23, 17, 21]])
    assert len(set(clip.report_identity(close, torch.ones_like(close)).tolist())) == 2


# -- precision -------------------------------------------------------------------------------------


def check_full_precision(method: str) -> None:
    model = build(small_config(method)).float()
    small = batch()
    small = replace(small, views={name: view.float() for name, view in small.views.items()})
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings = model.objective.embed(model.backbone, small)
        inside = model.objective.precise_losses(embeddings)
        through_forward = model(small)
    outside = model.objective.losses(embeddings)
    for name, value in outside.items():
        assert value.dtype == through_forward[name].dtype == torch.float32
        assert torch.equal(value, inside[name])


@pytest.mark.parametrize("method", METHODS)
def test_losses_are_computed_in_full_precision_under_autocast(method):
    check_full_precision(method)


def check_validation_changes_nothing(method: str) -> None:
    model = build(small_config(method)).train()
    total(model(batch(0))).backward()
    model.objective.after_step(model.backbone)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.eval()
    with torch.no_grad():
        model(batch(1))
    total(model(batch(2))).backward()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not getattr(model.objective, "fresh", {}), "keys of validation wait for the queue"


@pytest.mark.parametrize("method", METHODS)
def test_validation_changes_no_tensor(method):
    """Nothing is enqueued, no momentum step, no batch-norm statistics, whether a gradient is taken or not."""
    check_validation_changes_nothing(method)


# -- joint ---------------------------------------------------------------------------------------


def test_a_joint_loss_is_the_weighted_sum_of_its_parts():
    joint = build(small_config("clip+simclr", JointSettings(ssl_weight=0.3)))
    losses = {name: value.detach() for name, value in joint(batch()).items()}
    features = {name: joint.backbone(view) for name, view in batch().views.items()}
    parts = [joint.objective.image_text, joint.objective.image_image]
    with torch.no_grad():
        text, image = (part.losses(part.project(features, batch())) for part in parts)
    assert losses.keys() == {"clip", "simclr"}
    assert float(losses["clip"]) == pytest.approx(float(text["clip"]), abs=1e-12)
    assert float(losses["simclr"]) == pytest.approx(0.3 * float(image["simclr"]), abs=1e-12)


def test_each_view_passes_the_backbone_alone_and_once():
    class Counting(nn.Module):
        num_features = WIDTH

        def __init__(self):
            super().__init__()
            self.linear, self.seen = nn.Linear(3 * 64, WIDTH), []

        def forward(self, x):
            self.seen.append(x)
            return self.linear(x.flatten(1))

    for method in (m for m in METHODS if "+" in m and "mocov2" not in m):
        model = build(small_config(method), make=Counting)
        model(batch())
        views = batch().views
        assert [len(x) for x in model.backbone.seen] == [BATCH_SIZE] * 3
        for name, x in zip((MULTI_MODAL, SSL_1, SSL_2), model.backbone.seen, strict=True):
            assert torch.equal(x, views[name])


def test_all_pairs_are_the_mean_over_the_released_codes_three():
    model = build(small_config("clip+simclr", JointSettings(ssl_pairs="all")))
    losses = {name: value.detach() for name, value in model(batch()).items()}
    head, views = model.objective.image_image.head, batch().views
    with torch.no_grad():
        z = {name: unit(head(model.backbone(view))) for name, view in views.items()}
    by_hand = sum(simclr.nt_xent(z[a], z[b], 0.1) for a, b in ALL_PAIRS) / 3
    assert float(losses["simclr"]) == pytest.approx(float(by_hand), abs=1e-12)


def test_unknown_pairs_are_refused_with_the_allowed_ones():
    with pytest.raises(ValueError, match="'three'; allowed: 'two', 'all'"):
        JointSettings(ssl_pairs="three")


# -- conformance: every entry of the registry ------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
class TestEveryMethod:
    def test_gives_finite_named_losses_that_reach_backbone_and_heads(self, method):
        model = build(small_config(method)).train()
        losses = model(batch())
        assert losses and all(isinstance(name, str) and value.ndim == 0 for name, value in losses.items())
        assert all(bool(torch.isfinite(value)) for value in losses.values())
        total(losses).backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, f"{name} gets no gradient"
        assert all(float(p.grad.abs().max()) > 1e-8 for p in model.backbone.parameters())
        model.objective.after_step(model.backbone)

    def test_each_named_part_reaches_the_backbone(self, method):
        model = build(small_config(method))
        for value in model(batch()).values():
            found = torch.autograd.grad(value, list(model.backbone.parameters()), retain_graph=True)
            assert sum(float(gradient.norm()) for gradient in found) > 0

    def test_asks_for_known_views_and_reports_as_the_registry_says(self, method):
        config = small_config(method)
        objective = build(config).objective
        assert set(objective.views) == set(config.views) <= {MULTI_MODAL, SSL_1, SSL_2}
        assert set(objective.feature_views) <= set(objective.views)
        assert config.needs_text == needs_reports(method)
        if not config.needs_text:
            model = build(config, text=None, vocabulary_size=None)
            assert model(replace(batch(), input_ids=None, attention_mask=None))

    def test_has_an_identity_that_its_values_move(self, method):
        config = small_config(method)
        assert fingerprint(config) == fingerprint(small_config(method)) != fingerprint(replace(config, version=99))

    def test_is_the_same_when_built_again_from_the_same_seed(self, method):
        states = [build(small_config(method), seed).state_dict() for seed in (3, 3, 4)]
        assert largest_difference(states[0], states[1]) == 0 < largest_difference(states[0], states[2])

    def test_falls_when_trained_on_one_batch(self, method):
        model = build(small_config(method)).train()
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)
        seen = []
        for _ in range(15):
            optimizer.zero_grad()
            loss = total(model(batch()))
            loss.backward()
            optimizer.step()
            seen.append(float(loss.detach()))
        assert seen[-1] < 0.95 * seen[0]

    def test_its_default_and_released_heads_fit_a_network_that_a_recipe_can_name(self, method):
        """On the meta device, where VICReg's 151 million parameters take no memory."""
        kinds = IMAGE_TEXT | IMAGE_IMAGE
        makes = [make for name in method.split("+") for make in (kinds[name], kinds[name].released)]
        with torch.device("meta"):
            context = BuildContext(DemoCnn(), 128, 16, 64, 5, TinyText(layers=6, width=16, heads=2), VOCABULARY)
            for make in makes:
                assert any(p.is_meta for p in make().build(context).parameters())


def test_barlow_twins_brings_its_joints_by_itself():
    assert {"barlow_twins", "clip+barlow_twins", "convirt+barlow_twins"} <= set(METHODS)
    assert len(METHODS) == len(IMAGE_TEXT) + len(IMAGE_IMAGE) + len(IMAGE_TEXT) * len(IMAGE_IMAGE)
    assert method_group("clip+barlow_twins") == "joint" and method_group("barlow_twins") == "image-image"
    check_method("convirt+barlow_twins")


def test_the_small_configurations_cover_the_registry():
    assert CONFIGS.keys() == (IMAGE_TEXT | IMAGE_IMAGE).keys()
    assert all(isinstance(CONFIGS[name], kind) for name, kind in (IMAGE_TEXT | IMAGE_IMAGE).items())


def test_vicreg_does_not_depend_on_a_bias_of_its_last_layer():
    """So the released code's head, which has one, and the official code's, which has none, are one method."""
    a, b = pair(8, 12)
    objective = vicreg.VicReg(nn.Identity(), VicRegConfig(), ((SSL_1, SSL_2),))
    bias = torch.linspace(-3, 5, 12, dtype=a.dtype).requires_grad_()
    without, with_bias = objective.pair_losses(a, b), objective.pair_losses(a + bias, b + bias)
    for name, value in without.items():
        torch.testing.assert_close(with_bias[name], value, atol=1e-12, rtol=1e-12)
    (gradient,) = torch.autograd.grad(total(with_bias), bias)
    assert float(gradient.abs().max()) < 1e-12


def test_simclr_does_depend_on_a_bias_of_its_last_layer():
    a, b = pair(8, 12)
    objective = simclr.SimClr(nn.Identity(), SimClrConfig(), ((SSL_1, SSL_2),))
    assert abs(float(total(objective.pair_losses(a + 1, b + 1)) - total(objective.pair_losses(a, b)))) > 0.01


def test_a_batchs_shape_counts_not_the_configured_size():
    """A validation batch may be smaller than the training one."""
    for method in METHODS:
        model = build(small_config(method)).eval()
        losses = model(rows_of(batch(), 0, 4))
        assert all(bool(torch.isfinite(value)) for value in losses.values()), method
