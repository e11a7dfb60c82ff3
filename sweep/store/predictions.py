"""What did a finished cell predict for each test image? Read back and checked, never repaired."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from datasets_io.corpus.shard_file import open_stored
from datasets_io.schema import label_column
from datasets_io.storage.artefacts import Artefacts, CorruptArtefact
from datasets_io.untrusted import sentence

PREDICTIONS = "predictions.parquet"
IDS = ("image_id", "patient_id")
MOST_IMAGES = 1 << 22  # ten times the images of the largest archive: a file of few bytes may hold any number of rows


class UnusablePredictions(ValueError):
    """Predictions that no statistic can be made from; the message says why, in characters that can be shown."""

    def __init__(self, message: str):
        super().__init__(sentence(message))


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

    Raises UnusablePredictions for a file that is missing, damaged or incomplete, for a column of another kind, for a
    label that is neither 1, 0 nor null, for a score that is not finite and for a probability outside 0 to 1.
    """
    try:
        return _read(artefacts)
    except UnusablePredictions:
        raise
    except (CorruptArtefact, KeyError, OSError, ValueError, pa.ArrowException) as error:
        raise UnusablePredictions(f"predictions cannot be read: {error}") from error


def _read(artefacts: Artefacts) -> Predictions:
    """As read_predictions; raises, too, what reading Parquet and text that is no UTF-8 raise."""
    parquet = open_stored(pa.BufferReader(artefacts.read(PREDICTIONS)), PREDICTIONS, "compute the cell again")
    findings, logits = _columns_of(parquet.schema_arrow)
    groups = (parquet.metadata.row_group(number) for number in range(parquet.num_row_groups))
    if (rows := sum(group.num_rows for group in groups)) > MOST_IMAGES:
        raise UnusablePredictions(f"predictions of {rows:,} images, and at most {MOST_IMAGES:,} are read")
    # Whoever can write to a storage can add columns that take any memory: what is not used is not read.
    used = [*IDS, *(name for f in findings for name in (label_column(f), _score(logits, f)))]
    table = parquet.read(columns=used, use_threads=False)  # cells are read in parallel
    labels = np.stack([_labels(table[label_column(finding)], finding) for finding in findings], axis=1)
    scores = np.stack([table[_score(logits, f)].to_numpy(zero_copy_only=False) for f in findings], axis=1)
    _check(scores, findings, logits)
    for name in IDS:
        if table[name].null_count:
            raise UnusablePredictions(f"{table[name].null_count} of {len(table)} images have no {name}")
    known = labels >= 0
    images = TestImages(
        findings,
        table["image_id"].to_numpy(zero_copy_only=False),
        table["patient_id"].to_numpy(zero_copy_only=False),
        np.where(known, labels, 0).astype(np.int8),
        known,
    )
    return Predictions(images, scores, logits)


def _score(logits: bool, finding: str) -> str:
    return f"{'logit' if logits else 'probability'}_{finding}"


def _columns_of(schema: pa.Schema) -> tuple[tuple[str, ...], bool]:
    """The findings that have labels, in the file's order, and whether their scores are logits.

    Raises UnusablePredictions where a column that is read is lacking, there twice or of another kind: of a sealed file
    too, since whoever can write to a storage can seal anything.
    """
    prefix = label_column("")  # what stands before a finding's name in the names of columns
    findings = tuple(name.removeprefix(prefix) for name in schema.names if name.startswith(prefix))
    logits = any(name.startswith("logit_") for name in schema.names)
    kinds: dict[str, tuple[Callable[[pa.DataType], bool], str]] = dict.fromkeys(IDS, (pa.types.is_string, "text"))
    kinds |= {_score(logits, finding): (_is_score, "numbers of 32 or 64 bits") for finding in findings}
    if (absent := [name for name in kinds if name not in schema.names]) or not findings:
        raise UnusablePredictions(f"predictions lack {', '.join(absent) or 'every finding'}")
    kinds |= {label_column(finding): (pa.types.is_integer, "whole numbers") for finding in findings}
    for name, (is_kind, kind) in kinds.items():
        if (count := schema.names.count(name)) > 1:
            raise UnusablePredictions(f"predictions have {count} columns {name}")
        if not is_kind(found := schema.field(name).type):
            raise UnusablePredictions(f"column {name} of the predictions holds {found}, not {kind}")
    return findings, logits


def _is_score(kind: pa.DataType) -> bool:
    return pa.types.is_float32(kind) or pa.types.is_float64(kind)


def _labels(column: pa.ChunkedArray, finding: str) -> np.ndarray:
    """(N,) int8: 1, 0, and -1 where the file has null, which stands for unlabelled or uncertain."""
    # Compared before they are made int8, which would turn 2**40 into 0.
    values = column.drop_null().to_numpy()
    if (wrong := values[(values != 0) & (values != 1)]).size:
        raise UnusablePredictions(f"{wrong.size} labels of {finding} are neither 1, 0 nor null (first: {wrong[0]})")
    return column.cast(pa.int8()).fill_null(-1).to_numpy()


def _check(scores: np.ndarray, findings: tuple[str, ...], logits: bool) -> None:
    # Negated, since every comparison with NaN is false: `p < 0 or p > 1` would let NaN pass.
    outside = ~np.isfinite(scores) if logits else ~((scores >= 0) & (scores <= 1))
    if outside.any():
        f = int(outside.any(axis=0).argmax())
        what = "logits of {} are not finite" if logits else "probabilities of {} are NaN or outside 0 to 1"
        raise UnusablePredictions(f"{outside[:, f].sum()} of {len(scores)} {what.format(findings[f])}")
    if len(scores) == 0:
        raise UnusablePredictions("predictions of no image")
