"""Which recipe values does a view have, and which are those of the paper's views?"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ViewSpec:
    """All recipe values of a view (the paper's B.3), in the order in which they act.

    size: side in pixels. crop_scale: share of the area; crop_ratio: width over height. degrees: largest rotation
    either way. translate: largest shift as a share of width and of height (not a range). scale: range of zoom.
    degrees, translate and scale are 0, (0, 0), (1, 1) where there is no affine. affine_interpolation: "nearest",
    torchvision's default and what the authors ran, or "bilinear". brightness and contrast: ranges of factors.
    blur_sigma in pixels; blur_kernel odd, in pixels. solarize_threshold in [0, 1].
    Raises ValueError for a value that no view can have.
    """

    size: int
    crop_scale: tuple[float, float]
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip_p: float = 0.5
    degrees: float = 0.0
    translate: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    jitter_p: float = 0.0
    brightness: tuple[float, float] = (0.6, 1.4)
    contrast: tuple[float, float] = (0.6, 1.4)
    blur_p: float = 0.0
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    blur_kernel: int = 23
    solarize_p: float = 0.0
    solarize_threshold: float = 128 / 255
    affine_interpolation: str = "nearest"

    def __post_init__(self) -> None:
        for name in ("flip_p", "jitter_p", "blur_p", "solarize_p", "solarize_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"ViewSpec.{name} is {getattr(self, name)}: it must be in [0, 1]")
        for name in ("crop_scale", "crop_ratio", "scale", "blur_sigma", "brightness", "contrast"):
            low, high = getattr(self, name)
            if not 0 <= low <= high or (low == 0 and name not in ("brightness", "contrast")):
                raise ValueError(f"ViewSpec.{name} is {(low, high)}: give (low, high), positive, in order")
        if self.blur_kernel % 2 == 0 or not 0 < self.blur_kernel < 2 * self.size:
            raise ValueError(
                f"ViewSpec.blur_kernel is {self.blur_kernel} at size {self.size}: it must be odd, below twice the size"
            )
        if self.affine_interpolation not in ("nearest", "bilinear"):
            raise ValueError(
                f'ViewSpec.affine_interpolation is {self.affine_interpolation!r}: take "nearest" or "bilinear"'
            )

    @property
    def moves(self) -> bool:
        """Whether there is an affine."""
        return self.degrees > 0 or tuple(self.translate) != (0, 0) or tuple(self.scale) != (1, 1)


def kernel_for(size: int) -> int:
    """The odd number next to a tenth of the size: 23 at 224."""
    return max(3, 2 * (size // 20) + 1)


def multi_modal_view(size: int, jitter_p: float = 0.5) -> ViewSpec:
    """The view that is paired with the report (B.3): crop, affine, jitter and blur; no solarisation."""
    return ViewSpec(
        size,
        (0.6, 1.0),
        degrees=20.0,
        translate=(0.09, 0.10),
        scale=(0.95, 1.05),
        jitter_p=jitter_p,
        blur_p=0.5,
        blur_sigma=(0.1, 3.0),
        blur_kernel=kernel_for(size),
    )


def ssl_view_1(size: int) -> ViewSpec:
    """The first self-supervised view (B.3): always blurred."""
    return ViewSpec(size, (0.75, 1.0), jitter_p=0.8, blur_p=1.0, blur_kernel=kernel_for(size))


def ssl_view_2(size: int) -> ViewSpec:
    """The second self-supervised view (B.3): seldom blurred, sometimes solarised."""
    return ViewSpec(size, (0.75, 1.0), jitter_p=0.8, blur_p=0.1, blur_kernel=kernel_for(size), solarize_p=0.2)
