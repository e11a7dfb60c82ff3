"""Batch norm over groups of rows, and what conversion keeps. Over workers it is tested with every method."""

import copy
from collections import Counter

import pytest
import timm
import torch
from small import SmallBackbone
from torch import nn

from benchmarks.shared.pretended_gpu import OperatorCount
from trainables.networks import normalisation
from trainables.networks.normalisation import GlobalBatchNorm, SplitBatchNorm, convert_to_global, convert_to_split


@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm1d, (12, 5)), (nn.BatchNorm2d, (12, 5, 3, 4))])
def test_split_batch_norm_is_plain_batch_norm_group_by_group(kind, shape):
    torch.manual_seed(0)
    plain = kind(5).double()
    nn.init.normal_(plain.weight)
    nn.init.normal_(plain.bias)
    split = convert_to_split(nn.Sequential(copy.deepcopy(plain)), 3)[0]
    x = torch.randn(shape, dtype=torch.float64)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    groups = [copy.deepcopy(plain) for _ in range(3)]
    expected = torch.cat([norm(part) for norm, part in zip(groups, inputs[0].chunk(3), strict=True)])
    found = split(inputs[1])
    assert float((found - expected).detach().abs().max()) < 1e-12
    weights = torch.randn(shape, dtype=torch.float64)
    theirs = torch.autograd.grad((expected * weights).sum(), inputs[0])[0]
    ours = torch.autograd.grad((found * weights).sum(), inputs[1])[0]
    assert float((ours - theirs).abs().max()) < 1e-12
    for name in ("running_mean", "running_var"):
        mean = torch.stack([getattr(norm, name) for norm in groups]).mean(dim=0)
        assert float((getattr(split, name) - mean).abs().max()) < 1e-12
    assert int(split.num_batches_tracked) == 1


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_on_a_gpu_groups_are_normalised_one_after_the_other_without_copies(layout, monkeypatch):
    """The same values, running statistics and memory format; small tensors, and those with gradient, are folded."""
    torch.manual_seed(0)
    folded = convert_to_split(nn.Sequential(nn.BatchNorm2d(5).double()), 3)[0]
    nn.init.normal_(folded.weight)
    nn.init.normal_(folded.bias)
    by_group = copy.deepcopy(folded)
    x = torch.randn(12, 5, 3, 4, dtype=torch.float64).to(memory_format=layout)
    expected = folded(x).detach()
    monkeypatch.setattr(normalisation, "has_fused_kernels", lambda x: True)
    for small, graph in ((True, False), (False, True), (False, False)):
        monkeypatch.setattr(normalisation, "FOLDED_BYTES", x.nbytes + small)
        found, seen = copy.deepcopy(by_group), Counter()
        with torch.set_grad_enabled(graph), OperatorCount(seen):
            out = found(x)
        assert float((out.detach() - expected).abs().max()) < 1e-12
        for name in ("running_mean", "running_var"):
            assert float((getattr(found, name) - getattr(folded, name)).abs().max()) < 1e-12
        assert int(found.num_batches_tracked) == 1
        assert seen["aten.native_batch_norm.out"] == (0 if small or graph else 3)
        assert bool(seen["aten.clone.default"]) == (small or graph)
    assert out.is_contiguous(memory_format=layout)


def test_groups_differ_from_one_whole_batch():
    x = torch.randn(8, 5, dtype=torch.float64)
    one, four = (convert_to_split(nn.Sequential(nn.BatchNorm1d(5).double()), groups)(x) for groups in (1, 4))
    assert torch.equal(one, nn.BatchNorm1d(5).double()(x))
    assert float((one - four).detach().abs().max()) > 0.01


def test_rows_that_do_not_divide_into_the_groups_are_refused():
    split = convert_to_split(nn.Sequential(nn.BatchNorm1d(5)), 4)
    with pytest.raises(ValueError, match="10 rows do not divide into 4 groups"):
        split(torch.randn(10, 5))


@pytest.mark.parametrize("convert", [convert_to_global, lambda module: convert_to_split(module, 2)])
@pytest.mark.parametrize("name", ["small", "resnet18", "efficientnet_lite0"])
def test_a_converted_network_keeps_names_values_and_results(convert, name):
    """timm's fused norm-and-activation layers (efficientnet) among them: published weights must load again."""
    torch.manual_seed(0)
    plain = SmallBackbone() if name == "small" else timm.create_model(name, pretrained=False, num_classes=0)
    x = torch.randn(2, 3, 32 if name != "small" else 8, 32 if name != "small" else 8)
    plain.train()
    plain(x)
    plain.eval()
    before = plain.state_dict()
    converted = convert(copy.deepcopy(plain))
    assert not any(type(m) in (nn.BatchNorm1d, nn.BatchNorm2d) for m in converted.modules())
    after = converted.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[key], before[key]) for key in before)
    assert torch.allclose(converted(x), plain(x), rtol=0, atol=1e-6)


def test_split_norms_stay_split_when_the_rest_becomes_global():
    model = nn.Sequential(nn.BatchNorm1d(3), convert_to_split(nn.Sequential(nn.BatchNorm1d(3)), 2))
    convert_to_global(model)
    assert isinstance(model[0], GlobalBatchNorm) and isinstance(model[1][0], SplitBatchNorm)


def test_global_batch_norm_alone_is_plain_batch_norm():
    x = torch.randn(6, 4)
    found, plain = convert_to_global(nn.Sequential(nn.BatchNorm1d(4))), nn.BatchNorm1d(4)
    assert torch.equal(found(x), plain(x)) and torch.equal(found[0].running_var, plain.running_var)
    with pytest.raises(ValueError, match=r"\(N, C, ...\), got \(6,\)"):
        found(x[:, 0])
