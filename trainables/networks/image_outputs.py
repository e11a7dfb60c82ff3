"""What does a Hugging Face image network give for an image: class token, patches, a map, a pooled output; how wide?"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

POOLINGS = ("auto", "cls", "mean")
# Parameters that networks put before or behind their patches, by the last part of their names.
CLASS_TOKENS = ("cls_token", "class_token", "class_embedding", "cls_register_token")
OTHER_TOKENS = ("register_tokens", "distillation_token", "reg_token", "dist_token")
TOKENS_BEHIND = ("detection_tokens",)
# Tokens before the patches that are no parameters: the mean of the map, which is the pooled output as well.
COMPUTED_TOKENS = {"DINOv3ConvNextModel": 1}


class DoesNotTake(ValueError):
    """A network does not take images of a size or a number of channels; the message says what fits."""


@dataclass(frozen=True)
class Images:
    """What a network is to take: squares (B, channels, size, size)."""

    channels: int
    size: int

    def blank(self) -> Tensor:
        """Two of them."""
        return torch.zeros(2, self.channels, self.size, self.size)


@dataclass(frozen=True)
class OutputForm:
    """What one forward pass of a network gives for square images of one size.

    network: the class's name. places: what last_hidden_state is: `tokens` (B, T, D), `map` (B, D, h, w) or `map_last`
    (B, h, w, D). tokens: T. prefix, suffix: tokens before and behind the patches. class_token: the first one is a class
    token, or there is one beside the map. pooled: there is a pooled output. ordered: a masking network, which is to be
    told in which order its patches stay; how many there are, else 0.
    """

    network: str
    places: str
    tokens: int
    prefix: int
    suffix: int
    class_token: bool
    pooled: bool
    ordered: int

    @property
    def poolings(self) -> tuple[str, ...]:
        """Those that make sense of this output."""
        # In 0.1.0 `auto` fell back on the first token, whatever it was, and took every map's channels to stand first:
        # where that was wrong it is refused, so that no row of the name has another number than before.
        auto = self.pooled or self.places == "map" or (self.class_token and self.places == "tokens")
        mean = self.places != "tokens" or _is_square(self.tokens - self.prefix - self.suffix)
        return tuple(name for name, has in zip(POOLINGS, (auto, self.class_token, mean), strict=True) if has)

    def check(self, pooling: str) -> None:
        """Raise ValueError, with the poolings that there are, for one that makes no sense."""
        if pooling in self.poolings:
            return
        if pooling == "mean":
            what = (
                f"gives {self.tokens} tokens for an image, of which {self.tokens - self.prefix - self.suffix} would be "
                "patches, and that is no square"
            )
        elif pooling == "cls":
            what = "has no class token"
        else:
            what = "has neither a pooled output nor a class token"
        allowed = ", ".join(self.poolings) or "none, it cannot be an image network here"
        raise ValueError(f"pooling is {pooling!r}, but {self.network} {what}; allowed: {allowed}")

    def inputs(self, images: Tensor) -> dict[str, Tensor]:
        """What the network takes beside (B, C, S, S) images."""
        if not self.ordered:
            return {}
        # A masked autoencoder keeps the patches with the smallest noise, in its order: ascending, each stays in place.
        noise = torch.arange(self.ordered, dtype=torch.float32, device=images.device)
        return {"noise": noise.expand(len(images), -1)}

    def features(self, output: Mapping[str, Any], pooling: str) -> Tensor:
        """(B, D) of one forward pass's output. `auto`: the pooled output, else the class token or the map's mean."""
        if pooling == "auto" and self.pooled:
            pooled: Tensor = output["pooler_output"]
            return pooled.flatten(1)
        states: Tensor = output["last_hidden_state"]
        if self.places != "tokens":
            if pooling == "cls":
                beside: Tensor = output["cls_token_value"]
                return beside.flatten(1)
            return states.mean(dim=(2, 3) if self.places == "map" else (1, 2))
        if pooling == "mean":
            return states[:, self.prefix : states.shape[1] - self.suffix].mean(dim=1)
        return states[:, 0]


def output_form(model: Any, images: Tensor, output: Any) -> OutputForm:
    """The form of the output that a transformers model gave for two images (2, C, S, S).

    Raises ValueError for a network that gives no features of single images.
    """
    network = type(model).__name__
    states = output.get("last_hidden_state") if isinstance(output, Mapping) else None
    if not isinstance(states, Tensor) or states.ndim not in (3, 4) or len(states) != len(images):
        # A backbone of detectors gives the maps of its stages; others lay the patches of all images in one row.
        found = ", ".join(output) if isinstance(output, Mapping) else type(output).__name__
        of = f" of shape {tuple(states.shape)}" if isinstance(states, Tensor) else ""
        raise ValueError(
            f"{network} is no image network: of {len(images)} images it gives {found}{of}, and no last_hidden_state "
            "with a row for each"
        )
    before, behind, class_token = tokens_of(model)
    if states.ndim == 4:
        # A square image has a square map: its two equal sides say where the channels stand.
        places = "map" if states.shape[2] == states.shape[3] else "map_last"
        before, behind, class_token = 0, 0, output.get("cls_token_value") is not None
    else:
        places = "tokens"
    mask = output.get("mask") if output.get("ids_restore") is not None else None
    return OutputForm(
        network,
        places,
        int(states.shape[1]) if places == "tokens" else 0,
        before,
        behind,
        class_token,
        isinstance(output.get("pooler_output"), Tensor),
        0 if mask is None else int(mask.shape[1]),
    )


def without_pooler(model: Any, pooling: str) -> None:
    """Take the layers of the pooled output from a model whose features do not pass them."""
    pooler = getattr(model, "pooler", None)
    if pooling != "auto" and pooler is not None and any(True for _ in pooler.parameters()):
        model.pooler = None


def tokens_of(model: nn.Module) -> tuple[int, int, bool]:
    """How many tokens stand before the patches and behind them, and whether the first is a class token."""
    before = COMPUTED_TOKENS.get(type(model).__name__, 0)
    behind, class_token = 0, False
    for name, value in model.named_parameters():
        *parents, leaf = name.split(".")
        # The query of an attention pooling is called class token by some, and stands before no patches.
        if any("head" in part or "pool" in part for part in parents):
            continue
        count = value.numel() // max(1, value.shape[-1])
        before += count if leaf in CLASS_TOKENS + OTHER_TOKENS else 0
        behind += count if leaf in TOKENS_BEHIND else 0
        class_token |= leaf in CLASS_TOKENS
    return before, behind, class_token


@dataclass(frozen=True)
class Measured:
    """A network and a pooling, tried on blank images. width: of the features; unused: parameters that none passes."""

    form: OutputForm
    width: int
    unused: frozenset[str]


def measure(make: Callable[[], Any], pooling: str, images: Images) -> Measured:
    """Try a network that `make` builds on blank images.

    Nothing is computed: on the meta device tensors have shapes and no numbers. Only what reads a number in its forward
    pass is computed on the CPU. Raises ValueError for a network that gives no features of images alone or has no such
    pooling, and DoesNotTake for images that do not fit it.
    """
    try:
        return _measured(make, pooling, images)
    except DoesNotTake as error:
        raise DoesNotTake(f"{error}{_advice(make, images)}") from error


def _measured(make: Callable[[], Any], pooling: str, images: Images) -> Measured:
    try:
        return _measured_on("meta", make, pooling, images)
    except DoesNotTake as error:
        if "meta" not in str(error):
            raise
        with torch.random.fork_rng(devices=[]):
            return _measured_on("cpu", make, pooling, images)


def _measured_on(device: str, make: Callable[[], Any], pooling: str, images: Images) -> Measured:
    with torch.device(device), torch.enable_grad():
        model = make().eval()
        pixels = images.blank()
        try:
            output = model(pixel_values=pixels)
        except Exception as error:  # whatever a network raises for a size: it does not take it
            raise DoesNotTake(
                f"{type(model).__name__} does not take images of {images.size} x {images.size} pixels in "
                f"{images.channels} channels and nothing else ({type(error).__name__}: {_first_line(error)})"
            ) from error
        form = output_form(model, pixels, output)
        form.check(pooling)
        without_pooler(model, pooling)
        if form.ordered:
            output = model(pixel_values=pixels, **form.inputs(pixels))
        features = form.features(output, pooling)
        features.sum().backward()
    unused = frozenset(name for name, value in model.named_parameters() if value.grad is None)
    return Measured(form, int(features.shape[1]), unused)


def _advice(make: Callable[[], Any], images: Images) -> str:
    """What of its configuration differs from what it was tried on, and what to give then; empty where nothing does."""
    with torch.device("meta"):
        config = make().config
    size, channels = getattr(config, "image_size", None), getattr(config, "num_channels", None)
    size = size[0] if isinstance(size, list | tuple) else size
    if channels not in (None, images.channels):
        form = f"preprocessing=Preprocessing({size or images.size}, channels={channels}, mean=..., std=...)"
        return f"; its configuration says num_channels {channels}: give {form} as it was trained with"
    return f"; its configuration says image_size {size}: give that" if size not in (None, images.size) else ""


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")


def _is_square(count: int) -> bool:
    return count > 0 and math.isqrt(count) ** 2 == count
