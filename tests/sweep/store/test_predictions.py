"""Predictions as they are read: logits, and the probabilities of files of 0.1.0 and of nearest neighbours."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets_io.storage.artefacts import open_artefacts, publish
from datasets_io.storage.files import Files
from sweep.store.predictions import UnusablePredictions, read_predictions
from trainables.evaluation.dataset import Part, Parts
from trainables.evaluation.predictions_file import LOGIT, PROBABILITY, predictions_parquet

IDS = np.array(["a", "b", "c", "d"])


def parts() -> Parts:
    labels, known = np.array([[1.0], [0.0], [1.0], [0.0]], np.float32), np.array([[True], [True], [True], [False]])
    part = Part(np.zeros((4, 2, 2), np.uint8), labels, known, IDS, IDS, np.array(["s", "s", "t", "u"]))
    return Parts(part, part, part, ("edema",))


def read(folder, content: bytes):
    files = Files(str(folder))
    publish(files, "cells/one", {"predictions.parquet": content}, {"macro_auroc": None})
    return read_predictions(open_artefacts(files, "cells/one"))


def test_logits_come_back_as_they_are_and_as_probabilities_that_do_not_overflow(tmp_path):
    logits = np.array([[-800.0], [0.0], [25.0], [26.0]], np.float32)
    found = read(tmp_path, predictions_parquet(parts(), logits, LOGIT))
    assert found.logits and np.array_equal(found.scores, logits) and found.scores.dtype == np.float32
    assert found.probabilities.ravel().tolist() == pytest.approx([0, 0.5, 1 / (1 + np.exp(-25)), 1 / (1 + np.exp(-26))])
    assert found.images.findings == ("edema",) and found.images.known.ravel().tolist() == [True, True, True, False]


def test_probabilities_of_nearest_neighbours_keep_what_float32_would_round_to_one(tmp_path):
    values = np.array([[0.0], [0.25], [1 - 1e-10], [1.0]])
    found = read(tmp_path, predictions_parquet(parts(), values, PROBABILITY))
    assert not found.logits and np.array_equal(found.scores, values) and np.array_equal(found.probabilities, values)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("logit_edema", [0.0, np.inf, 1.0, 2.0], "logits of edema are not finite"),
        ("probability_edema", [0.0, 1.5, 1.0, 0.5], "outside 0 to 1"),
        ("logit_mass", [0.0, 1.0, 1.0, 2.0], "lack logit_edema"),
    ],
)
def test_what_no_statistic_can_be_made_from_is_named(tmp_path, name, values, message):
    labels = pa.array([1, 0, 1, None], pa.int8())
    ids = pa.array(IDS.tolist())
    table = {"image_id": ids, "patient_id": ids, name: pa.array(values, pa.float32()), "label_edema": labels}
    stream = io.BytesIO()
    pq.write_table(pa.table(table), stream, store_schema=False)
    with pytest.raises(UnusablePredictions, match=message):
        read(tmp_path, stream.getvalue())
