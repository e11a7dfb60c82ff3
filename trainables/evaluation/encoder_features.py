"""What features does a network give of a data set's images: a seeded sample of them, in batches."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import nn

from datasets_io.corpus.read import open_split, read_manifest, read_table
from datasets_io.fingerprint import derive_seed
from datasets_io.storage.files import ReadFiles
from trainables.evaluation.dataset import LATERAL_VIEWS, MappedRows
from trainables.evaluation.features import EVALUATION_BATCH
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation_spec import EvalSpec

HELD_OUT_FIRST = ("test", "val", "train")


@dataclass(frozen=True)
class ImageSample:
    """Images of one data set. pixels: (N, S, S) uint8; patient_ids: (N,), unique within the set only.

    held_out: (N,) bool, which are not of its training split.
    """

    source: str
    pixels: np.ndarray
    image_ids: np.ndarray
    patient_ids: np.ndarray
    held_out: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def side(self) -> int:
        """Of its square images, in pixels."""
        return int(self.pixels.shape[1])

    def at(self, side: int) -> "ImageSample":
        """The same images, shrunk where they are larger than that."""
        if self.side <= side:
            return self
        # Lanczos and not the build's bilinear filter, which has been applied once: radiographs built at 256 and shrunk
        # to 224 so have the fine detail of those built at 224, to 1% in the median; bilinear twice leaves 7% less.
        shrunk = [Image.fromarray(image).resize((side, side), Image.Resampling.LANCZOS) for image in self.pixels]
        return replace(self, pixels=np.stack([np.asarray(image) for image in shrunk]))

    def first(self, count: int) -> "ImageSample":
        """A smaller sample of the same kind: rows are in random order already."""
        arrays = (self.pixels, self.image_ids, self.patient_ids, self.held_out)
        return ImageSample(self.source, *(array[:count] for array in arrays))


def equally_many(first: ImageSample, second: ImageSample) -> tuple[ImageSample, ImageSample]:
    """As many of both, so that chance is one half, and as sharp, so that sharpness does not tell the sets.

    A corpus at 224 beside a dataset at 256 would be enlarged by the dataset's recipe, which the dataset is not.
    """
    count, side = min(len(first), len(second)), min(first.side, second.side)
    return first.first(count).at(side), second.first(count).at(side)


def two_samples(
    files: ReadFiles, corpus: str, dataset: str, count: int, frontal_only: bool, sees: BackboneInput
) -> tuple[ImageSample, ImageSample, int | None]:
    """At most `count` images of the folders of a corpus and of a dataset, as many and as sharp, fitted for a network.

    And the side of the squares that both were squashed to first; None where a network with a preprocessing of its own
    gets the pictures as its cells do, or has none. A corpus is stored as squares, which its geometry may not want, and
    perhaps at fewer pixels: what is then different between the sets would be how they are stored.
    """
    own, place = sees.own, (corpus, dataset)
    manifests = [read_manifest(files, folder) for folder in place]
    stored, side = (manifest.image_size for manifest in manifests)
    square = manifests[0].shape == "square" and not (own is None or own.geometry == "squash")
    large = own is None or stored >= (own.resize or own.size) or stored == side
    if own is None or (large and not (square and _squashed(files, corpus))):
        first, second = (sample_images(files, folder, count, 0, frontal_only, sees) for folder in place)
        return *equally_many(first, second), None
    whole = BackboneInput(EvalSpec(min(stored, side)))
    first, second = equally_many(*(sample_images(files, folder, count, 0, frontal_only, whole) for folder in place))
    fit = sees.fit("square")
    assert fit is not None, "a preprocessing of one's own always fits"
    fitted = [replace(one, pixels=np.stack([fit(image) for image in one.pixels])) for one in (first, second)]
    return fitted[0], fitted[1], first.side


def _squashed(files: ReadFiles, folder: str) -> bool:
    """Whether a picture of a store of squares was none in the archive."""
    manifest = read_manifest(files, folder)
    for split in HELD_OUT_FIRST:
        table = read_table(files, folder, manifest, split, ["original_rows", "original_columns"])
        if (table["original_rows"].to_numpy() != table["original_columns"].to_numpy()).any():
            return True
    return False


def sample_images(
    files: ReadFiles, folder: str, count: int, seed: int, frontal_only: bool = True, sees: BackboneInput | None = None
) -> ImageSample:
    """`count` images in random order, fewer only where the set has no more: a pure function of the data and the seed.

    Held-out images come first, since networks know the training images: as many training images are drawn as test and
    val do not have. Lateral views are left out with frontal_only, as in cells. sees: of the network.
    """
    manifest = read_manifest(files, folder)
    # total: images that take part in the splits so far, more of them than are chosen.
    pixels, ids, patients, held_out, total = [], [], [], [], 0
    for split in HELD_OUT_FIRST:
        if split == "train" and total >= count:
            break
        images = open_split(files, folder, manifest, split, sees.fit(manifest.shape) if sees else None)
        rows = np.arange(len(images))
        if frontal_only:
            rows = rows[~np.isin(images.view_positions.astype(str), LATERAL_VIEWS)]
        order = np.random.default_rng(derive_seed(seed, "image_sample", manifest.source, split)).permutation(len(rows))
        # No split can give more than `count`, so that a large one is never read whole; training fills up what lacks.
        chosen = np.sort(rows[order[: count - total if split == "train" else count]])
        pixels.append(np.asarray(images.pixels[chosen]))
        ids.append(images.image_ids[chosen])
        patients.append(images.patient_ids[chosen])
        held_out.append(np.full(len(chosen), split != "train"))
        total += len(rows)
    # The splits are mixed, so that the first rows of the sample are a sample of all of them.
    order = np.random.default_rng(derive_seed(seed, "image_sample", manifest.source)).permutation(sum(map(len, ids)))
    kept = order[:count]
    arrays = (np.concatenate(parts)[kept] for parts in (pixels, ids, patients, held_out))
    return ImageSample(manifest.source, *arrays)


@torch.no_grad()
def image_features(
    backbone: nn.Module,
    sees: BackboneInput,
    pixels: np.ndarray | MappedRows,
    device: torch.device,
    batch_size: int = EVALUATION_BATCH,
) -> np.ndarray:
    """(N, D) float32 features in eval mode, images prepared as in a test with one crop.

    pixels: (N, S, S) as they were read for this network. The backbone is moved to the device, where it stays,
    in eval mode.
    """
    backbone = backbone.to(device).eval()
    rows = [
        backbone(sees.images(pixels[start : start + batch_size], None, device)).float().cpu().numpy()
        for start in range(0, len(pixels), batch_size)
    ]
    return np.concatenate(rows)
