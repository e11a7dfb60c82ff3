"""What features does a network give of a data set's images: a seeded sample of them, in batches."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from datasets_io.corpus.read import open_split, read_manifest
from datasets_io.fingerprint import derive_seed
from datasets_io.storage.files import ReadFiles
from trainables.evaluation.dataset import LATERAL_VIEWS, MappedRows
from trainables.evaluation.features import EVALUATION_BATCH
from trainables.views.evaluation import EvalSpec, prepare

HELD_OUT_FIRST = ("test", "val", "train")


@dataclass(frozen=True)
class ImageSample:
    """Images of one data set. pixels: (N, S, S) uint8; patient_ids: (N,), unique within the set only."""

    source: str
    pixels: np.ndarray
    image_ids: np.ndarray
    patient_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def first(self, count: int) -> "ImageSample":
        """A smaller sample of the same kind: rows are in random order already."""
        return ImageSample(self.source, self.pixels[:count], self.image_ids[:count], self.patient_ids[:count])


def sample_images(files: ReadFiles, folder: str, count: int, seed: int, frontal_only: bool = True) -> ImageSample:
    """Up to `count` images in random order, a pure function of the data and the seed.

    Training images are drawn from only where test and val hold fewer than half of `count`: a corpus's training
    images are many, and networks know them. Lateral views are left out with frontal_only, as in cells.
    """
    manifest = read_manifest(files, folder)
    # total: images that take part in the splits so far, more of them than are chosen.
    pixels, ids, patients, total = [], [], [], 0
    for split in HELD_OUT_FIRST:
        if split == "train" and 2 * total >= count:
            break
        images = open_split(files, folder, manifest, split)
        rows = np.arange(len(images))
        if frontal_only:
            rows = rows[~np.isin(images.view_positions.astype(str), LATERAL_VIEWS)]
        order = np.random.default_rng(derive_seed(seed, "image_sample", manifest.source, split)).permutation(len(rows))
        # No split can give more than `count`, so that a large one is never read whole.
        chosen = np.sort(rows[order[:count]])
        pixels.append(np.asarray(images.pixels[chosen]))
        ids.append(images.image_ids[chosen])
        patients.append(images.patient_ids[chosen])
        total += len(rows)
    # The splits are mixed, so that the first rows of the sample are a sample of all of them.
    order = np.random.default_rng(derive_seed(seed, "image_sample", manifest.source)).permutation(sum(map(len, ids)))
    kept = order[:count]
    return ImageSample(
        manifest.source, np.concatenate(pixels)[kept], np.concatenate(ids)[kept], np.concatenate(patients)[kept]
    )


@torch.no_grad()
def image_features(
    backbone: nn.Module,
    spec: EvalSpec,
    pixels: np.ndarray | MappedRows,
    device: torch.device,
    batch_size: int = EVALUATION_BATCH,
) -> np.ndarray:
    """(N, D) float32 features in eval mode, images prepared as in a test with one crop.

    pixels: (N, S, S) uint8. The backbone is moved to the device and stays there, in eval mode.
    """
    backbone = backbone.to(device).eval()
    rows = [
        backbone(prepare(spec, pixels[start : start + batch_size], None, device)).float().cpu().numpy()
        for start in range(0, len(pixels), batch_size)
    ]
    return np.concatenate(rows)
