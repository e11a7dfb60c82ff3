"""Does an encoder get of a stored radiograph exactly what its own library would make of it?"""

import json
from collections.abc import Callable

import numpy as np
import open_clip
import pytest
import torch
import transformers
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torch import Tensor, nn

from datasets_io.schema import stored_shape
from trainables.networks.backbones import build_backbone
from trainables.recipe import BackboneSpec
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.preprocessing import Preprocessing, torchxrayvision
from trainables.views.published import of_open_clip, of_timm, of_transformers

CPU = torch.device("cpu")
PICTURES = ("NIH-ChestX-ray14/images/*.png", "CheXpert-v1.0-small/**/*.jpg", "originals/covid/*.jp*")


@pytest.fixture(scope="module")
def stored(shared_data) -> list[np.ndarray]:
    """Radiographs as an aspect store keeps them, of several shapes; the last have sides that halve to .5."""
    found: list[np.ndarray] = []
    for pattern in PICTURES:
        paths = sorted((shared_data / "real_cxr").glob(pattern))
        for path in paths[:: max(1, len(paths) // 4)][:4]:
            grey = Image.open(path).convert("L")
            rows, columns = stored_shape(grey.height, grey.width, 300, "aspect")
            found.append(np.asarray(grey.resize((columns, rows), Image.Resampling.BILINEAR)))
    found += [found[0][:281, :240], found[0][:232, :299], found[0][:299, :298]]
    assert len({picture.shape for picture in found}) > 5
    return found


def ours(own: Preprocessing, picture: np.ndarray) -> Tensor:
    sees = BackboneInput(EvalSpec(32, resize=40, normalise=False), own.size, own)
    fit = sees.fit("aspect")
    assert fit is not None
    return sees.images(fit(picture)[None], None, CPU)[0]


def by_timm(**config: object) -> tuple[Preprocessing, Callable[[np.ndarray], Tensor]]:
    transform = create_transform(**resolve_data_config(pretrained_cfg=config))
    return of_timm(config), lambda picture: transform(Image.fromarray(picture).convert("RGB"))


def by_open_clip(**config: object) -> tuple[Preprocessing, Callable[[np.ndarray], Tensor]]:
    cfg = open_clip.transform.PreprocessCfg(**config)
    transform = open_clip.transform.image_transform_v2(cfg, is_train=False)
    return of_open_clip(config), lambda picture: transform(Image.fromarray(picture).convert("RGB"))


def by_transformers(kind: str, pil: bool = False, **config: object) -> tuple[Preprocessing, Callable[..., Tensor]]:
    processor = getattr(transformers, kind + "Pil" * pil)(**config)
    file = json.loads(processor.to_json_string())
    own = of_transformers(file, resampler="pillow" if pil else "torch_bytes")
    # What the file leaves out is the class's.
    short = {name: value for name, value in config.items()} | {"image_processor_type": kind}
    assert of_transformers(short, resampler="pillow" if pil else "torch_bytes") == own

    def transform(picture: np.ndarray) -> Tensor:
        rgb = Image.fromarray(picture).convert("RGB")
        return torch.as_tensor(processor(rgb, return_tensors="pt")["pixel_values"][0])

    return own, transform


def by_torchxrayvision(size: int) -> tuple[Preprocessing, Callable[[np.ndarray], Tensor]]:
    """XRayCenterCrop and XRayResizer with engine cv2, from their description: the package is not needed for it."""
    import cv2

    def transform(picture: np.ndarray) -> Tensor:
        image = (2 * (picture.astype(np.float32) / 255) - 1) * 1024
        side = min(image.shape)
        top, left = image.shape[0] // 2 - side // 2, image.shape[1] // 2 - side // 2
        square = image[top : top + side, left : left + side]
        return torch.from_numpy(cv2.resize(square, (size, size), interpolation=cv2.INTER_AREA))[None]

    return torchxrayvision(size), transform


HALF = (0.5, 0.5, 0.5)
KINDS: dict[str, Callable[[], tuple[Preprocessing, Callable[[np.ndarray], Tensor]]]] = {
    "timm ResNet": lambda: by_timm(input_size=(3, 96, 96), interpolation="bilinear"),
    "timm ViT": lambda: by_timm(input_size=(3, 96, 96), crop_pct=0.9, interpolation="bicubic", mean=HALF, std=HALF),
    "timm DINOv2": lambda: by_timm(input_size=(3, 98, 98), crop_pct=1.0, interpolation="bicubic"),
    "timm squash": lambda: by_timm(input_size=(3, 96, 96), crop_pct=0.95, crop_mode="squash", mean=HALF, std=HALF),
    "timm border": lambda: by_timm(input_size=(3, 97, 97), crop_pct=1.0, crop_mode="border", mean=HALF, std=HALF),
    "timm border, cropped": lambda: by_timm(input_size=(3, 97, 97), crop_pct=0.8, crop_mode="border", mean=HALF),
    "open_clip CLIP": lambda: by_open_clip(size=96),
    "open_clip SigLIP": lambda: by_open_clip(size=96, resize_mode="squash", mean=HALF, std=HALF),
    "open_clip padded": lambda: by_open_clip(size=95, resize_mode="longest", interpolation="bilinear", fill_color=7),
    "RAD-DINO": lambda: by_transformers(
        "BitImageProcessor",
        size={"shortest_edge": 98},
        crop_size={"height": 98, "width": 98},
        image_mean=[0.5307] * 3,
        image_std=[0.2583] * 3,
    ),
    "DINOv2": lambda: by_transformers("BitImageProcessor", size={"shortest_edge": 110}, crop_size=97),
    "DINOv2, Pillow": lambda: by_transformers("BitImageProcessor", True, size={"shortest_edge": 110}, crop_size=97),
    "CLIP": lambda: by_transformers("CLIPImageProcessor", size=96, crop_size=96),
    "CLIP, Pillow": lambda: by_transformers("CLIPImageProcessor", True, size=96, crop_size=96),
    "SigLIP": lambda: by_transformers("SiglipImageProcessor", size={"height": 96, "width": 96}),
    "SigLIP2": lambda: by_transformers("SiglipImageProcessor", size={"height": 96, "width": 96}, resample=2),
    "ViT": lambda: by_transformers("ViTImageProcessor", size=96),
    "ViT, Pillow": lambda: by_transformers("ViTImageProcessor", True, size={"height": 96, "width": 96}),
    "ViT, not normalised": lambda: by_transformers("ViTImageProcessor", size=96, do_normalize=False),
    "ViT in bytes": lambda: by_transformers("ViTImageProcessor", size=96, do_rescale=False, image_mean=[127.0] * 3),
    "DINOv3": lambda: by_transformers("DINOv3ViTImageProcessor", size={"height": 96, "width": 96}),
    "ConvNeXt": lambda: by_transformers("ConvNextImageProcessor", size={"shortest_edge": 97}),
    "ConvNeXt, Pillow": lambda: by_transformers("ConvNextImageProcessor", True, size={"shortest_edge": 97}),
    "ConvNeXt 384": lambda: by_transformers("ConvNextImageProcessor", size={"shortest_edge": 384}),
    "DeiT": lambda: by_transformers("DeiTImageProcessor", size={"height": 109, "width": 109}, crop_size=96),
    "BEiT": lambda: by_transformers("BeitImageProcessor", size=96),
    "LeViT": lambda: by_transformers("LevitImageProcessor", size={"shortest_edge": 96}, crop_size=96),
    "MobileNetV2": lambda: by_transformers("MobileNetV2ImageProcessor", size={"shortest_edge": 110}, crop_size=96),
    "EfficientNet": lambda: by_transformers("EfficientNetImageProcessor", size=96, rescale_offset=True),
    "BLIP": lambda: by_transformers("BlipImageProcessor", size={"height": 96, "width": 96}),
    "torchxrayvision": lambda: by_torchxrayvision(96),
}


@pytest.fixture(scope="module")
def networks() -> dict[int, nn.Module]:
    """Small random networks by their number of channels."""
    grey = BackboneSpec("resnet10t", 96, (("in_chans", 1),), torchxrayvision(96))
    return {spec.channels: build_backbone(spec, seed=0).eval() for spec in (grey, BackboneSpec("resnet10t", 96))}


@pytest.mark.parametrize("kind", KINDS)
def test_features_are_those_of_the_librarys_own_transform(kind, stored, networks):
    own, transform = KINDS[kind]()
    for number, picture in enumerate(stored):
        mine, theirs = ours(own, picture), transform(picture)
        assert mine.shape == theirs.shape == (own.channels, own.size, own.size)
        scale = float(theirs.abs().max())
        torch.testing.assert_close(mine / scale, theirs / scale, atol=2e-6, rtol=0)
        if number % 5:  # equal pixels give equal features: a few show it
            continue
        with torch.no_grad():
            a, b = (networks[own.channels](images[None] / (1 if scale < 10 else scale)) for images in (mine, theirs))
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
    # The test could fail: EvalSpec's own way with the same picture gives something else.
    assert not torch.allclose(ours(Preprocessing(own.size, mean=(0.4,) * 3), stored[0])[:1], transform(stored[0])[:1])
