"""What did a finished cell predict for each test image? Read back and checked, never repaired."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets_io.corpus.shard_file import check_footer
from datasets_io.schema import label_column
from datasets_io.storage.artefacts import Artefacts, CorruptArtefact

PREDICTIONS = "predictions.parquet"


class UnusablePredictions(ValueError):
    """Predictions that no statistic can be made from; the message says why."""


@dataclass(frozen=True)
class TestImages:
    """The test images of a dataset, the same for all of its cells.

    labels: (N, F) int8 of 1 and 0; known: (N, F) bool; image_ids, patient_ids: (N,) of str.
    """

    __test__ = False  # no test class, whatever its name says to pytest

    findings: tuple[str, ...]
    image_ids: np.ndarray
    patient_ids: np.ndarray
    labels: np.ndarray
    known: np.ndarray

    def same_as(self, other: "TestImages") -> bool:
        """Whether two cells have the same images in the same order, with the same labels of the same findings."""
        return self.findings == other.findings and all(
            np.array_equal(getattr(self, name), getattr(other, name))
            for name in ("image_ids", "patient_ids", "known", "labels")
        )


@dataclass(frozen=True)
class Predictions:
    """What a cell says of each test image. scores: (N, F), of which AUROCs are made; logits: whether they are logits.

    Files of 0.1.0, and those of nearest neighbours, hold probabilities.
    """

    images: TestImages
    scores: np.ndarray
    logits: bool

    @property
    def probabilities(self) -> np.ndarray:
        """(N, F) float64 in [0, 1]."""
        scores = self.scores.astype(np.float64)
        # sigmoid(z) = (1 + tanh(z / 2)) / 2, which overflows for no z.
        return (1 + np.tanh(scores / 2)) / 2 if self.logits else scores


def read_predictions(artefacts: Artefacts) -> Predictions:
    """A cell's test images and its scores, float32 or float64 as they are kept.

    Raises UnusablePredictions for a file that is missing, damaged or incomplete, for a score that is not finite and
    for a probability outside 0 to 1.
    """
    try:
        source = pa.BufferReader(artefacts.read(PREDICTIONS))
        check_footer(source, PREDICTIONS, "compute the cell again")
        table = pq.ParquetFile(source).read(use_threads=False)  # cells are read in parallel
    except (CorruptArtefact, KeyError, OSError, ValueError, pa.ArrowException) as error:
        raise UnusablePredictions(f"predictions cannot be read: {error}") from error
    prefix = label_column("")  # what stands before a finding's name in the names of columns
    findings = tuple(name.removeprefix(prefix) for name in table.column_names if name.startswith(prefix))
    logits = any(name.startswith("logit_") for name in table.column_names)
    columns = [f"{'logit' if logits else 'probability'}_{finding}" for finding in findings]
    absent = [name for name in ("image_id", "patient_id", *columns) if name not in table.column_names]
    if absent or not findings:
        raise UnusablePredictions(f"predictions lack {', '.join(absent) or 'every finding'}")
    # (N, F): 1, 0, and -1 where the file has null, which stands for unlabelled or uncertain.
    labels = np.stack([table[label_column(f)].fill_null(-1).to_numpy() for f in findings], axis=1).astype(np.int8)
    scores = np.stack([table[name].to_numpy(zero_copy_only=False) for name in columns], axis=1)
    _check(scores, findings, logits)
    known = labels >= 0
    images = TestImages(
        findings,
        table["image_id"].to_numpy(zero_copy_only=False),
        table["patient_id"].to_numpy(zero_copy_only=False),
        np.where(known, labels, 0).astype(np.int8),
        known,
    )
    return Predictions(images, scores, logits)


def _check(scores: np.ndarray, findings: tuple[str, ...], logits: bool) -> None:
    # Negated, since every comparison with NaN is false: `p < 0 or p > 1` would let NaN pass.
    outside = ~np.isfinite(scores) if logits else ~((scores >= 0) & (scores <= 1))
    if outside.any():
        f = int(outside.any(axis=0).argmax())
        what = "logits of {} are not finite" if logits else "probabilities of {} are NaN or outside 0 to 1"
        raise UnusablePredictions(f"{outside[:, f].sum()} of {len(scores)} {what.format(findings[f])}")
    if len(scores) == 0:
        raise UnusablePredictions("predictions of no image")
