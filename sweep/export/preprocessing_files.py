"""How an exported encoder is to be fed, in the words of timm's pretrained_cfg and transformers' image processors."""

import math
from typing import Any

from trainables.views.preprocessing import Preprocessing
from trainables.views.published import PIL_CODES, of_timm, of_transformers

CROP_MODES = {"shortest": "center", "squash": "squash", "longest": "border"}


def timm_fields(own: Preprocessing) -> tuple[dict[str, Any], bool]:
    """The fields of a pretrained_cfg, and whether timm's transform made of them is this preprocessing exactly.

    Sizes, mean and std are right in either case.
    """
    side, (mean, std) = own.resize or own.size, _folded(own)
    fields = {
        "input_size": [own.channels, own.size, own.size],
        # timm resizes to floor(size / crop_pct): half a pixel more where the quotient falls below.
        "crop_pct": next(
            pct for pct in (own.size / side, own.size / (side + 0.5)) if math.floor(own.size / pct) == side
        ),
        "crop_mode": CROP_MODES.get(own.geometry, "center"),
        # Neither library knows OpenCV's, and they load no file that names it: the mean over a box is the nearest.
        "interpolation": "box" if own.interpolation == "area" else own.interpolation,
        "mean": list(mean),
        "std": list(std),
    }
    plain = own.resampler == "pillow" and (own.rounding == "even" or side == own.size) and not own.min_max
    return fields, plain and own.interpolation != "area" and _same(fields, own)


def _same(fields: dict[str, Any], own: Preprocessing) -> bool:
    try:
        read = of_timm(fields)
    except ValueError:  # a border of another colour
        return False
    return (read.geometry, read.resize, read.fill) == (own.geometry, _other(own), own.fill)


def transformers_fields(own: Preprocessing) -> dict[str, Any] | None:
    """The content of a preprocessor_config.json; None where no processor of transformers does the same."""
    side, (mean, std) = own.resize or own.size, _folded(own)
    able = own.geometry in ("squash", "shortest") and own.resampler != "area_floats" and side >= own.size
    if not able or own.channels != 3 or own.min_max or own.interpolation not in PIL_CODES:
        return None
    plain = "ViTImageProcessor" if own.geometry == "squash" else "BitImageProcessor"
    fields: dict[str, Any] = {
        "image_processor_type": "DINOv3ViTImageProcessor" if own.resampler == "torch_floats" else plain,
        "do_resize": True,
        "size": {"shortest_edge": side} if own.geometry == "shortest" else {"height": side, "width": side},
        "resample": PIL_CODES.index(own.interpolation),
        "do_center_crop": own.geometry == "shortest" or side != own.size,
        "crop_size": {"height": own.size, "width": own.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(mean),
        "image_std": list(std),
        "do_convert_rgb": True,
    }
    read = of_transformers(fields)
    same = (read.size, read.geometry, read.resize) == (own.size, own.geometry, _other(own))
    return fields if same else None


def _other(own: Preprocessing) -> int | None:
    """`resize` where it is another side than size."""
    return None if own.resize in (None, own.size) else own.resize


def _folded(own: Preprocessing) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std for values in [0, 1]: those libraries know no other range."""
    span = own.high - own.low
    return tuple((value - own.low) / span for value in own.mean), tuple(value / span for value in own.std)
