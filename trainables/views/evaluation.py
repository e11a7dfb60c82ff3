"""How images are prepared for a classifier: resize, crop, mirror, normalise; several crops in a test where asked."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainables.transfer import sent
from trainables.views.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from trainables.views.render import normalise

CROPS = 10  # of a test image where ten_crop asks for them


@dataclass(frozen=True)
class EvalSpec:
    """size: side of what the backbone sees. resize: side of the square before the central crop, None for size.

    flip_p: probability of mirroring in training. normalise: by mean and std of the weights
    (ImageNet's by default), else values in [0, 1].
    ten_crop: in a test the mean over four corners and the centre, of the image and of its mirror image, resized to
    `test_resize`. Raises ValueError where a crop would be larger than what it is cut from, for a side below 1, and for
    a mean or std that are not three numbers, std above 0.
    """

    size: int
    resize: int | None = None
    flip_p: float = 0.0
    normalise: bool = True
    ten_crop: bool = False
    test_resize: int | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"EvalSpec.size is {self.size}: the side of a picture is at least 1 pixel")
        for name in ("mean", "std"):
            if len(values := getattr(self, name)) != 3:
                raise ValueError(f"EvalSpec.{name} has {len(values)} values: give one for each of 3 channels")
        if not all(-2 <= value <= 3 for value in self.mean):  # as of Preprocessing
            raise ValueError(f"EvalSpec.mean is {self.mean}, far from values of 0 to 1: divide mean and std by 255")
        if not min(self.std) > 0:
            raise ValueError(f"EvalSpec.std is {self.std}: each must be above 0")
        if not 0 <= self.flip_p <= 1:
            raise ValueError(f"EvalSpec.flip_p is {self.flip_p}: it must be in [0, 1]")
        if self.ten_crop and self.test_resize is None:
            raise ValueError(f"EvalSpec.ten_crop needs test_resize: the side, at least {self.size}, before the crops")
        for name in ("resize", "test_resize"):
            side = getattr(self, name)
            if side is not None and side < self.size:
                raise ValueError(f"EvalSpec.{name} is {side}: it must be at least size, {self.size}")

    @property
    def stored_size(self) -> int:
        """The side at which a dataset is built so that no image is enlarged: the largest that a crop is cut from."""
        return max(self.size, self.resize or 0, self.test_resize or 0)

    def at_size(self, size: int) -> "EvalSpec":
        """The same for a network that sees another size: what crops are cut from is scaled in proportion."""
        if size == self.size:
            return self
        return replace(self, size=size, resize=self._scaled(self.resize, size), test_resize=self.test_side(size))

    def test_side(self, size: int) -> int | None:
        """The side that ten crops of `size` are cut from, in proportion to `test_resize`; None where that is None."""
        return self._scaled(self.test_resize, size)

    def _scaled(self, side: int | None, size: int) -> int | None:
        return None if side is None else max(size, round(side * size / self.size))


def paper_chexpert(size: int) -> EvalSpec:
    """Resize(256), CenterCrop(224) and a mirror (B.2), in the same proportion at other sizes.

    Build the data at 256 (`stored_size`): images of 224 would be enlarged before the crop, so that the backbone sees
    the central 196 x 196 of their pixels, without a quarter of the energy above half of the highest frequency.
    """
    return EvalSpec(size, resize=round(size * 256 / 224), flip_p=0.5)


def paper_nih(size: int) -> EvalSpec:
    """Resize(224, 224) only."""
    return EvalSpec(size)


def released_chexpert(size: int) -> EvalSpec:
    """Resize(224, 224), and values in [0, 1] as they are."""
    return EvalSpec(size, normalise=False)


def released_nih(size: int) -> EvalSpec:
    """A mirror and Resize(224) in training; in a test ten crops of Resize(256), at which the data are to be built."""
    return EvalSpec(size, flip_p=0.5, ten_crop=True, test_resize=round(size * 256 / 224))


def contents(spec: EvalSpec) -> tuple[bool, ...]:
    """The distinct pixel contents of an image, by whether it is mirrored; index them by int(flip).

    Features of a frozen backbone need be computed once for each. The first, not mirrored, is also the evaluation's.
    """
    return (False, True) if spec.flip_p > 0 else (False,)


def prepare(spec: EvalSpec, pixels: np.ndarray, flips: np.ndarray | None, device: torch.device) -> Tensor:
    """uint8 (B, H, W) -> float32 (B, 3, size, size) on the device; flips: (B,) bool, which to mirror after the crop."""
    return prepare_there(spec, sent(as_tensor(pixels), device), flips_there(flips, device))


def prepare_there(spec: EvalSpec, pixels: Tensor, flips: Tensor | None) -> Tensor:
    """As prepare, of tensors that are on the device already: nothing is copied to it, and nothing asked of it."""
    grey = _resized(pixels, spec.resize or spec.size)
    grey = mirrored(_crop(grey, *_centre(grey, spec.size), spec.size), flips)
    return _finish(spec, grey)


def flips_there(flips: np.ndarray | None, device: torch.device) -> Tensor | None:
    """(B,) bool on the device, None where none is to be mirrored."""
    # Asked of the array, which is on the CPU: no question to the device.
    return sent(as_tensor(flips), device) if flips is not None and flips.any() else None


def mirrored(grey: Tensor, flips: Tensor | None) -> Tensor:
    """(B, H, W), those of `flips`, (B,) bool, mirrored."""
    return grey if flips is None else torch.where(flips[:, None, None], grey.flip(-1), grey)


def prepare_test(spec: EvalSpec, pixels: np.ndarray, device: torch.device) -> Tensor:
    """As prepare without mirroring; with ten_crop (B, 10, 3, size, size) in torchvision's order."""
    if not spec.ten_crop:
        return prepare(spec, pixels, None, device)
    assert spec.test_resize is not None, "EvalSpec refuses ten_crop without it"
    grey = _resized(sent(as_tensor(pixels), device), spec.test_resize)
    return torch.stack([_finish(spec, crop) for crop in ten_crops(grey, spec.size)], dim=1)


def ten_crops(grey: Tensor, size: int) -> list[Tensor]:
    """(B, T, T) -> ten of (B, size, size): corners and centre, then those of the mirror image, as torchvision's."""
    last = grey.shape[1] - size  # where the last crop along an axis begins
    corners = [(0, 0), (0, last), (last, 0), (last, last), _centre(grey, size)]
    # Crops of the mirror image, and not mirrored crops: an odd margin puts their centres one pixel apart.
    return [_crop(image, y, x, size) for image in (grey, grey.flip(-1)) for y, x in corners]


def as_tensor(pixels: np.ndarray) -> Tensor:
    """The same values on the CPU; of what may not be written, such as a slice of a mapped file, a copy."""
    # torch warns of such an array, since a tensor cannot be protected.
    return torch.from_numpy(np.require(pixels, requirements=["C", "W"]))


def _resized(pixels: Tensor, side: int) -> Tensor:
    """uint8 (B, H, W) -> float32 (B, side, side) in [0, 1]: bilinear, smoothed before it shrinks."""
    grey = pixels.float() / 255
    if grey.shape[1:] != (side, side):
        grey = functional.interpolate(grey[:, None], (side, side), mode="bilinear", antialias=True)[:, 0]
    return grey


def _centre(grey: Tensor, size: int) -> tuple[int, int]:
    """Top and left of the central crop; half a pixel goes to the even side, as in torchvision."""
    return round((grey.shape[1] - size) / 2), round((grey.shape[2] - size) / 2)


def _crop(grey: Tensor, top: int, left: int, size: int) -> Tensor:
    return grey[:, top : top + size, left : left + size]


def _finish(spec: EvalSpec, grey: Tensor) -> Tensor:
    # Without normalisation the channel is repeated as a view: no copy of three equal planes.
    return normalise(grey, spec.mean, spec.std) if spec.normalise else grey[:, None].expand(-1, 3, -1, -1)
