"""What does a classifier see of an image, in training and in a test?"""

from dataclasses import dataclass, replace

from trainables.views.preprocessing import IMAGENET_MEAN, IMAGENET_STD

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
