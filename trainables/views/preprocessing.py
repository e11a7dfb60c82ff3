"""What does an image network expect of its images: size, resize, crop, channels, range, mean and standard deviation?"""

from dataclasses import dataclass, replace

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GEOMETRIES = ("squash", "shortest", "longest", "cut")
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos", "area")
TORCH_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
RESAMPLERS = ("pillow", "torch_bytes", "torch_floats", "area_floats")
ROUNDINGS = ("even", "down", "halves")
CHANNELS = (1, 3)


@dataclass(frozen=True)
class Preprocessing:
    """How an encoder wants its images: part of the encoder, never of a data set, and hashed into its row's key.

    size: side in pixels of the square that the network sees. geometry: `squash` resizes both sides to `resize`;
    `shortest` resizes the shorter side to it; `longest` the longer one; then the centre is cut out, or padded with
    `fill`, a grey value of 0 to 255. `cut` takes the central square of the shorter side, and resizes that to size.
    resize: None for size. interpolation: one of INTERPOLATIONS, antialiased.
    resampler: whose arithmetic: Pillow's, torch's on bytes or on floats, which differ by a grey level, or the mean over
    each pixel's area, as OpenCV's INTER_AREA. rounding: where an odd margin of a central crop goes: half a pixel to the
    `even` side (torchvision), `down` (transformers), or the difference of the halved sides (`halves`, torchxrayvision).
    channels: 1, or 3 equal ones. low, high: what black and white are before mean and std. min_max: each image is
    stretched to low and high first. mean, std: one for each channel. Raises ValueError for a value out of these.
    """

    size: int
    geometry: str = "squash"
    resize: int | None = None
    interpolation: str = "bilinear"
    resampler: str = "pillow"
    rounding: str = "even"
    fill: int = 0
    channels: int = 3
    low: float = 0.0
    high: float = 1.0
    min_max: bool = False
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name, allowed in (
            ("geometry", GEOMETRIES),
            ("interpolation", INTERPOLATIONS),
            ("resampler", RESAMPLERS),
            ("rounding", ROUNDINGS),
            ("channels", CHANNELS),
        ):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"Preprocessing.{name} is {value!r}; allowed: {', '.join(map(str, allowed))}")
        self._check_sides()
        if not 0 <= self.fill <= 255:
            raise ValueError(f"Preprocessing.fill is {self.fill}: a grey value is 0 to 255")
        if not self.low < self.high:
            raise ValueError(f"Preprocessing.low is {self.low} and high {self.high}: black must be below white")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                raise ValueError(
                    f"Preprocessing.{name} has {len(getattr(self, name))} values for {self.channels} channels"
                )
        # Of another scale, as 123.7 beside values of 0 to 1: all images would be nearly one. A little outside is what
        # some libraries do, such as a mean of 0.5 for -1 to 0.
        margin = 2 * (self.high - self.low)
        if not all(self.low - margin <= value <= self.high + margin for value in self.mean):
            raise ValueError(
                f"Preprocessing.mean is {self.mean}, far from values of {self.low:g} to {self.high:g}: give both in "
                "one scale; for a mean and std of values up to 255 that is high=255.0"
            )
        if min(self.std) <= 0:
            raise ValueError(f"Preprocessing.std is {self.std}: each must be above 0")

    def _check_sides(self) -> None:
        for name in ("size", "resize"):
            side = getattr(self, name)
            if side is not None and side < 1:
                raise ValueError(f"Preprocessing.{name} is {side}: the side of a picture is at least 1 pixel")
        if self.geometry == "cut" and self.resize not in (None, self.size):
            raise ValueError(f"Preprocessing.resize is {self.resize}: geometry 'cut' resizes to size, {self.size}")
        # INTER_AREA is no filter of the other libraries, and theirs are none of its.
        if (self.interpolation == "area") != (self.resampler == "area_floats"):
            raise ValueError(
                f"Preprocessing.interpolation is {self.interpolation!r} and resampler {self.resampler!r}: 'area' and "
                "'area_floats' go together"
            )
        if self.resampler.startswith("torch") and self.interpolation not in TORCH_INTERPOLATIONS:
            raise ValueError(
                f"Preprocessing.interpolation is {self.interpolation!r}, which resampler {self.resampler!r} does not "
                f"have; it has {', '.join(TORCH_INTERPOLATIONS)}"
            )

    @property
    def floats(self) -> bool:
        """Whether resizing gives floats, which no byte can hold."""
        return self.resampler.endswith("floats")

    def at_size(self, size: int) -> "Preprocessing":
        """The same for another size of the network: what the crop is cut from is scaled in proportion."""
        if self.resize is None or size == self.size:
            return replace(self, size=size)
        return replace(self, size=size, resize=round(self.resize * size / self.size))

    def uncropped(self, side: int) -> "Preprocessing":
        """The same geometry with nothing cut off a square of this side: what ten crops are cut from."""
        return replace(self, size=side, resize=None)

    def __str__(self) -> str:
        """One readable line, as the plan and reports print it."""
        side = self.resize or self.size
        how = {
            "squash": f"squashed to {side} x {side}",
            "shortest": f"shorter side to {side}",
            "longest": f"longer side to {side}",
            "cut": f"central square resized to {side}",
        }[self.geometry]
        if side > self.size or self.geometry == "shortest":
            how += f", centre {self.size} cut out"
        if side < self.size or self.geometry == "longest":
            # Of a longer side that is cut, the shorter one may still be too short.
            how += f", padded to {self.size} with {self.fill}"
        library = {"pillow": "Pillow", "torch_bytes": "torch", "torch_floats": "torch, floats", "area_floats": "floats"}
        spread = ", each image stretched by min and max" if self.min_max else ""
        channels = "1 channel" if self.channels == 1 else "3 channels"
        return (
            f"{self.size} px: {how}, {self.interpolation} ({library[self.resampler]}); {channels}, {self.low:g} to "
            f"{self.high:g}{spread}, mean {_numbers(self.mean)}, std {_numbers(self.std)}"
        )


def _numbers(values: tuple[float, ...]) -> str:
    same = values[:1] if len(set(values)) == 1 else values
    return " ".join(f"{value:.4g}" for value in same)


def torchxrayvision(size: int = 224) -> Preprocessing:
    """As XRayCenterCrop and XRayResizer (engine cv2) feed its networks: one channel, -1024 to 1024.

    size: 224 for its DenseNets, 512 for its ResNet.
    """
    return Preprocessing(
        size,
        "cut",
        interpolation="area",
        resampler="area_floats",
        rounding="halves",
        channels=1,
        low=-1024.0,
        high=1024.0,
        mean=(0.0,),
        std=(1.0,),
    )
