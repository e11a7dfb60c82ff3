"""A timm network as a backbone: is it one for images of a size, and how wide is what it gives?"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import timm
import torch
from torch import Tensor, nn

from trainables.networks.image_outputs import DoesNotTake, Images

COMMON_SIZES = (32, 48, 64, 96, 112, 128, 160, 192, 224, 256, 288, 384, 448, 512, 768, 1024)


@dataclass(frozen=True)
class TimmMeasured:
    """A network tried on blank images. width: of its features; unused: parameters that no feature passes."""

    width: int
    unused: frozenset[str]


def create(name: str, options: Mapping[str, Any], images: Images, pretrained: bool = False) -> nn.Module:
    """timm's network without its classifier, (B, C, S, S) -> (B, measured_width).

    Parameters that no feature passes take no gradient. Raises ValueError where it gives no features for such images,
    and what timm raises where it has no weights.
    """
    measured = measure(name, tuple(sorted(options.items())), images)
    network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0, **options)
    for parameter, value in network.named_parameters():
        if parameter in measured.unused:
            value.requires_grad_(False)
    network.measured_width = measured.width  # type: ignore[assignment]  # torch takes a number, its types do not say so
    return network


@lru_cache(maxsize=64)
def measure(name: str, options: tuple[tuple[str, Any], ...], images: Images) -> TimmMeasured:
    """Try a network on blank images. On the meta device: there are shapes, and nothing is computed.

    Raises ValueError with what fits, for a network that does not take them, or that gives something else than one
    vector an image.
    """
    try:
        network = _create(name, dict(options))
    except Exception as error:  # whatever a network raises for its options
        raise ValueError(
            f"timm cannot build {name!r} with the options {dict(options)} ({type(error).__name__}: "
            f"{next(iter(str(error).splitlines()), '')}): correct them"
        ) from error
    try:
        features = _fed(network, images)
    except Exception as error:  # whatever a network raises for a size: it does not take it
        raise DoesNotTake(
            f"timm's {name!r} does not take images of {images.size} x {images.size} pixels in {images.channels} "
            f"channels ({type(error).__name__}: {next(iter(str(error).splitlines()), '')})"
            f"{_what_fits(name, dict(options), images)}"
        ) from error
    if not isinstance(features, Tensor) or features.ndim != 2:
        found = tuple(features.shape[1:]) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(
            f"timm's {name!r} gives {found} for an image, not one vector: it has no pooling, or its options "
            f"{dict(options)} took it away; leave out global_pool, or take 'avg'"
        )
    with torch.device("meta"), torch.enable_grad():
        features.sum().backward()
    unused = frozenset(parameter for parameter, value in network.named_parameters() if value.grad is None)
    return TimmMeasured(int(features.shape[1]), unused)


def _create(name: str, options: dict[str, Any]) -> nn.Module:
    with torch.device("meta"):
        network: nn.Module = timm.create_model(name, num_classes=0, **options)
    return network.eval()


def _fed(network: nn.Module, images: Images) -> Any:
    with torch.device("meta"), torch.enable_grad():
        return network(images.blank())


def _own_size(name: str) -> int:
    config: Any = timm.get_pretrained_cfg(name)
    return 224 if config is None else int(config.input_size[1])


def _what_fits(name: str, options: dict[str, Any], images: Images) -> str:
    """Found by trying, since few networks say so."""
    if _takes(name, {**options, "img_size": images.size}, images):
        return f"; with the option ('img_size', {images.size}) of its BackboneSpec it does"
    if _takes(name, {**options, "in_chans": images.channels}, images):
        return (
            f"; with the option ('in_chans', {images.channels}) of its BackboneSpec it does, or with a preprocessing "
            "of other channels"
        )
    own = _own_size(name)
    for size in sorted({*COMMON_SIZES, own}):
        if _takes(name, options, replace(images, size=size)):
            return f"; the smallest common size that it takes is {size} x {size}, and its own is {own} x {own}"
    return ""


def _takes(name: str, options: dict[str, Any], images: Images) -> bool:
    try:
        _fed(_create(name, options), images)
    except Exception:  # as above
        return False
    return True
