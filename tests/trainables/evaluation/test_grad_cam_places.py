"""Which output is the map of a network: told on networks of a few numbers, made as those of timm and Hugging Face."""

import pytest
import torch
from torch import nn

from trainables.evaluation.grad_cam import NoMap, grad_cam, maps_and_features
from trainables.networks.image_outputs import OutputForm


def tensor(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


class HuggingFace(nn.Module):
    """Features are the mean over what the form calls patches. The images are what enters the model's first layer."""

    def __init__(self, model: nn.Module, places: str, tokens: int = 0, prefix: int = 0, suffix: int = 0):
        super().__init__()
        self.model, self.form = model, OutputForm("Net", places, tokens, prefix, suffix, False, False, 0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.form.features(self.model(pixel_values=images), "mean")


class Listed(nn.Module):
    """Two blocks in a list, and what networks do besides with a third, all after the last one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.ModuleList([nn.Linear(3, 3) for _ in range(3)])

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        states = self.blocks[1](self.blocks[0](pixel_values))
        self.blocks[2](states[:, :1])  # other tokens
        self.blocks[2](states[:, :, None])  # a map
        self.blocks[2](input=states)  # no tensor by its place
        return {"last_hidden_state": states}


class Chain(nn.Module):
    """Layers one after the other. beside: a layer whose output is made last and is no part of the features."""

    def __init__(self, *layers: nn.Module, beside: nn.Module | None = None, moved: bool = False):
        super().__init__()
        self.first, self.beside, self.moved = nn.Sequential(*layers), beside, moved

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        states = self.first(pixel_values)
        if self.beside is not None:
            self.dropped = self.beside(states)
        return {"last_hidden_state": states + 1 if self.moved else states}


class Pieces(nn.Module):
    """Tokens of a map by a convolution, with its mean before them, as DINOv3's ConvNeXt gives them."""

    def __init__(self, before: int, behind: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last, self.before, self.behind = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), before, behind

    def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
        patches = self.last(self.first(pixel_values)).flatten(2).transpose(1, 2)
        mean = patches.mean(dim=1, keepdim=True)
        return {"last_hidden_state": torch.cat([*[mean] * self.before, patches, *[mean] * self.behind], dim=1)}


def linear() -> nn.Linear:
    torch.manual_seed(2)
    return nn.Linear(3, 3)


def check(network: nn.Module, images: torch.Tensor, expected: torch.Tensor) -> None:
    """The map is the expected one, the features stay as they were and are made from it, and no hook is left."""
    for frozen in (False, True):
        network.requires_grad_(not frozen)
        maps, features = maps_and_features(network, images)
        assert maps.shape == expected.shape and torch.equal(maps, expected)
        assert torch.equal(features, network(images))
        (gradient,) = torch.autograd.grad(features.square().sum(), maps)
        assert (gradient != 0).all()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def as_map(tokens: torch.Tensor, side: int = 2) -> torch.Tensor:
    return tokens.transpose(1, 2).unflatten(2, (side, side))


@pytest.mark.parametrize(("prefix", "suffix"), [(1, 0), (2, 1), (1, 2)])
def test_tokens_behind_a_class_token_are_taken_as_they_enter_the_last_block(prefix, suffix):
    model, images = Listed(), tensor(2, prefix + 4 + suffix, 3)
    entering = model.blocks[0](images)[:, prefix : prefix + 4]
    check(HuggingFace(model, "tokens", prefix + 4 + suffix, prefix, suffix), images, as_map(entering))


@pytest.mark.parametrize("suffix", [0, 2])
def test_tokens_without_one_are_taken_as_they_leave_the_last_block(suffix):
    model, images = Listed(), tensor(2, 4 + suffix, 3)
    leaving = model.blocks[1](model.blocks[0](images))[:, :4]
    check(HuggingFace(model, "tokens", 4 + suffix, 0, suffix), images, as_map(leaving))


def test_the_output_that_is_the_last_state_goes_before_a_later_one_of_its_shape():
    layers, images = (linear(), nn.Tanh()), tensor(2, 4, 3)
    expected = as_map(nn.Sequential(*layers)(images))
    check(HuggingFace(Chain(*layers, beside=nn.Tanh()), "tokens", 4), images, expected)
    # Where no layer gives the state itself, the last output of its shape is taken.
    check(HuggingFace(Chain(*layers, moved=True), "tokens", 4), images, expected)


def test_a_layer_that_is_passed_twice_gives_what_it_gave_last():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = linear()

        def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"last_hidden_state": self.shared(self.shared(pixel_values))}

    model, images = Twice(), tensor(2, 4, 3)
    check(HuggingFace(model, "tokens", 4), images, as_map(model.shared(model.shared(images))))


def test_the_last_of_several_blocks_keeps_what_it_takes_beside_the_tokens():
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.blocks = nn.ModuleList([nn.Bilinear(3, 3, 3) for _ in range(3)])

        def forward(self, pixel_values: torch.Tensor) -> dict[str, torch.Tensor]:
            states = pixel_values
            for block in self.blocks:
                states = block(states, states.detach())
            return {"last_hidden_state": states}

    model, images = Pairs(), tensor(2, 5, 3)
    first = model.blocks[0](images, images)
    check(HuggingFace(model, "tokens", 5, 1), images, as_map(model.blocks[1](first, first)[:, 1:]))


def test_maps_have_their_channels_first_or_last_as_the_form_says():
    convolution = nn.Conv2d(3, 5, 1)
    for side in (1, 2, 5):
        images = tensor(2, 3, side, side)
        check(HuggingFace(Chain(convolution), "map"), images, convolution(images))
    layer, images = linear(), tensor(2, 2, 2, 3)
    check(HuggingFace(Chain(layer), "map_last"), images, layer(images).permute(0, 3, 1, 2))


@pytest.mark.parametrize(("before", "behind"), [(1, 0), (3, 0), (1, 3)])
def test_tokens_that_were_a_map_are_taken_as_the_map(before, behind):
    model, images = Pieces(before, behind), tensor(2, 3, 2, 2)
    network = HuggingFace(model, "tokens", before + 4 + behind, before, behind)
    check(network, images, model.last(model.first(images)))


def refused(network: nn.Module, images: torch.Tensor, why: str) -> None:
    with pytest.raises(NoMap, match=why):
        maps_and_features(network, images)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_patches_that_are_no_square_are_refused_with_their_number():
    refused(HuggingFace(Listed(), "tokens", 6, 1), tensor(2, 6, 3), "Net has 5 patches, which are no square")
    refused(HuggingFace(Listed(), "tokens", 5, 0), tensor(2, 5, 3), "Net has 5 patches, which are no square")


def test_a_network_none_of_whose_outputs_is_a_map_is_refused():
    why = "Net has no layer whose output is a map of its patches"
    refused(HuggingFace(Chain(moved=True), "tokens", 2, 3), tensor(2, 4, 3), why)
    refused(HuggingFace(Chain(nn.Flatten(), nn.Unflatten(1, (4, 3))), "tokens", 2, 1, 3), tensor(2, 4, 3), why)
    # A pooled map of one place is none of the patches, of which there are none.
    pooled = Chain(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(2), nn.Unflatten(2, (1, 1)), nn.Flatten(), nn.Unflatten(1, (1, 3))
    )
    refused(HuggingFace(pooled, "tokens", 1, 1), tensor(2, 3, 4, 4), why)


class Blocks(nn.Module):
    """As timm's vision transformers: one class token, and blocks that may take more than tokens."""

    num_prefix_tokens = 1

    def __init__(self, called: int = 2):
        super().__init__()
        self.patch_embed, self.called = nn.Identity(), called
        self.blocks = nn.ModuleList([nn.Bilinear(3, 3, 3) for _ in range(2)])

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        for block in self.blocks[: self.called]:
            tokens = block(tokens, tokens.detach())
        return tokens.mean(dim=1)


def test_a_transformers_block_keeps_what_it_takes_beside_the_tokens():
    network, images = Blocks(), tensor(2, 5, 3)
    expected = network.blocks[0](images, images)[:, 1:]
    check(network, images, as_map(expected))


def test_a_transformer_without_one_grid_of_patches_is_refused():
    refused(Blocks(), tensor(2, 6, 3), "Blocks has 5 patches, which are no square")
    refused(Blocks(), tensor(2, 5, 1, 3), "Blocks's last block takes no tokens of one grid")
    refused(Blocks(called=1), tensor(2, 5, 3), "Blocks does not call its last block")
    network = Blocks()
    network.blocks[1].forward = lambda pair: pair[0]
    network.forward = lambda tokens: network.blocks[1]((tokens, tokens))
    refused(network, tensor(2, 5, 3), "takes no tokens of one grid")


class Stages(nn.Module):
    num_features = 3

    def __init__(self, output: object):
        super().__init__()
        self.output = output

    def forward_features(self, x: torch.Tensor) -> object:
        return self.output

    def forward_head(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :3]


def test_what_is_no_map_is_refused_with_its_shape():
    refused(Stages(tensor(2, 3, 4)), tensor(2, 3, 4, 4), r"Stages has no map of places: its features are \(2, 3, 4\)")
    refused(Stages([tensor(2, 3, 4, 4)]), tensor(2, 3, 4, 4), "Stages has no map of places: its features are list")
    refused(nn.Flatten(), tensor(2, 3, 4, 4), "Flatten has no `layers` whose output is a map")


def test_a_map_of_a_hugging_face_network_is_weighed_by_the_gradients_mean():
    """With a mean over places and a linear head: the head's weights on the map, by its number of places."""
    layer, images = linear(), tensor(2, 2, 2, 3)
    head = nn.Linear(3, 4)
    maps, logits = grad_cam(HuggingFace(Chain(layer), "map_last"), head, images, torch.tensor([1, 3]))
    expected = torch.einsum("bk,bhwk->bhw", head.weight[[1, 3]], layer(images)).relu() / 4
    assert torch.allclose(maps, expected, atol=1e-6) and float(maps.max()) > 0
    assert torch.allclose(logits, head(layer(images).mean(dim=(1, 2)))[[0, 1], [1, 3]], atol=1e-6)
