"""Which methods are there: an explicit dict of each kind, and the joint methods by product."""

from collections.abc import Mapping
from itertools import product
from typing import Any

from datasets_io.nearest import did_you_mean
from trainables.objectives.barlow_twins import BarlowTwinsConfig
from trainables.objectives.base import ImageImageConfig
from trainables.objectives.clip import ClipConfig
from trainables.objectives.convirt import ConvirtConfig
from trainables.objectives.joint import JointConfig, JointSettings
from trainables.objectives.mocov2 import MocoV2Config
from trainables.objectives.simclr import SimClrConfig
from trainables.objectives.vicreg import VicRegConfig
from trainables.recipe import ObjectiveConfig

IMAGE_TEXT: dict[str, type[ClipConfig]] = {"clip": ClipConfig, "convirt": ConvirtConfig}
IMAGE_IMAGE: dict[str, type[ImageImageConfig]] = {
    "mocov2": MocoV2Config,
    "simclr": SimClrConfig,
    "vicreg": VicRegConfig,
    "barlow_twins": BarlowTwinsConfig,
}
_KINDS: dict[str, type[ClipConfig] | type[ImageImageConfig]] = {**IMAGE_TEXT, **IMAGE_IMAGE}
# Every part alone, and every pair of an image-text with an image-image part: a new part brings its joint methods.
METHODS: tuple[str, ...] = (
    *IMAGE_TEXT,
    *IMAGE_IMAGE,
    *(f"{text}+{image}" for image, text in product(IMAGE_IMAGE, IMAGE_TEXT)),
)
# In the order of the paper's Table 1.
PAPER_METHODS: tuple[str, ...] = (
    "clip",
    "convirt",
    "mocov2",
    "simclr",
    "vicreg",
    "clip+mocov2",
    "convirt+mocov2",
    "clip+simclr",
    "convirt+simclr",
    "clip+vicreg",
    "convirt+vicreg",
)

IMAGE_TEXT_GROUP, IMAGE_IMAGE_GROUP, JOINT_GROUP = "image-text", "image-image", "joint"


def check_method(method: str) -> None:
    """Raise ValueError with the known names, and the nearest one."""
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(METHODS)}{did_you_mean(method, METHODS)}")


def objective_config(method: str, base: Mapping[str, Any], joint: JointSettings) -> ObjectiveConfig:
    """The configuration of a method: from `base` where it has one for a part, else the part's defaults.

    base: part name -> its configuration; joint: used by joint methods only. Raises ValueError for an unknown method.
    """
    check_method(method)
    # A name is one part, or `image-text+image-image`.
    text, plus, image = method.partition("+")
    if not plus:
        return base.get(method) or _KINDS[method]()
    return JointConfig(base.get(text) or IMAGE_TEXT[text](), base.get(image) or IMAGE_IMAGE[image](), joint)


def method_group(method: str) -> str:
    """`image-text`, `image-image` or `joint`. Raises ValueError for an unknown method."""
    check_method(method)
    if "+" in method:
        return JOINT_GROUP
    return IMAGE_TEXT_GROUP if method in IMAGE_TEXT else IMAGE_IMAGE_GROUP


def needs_reports(method: str) -> bool:
    """Whether a method reads reports, so that its corpus must have them."""
    return method_group(method) != IMAGE_IMAGE_GROUP


def display_name(method: str) -> str:
    """As the paper writes it: `clip+simclr` is SimCLR-CLIP. Raises ValueError for an unknown method."""
    check_method(method)
    return "-".join(_KINDS[name].display for name in reversed(method.split("+")))
