"""A dataset as a cell sees it: train, val and test images with targets, by the recipe's splits and label policy."""

import hashlib
from dataclasses import dataclass

import numpy as np

from datasets_io.corpus.manifest import Manifest
from datasets_io.corpus.read import BLANK, ImageSet, open_split
from datasets_io.schema import POSITIVE, UNCERTAIN
from datasets_io.storage.files import ReadFiles
from trainables.recipe import DownstreamRecipe, LabelPolicy

LATERAL_VIEWS = ("LATERAL", "LL", "LATERAL_LEFT", "LATERAL_RIGHT", "RL")


@dataclass(frozen=True)
class Part:
    """Images of one part. pixels: (N, S, S) uint8; targets: (N, F) float32 of 1 and 0; known: (N, F) bool.

    pixels may be rows of a mapped file, which become an array where they are indexed. image_ids, patient_ids,
    study_ids: (N,) str; a study is one exam of a patient, of one or more images.
    """

    pixels: "np.ndarray | MappedRows"
    targets: np.ndarray
    known: np.ndarray
    image_ids: np.ndarray
    patient_ids: np.ndarray
    study_ids: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def studies(self) -> list[str]:
        """N names of studies, unique over patients: an archive may number the studies of each patient anew."""
        return [f"{patient}/{study}" for patient, study in zip(self.patient_ids, self.study_ids, strict=True)]

    def take(self, rows: np.ndarray) -> "Part":
        """The images at these places, (n,) int64, read now."""
        others = (self.targets, self.known, self.image_ids, self.patient_ids, self.study_ids)
        return Part(self.pixels[rows], *(array[rows] for array in others))


@dataclass(frozen=True)
class Parts:
    """A dataset as one recipe sees it. Where the recipe says so, val and test are the same images.

    also_test: the images of a second split that are reported, None where the recipe names none.
    """

    train: Part
    val: Part
    test: Part
    findings: tuple[str, ...]
    also_test: Part | None = None


def is_carved(patient_id: str, percent: int) -> bool:
    """Whether a training patient serves validation: by a hash of the id, the same in every run."""
    # The first 64 of 256 bits, modulo 100: uniform to within 1e-17. The salt keeps it apart from other hashes of ids.
    digest = hashlib.sha256(f"validation:{patient_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 100 < percent


def targets_of(labels: np.ndarray, policy: LabelPolicy, evaluation: bool) -> tuple[np.ndarray, np.ndarray]:
    """Raw codes (N, F) int8 -> targets (N, F) float32 of 1 and 0, and which of them are known, (N, F) bool.

    In evaluation only labels that are 1 or 0 in the source are known, whatever the policy says of training.
    Validation that is carved from the training patients is read as training is: its labels are of the same making, and
    a labeller that writes no 0 for a finding would leave it without a known negative.
    """
    uncertain, blank = labels == UNCERTAIN, labels == BLANK
    targets = (labels == POSITIVE).astype(np.float32)
    if evaluation:
        return targets, ~(uncertain | blank)
    if policy.uncertain == "ones":
        targets[uncertain] = 1.0
    # A policy of `zeros` needs nothing: targets are 0 and known unless something else is said of them.
    known = np.ones(labels.shape, dtype=bool)
    if policy.uncertain == "ignore":
        known &= ~uncertain
    if policy.blank == "ignore":
        known &= ~blank
    return targets, known


def load_parts(files: ReadFiles, folder: str, manifest: Manifest, recipe: DownstreamRecipe) -> Parts:
    """The parts that a recipe makes of a dataset's splits, by its label policy.

    files, folder, manifest: the dataset as it is built in the storage. Raises ValueError where a part has no image, and
    for a finding of the recipe that the dataset does not have.
    """
    splits, columns = recipe.splits, _columns(manifest, recipe)
    opened: dict[str, ImageSet] = {}  # a split that plays two parts is opened once

    def get(split: str) -> ImageSet:
        if split not in opened:
            opened[split] = open_split(files, folder, manifest, split)
        return opened[split]

    train = get("train")
    train_rows = np.arange(len(train))
    if splits.val == "carved":
        # By patient: images of one patient in both parts would make validation too easy.
        carved = np.array([is_carved(patient, splits.carve_percent) for patient in train.patient_ids], dtype=bool)
        val_source, val_rows = train, train_rows[carved]
        train_rows = train_rows[~carved]
    else:
        val_source = get(splits.val)
        val_rows = np.arange(len(val_source))
    parts = Parts(
        _part(train, train_rows, recipe, columns, evaluation=False),
        _part(val_source, val_rows, recipe, columns, evaluation=splits.val != "carved"),
        _whole(get(splits.test), recipe, columns),
        manifest.findings if recipe.findings is None else recipe.findings,
        _whole(get(splits.also_test), recipe, columns) if splits.also_test is not None else None,
    )
    for name in ("train", "val", "test", "also_test"):
        part: Part | None = getattr(parts, name)
        if part is not None and len(part) == 0:
            raise ValueError(f"{folder} has no image for {name} (recipe: {splits}); it has {manifest.counts['splits']}")
    return parts


def _columns(manifest: Manifest, recipe: DownstreamRecipe) -> list[int] | None:
    """Places of the recipe's findings among the dataset's, None for all. Raises ValueError for an unknown one."""
    if recipe.findings is None:
        return None
    if unknown := [name for name in recipe.findings if name not in manifest.findings]:
        raise ValueError(f"{manifest.source} has no finding {unknown[0]!r}; it has {', '.join(manifest.findings)}")
    return [manifest.findings.index(name) for name in recipe.findings]


def _whole(images: ImageSet, recipe: DownstreamRecipe, columns: list[int] | None) -> Part:
    return _part(images, np.arange(len(images)), recipe, columns, evaluation=True)


def _part(
    images: ImageSet, rows: np.ndarray, recipe: DownstreamRecipe, columns: list[int] | None, evaluation: bool
) -> Part:
    if recipe.frontal_only:
        lateral = np.isin(images.view_positions[rows].astype(str), LATERAL_VIEWS)
        rows = rows[~lateral]
    whole = len(rows) == len(images)
    pixels = images.pixels if whole else _rows_of(images.pixels, rows)  # all rows, in order: nothing to select
    labels = images.labels[rows]
    if columns is not None:
        labels = np.ascontiguousarray(labels[:, columns])
    targets, known = targets_of(labels, recipe.label_policy, evaluation)
    ids = (images.image_ids[rows], images.patient_ids[rows], images.study_ids[rows])
    return Part(pixels, targets, known, *ids)


class MappedRows:
    """Some rows of a mapped file, read when asked for: a large split is never copied whole."""

    def __init__(self, pixels: np.ndarray, rows: np.ndarray):
        self.pixels, self.rows = pixels, rows
        self.shape = (len(rows), *pixels.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | np.ndarray) -> np.ndarray:
        """The images at these places, read now."""
        found: np.ndarray = self.pixels[self.rows[index]]
        return found


def _rows_of(pixels: np.ndarray, rows: np.ndarray) -> "np.ndarray | MappedRows":
    return MappedRows(pixels, rows) if isinstance(pixels, np.memmap) else pixels[rows]
