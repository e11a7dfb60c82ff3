"""How does an encoder's library say it was fed: timm's pretrained_cfg, transformers' processor, open_clip's config.

Each reader gives what that library's own transform does, or refuses by name what cannot be done here.
"""

import math
from collections.abc import Mapping
from typing import Any

from trainables.views.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

BY_HAND = "give preprocessing=Preprocessing(...) by hand"
OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
PIL_CODES = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")  # by their numbers in Pillow

# Fields of a processor's file that change nothing of a grey picture's values.
NEUTRAL = frozenset(
    [
        "image_processor_type",
        "feature_extractor_type",
        "processor_class",
        "do_convert_rgb",
        "do_flip_channel_order",
        "data_format",
        "input_data_format",
        "return_tensors",
        "device",
        "disable_grouping",
        "default_to_square",
        "do_reduce_labels",
        "num_channels",
        "antialias",
        "model_input_names",
        "image_seq_length",
        "_valid_processor_keys",
    ]
)
READ = frozenset(
    [
        "size",
        "crop_size",
        "resample",
        "do_resize",
        "do_center_crop",
        "do_rescale",
        "rescale_factor",
        "do_normalize",
        "image_mean",
        "image_std",
        "crop_pct",
        "include_top",
        "rescale_offset",
    ]
)
# Classes whose own methods do what `of_transformers` does, or only read segmentation maps besides.
WITH_OWN_METHODS = frozenset(
    [
        "BeitImageProcessor",
        "MobileNetV2ImageProcessor",
        "MobileViTImageProcessor",
        "SegformerImageProcessor",
        "ConvNextImageProcessor",
        "LevitImageProcessor",
        "DINOv3ViTImageProcessor",
        "EfficientNetImageProcessor",
    ]
)


def of_timm(config: Mapping[str, Any]) -> Preprocessing:
    """As timm's create_transform(**resolve_data_config(pretrained_cfg=config)); test_* are not used there.

    Raises ValueError for an input that is no square, and for a border whose colour is no grey.
    """
    channels, height, width = config.get("input_size") or (3, 224, 224)
    size = _square(height, width, "input_size")
    mean = _values(config.get("mean") or IMAGENET_MEAN, channels)
    mode = config.get("crop_mode") or "center"
    fill = {round(255 * value) for value in mean} if mode == "border" else {0}
    if len(fill) > 1:
        raise ValueError(f"crop_mode 'border' pads with the colour {mean}, which is no grey: {BY_HAND}")
    side = math.floor(size / (config.get("crop_pct") or 0.875))
    return Preprocessing(
        size,
        {"center": "shortest", "squash": "squash", "border": "longest"}[mode],
        None if side == size else side,
        _interpolation(config.get("interpolation") or "bicubic"),
        fill=fill.pop(),
        channels=channels,
        mean=mean,
        std=_values(config.get("std") or IMAGENET_STD, channels),
    )


def of_open_clip(config: Mapping[str, Any], size: int | None = None) -> Preprocessing:
    """As open_clip's image_transform_v2 of a `preprocess_cfg`. size: the model's image_size, where it says none.

    Raises ValueError for an input that is no square.
    """
    sides = config.get("size") or size or 224
    height, width = (sides, sides) if isinstance(sides, int) else sides
    mode = config.get("resize_mode") or "shortest"
    return Preprocessing(
        _square(height, width, "size"),
        _known(mode, ("shortest", "longest", "squash"), "resize_mode"),
        interpolation=_interpolation(config.get("interpolation") or "bicubic"),
        fill=int(config.get("fill_color") or 0),
        mean=_values(config.get("mean") or OPENAI_MEAN, 3),
        std=_values(config.get("std") or OPENAI_STD, 3),
    )


def of_transformers(file: Mapping[str, Any], kind: str | None = None, resampler: str = "torch_bytes") -> Preprocessing:
    """As the image processor that a preprocessor_config.json names; what it leaves out is the class's default.

    kind: name of the class where the file names none. resampler: `torch_bytes`, which AutoImageProcessor takes, or
    `pillow` for the classes whose names end with Pil. Raises ValueError for what cannot be done here.
    """
    kind = _kind(file, kind)
    defaults = _defaults(kind)
    unknown = sorted(name for name, value in file.items() if name not in READ | NEUTRAL and value not in (None, False))
    if unknown:
        raise ValueError(f"{kind} has {unknown[0]}={file[unknown[0]]!r}, which cannot be done here: {BY_HAND}")
    values = {**defaults, **{name: value for name, value in file.items() if value is not None}}
    if kind == "DINOv3ViTImageProcessor" and values["do_rescale"]:
        resampler = "torch_floats"  # it rescales first, and resizes floats
    interpolation = PIL_CODES[values["resample"] if values["resample"] is not None else 2]
    size, geometry, resize = _transformers_geometry(kind, values)
    low, high, mean, std = _transformers_range(values)
    return Preprocessing(
        size,
        geometry,
        None if resize == size else resize,
        interpolation,
        "pillow" if interpolation in ("box", "hamming") else resampler,
        "down",
        low=low,
        high=high,
        mean=mean,
        std=std,
    )


def processor_of_model(model_type: str) -> str | None:
    """The class of transformers' image processor for a kind of model; None where there is none."""
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    names = IMAGE_PROCESSOR_MAPPING_NAMES.get(model_type)
    return None if names is None else _class_name(next(iter(dict(names).values())))


def _class_name(name: str) -> str:
    name = name.replace("FeatureExtractor", "ImageProcessor")
    for ending in ("Fast", "Pil"):
        name = name.removesuffix(ending)
    return name


def _kind(file: Mapping[str, Any], kind: str | None) -> str:
    named = file.get("image_processor_type") or file.get("feature_extractor_type") or kind
    if "auto_map" in file:
        raise ValueError(f"the processor {named or ''} is code of its own, which is not run here: {BY_HAND}")
    if named is None:
        raise ValueError(f"the file names no image_processor_type: {BY_HAND}")
    return _class_name(named)


def _defaults(kind: str) -> dict[str, Any]:
    """The class's own values. Raises ValueError for a class that does something of its own."""
    import transformers
    from transformers.image_processing_backends import TorchvisionBackend

    found: Any = getattr(transformers, kind, None)
    if not isinstance(found, type) or not issubclass(found, TorchvisionBackend):
        raise ValueError(f"transformers has no plain image processor {kind!r}: {BY_HAND}")
    ours = {name for base in found.__mro__[: found.__mro__.index(TorchvisionBackend)] for name in vars(base)}
    changed = sorted(ours & {name for name in vars(TorchvisionBackend) if callable(getattr(found, name, None))})
    changed = [name for name in changed if not name.startswith("__")]
    if (changed or "preprocess" in ours) and kind not in WITH_OWN_METHODS:
        raise ValueError(
            f"{kind} prepares images in a way of its own ({', '.join(changed) or 'preprocess'}): {BY_HAND}"
        )
    return {name: getattr(found, name, None) for name in (*READ, "default_to_square")}


def _transformers_geometry(kind: str, values: Mapping[str, Any]) -> tuple[int, str, int]:
    """(size, geometry, resize)."""
    if not values["do_resize"]:
        raise ValueError(f"{kind} has do_resize=false, so that its images have any size: {BY_HAND}")
    size, square = values["size"], values["default_to_square"]
    if isinstance(size, int):
        size = {"height": size, "width": size} if square else {"shortest_edge": size}
    sides = {name for name, value in dict(size).items() if value}
    if sides == {"height", "width"}:
        resize, geometry = _square(size["height"], size["width"], "size"), "squash"
    elif sides == {"shortest_edge"}:
        resize, geometry = int(size["shortest_edge"]), "shortest"
    else:
        raise ValueError(f"{kind} has size={dict(size)}: only shortest_edge, or height and width, give a square here")
    if kind == "ConvNextImageProcessor":
        # Its size is that of the network: below 384 the rim is cut off, from there on the picture is squashed.
        return (resize, "squash", resize) if resize >= 384 else (resize, "shortest", int(resize / values["crop_pct"]))
    if kind == "LevitImageProcessor" and geometry == "shortest":
        resize = int((256 / 224) * resize)
    if not values["do_center_crop"]:
        if geometry == "shortest":
            raise ValueError(f"{kind} has shortest_edge {resize} and no centre crop, so that its images are no squares")
        return resize, geometry, resize
    crop = values["crop_size"]
    if not isinstance(crop, int):
        crop = crop.get("shortest_edge") or _square(crop["height"], crop["width"], "crop_size")
    return crop, geometry, resize


def _transformers_range(values: Mapping[str, Any]) -> tuple[float, float, tuple[float, ...], tuple[float, ...]]:
    """(low, high, mean, std)."""
    factor = (values["rescale_factor"] if values["rescale_factor"] is not None else 1 / 255) * 255
    low, high = 0.0, float(factor) if values["do_rescale"] else 255.0
    if values["do_rescale"] and values["rescale_offset"]:
        low, high = low - 1, high - 1
    if math.isclose(high, 1.0, rel_tol=1e-9):
        high = 1.0
    if not values["do_normalize"]:
        return low, high, (0.0,) * 3, (1.0,) * 3
    mean, std = _values(values["image_mean"], 3), _values(values["image_std"], 3)
    if values["include_top"]:  # EfficientNet's: a second division by the deviation
        std = tuple(value * value for value in std)
    return low, high, mean, std


def _square(height: int, width: int, name: str) -> int:
    if height != width:
        raise ValueError(f"{name} is {height} x {width}: only squares can be made here; {BY_HAND}")
    return int(height)


def _values(values: Any, channels: int) -> tuple[float, ...]:
    found = (values,) if isinstance(values, int | float) else tuple(values)
    return tuple(map(float, found * channels if len(found) == 1 else found))


def _interpolation(name: str) -> str:
    # timm draws one of several in training where a config says `random`; evaluation has bilinear then.
    return "bilinear" if name == "random" else name


def _known(value: str, allowed: tuple[str, ...], name: str) -> str:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")
    return value
