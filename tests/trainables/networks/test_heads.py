"""One specification makes all heads of the paper's B.4, in the order of layers that it says."""

import pytest
import torch
from torch import nn

from trainables.networks.heads import Head, HeadSpec, unit
from trainables.objectives.barlow_twins import BarlowTwinsConfig
from trainables.objectives.clip import ClipConfig
from trainables.objectives.convirt import ConvirtConfig
from trainables.objectives.mocov2 import MocoV2Config
from trainables.objectives.simclr import SimClrConfig
from trainables.objectives.vicreg import VicRegConfig


def layers(spec: HeadSpec, width: int) -> list[str]:
    """The layers in their order, with widths and with the biases named."""
    with torch.device("meta"):
        head = Head(spec, width)
    found = []
    for module in [head.first, *head.rest, head.out_norm]:
        if isinstance(module, nn.Linear):
            found.append(f"{module.in_features}-{module.out_features}{'' if module.bias is None else ' bias'}")
        elif not isinstance(module, nn.Identity):
            found.append(type(module).__name__)
    return found


def test_the_papers_heads_are_those_of_its_appendix():
    assert layers(ClipConfig().image_head, 2048) == ["2048-2048 bias", "BatchNorm1d", "ReLU", "2048-512 bias"]
    assert layers(ClipConfig().text_head, 768) == ["768-512 bias"]
    assert layers(ConvirtConfig().image_head, 2048) == ["2048-512 bias", "BatchNorm1d", "ReLU", "512-512 bias"]
    assert layers(ConvirtConfig().text_head, 768) == ["768-512 bias", "BatchNorm1d", "ReLU", "512-512 bias"]
    assert layers(SimClrConfig().head, 2048) == ["2048-512 bias", "BatchNorm1d", "ReLU", "512-128 bias"]
    assert layers(MocoV2Config().head, 2048) == ["2048-512 bias", "BatchNorm1d", "ReLU", "512-128 bias"]
    hidden = ["BatchNorm1d", "ReLU"]
    wide = ["2048-8192 bias", *hidden, "8192-8192 bias", *hidden, "8192-8192"]
    assert layers(VicRegConfig().expander, 2048) == wide
    assert layers(BarlowTwinsConfig().projector, 2048) == [name.removesuffix(" bias") for name in wide]


def test_the_released_heads_are_those_of_the_code():
    block = ["GELU", "512-512 bias", "Dropout", "LayerNorm"]
    assert layers(ClipConfig.released().image_head, 2048) == ["2048-512 bias", *block]
    assert layers(ClipConfig.released().text_head, 768) == ["768-512 bias", *block]
    assert layers(ConvirtConfig.released().image_head, 2048) == ["2048-512 bias", "ReLU", "512-512 bias"]
    assert layers(SimClrConfig.released().head, 2048) == ["2048-512", "BatchNorm1d", "ReLU", "512-128"]
    assert layers(SimClrConfig.released_joint().head, 2048) == ["2048-512", "BatchNorm1d", "ReLU", "512-128 bias"]
    assert layers(MocoV2Config.released().head, 2048) == ["2048-2048 bias", "ReLU", "2048-128 bias"]


def test_a_residual_head_adds_the_first_layer_before_the_last_norm():
    head = Head(ClipConfig.released().image_head, 6).eval()
    x = torch.randn(3, 6)
    first = head.first(x)
    by_hand = head.out_norm(first + head.rest[1](nn.functional.gelu(first)))
    assert torch.equal(head(x), by_hand)


def test_nothing_follows_the_last_layer_by_default():
    head = Head(HeadSpec((5, 4), norm="batch", act="relu"), 6)
    assert isinstance(head.rest[-1], nn.Linear) and isinstance(head.out_norm, nn.Identity)
    assert float(head(torch.randn(64, 6)).detach().min()) < 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dims": ()}, "at least one positive width"),
        ({"dims": (8, 0)}, r"dims=\(8, 0\)"),
        ({"dims": (8,), "norm": "layer"}, "norm is 'layer' .*'batch', None"),
        ({"dims": (8,), "out_norm": "batch"}, "out_norm 'batch'"),
        ({"dims": (8,), "act": "swish"}, "act is 'swish'; allowed: relu, gelu, None"),
        ({"dims": (8, 4), "residual": True}, "equal first and last widths"),
    ],
)
def test_a_head_that_cannot_be_built_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        HeadSpec(**values)


@pytest.mark.parametrize(("given", "found"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)])
def test_unit_rows_have_length_one_in_float32_or_wider(given, found):
    z = unit(torch.randn(5, 7).to(given))
    assert z.dtype == found
    assert float((z.norm(dim=1) - 1).abs().max()) < 1e-6


def test_the_last_norm_has_the_last_width():
    head = Head(HeadSpec((5, 6, 4), out_norm="layer"), 7)
    assert head(torch.randn(3, 7)).shape == (3, 4) and head.out_norm.normalized_shape == (4,)


def test_the_narrowest_and_the_shortest_heads_that_there_are():
    assert Head(HeadSpec((1,)), 3)(torch.randn(2, 3)).shape == (2, 1)
    wide = Head(HeadSpec((8, 4, 8), residual=True), 3)
    assert wide(torch.randn(2, 3)).shape == (2, 8), "only the first and the last width must agree"
    for dims in ((8,), (8, 8, 4)):
        with pytest.raises(ValueError, match=r"needs 2\+ layers with equal first and last widths"):
            HeadSpec(dims, residual=True)
