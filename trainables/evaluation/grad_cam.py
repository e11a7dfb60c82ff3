"""Where does a network look for a finding: Grad-CAM over the last feature map (Selvaraju et al., 2017)."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def grad_cam(backbone: nn.Module, head: nn.Linear, images: Tensor, findings: Tensor) -> tuple[Tensor, Tensor]:
    """Maps (B, h, w), not negative, and logits (B,).

    images: (B, 3, H, W) as the network takes them; findings: (B,) int64, the head's output to explain for each.
    A map is ReLU(sum over k of alpha_k A_k): A is the last map that has places, alpha_k the mean over places of the
    gradient of the finding's logit (Selvaraju et al., 2017, eq. 1 and 2). With a mean over places and a linear head,
    alpha = weight / (h w).
    """
    backbone.eval()
    with torch.enable_grad():
        maps, features = maps_and_features(backbone, images)
        logits = head(features)
        chosen = logits.gather(1, findings[:, None])[:, 0]
        # In eval mode images do not touch each other, so the sum's gradient holds each image's own.
        (gradient,) = torch.autograd.grad(chosen.sum(), maps)
    alpha = gradient.mean(dim=(2, 3), keepdim=True)
    return functional.relu((alpha * maps).sum(dim=1)).detach(), chosen.detach()


def maps_and_features(backbone: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The last feature map as (B, C, h, w), in the graph of the features (B, D) that are made from it.

    Convolutional networks: what goes into the pooling. Vision transformers: the patch tokens that enter the last
    block, since after it only the class token may reach the features. Raises ValueError for a network without places.
    """
    network: Any = backbone  # of timm: what nn.Module declares none of is asked for before it is used
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
        if maps.ndim != 4:
            raise ValueError(f"{type(network).__name__} has no map of places: its features are {tuple(maps.shape)}")
        features = network.forward_head(keep(maps))
        return caught[0], features
    if not hasattr(network, "layers"):
        raise ValueError(f"{type(network).__name__} has no `layers` whose output is a map: no Grad-CAM")
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
        count = tokens.shape[1] - prefix
        side = math.isqrt(count)
        if side * side != count:
            raise ValueError(f"{type(network).__name__} has {count} patches, which are no square: no Grad-CAM")
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
    return caught[0], features


def enlarged(maps: Tensor, size: int) -> Tensor:
    """(B, h, w) -> (B, size, size), bilinear, each scaled to a maximum of 1 where it is not 0 everywhere."""
    large = functional.interpolate(maps[:, None], (size, size), mode="bilinear", align_corners=False)[:, 0]
    top = large.amax(dim=(1, 2), keepdim=True)
    return large / torch.where(top > 0, top, torch.ones_like(top))
