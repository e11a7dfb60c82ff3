"""What does an image network expect of its images: size, resize, crop, channels, range, mean and standard deviation?"""

from dataclasses import dataclass

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GEOMETRIES = ("squash", "shortest", "longest")
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
RESAMPLERS = ("pillow", "torch_bytes", "torch_floats")
CHANNELS = (1, 3)


@dataclass(frozen=True)
class Preprocessing:
    """How an encoder wants its images: part of the encoder, never of a data set, and hashed into its row's key.

    size: side in pixels of the square that the network sees. geometry: `squash` resizes both sides to `resize`;
    `shortest` resizes the shorter side to it, and the centre is cut out; `longest` fits the longer side and pads with
    `fill`, a grey value of 0 to 255. resize: None for size. interpolation: one of INTERPOLATIONS, antialiased.
    resampler: whose arithmetic: Pillow's, or torch's on bytes or on floats; they differ by a grey level.
    channels: 1, or 3 equal ones. low, high: what black and white are before mean and std. min_max: each image is
    stretched to low and high first. mean, std: one for each channel. Raises ValueError for a value out of these.
    """

    size: int
    geometry: str = "squash"
    resize: int | None = None
    interpolation: str = "bilinear"
    resampler: str = "pillow"
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
            ("channels", CHANNELS),
        ):
            if (value := getattr(self, name)) not in allowed:
                raise ValueError(f"Preprocessing.{name} is {value!r}; allowed: {', '.join(map(str, allowed))}")
        if self.size < 1:
            raise ValueError(f"Preprocessing.size is {self.size}: the side of a picture is at least 1 pixel")
        if not 0 <= self.fill <= 255:
            raise ValueError(f"Preprocessing.fill is {self.fill}: a grey value is 0 to 255")
        if not self.low < self.high:
            raise ValueError(f"Preprocessing.low is {self.low} and high {self.high}: black must be below white")
        for name in ("mean", "std"):
            if len(getattr(self, name)) != self.channels:
                raise ValueError(
                    f"Preprocessing.{name} has {len(getattr(self, name))} values for {self.channels} channels"
                )
        if min(self.std) <= 0:
            raise ValueError(f"Preprocessing.std is {self.std}: each must be above 0")
