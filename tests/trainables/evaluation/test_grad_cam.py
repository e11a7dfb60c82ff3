"""Is Grad-CAM what it should be: ReLU(CAM) for a mean and a linear head, and alike for every kind of network?"""

import pytest
import timm
import torch
from small import SmallBackbone
from torch import nn

from benchmarks.counts.families import hugging_face_families
from trainables.evaluation.grad_cam import NoMap, enlarged, grad_cam, maps_and_features
from trainables.networks.backbones import DemoCnn, build_backbone


def head_of(width: int, findings: int = 14) -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(width, findings)


def cam(backbone: nn.Module, head: nn.Linear, maps: torch.Tensor, findings: torch.Tensor) -> torch.Tensor:
    """Zhou et al. (2016): the head's weights on the map, without the negative part."""
    return torch.einsum("bk,bkhw->bhw", head.weight[findings], maps).clamp(min=0)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "densenet121", "small"])
def test_grad_cam_is_relu_of_cam_for_a_mean_and_a_linear_head(name):
    torch.manual_seed(0)
    backbone = SmallBackbone() if name == "small" else timm.create_model(name, num_classes=0)
    backbone.eval()
    images = torch.randn(3, 3, 64, 64)
    head = head_of(backbone.num_features)
    findings = torch.tensor([0, 5, 13])
    maps, logits = grad_cam(backbone, head, images, findings)
    with torch.no_grad():
        places = backbone.layers(images) if name == "small" else backbone.forward_features(images)
        expected = cam(backbone, head, places, findings)
        direct = head(backbone(images)).gather(1, findings[:, None])[:, 0]
    count = places.shape[2] * places.shape[3]
    scale = expected.abs().max()
    assert scale > 0
    assert float((maps * count - expected).abs().max() / scale) < 1e-5
    assert float((enlarged(maps, 64) - enlarged(expected, 64)).abs().max()) < 1e-5
    assert torch.allclose(logits, direct, atol=1e-5)


def test_maps_of_a_batch_are_those_of_its_images_alone():
    torch.manual_seed(0)
    backbone, images = DemoCnn().eval(), torch.randn(4, 3, 48, 48)
    head, findings = head_of(128), torch.tensor([3, 3, 7, 0])
    together, _ = grad_cam(backbone, head, images, findings)
    for i in range(4):
        alone, _ = grad_cam(backbone, head, images[i : i + 1], findings[i : i + 1])
        assert torch.allclose(together[i], alone[0], atol=1e-6)
    assert together.shape == (4, 6, 6) and float(together.min()) >= 0


@pytest.mark.parametrize(
    "name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "convnext_atto", "efficientnet_lite0"]
)
def test_every_kind_of_network_has_a_map_that_reaches_the_logit(name):
    torch.manual_seed(0)
    backbone = timm.create_model(name, num_classes=0).eval().requires_grad_(False)
    images = torch.randn(1, 3, 224, 224)
    maps, features = maps_and_features(backbone, images)
    assert maps.ndim == 4 and maps.shape[1] == backbone.num_features and maps.shape[2] == maps.shape[3] > 4
    assert torch.allclose(features, backbone(images), atol=1e-5)
    # Not their sum: after a layer norm it is constant.
    (gradient,) = torch.autograd.grad(features.square().sum(), maps)
    assert float(gradient.abs().max()) > 0
    heat, _ = grad_cam(backbone, head_of(features.shape[1]), images, torch.tensor([2]))
    assert heat.shape[0] == 1 and torch.isfinite(heat).all()


def test_a_network_without_places_is_refused():
    class Flat(nn.Module):
        num_features = 4

        def forward(self, x):
            return x.flatten(1)[:, :4]

    with pytest.raises(ValueError, match="no Grad-CAM"):
        grad_cam(Flat(), head_of(4), torch.randn(1, 3, 8, 8), torch.tensor([0]))


def test_a_map_that_is_0_everywhere_stays_0():
    assert float(enlarged(torch.zeros(1, 3, 3), 9).abs().max()) == 0
    assert float(enlarged(torch.rand(2, 3, 3), 9).amax()) == 1


class Blocks(nn.Module):
    """A vision transformer of three blocks on four tokens, with class tokens before them where it says how many."""

    def __init__(self, prefix: int | None):
        super().__init__()
        self.patch_embed = nn.Identity()
        self.blocks = nn.ModuleList([nn.Linear(3, 3) for _ in range(3)])
        self.count = prefix or 0
        if prefix is not None:
            self.num_prefix_tokens = prefix

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        return tokens.sum(dim=1)


@pytest.mark.parametrize("prefix", [None, 0, 2])
def test_the_map_of_a_transformer_is_the_patches_that_enter_its_last_block(prefix):
    torch.manual_seed(0)
    network, tokens = Blocks(prefix), torch.randn(2, 4 + (prefix or 0), 3)
    maps, features = maps_and_features(network, tokens)
    entering = network.blocks[1](network.blocks[0](tokens))[:, prefix or 0 :]
    assert torch.equal(maps.flatten(2).transpose(1, 2), entering) and maps.shape == (2, 3, 2, 2)
    assert torch.allclose(features, network(tokens))


class Map(nn.Module):
    """Features are the mean over places of a map of four channels, which stand first or last."""

    num_features = 4

    def __init__(self, last: bool):
        super().__init__()
        self.places = (1, 2) if last else (2, 3)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2

    def forward_head(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=self.places)


class Layers(Map):
    """The same with `layers`, whose output is the map, and without timm's way to make features of it."""

    forward_head = property()  # as if there were none

    def __init__(self, last: bool):
        super().__init__(last)
        self.layers = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x * 2).mean(dim=self.places)


@pytest.mark.parametrize("network", [Map, Layers])
@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (2, 4, 3, 4), (4, 4, 5, 4), (4, 4, 4, 4), (2, 3, 5, 4), (4, 3, 4, 4)])
def test_a_map_has_its_channels_first_whatever_its_sides_are(network, shape):
    last = shape[1] != 4
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    maps, features = maps_and_features(network(last), x)
    assert torch.equal(maps, 2 * (x.permute(0, 3, 1, 2) if last else x))
    assert torch.equal(features, (2 * x).mean(dim=(1, 2) if last else (2, 3)))


def test_an_enlarged_map_is_interpolated_between_the_centres_of_its_places_and_ends_at_one():
    found = enlarged(torch.tensor([[[0.0, 1.0], [0.0, 1.0]], [[8.0, 0.0], [8.0, 0.0]]]), 4)
    assert torch.equal(found[0], torch.tensor([0.0, 0.25, 0.75, 1.0]).expand(4, 4))
    assert torch.equal(found[1], torch.tensor([1.0, 0.75, 0.25, 0.0]).expand(4, 4))


def hugging_face(kind: str, pooling: str) -> nn.Module:
    (family,) = (family for family in hugging_face_families((pooling,)) if family.name == f"{kind} {pooling}")
    torch.manual_seed(0)
    return build_backbone(family.spec, seed=0).eval()


@pytest.mark.parametrize(("kind", "pooling"), [("resnet", "auto"), ("resnet", "mean"), ("swin", "mean")])
def test_of_hugging_face_it_is_relu_of_cam_too(kind, pooling):
    """A mean over the places of the last hidden state, and a linear head."""
    backbone, images, findings = hugging_face(kind, pooling), torch.randn(2, 3, 64, 64), torch.tensor([1, 2])
    head = head_of(backbone.num_features)
    maps, _ = grad_cam(backbone, head, images if kind == "resnet" else images[..., :32, :32], findings)
    with torch.no_grad():
        states = backbone.model(pixel_values=images if kind == "resnet" else images[..., :32, :32]).last_hidden_state
    places = states if kind == "resnet" else states.transpose(1, 2).unflatten(2, (4, 4))
    expected = cam(backbone, head, places, findings).detach()
    count = places.shape[2] * places.shape[3]
    assert count > 1 and float(expected.max()) > 0
    assert float((maps * count - expected).abs().max() / expected.abs().max()) < 1e-5


@pytest.mark.parametrize(("kind", "prefix"), [("dinov2_with_registers", 5), ("vit_mae", 1), ("yolos", 1)])
def test_of_hugging_face_the_map_of_a_transformer_is_the_patches_that_enter_its_last_block(kind, prefix):
    backbone, images = hugging_face(kind, "cls"), torch.randn(2, 3, 32, 32)
    maps, features = maps_and_features(backbone, images)
    with torch.no_grad():
        told = backbone.form.inputs(images)
        states = backbone.model(pixel_values=images, output_hidden_states=True, **told).hidden_states
    entering = states[-2][:, prefix : prefix + 16]
    assert maps.shape == (2, 16, 4, 4)
    assert torch.allclose(maps.flatten(2).transpose(1, 2), entering, atol=1e-6)
    assert torch.allclose(features, backbone(images), atol=1e-6)


def test_a_map_that_does_not_reach_the_features_is_no_map():
    class Beside(Map):
        def forward_head(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(x), 4, requires_grad=True)

    with pytest.raises(NoMap, match="does not reach its features"):
        grad_cam(Beside(last=False), head_of(4), torch.randn(1, 4, 8, 8), torch.tensor([0]))
