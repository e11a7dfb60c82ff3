"""Formulas of the objectives beside the references: as the second of two workers sees them, bounds, and defaults.

Two real workers are in tests/trainables/pretraining/test_two_workers.py; here torch.distributed says that this process
is rank 1 of 2, and gives what rank 0 would send, so that the rows that a worker takes for its own are seen in
milliseconds.
"""

import math
from collections import deque
from dataclasses import FrozenInstanceError

import pytest
import torch
from small import HEAD, batch, build, pair, rows_of, small_config
from torch import Tensor, nn
from torch.nn import functional

from datasets_io.fingerprint import derive_seed
from trainables.batch import SSL_1, SSL_2
from trainables.networks.heads import HeadSpec, unit
from trainables.objectives import clip, simclr, vicreg
from trainables.objectives.barlow_twins import BarlowTwinsConfig, standardise
from trainables.objectives.base import BuildContext, check_temperature, mean_over_pairs, views_of
from trainables.objectives.clip import ClipConfig, report_identity
from trainables.objectives.convirt import ConvirtConfig
from trainables.objectives.joint import ALL_PAIRS, JointConfig, JointSettings
from trainables.objectives.mocov2 import MocoV2Config, queue_size_for
from trainables.objectives.simclr import SimClrConfig
from trainables.objectives.vicreg import VicRegConfig
from trainables.registry import IMAGE_IMAGE, IMAGE_TEXT


def be_worker(monkeypatch: pytest.MonkeyPatch, rank: int) -> deque[Tensor]:
    """This process is one of two workers; what the other sends is taken from the queue, a tensor for each exchange."""
    sent: deque[Tensor] = deque()

    def all_gather(everyone: Tensor, local: Tensor) -> None:
        parts = everyone.chunk(2)
        parts[1 - rank].copy_(sent.popleft())
        parts[rank].copy_(local)

    for name, value in (("is_initialized", True), ("get_world_size", 2), ("get_rank", rank)):
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    for name in ("all_gather_single", "all_gather_into_tensor"):
        monkeypatch.setattr(torch.distributed, name, all_gather, raising=False)
    return sent


@pytest.fixture
def second_of_two(monkeypatch) -> deque[Tensor]:
    return be_worker(monkeypatch, 1)


# -- contrastive losses on the second worker -------------------------------------------------------


@pytest.mark.parametrize("reports", [None, [0, 1, 2, 3, 1, 4, 0, 4]])
def test_a_worker_takes_its_own_rows_against_all_columns(second_of_two, reports):
    u, v = (unit(z) for z in pair(8, 16))
    identity = None if reports is None else torch.tensor(reports)
    second_of_two.extend([u[:4], v[:4]] + ([identity[:4]] if reports else []))
    found = clip.image_text_loss(u[4:], v[4:], 5.0, 0.75, None if identity is None else identity[4:])
    numbers = torch.arange(8) if identity is None else identity
    same = (numbers[:, None] == numbers[None]).double()
    targets = (same / same.sum(dim=1, keepdim=True))[4:]
    to_text, to_image = (5.0 * u @ v.T).log_softmax(dim=1)[4:], (5.0 * v @ u.T).log_softmax(dim=1)[4:]
    expected = -(targets * (0.75 * to_text + 0.25 * to_image)).sum(dim=1).mean()
    assert float(found) == pytest.approx(float(expected), abs=1e-12) and not second_of_two


def test_simclrs_own_queries_are_the_second_workers(second_of_two):
    a, b = (unit(z) for z in pair(8, 16))
    second_of_two.extend([a[:4], b[:4]])
    found = simclr.nt_xent(a[4:], b[4:], 0.2)
    everyone = torch.cat([a, b])
    logits = (everyone @ everyone.T / 0.2).masked_fill(torch.eye(16, dtype=torch.bool), -math.inf)
    shares = logits.log_softmax(dim=1)
    places = [(i, i + 8) for i in range(4, 8)] + [(i + 8, i) for i in range(4, 8)]
    expected = -torch.stack([shares[query, positive] for query, positive in places]).mean()
    assert float(found) == pytest.approx(float(expected), abs=1e-12)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rank", [0, 1])
def test_mocos_keys_are_those_of_the_workers_own_images(monkeypatch, training, rank):
    """Without batch norm the order in which keys are computed changes no key."""
    model = build(small_config("mocov2", head=HeadSpec((9, 6), act="relu"), key_bn_splits=4), make=Plain)
    model.train(training)
    objective, images = model.objective, batch().views[SSL_1]
    with torch.no_grad():
        expected = unit(objective.key_head(objective.key_backbone(images)))
    seen: list[Tensor] = []
    objective.key_backbone.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    sent = be_worker(monkeypatch, rank)
    own, other = (slice(0, 4), slice(4, 8)) if rank == 0 else (slice(4, 8), slice(0, 4))
    # The other worker sends its images, then the keys of its half of the shuffled batch, of seed and step alone.
    order = torch.randperm(8, generator=torch.Generator().manual_seed(order_seed(objective)))
    sent.extend([images[other], expected[order[other]]] if training else [])
    keys = objective.keys(images[own])
    assert torch.allclose(keys, expected[own], rtol=0, atol=1e-12) and not sent
    assert torch.equal(seen[0], images[order[own]] if training else images[own])


def order_seed(objective: nn.Module) -> int:
    return derive_seed(objective.seed, "shuffle_bn", int(objective.step))


class Plain(nn.Module):
    """(B, 3, 8, 8) -> (B, 10), without batch norm."""

    num_features = 10

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(192, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.flatten(1))


def test_vicreg_and_barlow_twins_measure_the_global_batch(second_of_two):
    a, b = pair(8, 5)
    objective = vicreg.VicReg(nn.Identity(), VicRegConfig(), ((SSL_1, SSL_2),))
    second_of_two.extend([a[:4], b[:4]])
    found = objective.pair_losses(a[4:], b[4:])
    expected = 25 * (vicreg.variance_term(a, 1.0, 1e-4) + vicreg.variance_term(b, 1.0, 1e-4)) / 2
    assert float(found["vicreg_variance"]) == pytest.approx(float(expected), abs=1e-12)
    assert float(found["vicreg_invariance"]) == pytest.approx(25 * float((a[4:] - b[4:]).square().mean()), abs=1e-12)


# -- single terms ----------------------------------------------------------------------------------


def test_vicregs_variance_is_the_hinge_below_gamma():
    z = torch.tensor([[0.0, 0.0], [2.0, 0.2]], dtype=torch.float64)  # variances 2 and 0.02, with n - 1
    expected = (0 + (1.0 - math.sqrt(0.02 + 1e-4))) / 2
    assert float(vicreg.variance_term(z, 1.0, 1e-4)) == pytest.approx(expected, abs=1e-12)
    assert float(vicreg.variance_term(z, 3.0, 0.5)) == pytest.approx(
        (6 - math.sqrt(2.5) - math.sqrt(0.52)) / 2, abs=1e-12
    )


def test_vicregs_terms_have_their_weights():
    a, b = (0.3 * z for z in pair(8, 6))
    config = VicRegConfig(invariance=2.0, variance=3.0, covariance=5.0, gamma=0.9, epsilon=0.01, variance_average=False)
    found = vicreg.VicReg(nn.Identity(), config, ((SSL_1, SSL_2),)).pair_losses(a, b)
    terms = {
        "vicreg_invariance": 2 * (a - b).square().mean(),
        "vicreg_variance": 3 * (vicreg.variance_term(a, 0.9, 0.01) + vicreg.variance_term(b, 0.9, 0.01)),
        "vicreg_covariance": 5 * (vicreg.covariance_term(a) + vicreg.covariance_term(b)),
    }
    assert {name: float(v) for name, v in found.items()} == pytest.approx({n: float(v) for n, v in terms.items()})


@pytest.mark.parametrize(("rows", "width"), [(70, 130), (130, 1100), (130, 70), (1030, 3)])
def test_blocks_of_the_covariance_make_the_whole(rows, width):
    """More rows than a block of the Gram matrix has, and more columns than a block of the gradient."""
    z = pair(rows, width)[0].requires_grad_()
    (3 * vicreg.covariance_term(z)).backward()
    plain = z.detach().clone().requires_grad_()
    covariance = torch.cov(plain.T)
    value = (covariance.square().sum() - covariance.diagonal().square().sum()) / width
    (3 * value).backward()
    assert float(vicreg.covariance_term(z.detach())) == pytest.approx(float(value.detach()), rel=1e-10)
    assert torch.allclose(z.grad, plain.grad, rtol=0, atol=1e-10)


def test_vicregs_covariance_is_differentiated_once():
    z = pair(4, 3)[0].requires_grad_()
    weight = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(weight * vicreg.covariance_term(z), z, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_barlow_twins_standardises_with_its_epsilon():
    z = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    expected = torch.tensor([[-1.0], [1.0]], dtype=torch.float64) / math.sqrt(1 + 0.5)
    assert torch.allclose(standardise(z, 0.5), expected)


def test_barlow_twins_weighs_the_redundancy():
    a, b = pair(16, 3)
    losses = BarlowTwinsConfig(HeadSpec((3,)), redundancy=0.25).build(build_context(3)).pair_losses(a, b)
    x, y = ((z - z.mean(0)) / torch.sqrt(z.var(0, unbiased=False) + 1e-5) for z in (a, b))
    correlation = x.T @ y / 16
    off = sum(correlation[i, j] ** 2 for i in range(3) for j in range(3) if i != j)
    assert float(losses["barlow_redundancy"]) == pytest.approx(0.25 * float(off), rel=1e-10)
    assert float(losses["barlow_invariance"]) == pytest.approx(float(((1 - correlation.diagonal()) ** 2).sum()))


def build_context(width: int) -> BuildContext:
    return BuildContext(Plain(), width, 8, 100, 5)


def test_losses_of_several_pairs_are_their_mean_and_their_views_are_named_once():
    parts = [{"a": torch.tensor(1.0), "b": torch.tensor(5.0)}, {"a": torch.tensor(2.0), "b": torch.tensor(9.0)}]
    assert mean_over_pairs(parts) == {"a": torch.tensor(1.5), "b": torch.tensor(7.0)}
    assert views_of(ALL_PAIRS) == ("ssl_1", "ssl_2", "multi_modal")


# -- values that are refused, and switches ---------------------------------------------------------


@pytest.mark.parametrize("temperature", [0, -0.1, float("nan")])
@pytest.mark.parametrize("config", [ClipConfig, ConvirtConfig, SimClrConfig, MocoV2Config])
def test_a_temperature_must_be_positive(config, temperature):
    with pytest.raises(ValueError, match="it divides the logits and must be greater than 0"):
        config(temperature=temperature)
    check_temperature(1e-9)


@pytest.mark.parametrize(
    ("config", "name", "allowed"), [(ClipConfig, "lambda_i2t", (0, 1)), (MocoV2Config, "momentum", (0, 1))]
)
def test_a_share_is_between_0_and_1_ends_included(config, name, allowed):
    for value in (*allowed, 0.3):
        assert getattr(config(**{name: value}), name) == value
    for value in (-0.01, 1.01, float("nan")):
        with pytest.raises(ValueError, match=f"{name} is {value}; allowed: 0 to 1"):
            config(**{name: value})


def test_a_queue_of_exactly_a_batch_and_one_key_group_are_allowed():
    assert queue_size_for(MocoV2Config(queue_size=32), 32, 1000) == 32
    assert MocoV2Config(key_bn_splits=1).key_bn_splits == 1
    assert queue_size_for(MocoV2Config(), 3, 20) == 9, "at most half of 20, in threes"


def test_each_part_of_a_joint_method_needs_what_it_reads():
    assert JointConfig.needs_text and ClipConfig.needs_text and ConvirtConfig.needs_text
    assert not (SimClrConfig.needs_text or MocoV2Config.needs_text)
    assert not (VicRegConfig.needs_text or BarlowTwinsConfig.needs_text)
    for pairs in ("two", "all"):
        assert JointSettings(ssl_pairs=pairs).ssl_pairs == pairs


@pytest.mark.parametrize("kind", [*IMAGE_TEXT.values(), *IMAGE_IMAGE.values()])
def test_a_configuration_is_frozen_and_knows_what_was_released(kind):
    with pytest.raises(FrozenInstanceError):
        kind().version = 2
    assert kind().released() == kind.released() and isinstance(kind.released(), kind)


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_so_many_layers_of_the_text_tower_are_fixed(frozen):
    tower = build(small_config("clip", frozen_layers=frozen)).objective.text.bert
    moving = [any(p.requires_grad for p in layer.parameters()) for layer in tower.encoder.layer]
    assert moving == [False] * frozen + [True] * (2 - frozen)


def test_a_batch_without_reports_is_refused_by_a_method_that_reads_them():
    model, whole = build(small_config("clip")), batch()
    for broken in (
        type(whole)(whole.views, None, whole.attention_mask),
        type(whole)(whole.views, whole.input_ids, None),
    ):
        with pytest.raises(ValueError, match="CLIP reads reports, and the batch has no tokens"):
            model(broken)
    with pytest.raises(ValueError, match="CLIP reads reports, but there is no text encoder"):
        build(small_config("clip"), text=None)


def test_equal_reports_are_told_to_the_loss_only_where_that_is_asked():
    """Rows 1 and 2 of the batch have one report."""
    for on in (False, True):
        model = build(small_config("clip", multi_positive=on, image_head=HEAD))
        embeddings = model.objective.embed(model.backbone, batch())
        assert ("same_report" in embeddings) == on
    numbers = embeddings["same_report"].tolist()
    assert numbers[1] == numbers[2] and len(set(numbers)) == 7


def test_the_number_of_a_report_is_what_it_was():
    """SplitMix64 with signed shifts, by Python's own integers."""

    def scrambled(place: int) -> int:
        mask = (1 << 64) - 1

        def signed(x: int) -> int:
            x &= mask
            return x - (1 << 64) if x >> 63 else x

        x = signed(place * -7046029254386353131)
        x = signed((x ^ (x >> 30)) * -4658895280553007687)
        x = signed((x ^ (x >> 27)) * -7723592293110705685)
        return signed(x ^ (x >> 31))

    ids, mask = torch.tensor([[7, 0, 9, 5]]), torch.tensor([[1, 1, 1, 0]])
    total = sum((token + 1) * scrambled(place) for place, token in ((1, 7), (2, 0), (3, 9)))
    assert int(report_identity(ids, mask)) % (1 << 64) == total % (1 << 64)


def test_a_learnable_scale_is_bounded_by_a_hundred_from_above_only():
    model = build(small_config("clip", learnable_temperature=True))
    embeddings = {"image": unit(pair(4, 6)[0]), "text": unit(pair(4, 6)[1])}
    for logarithm, scale in ((math.log(0.01), 0.01), (math.log(99.0), 99.0), (math.log(101.0), 100.0)):
        with torch.no_grad():
            model.objective.log_scale.fill_(logarithm)
        expected = clip.image_text_loss(embeddings["image"], embeddings["text"], scale, 0.5)
        assert float(model.objective.losses(embeddings)["clip"].detach()) == pytest.approx(float(expected), rel=1e-6)


def test_half_a_batch_has_the_losses_of_its_own_rows():
    """What the tensors hold counts, not what was configured; the reference is written out."""
    model = build(small_config("simclr")).eval()
    part = rows_of(batch(), 0, 4)
    z = [unit(model.objective.head(model.backbone(part.views[view]))) for view in (SSL_1, SSL_2)]
    everyone = torch.cat(z)
    logits = (everyone @ everyone.T / 0.1).masked_fill(torch.eye(8, dtype=torch.bool), -math.inf)
    expected = functional.cross_entropy(logits, torch.tensor([4, 5, 6, 7, 0, 1, 2, 3]))
    assert float(model(part)["simclr"].detach()) == pytest.approx(float(expected.detach()), abs=1e-12)
