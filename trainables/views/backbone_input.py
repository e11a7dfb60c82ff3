"""What does a backbone get of stored pictures? The one place that says so, for training, evaluation and figures."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from datasets_io.fingerprint import fingerprint
from trainables.transfer import sent
from trainables.views.evaluation import (
    as_tensor,
    flips_there,
    mirrored,
    prepare,
    prepare_test,
    prepare_there,
    ten_crops,
)
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.geometry import fit, view_box
from trainables.views.preprocessing import Preprocessing
from trainables.views.render import normalise


@dataclass(frozen=True)
class Fit:
    """The part that is the same in every epoch: resized, cut and padded, once for all jobs that read a split.

    Its `key` names what it makes of a picture, so that the result can be kept on a node's disk.
    """

    own: Preprocessing

    @cached_property
    def key(self) -> str:
        """12 hex digits over the geometry; channels, range, mean and std come later."""
        own = self.own
        values = (own.size, own.geometry, own.resize, own.interpolation, own.resampler, own.rounding, own.fill)
        return fingerprint(["fit", 1, list(values)])

    @property
    def size(self) -> int:
        """The side of what it makes, in pixels."""
        return self.own.size

    @property
    def dtype(self) -> type:
        """Of what it makes: bytes, or floats in [0, 1]."""
        return np.float32 if self.own.floats else np.uint8

    def keeps(self, side: int) -> bool:
        """Whether it leaves a square picture of this side as it is, to the byte."""
        return not self.own.floats and side == self.own.size == (self.own.resize or self.own.size)

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """(H, W) uint8 -> (size, size) of its type."""
        return fit(self.own, picture)


@dataclass(frozen=True)
class BackboneInput:
    """From stored pictures to the tensors that one network takes.

    eval_spec: of the data set. image_size: side of what the network sees, None for EvalSpec's. own: the network's
    preprocessing; None: EvalSpec's geometry and normalisation, in proportion at another size. With one, only what
    belongs to the protocol is EvalSpec's: mirroring, and whether a test takes ten crops and of which proportion.
    """

    eval_spec: EvalSpec
    image_size: int | None = None
    own: Preprocessing | None = None

    @property
    def size(self) -> int:
        """The side of what the network sees, in pixels."""
        return self.own.size if self.own else self.image_size or self.eval_spec.size

    @cached_property
    def _spec(self) -> EvalSpec:
        return self.eval_spec.at_size(self.size)

    def fit(self, shape: str) -> Fit | None:
        """What is done once to pictures of a store, of shape `square` or `aspect`, before `images`; None: nothing."""
        if self.own is not None:
            return Fit(self.own)
        # Squares, from which EvalSpec's own geometry goes on.
        return None if shape == "square" else Fit(Preprocessing(self._spec.stored_size))

    def test_fit(self, shape: str) -> Fit | None:
        """As `fit`, before `test_images`: with ten crops an encoder's own geometry makes the larger square."""
        if self.own is None or not self.eval_spec.ten_crop:
            return self.fit(shape)
        side = self.eval_spec.test_side(self.size)
        assert side is not None, "EvalSpec refuses ten_crop without test_resize"
        return Fit(self.own.uncropped(side))

    def images(self, pixels: np.ndarray, flips: np.ndarray | None, device: torch.device) -> Tensor:
        """(B, S, S) as `fit` left them -> (B, C, size, size) on the device; flips: (B,) bool, which to mirror."""
        return self.images_there(sent(as_tensor(pixels), device), flips_there(flips, device))

    def images_there(self, pixels: Tensor, flips: Tensor | None) -> Tensor:
        """As `images`, of tensors that are on the device already: nothing is copied to it, and nothing asked of it."""
        if self.own is None:
            return prepare_there(self._spec, pixels, flips)
        return self._finish(mirrored(_in_shares(pixels), flips))

    def test_images(self, pixels: np.ndarray, device: torch.device) -> Tensor:
        """(B, T, T) as `test_fit` left them -> as `images`, not mirrored; of ten crops (B, 10, C, size, size)."""
        if self.own is None:
            return prepare_test(self._spec, pixels, device)
        if not self.eval_spec.ten_crop:
            return self.images(pixels, None, device)
        crops = ten_crops(self._grey(pixels, device), self.size)
        return torch.stack([self._finish(crop) for crop in crops], dim=1)

    def shown(self, pixels: np.ndarray) -> np.ndarray:
        """As `images`, for the eye: (B, size, size) in [0, 1] without normalisation."""
        cpu = torch.device("cpu")
        if self.own is None:
            return prepare(replace(self._spec, normalise=False), pixels, None, cpu)[:, 0].numpy()
        return self._grey(pixels, cpu).numpy()

    def box_in_view(
        self, box: tuple[float, float, float, float], rows: int = 1, columns: int = 1
    ) -> tuple[float, float, float, float]:
        """Left, top, width, height in shares of a picture of this shape -> in shares of what the network sees of it.

        It may reach beyond the view.
        """
        own = self.own or Preprocessing(self.size, "squash", self._spec.resize)
        left, top, width, height = view_box(own, rows, columns)
        return (box[0] - left) / width, (box[1] - top) / height, box[2] / width, box[3] / height

    def _grey(self, pixels: np.ndarray, device: torch.device) -> Tensor:
        """(B, S, S) uint8, or float32 in [0, 1] -> float32 in [0, 1] on the device."""
        return _in_shares(sent(as_tensor(pixels), device))

    def _finish(self, grey: Tensor) -> Tensor:
        """(B, size, size) in [0, 1] -> (B, C, size, size) as the network's own library scales it."""
        own = self.own
        assert own is not None
        return scaled(own, grey)


def _in_shares(pixels: Tensor) -> Tensor:
    """uint8, or float32 in [0, 1] -> float32 in [0, 1]."""
    return pixels if pixels.dtype == torch.float32 else pixels.float() / 255


def scaled(own: Preprocessing, grey: Tensor, *, channels_last: bool = False) -> Tensor:
    """(B, H, W) float32 in [0, 1] -> (B, C, H, W): stretched, in the network's range, by its mean and deviation."""
    if own.min_max:
        low, high = grey.amin(dim=(1, 2), keepdim=True), grey.amax(dim=(1, 2), keepdim=True)
        grey = (grey - low) / (high - low).clamp(min=1e-12)  # a picture of one grey becomes black
    if (own.low, own.high) != (0.0, 1.0):
        grey = grey * (own.high - own.low) + own.low
    return normalise(grey, own.mean, own.std, channels_last=channels_last)
