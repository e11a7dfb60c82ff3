"""Where does a network look for a finding: Grad-CAM over the last feature map (Selvaraju et al., 2017)."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.networks.image_outputs import OutputForm


class NoMap(ValueError):
    """A network without a map of places that its features are made from: it cannot be explained by Grad-CAM."""


def grad_cam(backbone: nn.Module, head: nn.Linear, images: Tensor, findings: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (B, h, w), not negative, and logits (B,).

    images: (B, 3, H, W) as the network takes them; findings: (B,) int64, the head's output to explain for each.
    A map is ReLU(sum over k of alpha_k A_k): A is the last map that has places, alpha_k the mean over places of the
    gradient of the finding's logit (Selvaraju et al., 2017, eq. 1 and 2). With a mean over places and a linear head,
    alpha = weight / (h w). Raises NoMap for a network without places.
    """
    backbone.eval()
    with torch.enable_grad():
        maps, features = maps_and_features(backbone, images)
        logits = head(features)
        chosen = logits.gather(1, findings[:, None])[:, 0]
        # In eval mode images do not touch each other, so the sum's gradient holds each image's own.
        (gradient,) = torch.autograd.grad(chosen.sum(), maps, allow_unused=True)
    if gradient is None:
        raise NoMap(f"{type(backbone).__name__}'s last map does not reach its features: no Grad-CAM")
    alpha = gradient.mean(dim=(2, 3), keepdim=True)
    return functional.relu((alpha * maps).sum(dim=1)).detach(), chosen.detach()


def maps_and_features(backbone: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The last feature map as (B, C, h, w), in the graph of the features (B, D) that are made from it.

    Convolutional networks: what goes into the pooling. Vision transformers: the patch tokens that enter the last
    block, since after it only the class token may reach the features. Raises NoMap for a network without places.
    """
    network: Any = backbone  # of timm: what nn.Module declares none of is asked for before it is used
    if isinstance(getattr(network, "form", None), OutputForm):
        return _hugging_face_maps(network, images)
    if hasattr(network, "blocks") and hasattr(network, "patch_embed"):
        return _transformer_maps(network, images)
    caught: list[Tensor] = []

    def keep(value: Tensor) -> Tensor:
        # Swin and its like keep channels last: the map is turned, and the network goes on with it as it was.
        last = value.shape[1] != network.num_features and value.shape[-1] == network.num_features
        maps = value.permute(0, 3, 1, 2) if last else value
        maps = maps if maps.requires_grad else maps.requires_grad_()  # weights may be frozen: the map itself asks
        caught.append(maps)
        return maps.permute(0, 2, 3, 1) if last else maps

    if hasattr(network, "forward_features") and hasattr(network, "forward_head"):
        maps = network.forward_features(images)
        if not isinstance(maps, Tensor) or maps.ndim != 4:
            shape = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
            raise NoMap(f"{type(network).__name__} has no map of places: its features are {shape}")
        features = network.forward_head(keep(maps))
        return caught[0], features
    if not hasattr(network, "layers"):
        raise NoMap(f"{type(network).__name__} has no `layers` whose output is a map: no Grad-CAM")
    handle = network.layers.register_forward_hook(lambda module, inputs, output: keep(output))
    try:
        features = network(images)
    finally:
        handle.remove()
    return caught[0], features


def _transformer_maps(network: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """maps_and_features of a timm vision transformer: `blocks` of tokens (B, prefix + h w, C), prefix class tokens."""
    caught: list[Tensor] = []
    prefix = int(getattr(network, "num_prefix_tokens", 0))

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        tokens, *rest = inputs
        if not isinstance(tokens, Tensor) or tokens.ndim != 3:
            raise NoMap(f"{type(network).__name__}'s last block takes no tokens of one grid: no Grad-CAM")
        count = tokens.shape[1] - prefix
        side = math.isqrt(count)
        if side * side != count:
            raise NoMap(f"{type(network).__name__} has {count} patches, which are no square: no Grad-CAM")
        maps = tokens[:, prefix:].transpose(1, 2).unflatten(2, (side, side))
        maps = maps if maps.requires_grad else maps.requires_grad_()
        caught.append(maps)
        # The block goes on from the map, so that its gradient is the logit's by the tokens that enter.
        return (torch.cat([tokens[:, :prefix], maps.flatten(2).transpose(1, 2)], dim=1), *rest)

    handle = network.blocks[-1].register_forward_pre_hook(keep)
    try:
        features = network(images)
    finally:
        handle.remove()
    if not caught:
        raise NoMap(f"{type(network).__name__} does not call its last block: no Grad-CAM")
    return caught[0], features


def _hugging_face_maps(network: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """maps_and_features of a HuggingFaceBackbone.

    Of tokens with a class token before them: the patches that enter the last block; of others the last output that has
    the shape of the network's last hidden state, or is a map of as many places.
    """
    form: OutputForm = network.form
    before, last = _candidates(network, images)
    caught: list[Tensor] = []

    def keep(value: Tensor) -> Tensor:
        if value.ndim == 4:
            maps = value.permute(0, 3, 1, 2) if form.places == "map_last" else value
        else:
            patches = value[:, form.prefix : value.shape[1] - form.suffix]
            side = math.isqrt(patches.shape[1])
            if side * side != patches.shape[1]:
                raise NoMap(f"{form.network} has {patches.shape[1]} patches, which are no square: no Grad-CAM")
            maps = patches.transpose(1, 2).unflatten(2, (side, side))
        maps = maps if maps.requires_grad else maps.requires_grad_()
        caught.append(maps)
        if value.ndim == 4:
            return maps.permute(0, 2, 3, 1) if form.places == "map_last" else maps
        parts = value[:, : form.prefix], maps.flatten(2).transpose(1, 2), value[:, value.shape[1] - form.suffix :]
        return torch.cat(parts if form.suffix else parts[:2], dim=1)

    if form.prefix and before is not None:
        handle = before.register_forward_pre_hook(lambda module, inputs: (keep(inputs[0]), *inputs[1:]))
    elif last is not None:
        handle = last.register_forward_hook(lambda module, inputs, output: keep(output))
    else:
        raise NoMap(f"{form.network} has no layer whose output is a map of its patches: no Grad-CAM")
    try:
        features = network(images)
    finally:
        handle.remove()
    return caught[-1], features


def _candidates(network: Any, images: Tensor) -> tuple[nn.Module | None, nn.Module | None]:
    """The last block that tokens enter, and the last module that gives a map of places, found by a forward pass."""
    form: OutputForm = network.form
    blocks = {block for part in network.modules() if isinstance(part, nn.ModuleList) for block in part}
    before: list[nn.Module] = []
    gave: list[tuple[nn.Module, torch.Size, int]] = []  # shape, and where it lies: states that are passed on lie there

    def note(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        first = inputs[0] if inputs else None
        if module in blocks and isinstance(first, Tensor) and first.ndim == 3 and first.shape[1] == form.tokens:
            before.append(module)
        if isinstance(output, Tensor) and output.ndim in (3, 4):
            gave.append((module, output.shape, output.data_ptr()))

    handles = [module.register_forward_hook(note) for module in network.model.modules() if module is not network.model]
    try:
        with torch.no_grad():
            states: Tensor = network.model(pixel_values=images, **form.inputs(images))["last_hidden_state"]
    finally:
        for handle in handles:
            handle.remove()
    if form.places == "tokens" and form.prefix:
        side = math.isqrt(max(0, form.tokens - form.prefix - form.suffix))
        found = [module for module, shape, _ in gave if shape == (len(images), states.shape[-1], side, side)]
    else:
        found = [module for module, shape, _ in gave if shape == states.shape]
        found += [module for module, shape, place in gave if shape == states.shape and place == states.data_ptr()]
    return (before[-1] if before else None), (found[-1] if found else None)


def enlarged(maps: Tensor, size: int) -> Tensor:
    """(B, h, w) -> (B, size, size), bilinear, each scaled to a maximum of 1 where it is not 0 everywhere."""
    large = functional.interpolate(maps[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    top = large.amax(dim=(1, 2), keepdim=True)
    return large / torch.where(top > 0, top, torch.ones_like(top))
