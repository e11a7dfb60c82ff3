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


def read_predictions(artefacts: Artefacts) -> tuple[TestImages, np.ndarray]:
    """A cell's test images and its probabilities (N, F) float32, in [0, 1].

    Raises UnusablePredictions for a file that is missing, damaged or incomplete, and for other probabilities.
    """
    try:
        source = pa.BufferReader(artefacts.read(PREDICTIONS))
        check_footer(source, PREDICTIONS, "compute the cell again")
        table = pq.ParquetFile(source).read(use_threads=False)  # cells are read in parallel
    except (CorruptArtefact, KeyError, OSError, ValueError, pa.ArrowException) as error:
        raise UnusablePredictions(f"predictions cannot be read: {error}") from error
    prefix = label_column("")  # what stands before a finding's name in the names of columns
    findings = tuple(name.removeprefix(prefix) for name in table.column_names if name.startswith(prefix))
    wanted = ["image_id", "patient_id", *(f"probability_{finding}" for finding in findings)]
    absent = [name for name in wanted if name not in table.column_names]
    if absent or not findings:
        raise UnusablePredictions(f"predictions lack {', '.join(absent) or 'every finding'}")
    # (N, F): 1, 0, and -1 where the file has null, which stands for unlabelled or uncertain.
    labels = np.stack([table[label_column(f)].fill_null(-1).to_numpy() for f in findings], axis=1).astype(np.int8)
    probabilities = np.stack(
        [table[f"probability_{f}"].to_numpy(zero_copy_only=False) for f in findings], axis=1
    ).astype(np.float32)
    _check(probabilities, findings)
    known = labels >= 0
    images = TestImages(
        findings,
        table["image_id"].to_numpy(zero_copy_only=False),
        table["patient_id"].to_numpy(zero_copy_only=False),
        np.where(known, labels, 0).astype(np.int8),
        known,
    )
    return images, probabilities


def _check(probabilities: np.ndarray, findings: tuple[str, ...]) -> None:
    outside = ~((probabilities >= 0) & (probabilities <= 1))  # also where NaN
    if outside.any():
        f = int(outside.any(axis=0).argmax())
        raise UnusablePredictions(
            f"{outside[:, f].sum()} of {len(probabilities)} probabilities of {findings[f]} are NaN or outside 0 to 1"
        )
    if len(probabilities) == 0:
        raise UnusablePredictions("predictions of no image")
