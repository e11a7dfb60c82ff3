"""MoCo v2 against a plain one, another library's memory, closed forms; what may be in its queue and key groups."""

import copy

import pytest
import torch
from pytorch_metric_learning.losses import CrossBatchMemory, NTXentLoss
from small import agree, batch, build, pair, small_config, total
from torch import Tensor, nn

from datasets_io.fingerprint import derive_seed
from trainables.batch import SSL_1, SSL_2
from trainables.networks.heads import HeadSpec, unit
from trainables.objectives.mocov2 import MocoV2Config, info_nce, key_groups_per_worker, queue_size_for


def manual_info_nce(queries: Tensor, keys: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """-log of the positive's share among itself and the queue, sum by sum."""
    losses = []
    for query, key in zip(queries, keys, strict=True):
        positive = torch.exp(torch.dot(query, key) / temperature)
        negatives = sum(torch.exp(torch.dot(query, negative) / temperature) for negative in queue)
        losses.append(-torch.log(positive / (positive + negatives)))
    return torch.stack(losses).mean()


def test_info_nce_equals_the_manual_one():
    query, key = (unit(z) for z in pair(8, 16))
    queue = unit(pair(20, 16, seed=1)[0])
    agree(lambda q: info_nce(q, key, queue, 0.07), lambda q: manual_info_nce(q, key, queue, 0.07), (query,))


def test_info_nce_equals_pytorch_metric_learning_over_its_memory():
    """Over five steps with a memory that is filled by keys, one and a half times round."""
    theirs = NTXentLoss(0.07)
    memory, pointer = CrossBatchMemory(theirs, embedding_size=16, memory_size=24).double(), 0
    queue = unit(pair(24, 16)[0])
    memory.add_to_memory(queue, torch.zeros(24, dtype=torch.long), 24)
    # Each query with the key of its own row, then with all of the memory: (anchors, positives, anchors, negatives).
    rows, number = torch.arange(8), 8
    pairs = (rows, rows, rows.repeat_interleave(24), number + torch.arange(24).repeat(8))
    for step in range(5):
        raw, key = pair(8, 16, seed=step + 2)
        key, negatives = unit(key), memory.embedding_memory.clone()
        assert torch.equal(queue, negatives)

        def by_pairs(q: Tensor, k: Tensor = key, n: Tensor = negatives) -> Tensor:
            return theirs(q, indices_tuple=pairs, ref_emb=torch.cat([k, n]))

        agree(lambda q, k=key: info_nce(unit(q), k, queue, 0.07), by_pairs, (raw,))
        memory.add_to_memory(key, torch.zeros(8, dtype=torch.long), 8)
        queue[pointer : pointer + 8] = key
        pointer = (pointer + 8) % 24


class PlainMoco:
    """MoCo v2 with two queues, step by step on its own copies: momentum, shuffled groups, dequeue by rotation."""

    def __init__(self, model: nn.Module, config: MocoV2Config, seed: int):
        self.config, self.seed, self.step = config, seed, 0
        self.query = copy.deepcopy(nn.Sequential(model.backbone, model.objective.head)).train()
        self.key = copy.deepcopy(self.query)
        self.queues = {view: model.objective.get_buffer(f"queue_{view}").clone() for view in (SSL_1, SSL_2)}

    def keys(self, images: Tensor) -> Tensor:
        """Group by group through plain batch norm, so running statistics are not compared here."""
        generator = torch.Generator().manual_seed(derive_seed(self.seed, "shuffle_bn", self.step))
        order = torch.randperm(len(images), generator=generator)
        parts = [self.key(images[rows]) for rows in order.chunk(self.config.key_bn_splits)]
        keys = torch.empty(len(images), parts[0].shape[1], dtype=images.dtype)
        keys[order] = torch.cat(parts)
        return keys / keys.norm(dim=1, keepdim=True)

    def one_step(self, views: dict[str, Tensor], rate: float) -> Tensor:
        query, key, config = self.query, self.key, self.config
        if self.step:
            for slow, fast in zip(key.parameters(), query.parameters(), strict=True):
                slow.data = config.momentum * slow.data + (1 - config.momentum) * fast.data
        queries = {view: nn.functional.normalize(query(views[view])) for view in (SSL_1, SSL_2)}
        with torch.no_grad():
            keys = {view: self.keys(views[view]) for view in (SSL_1, SSL_2)}
        loss = (
            sum(
                manual_info_nce(queries[one], keys[other], self.queues[other], config.temperature)
                for one, other in ((SSL_1, SSL_2), (SSL_2, SSL_1))
            )
            / 2
        )
        query.zero_grad()
        loss.backward()
        for parameter in query.parameters():
            parameter.data -= rate * parameter.grad
        for view, fresh in keys.items():
            self.queues[view] = torch.cat([self.queues[view][len(fresh) :], fresh])  # oldest first
        self.step += 1
        return loss.detach()


def check_moco_follows_a_plain_one(steps: int = 4, rate: float = 0.05) -> None:
    """Losses, query and key parameters, and both queues, where the queue (20) is no multiple of the batch (8)."""
    config = small_config("mocov2", momentum=0.9)
    model = build(config).train()
    plain = PlainMoco(model, config, seed=5)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=rate)
    for step in range(steps):
        optimizer.zero_grad()
        loss = total(model(batch(step)))
        loss.backward()
        optimizer.step()
        model.objective.after_step(model.backbone)
        assert float(loss.detach()) == pytest.approx(float(plain.one_step(batch(step).views, rate)), abs=1e-9)
    objective = model.objective
    for view, queue in plain.queues.items():
        oldest_first = objective.get_buffer(f"queue_{view}").roll(-int(objective.pointer), dims=0)
        assert float((oldest_first - queue).abs().max()) < 1e-9, f"queue of {view}"
    pairs = zip(plain.query.parameters(), [*model.backbone.parameters(), *objective.head.parameters()], strict=True)
    assert all(torch.allclose(one, other, rtol=0, atol=1e-9) for one, other in pairs)


def test_moco_follows_a_plain_one_with_two_queues():
    check_moco_follows_a_plain_one()


def test_the_queue_wraps_with_a_batch_that_does_not_divide_it():
    model = build(small_config("mocov2", queue_size=20)).train()
    objective, seen = model.objective, []
    first = objective.get_buffer(f"queue_{SSL_1}").clone()
    for step in range(4):
        model(batch(step))
        seen += list(objective.fresh[SSL_1])
        objective.after_step(model.backbone)
        assert int(objective.pointer) == 8 * (step + 1) % 20
    queue = objective.get_buffer(f"queue_{SSL_1}")
    expected = first.clone()
    for place, key in enumerate(seen):
        expected[place % 20] = key
    assert torch.equal(queue, expected) and not torch.equal(queue, first)


@pytest.mark.parametrize("steps", [1, 5, 40])
def test_the_momentum_copy_follows_the_closed_form(steps):
    """With a query encoder that jumps once from a to b and stays: key = b + 0.999^n (a - b)."""
    model = build(small_config("mocov2")).train()
    pairs = list(zip(model.objective.key_backbone.parameters(), model.backbone.parameters(), strict=True))
    pairs += zip(model.objective.key_head.parameters(), model.objective.head.parameters(), strict=True)
    start = [slow.clone() for slow, _ in pairs]
    with torch.no_grad():
        for _, fast in pairs:
            fast += 1.0
    for _ in range(steps):
        model.objective.after_step(model.backbone)
    with torch.no_grad():
        for before, (slow, fast) in zip(start, pairs, strict=True):
            assert float((slow - (fast + 0.999**steps * (before - fast))).abs().max()) < 1e-12


def test_only_parameters_follow_the_momentum():
    """Batch-norm statistics of the key encoder are those of its own forward passes."""
    model = build(small_config("mocov2", momentum=0.0)).train()
    before = {n: b.clone() for n, b in model.objective.key_backbone.named_buffers()}
    model.backbone(batch(1).views[SSL_1])
    model.objective.after_step(model.backbone)
    assert all(torch.equal(b, before[n]) for n, b in model.objective.key_backbone.named_buffers())


def test_the_queue_starts_with_unit_rows():
    model = build(small_config("mocov2"))
    for view in (SSL_1, SSL_2):
        queue = model.objective.get_buffer(f"queue_{view}")
        assert queue.shape == (20, 6)
        assert float((queue.norm(dim=1) - 1).abs().max()) < 1e-6
    assert not torch.equal(*(model.objective.get_buffer(f"queue_{view}") for view in (SSL_1, SSL_2)))


def test_queue_pointer_and_momentum_copy_are_in_the_state():
    names = build(small_config("mocov2")).objective.state_dict().keys()
    assert {"queue_ssl_1", "queue_ssl_2", "pointer", "step"} <= names
    assert any(name.startswith("key_backbone.") for name in names)


@pytest.mark.parametrize(
    ("asked", "global_batch_size", "images", "expected"),
    [
        (None, 256, 200_000, 65_536),
        (None, 256, 10_000, 4_864),
        (None, 32, 40, 32),
        (None, 48, 10_000_000, 65_536),
        (100, 32, 50, 100),
    ],
)
def test_the_queue_is_the_largest_multiple_of_the_batch_in_half_the_corpus(asked, global_batch_size, images, expected):
    assert queue_size_for(MocoV2Config(queue_size=asked), global_batch_size, images) == expected


def test_a_queue_smaller_than_a_batch_is_refused():
    with pytest.raises(ValueError, match="queue_size 16 is smaller than global_batch_size 32"):
        queue_size_for(MocoV2Config(queue_size=16), 32, 1000)


@pytest.mark.parametrize(("splits", "size", "workers"), [(3, 8, 1), (8, 8, 1), (4, 16, 3), (2, 16, 4)])
def test_key_groups_that_do_not_come_out_even_are_refused_with_the_equation(splits, size, workers):
    equation = rf"key_bn_splits {splits} .*{size} / {splits} = .*{splits} / {workers} workers"
    with pytest.raises(ValueError, match=equation):
        key_groups_per_worker(splits, size, workers)


def test_key_groups_are_shared_among_workers_and_at_least_one():
    assert [key_groups_per_worker(8, 256, workers) for workers in (1, 2, 4, 8)] == [8, 4, 2, 1]
    with pytest.raises(ValueError, match="key_bn_splits is 0"):
        MocoV2Config(key_bn_splits=0)


def test_one_way_moco_sends_only_queries_through_the_backbone():
    model = build(small_config("mocov2", symmetric=False)).train()
    assert model.objective.views == (SSL_1, SSL_2) and model.objective.feature_views == (SSL_1,)
    model(batch())
    counts = [int(b) for name, b in model.backbone.named_buffers() if name.endswith("num_batches_tracked")]
    assert counts == [1, 1]
    assert [name for name, _ in model.objective.named_buffers() if "queue" in name] == ["queue_ssl_2"]


def test_the_copy_takes_no_gradient_before_or_after_a_step():
    model = build(small_config("mocov2")).train()
    copies = [*model.objective.key_backbone.parameters(), *model.objective.key_head.parameters()]
    total(model(batch())).backward()
    model.objective.after_step(model.backbone)
    assert copies and not any(p.requires_grad or p.grad is not None for p in copies)
    assert not model.objective.get_buffer("queue_ssl_1").requires_grad
    images = batch().views[SSL_1].requires_grad_()
    assert not model.objective.keys(images).requires_grad


def test_the_queue_is_as_wide_as_the_heads_last_layer():
    model = build(small_config("mocov2", head=HeadSpec((9, 7, 6), norm="batch", act="relu")))
    assert model.objective.get_buffer("queue_ssl_1").shape == (20, 6)


def test_a_queues_size_is_a_whole_number():
    sizes = [queue_size_for(MocoV2Config(), 8, images) for images in (39, 41)]
    assert sizes == [16, 16] and all(isinstance(size, int) for size in sizes)
