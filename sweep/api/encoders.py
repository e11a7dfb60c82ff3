"""An encoder of a storage as a torch module, with all that its images go through before it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL.Image import Image as Picture
from PIL.ImageOps import exif_transpose
from torch import Tensor, nn

from datasets_io.nearest import did_you_mean
from datasets_io.pixels.grey import PixelError, PixelSpec, resize, to_bytes
from datasets_io.pixels.png import luma
from datasets_io.pixels.worker import DecodeWorker
from datasets_io.storage.artefacts import CorruptArtefact
from sweep.api.arguments import in_words_of_python
from sweep.api.frames import Place, opened
from sweep.export.encoder_files import find_encoder
from sweep.store.damage import mend_of
from sweep.studies.study import Dataset, Study
from trainables.evaluation.cell_model import load_backbone
from trainables.evaluation.dataset import backbone_input
from trainables.evaluation.features import EVALUATION_BATCH
from trainables.training.devices import own_device
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.preprocessing import Preprocessing

Image = str | PathLike[str] | np.ndarray | Tensor | Picture


@dataclass(frozen=True)
class Encoder:
    """name: in the study, such as `clip-p0`; key: over all that decides its weights, 12 hex digits.

    module: the image network in eval mode, (B, C, S, S) float32 as `preprocess` makes them -> (B, D) features.
    pixels: how the files of an archive are stored: size, shape and intensity. sees: what the network gets of them.
    """

    name: str
    key: str
    module: nn.Module = field(repr=False)
    pixels: PixelSpec
    sees: BackboneInput

    @property
    def preprocessing(self) -> Preprocessing | EvalSpec:
        """The network's own; of one that has none, that of the dataset: its `normalise`, mean and std, and size."""
        return self.sees.own or self.sees.eval_spec.at_size(self.sees.size)

    def preprocess(self, images: Iterable[Image] | Image) -> Tensor:
        """Images as `sweep.embed` takes them -> (B, C, S, S) float32 on the CPU, for `module`."""
        return self._tensor(list(self._pictures(images)), torch.device("cpu"))

    def _tensor(self, pictures: Sequence[np.ndarray], device: torch.device) -> Tensor:
        """pictures: as `_pictures` gives them."""
        return self.sees.images(np.stack(pictures), None, device)

    def _pictures(self, images: Any) -> Iterator[np.ndarray]:
        """Each image as an archive's is stored, then fitted for the network: (S, S) uint8, or float32 in [0, 1]."""
        fit = self.sees.fit(self.pixels.shape)
        with DecodeWorker(self.pixels) as worker:
            for number, image in enumerate(_each(images)):
                if isinstance(image, (str, PathLike)):
                    try:
                        stored = worker.decode(Path(image).expanduser().resolve()).pixels
                    except PixelError as error:
                        raise ValueError(f"{image} cannot be read as an image: {error.reason}") from None
                else:
                    stored = _stored(image, self.pixels, number)
                yield stored if fit is None else fit(stored)


def load_encoder(
    storage: Place, name: str, study: str | Study = "demo", *, dataset: str | None = None, raw: Sequence[str] = ()
) -> Encoder:
    """A finished encoder of a study, on the CPU.

    name: a row (`clip`, its first pretraining seed), one of its encoders (`clip-p1`), or a key. dataset: as whose
    images files are to be stored, and with whose normalisation where the network has no preprocessing of its own; the
    study's first where none is given. storage, study, raw: as of `sweep.results`. Raises ValueError for what there is
    not, and for an encoder that is unfinished or damaged.
    """
    found = opened(storage, study, raw)
    with in_words_of_python():
        run = find_encoder(found, name)
    where = _dataset(found.study, dataset)
    spec = run.recipe.backbone
    try:
        module = load_backbone(found.store.files, found.store.folder(run), spec)
    except FileNotFoundError:
        raise ValueError(f"encoder {run} is not finished in {found.store.shown}") from None
    except CorruptArtefact as error:
        raise ValueError(f"encoder {run} is damaged: {error.what}: {mend_of(error)}") from None
    build = found.study.build_read(spec, where).spec
    pixels = PixelSpec(build.image_size, build.intensity, shape=build.shape)
    return Encoder(str(run), run.key, module, pixels, backbone_input(spec, where.recipe))


@torch.no_grad()
def embed(
    encoder: Encoder,
    images: Iterable[Image] | Image,
    *,
    batch_size: int = EVALUATION_BATCH,
    device: str | torch.device | None = None,
) -> np.ndarray:
    """(N, D) float32 features, those that a cell of the study has of the same images with one crop and no mirroring.

    images: files (DICOM, PNG, JPEG), read as an archive's in a process with limits; or grey pictures, (H, W) each or
    (N, H, W): uint8 as they are, integers of more bits stretched from their smallest to their largest value, floats in
    [0, 1]; or pictures of Pillow, grey or with a palette, whose colours become grey, turned as their EXIF says. Each is
    brought to the size of the study's shards, then to the network's. At most batch_size are in memory.
    device: None: a GPU where there is one. The module stays there. Raises ValueError for what is no such image.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: at least 1")
    place = own_device() if device is None else torch.device(device)
    module = encoder.module.to(place).eval()
    pictures = encoder._pictures(images)
    rows = []
    while batch := list(islice(pictures, batch_size)):
        rows.append(module(encoder._tensor(batch, place)).float().cpu().numpy())
    if not rows:
        raise ValueError("there is no image to embed")
    return np.concatenate(rows)


def _dataset(study: Study, name: str | None) -> Dataset:
    known = {dataset.instance: dataset for dataset in study.datasets}
    if name is None:
        return study.datasets[0]
    if name not in known:
        raise ValueError(
            f"study {study.name!r} has no dataset {name!r}; it has {', '.join(known)}{did_you_mean(name, known)}"
        )
    return known[name]


def _each(images: Any) -> Iterable[Any]:
    """One file or (H, W) picture is one image; anything else is gone through.

    Raises ValueError for (H, W, 1 to 4), which would be taken for as many images as the picture has rows.
    """
    if isinstance(images, Picture):
        images = _of_pillow(images)
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) == 3 and shape[-1] in (1, 2, 3, 4):
        raise ValueError(f"images have shape {shape}, as one picture with channels has: give grey ones, (H, W) each")
    return [images] if isinstance(images, (str, PathLike)) or len(shape) == 2 else images


def _of_pillow(image: Picture) -> np.ndarray:
    """Its values, upright, as a file's are; with a palette the luma of its colours: the values are places in it."""
    image = exif_transpose(image)
    return luma(np.asarray(image.convert("RGB"))) if image.mode == "P" else np.asarray(image)


def _stored(image: Any, spec: PixelSpec, number: int) -> np.ndarray:
    """A picture as the build would store it, had it come from a file: (rows, columns) of spec.stored, uint8."""
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        image = image.float() if image.is_floating_point() else image  # numpy has no bfloat16
    grey = _of_pillow(image) if isinstance(image, Picture) else np.asarray(image)
    if grey.ndim != 2 or grey.size == 0:
        raise ValueError(
            f"image {number} has shape {grey.shape}: give grey pictures, (H, W) each; what is prepared for the network "
            "already goes to encoder.module"
        )
    if grey.dtype.kind == "f":
        if not (grey.min() >= 0 and grey.max() <= 1):  # NaN is neither
            raise ValueError(f"image {number} has values of {grey.min()} to {grey.max()}: floats are to be in [0, 1]")
        grey = np.rint(grey.astype(np.float32) * 255).astype(np.uint8)
    if grey.dtype == np.uint8:
        return resize(grey, spec.stored(*grey.shape))
    if grey.dtype.kind not in "iu":
        raise ValueError(f"image {number} has values of type {grey.dtype}: give integers, or floats in [0, 1]")
    try:
        return to_bytes(grey, PixelSpec(spec.image_size, shape=spec.shape))
    except PixelError as error:
        raise ValueError(f"image {number} cannot be used: {error.reason}") from None
