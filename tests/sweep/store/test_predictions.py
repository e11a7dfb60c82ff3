"""Predictions as they are read: logits, and the probabilities of files of 0.1.0 and of nearest neighbours."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets_io.storage.artefacts import open_artefacts, publish
from datasets_io.storage.files import Files
from sweep.store.predictions import MOST_IMAGES, UnusablePredictions, read_predictions
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


N = len(IDS)
ODD = {
    "labels as text": ("label_edema", pa.array(["x"] * N), "column label_edema of the predictions holds string"),
    "labels as lists": ("label_edema", pa.array([[1]] * N), "holds list<.*>, not whole numbers"),
    "labels of NaN": ("label_edema", pa.array([float("nan")] * N), "holds double, not whole numbers"),
    "labels as truth": ("label_edema", pa.array([True] * N), "holds bool, not whole numbers"),
    "labels as times": ("label_edema", pa.array([0] * N, pa.timestamp("ms")), "holds timestamp.*, not whole numbers"),
    "labels of 7": ("label_edema", pa.array([7, 0, 1, None], pa.int8()), r"1 labels of edema .* \(first: 7\)"),
    "labels of 2**40": (
        "label_edema",
        pa.array([2**40] * N, pa.int64()),
        "4 labels of edema are neither 1, 0 nor null",
    ),
    "labels of -1": ("label_edema", pa.array([-1, 1, 0, 1], pa.int8()), r"first: -1"),
    "scores as text": ("logit_edema", pa.array(["x"] * N), "holds string, not numbers of 32 or 64 bits"),
    "scores as lists": ("logit_edema", pa.array([[1.0]] * N), "holds list<.*>, not numbers"),
    "scores as decimals": ("logit_edema", pa.array([1] * N).cast(pa.decimal128(38, 2)), "holds decimal128.*, not numb"),
    "scores of null": ("logit_edema", pa.nulls(N, pa.float32()), "4 of 4 logits of edema are not finite"),
    "images as numbers": ("image_id", pa.array(range(N)), "column image_id of the predictions holds int64, not text"),
    "images of null": ("image_id", pa.nulls(N, pa.string()), "4 of 4 images have no image_id"),
    "patients as lists": ("patient_id", pa.array([["a"]] * N), "holds list<.*>, not text"),
    "patients partly null": ("patient_id", pa.array([None, "a", "b", "c"]), "1 of 4 images have no patient_id"),
}


def stored_table(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, store_schema=False)
    return stream.getvalue()


@pytest.fixture
def table() -> pa.Table:
    logits = np.zeros((N, 1), np.float32)
    return pq.read_table(pa.BufferReader(predictions_parquet(parts(), logits, LOGIT)))


@pytest.mark.parametrize(("name", "column", "message"), ODD.values(), ids=ODD.keys())
def test_a_column_of_another_kind_or_value_is_named(tmp_path, table, name, column, message):
    odd = table.set_column(table.column_names.index(name), name, column)
    with pytest.raises(UnusablePredictions, match=message):
        read(tmp_path, stored_table(odd))


def other_text(size: int) -> pa.Array:
    """Text that is no UTF-8."""
    return pa.Array.from_buffers(pa.string(), size, pa.array([b"\xff\xfe"] * size, pa.binary()).buffers())


@pytest.mark.parametrize("name", ["image_id", "patient_id"])
def test_names_that_are_no_utf_8_are_a_sentence(tmp_path, table, name):
    odd = table.set_column(table.column_names.index(name), name, other_text(N))
    with pytest.raises(UnusablePredictions, match="predictions cannot be read: "):
        read(tmp_path, stored_table(odd))


def test_a_column_that_nobody_asked_for_is_not_read(tmp_path, table, monkeypatch):
    columns = []
    monkeypatch.setattr(
        pq.ParquetFile, "read",
        lambda *args, read=pq.ParquetFile.read, **options: columns.extend(options["columns"]) or read(*args, **options),
    )  # fmt: skip
    more = table.append_column("x", pa.array(np.zeros(N, np.int64)))
    assert read(tmp_path, stored_table(more)).images.image_ids.tolist() == IDS.tolist()
    assert sorted(columns) == ["image_id", "label_edema", "logit_edema", "patient_id"]


def test_more_images_than_any_archive_has_are_refused_before_they_are_read(tmp_path, table, monkeypatch):
    monkeypatch.setattr(pq.ParquetFile, "read", lambda *args, **options: pytest.fail("read"))
    rows = pa.table(
        {name: pa.repeat(column[0], MOST_IMAGES + 1) for name, column in zip(table.column_names, table, strict=True)}
    )
    with pytest.raises(UnusablePredictions, match=r"predictions of 4,194,305 images, and at most 4,194,304 are read"):
        read(tmp_path, stored_table(rows))


@pytest.mark.parametrize("name", ["image_id", "label_edema", "logit_edema"])
def test_a_column_that_is_there_twice_is_named(tmp_path, table, name):
    with pytest.raises(UnusablePredictions, match=f"predictions have 2 columns {name}"):
        read(tmp_path, stored_table(table.append_column(name, table[name])))


def test_what_is_said_of_predictions_can_be_shown(tmp_path, table):
    odd = table.append_column("label_\x1b]0;pwn\x07", table["label_edema"])
    with pytest.raises(UnusablePredictions, match=r"lack logit_\\x1b\]0;pwn\\x07$"):
        read(tmp_path, stored_table(odd))
