"""What do the saved predictions of a dataset's cells say: placements, AUPRC, calibration, subgroups?"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from datasets_io.corpus.read import read_manifest, read_table
from datasets_io.storage.artefacts import CorruptArtefact
from datasets_io.storage.files import ReadFiles
from sweep.statistics.placements import Classes, Placed, classes_of, place, presort
from sweep.statistics.subgroups import METADATA, Attribute, attributes_of, group_names, place_groups
from sweep.store.predictions import Predictions, TestImages, UnusablePredictions, read_predictions
from sweep.store.records import CellResult
from sweep.store.store import ReadStore
from sweep.studies.cell import Cell
from trainables.evaluation.metrics import auroc_per_finding, average_precision, brier, calibration_error

# A measure takes (N,) scores and (N,) labels of 1 and 0 and gives None where it is undefined.
Measure = Callable[[np.ndarray, np.ndarray], float | None]
OF_SCORES: Mapping[str, Measure] = {"auprc": average_precision}
OF_PROBABILITIES: Mapping[str, Measure] = {"ece": calibration_error, "brier": brier}
QUALITIES = (*OF_SCORES, *OF_PROBABILITIES)
UNREADABLE = (UnusablePredictions, CorruptArtefact, OSError)
AGREEMENT = 1e-6  # between a result's AUROC and that of its predictions: far above rounding of a float64


@dataclass(frozen=True)
class TestSet:
    """What the cells of a dataset share. attributes is empty where the shards' metadata are not at hand."""

    __test__ = False  # no test class, whatever its name says to pytest

    images: TestImages
    classes: Classes
    attributes: tuple[Attribute, ...]


@dataclass(frozen=True)
class CellMetrics:
    """What the predictions of one cell say. placed: AUROCs, and what each patient moves them by.

    qualities: name of a measure -> (F,), NaN where undefined. groups: for each attribute of the test set, for each of
    its compared groups, the same as placed of the attribute's findings.
    """

    placed: Placed
    qualities: Mapping[str, np.ndarray]
    groups: tuple[tuple[Placed, ...], ...]


def make_test_set(images: TestImages, metadata: pa.Table | None) -> TestSet:
    """The test images with their classes and groups. metadata: as `read_metadata` gives, None without subgroups."""
    names = {} if metadata is None else group_names(metadata, images.image_ids)
    attributes = attributes_of(names, images.patient_ids, images.labels, images.known)
    return TestSet(images, classes_of(images.labels, images.known, images.patient_ids), attributes)


def cell_metrics(tests: TestSet, predictions: Predictions, result: CellResult) -> CellMetrics:
    """Everything that is measured on a cell's predictions, once it is sure that they are the result's.

    predictions: of the test set's images. Raises UnusablePredictions where an AUROC computed from them is not the
    result's, to AGREEMENT.
    """
    images, scores = tests.images, predictions.scores
    computed = auroc_per_finding(scores, images.labels, images.known, images.findings)
    # Not strict: where one side has fewer findings, those that both have can still be compared.
    for stored, found in zip(result.findings, computed, strict=False):
        if stored.finding != found.finding or not _agree(stored.auroc, found.auroc):
            raise UnusablePredictions(
                f"the result has AUROC {stored.auroc} for {stored.finding}, its predictions have {found.auroc} for "
                f"{found.finding}"
            )
    orders, probabilities = presort(scores), predictions.probabilities
    return CellMetrics(
        place(scores, tests.classes, orders),
        {name: _by_finding(measure, scores, images) for name, measure in OF_SCORES.items()}
        | {name: _by_finding(measure, probabilities, images) for name, measure in OF_PROBABILITIES.items()},
        tuple(place_groups(attribute, scores, orders) for attribute in tests.attributes),
    )


def _agree(a: float | None, b: float | None) -> bool:
    return a is b if a is None or b is None else abs(a - b) <= AGREEMENT


def _by_finding(measure: Measure, scores: np.ndarray, images: TestImages) -> np.ndarray:
    """(F,) of a measure on the images whose label is known, NaN where it is undefined."""
    values = []
    for f in range(len(images.findings)):
        known = images.known[:, f]
        value = measure(scores[known, f], images.labels[known, f])
        values.append(np.nan if value is None else value)
    return np.array(values)


def read_metadata(files: ReadFiles, folder: str, split: str) -> pa.Table:
    """Sex, age and view position of a split's images, from its shards. A table with the columns METADATA."""
    return read_table(files, folder, read_manifest(files, folder), split, list(METADATA))


@dataclass(frozen=True)
class MetricReader:
    """Reads and measures cells on the threads of a pool. store: where they lie; cells: key -> cell of the plan."""

    store: ReadStore
    cells: Mapping[str, Cell]
    pool: ThreadPoolExecutor

    def find_images(self, results: Iterable[CellResult]) -> tuple[TestImages | None, bool]:
        """The test images of the first cell whose predictions can be read; None where none can be.

        Besides, whether predictions on the way there could not be read although their cell has a result in the storage.
        """
        unread = False
        for result in results:
            try:
                return self._read(result).images, unread
            except FileNotFoundError:  # no result.json: results from elsewhere, nothing of theirs is kept here
                continue
            except UNREADABLE:
                unread = True
        return None, unread

    def _read(self, result: CellResult) -> Predictions:
        """A cell's predictions. Raises UnusablePredictions, too, where they are of other findings than its result."""
        predictions = read_predictions(self.store.open(self.cells[result.key]))
        findings = predictions.images.findings
        if findings != (wanted := tuple(one.finding for one in result.findings)):
            odd = sorted(set(findings) ^ set(wanted))
            of = f"only one of the two has {', '.join(odd)}" if odd else "they stand in another order"
            raise UnusablePredictions(f"predictions are of other findings than their result: {of}")
        return predictions

    def measure(self, tests: TestSet, results: Sequence[CellResult]) -> tuple[dict[str, CellMetrics], dict[str, str]]:
        """Key -> what the cell's predictions say, and key -> why they were not used."""

        def one(result: CellResult) -> CellMetrics | str:
            try:
                predictions = self._read(result)
                if not predictions.images.same_as(tests.images):
                    raise UnusablePredictions("predictions are of other images or labels than those of other cells")
                return cell_metrics(tests, predictions, result)
            except UNREADABLE as error:
                return str(error)

        found = dict(zip((r.key for r in results), self.pool.map(one, results), strict=True))
        return (
            {key: value for key, value in found.items() if not isinstance(value, str)},
            {key: value for key, value in found.items() if isinstance(value, str)},
        )
