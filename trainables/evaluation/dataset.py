"""A dataset as a cell sees it: train, val and test images with targets, by the recipe's splits and label policy."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from datasets_io.corpus.manifest import Manifest
from datasets_io.corpus.read import BLANK, ImageSet, open_split
from datasets_io.schema import POSITIVE, UNCERTAIN
from datasets_io.storage.files import ReadFiles
from trainables.recipe import BackboneSpec, DownstreamRecipe, LabelPolicy
from trainables.views.backbone_input import BackboneInput, Fit

InShares = tuple[float, float, float, float]  # left, top, width, height
LATERAL_VIEWS = ("LATERAL", "LL", "LATERAL_LEFT", "LATERAL_RIGHT", "RL")


@dataclass(frozen=True)
class Part:
    """Images of one part. pixels: (N, S, S) uint8; targets: (N, F) float32 of 1 and 0; known: (N, F) bool.

    pixels may be rows of a mapped file, which become an array where they are indexed. image_ids, patient_ids,
    study_ids: (N,) str; a study is one exam of a patient, of one or more images. sees: the network that they were read
    for, None where that is one without preprocessing at EvalSpec's size. test_pixels: (N, T, T), what ten crops are cut
    from where that is not pixels. shapes: (N, 2), rows and columns of each archive's file.
    """

    pixels: "np.ndarray | MappedRows"
    targets: np.ndarray
    known: np.ndarray
    image_ids: np.ndarray
    patient_ids: np.ndarray
    study_ids: np.ndarray
    sees: BackboneInput | None = None
    test_pixels: "np.ndarray | MappedRows | None" = None
    shapes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def studies(self) -> list[str]:
        """N names of studies, unique over patients: an archive may number the studies of each patient anew."""
        return [f"{patient}/{study}" for patient, study in zip(self.patient_ids, self.study_ids, strict=True)]

    def take(self, rows: np.ndarray) -> "Part":
        """The images at these places, (n,) int64, read now."""
        others = (self.targets, self.known, self.image_ids, self.patient_ids, self.study_ids)
        test = None if self.test_pixels is None else self.test_pixels[rows]
        shapes = None if self.shapes is None else self.shapes[rows]
        targets, known, image_ids, patient_ids, study_ids = (array[rows] for array in others)
        own = (self.sees, test, shapes)
        return Part(self.pixels[rows], targets, known, image_ids, patient_ids, study_ids, *own)

    def images(
        self, recipe: DownstreamRecipe, rows: slice | np.ndarray, flips: np.ndarray | None, device: torch.device
    ) -> Tensor:
        """What the backbone gets of some images: (B, C, S, S) on the device; flips: (B,) bool, which are mirrored."""
        return self._input(recipe).images(self.pixels[rows], flips, device)

    def images_there(self, recipe: DownstreamRecipe, pixels: Tensor, flips: Tensor | None) -> Tensor:
        """As `images`, of this part's pixels (B, S, S) and flips (B,) that are on the device already."""
        return self._input(recipe).images_there(pixels, flips)

    def test_images(self, recipe: DownstreamRecipe, rows: slice | np.ndarray, device: torch.device) -> Tensor:
        """As `images`, for a test: not mirrored, and (B, 10, C, S, S) where the recipe asks for ten crops."""
        pixels = self.pixels if self.test_pixels is None else self.test_pixels
        return self._input(recipe).test_images(pixels[rows], device)

    def shown(self, recipe: DownstreamRecipe, rows: np.ndarray) -> np.ndarray:
        """What the backbone sees of some images, for the eye: (B, S, S) in [0, 1], without normalisation."""
        return self._input(recipe).shown(self.pixels[rows])

    def box_in_view(self, recipe: DownstreamRecipe, row: int, box: InShares) -> InShares:
        """A box in shares of the whole image -> in shares of what the backbone sees of it; may reach beyond it."""
        rows, columns = (1, 1) if self.shapes is None else map(int, self.shapes[row])
        return self._input(recipe).box_in_view(box, rows, columns)

    def view_size(self, recipe: DownstreamRecipe) -> int:
        """The side of what the backbone sees, in pixels."""
        return self._input(recipe).size

    def _input(self, recipe: DownstreamRecipe) -> BackboneInput:
        return self.sees or BackboneInput(recipe.eval_spec)


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

    In evaluation only labels that are 1 or 0 in the source are known, whatever the policy says of training, unless it
    says that it holds for evaluation too.
    Validation that is carved from the training patients is read as training is: its labels are of the same making, and
    a labeller that writes no 0 for a finding would leave it without a known negative.
    """
    uncertain, blank = labels == UNCERTAIN, labels == BLANK
    targets = (labels == POSITIVE).astype(np.float32)
    if evaluation and policy.evaluation == "known":
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


def backbone_input(backbone: BackboneSpec, recipe: DownstreamRecipe) -> BackboneInput:
    """What this network gets of a dataset's pictures."""
    return BackboneInput(recipe.eval_spec, backbone.image_size, backbone.preprocessing)


def load_parts(
    files: ReadFiles, folder: str, manifest: Manifest, recipe: DownstreamRecipe, sees: BackboneInput
) -> Parts:
    """The parts that a recipe makes of a dataset's splits, by its label policy, for one network (backbone_input).

    files, folder, manifest: the dataset as it is built in the storage. Raises ValueError where a part has no image, and
    for a finding of the recipe that the dataset does not have, or where its pictures have lost the ratio that the
    network's geometry needs.
    """
    splits, columns = recipe.splits, _columns(manifest, recipe)
    opened: dict[tuple[str, Fit | None], ImageSet] = {}  # a split that plays two parts is opened once

    once, for_test = sees.fit(manifest.shape), sees.test_fit(manifest.shape)

    def get(split: str, fit: Fit | None = once) -> ImageSet:
        if (split, fit) not in opened:
            opened[split, fit] = open_split(files, folder, manifest, split, fit)
            _check_ratio(folder, manifest, opened[split, fit], sees)
        return opened[split, fit]

    def whole(split: str) -> Part:
        crops = get(split, for_test) if for_test != once else None
        rows = np.arange(len(get(split)))
        return _part(get(split), rows, recipe, sees, columns, evaluation=True, crops=crops)

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
        _part(train, train_rows, recipe, sees, columns, evaluation=False),
        _part(val_source, val_rows, recipe, sees, columns, evaluation=splits.val != "carved"),
        whole(splits.test),
        manifest.findings if recipe.findings is None else recipe.findings,
        whole(splits.also_test) if splits.also_test is not None else None,
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


def _check_ratio(folder: str, manifest: Manifest, images: ImageSet, sees: BackboneInput) -> None:
    own = sees.own
    if own is None or own.geometry == "squash" or manifest.shape != "square":
        return
    if (images.shapes[:, 0] != images.shapes[:, 1]).any():
        raise ValueError(
            f"{folder} holds squashed squares, and the encoder's geometry is {own.geometry!r} of pictures in their own "
            "ratio: build the data with shape='aspect'"
        )


def _part(
    images: ImageSet,
    rows: np.ndarray,
    recipe: DownstreamRecipe,
    sees: BackboneInput,
    columns: list[int] | None,
    evaluation: bool,
    crops: ImageSet | None = None,
) -> Part:
    """columns: of the labels that the recipe names, None for all.

    crops: the same images as ten crops are cut from them, where that is something else.
    """
    if recipe.frontal_only:
        lateral = np.isin(images.view_positions[rows].astype(str), LATERAL_VIEWS)
        rows = rows[~lateral]
    whole = len(rows) == len(images)
    # All rows, in order: nothing to select.
    pixels = images.pixels if whole else _rows_of(images.pixels, rows)
    test = None if crops is None else crops.pixels if whole else _rows_of(crops.pixels, rows)
    labels = images.labels[rows]
    if columns is not None:
        labels = np.ascontiguousarray(labels[:, columns])
    targets, known = targets_of(labels, recipe.label_policy, evaluation)
    ids = (images.image_ids[rows], images.patient_ids[rows], images.study_ids[rows])
    return Part(pixels, targets, known, *ids, sees, test, images.shapes[rows])


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
