"""Do two results of a cell on GPUs count as one where only rounding differs, and never where something else does?"""

import io
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from scipy.special import expit

from benchmarks.gpu.made_up import labelled
from datasets_io.storage.artefacts import ConflictingResult, open_artefacts, publish
from datasets_io.storage.files import Files
from trainables.evaluation.agreement import PROBE, TUNED, computed_difference
from trainables.evaluation.cell_job import LOGIT, predictions_parquet
from trainables.evaluation.dataset import Parts
from trainables.evaluation.metrics import auroc_per_finding, macro
from trainables.recipe import Resources
from trainables.training.agreement import computed_by
from trainables.training.checkpoint import weights_to_bytes
from trainables.training.precision import Compute

A100, H100 = "cuda: NVIDIA A100-SXM4-80GB", "cuda: NVIDIA H100"
PART = labelled(400, 4)
PARTS = Parts(PART, PART, PART, tuple(f"finding_{i}" for i in range(14)))
NOISE = np.random.default_rng(1).standard_normal((400, 14)).astype(np.float32)
# Logits that tell the findings, so that a change of them moves AUROCs as it does in a real cell.
LOGITS = (2 * PART.targets + np.random.default_rng(2).standard_normal((400, 14))).astype(np.float32)


def cell(logits: np.ndarray, tuned: bool = True, device: str = A100, **fields) -> tuple[dict, dict]:
    """Files and result of a cell with these logits. tuned: of fine-tuning, else a probe with its head."""
    found = auroc_per_finding(logits, PART.targets, PART.known, PARTS.findings)
    result = {
        "key": "0123456789ab",
        "macro_auroc": macro(found),
        "findings": [asdict(finding) for finding in found],
        "device": device,
        "precision": "bfloat16",
        "subset_sha256": "a" * 64,
        "num_train_images": 400,
        "num_val_images": 400,
        "findings_without_positives_in_training": [],
    } | fields
    contents = {"predictions.parquet": predictions_parquet(PARTS, logits, LOGIT), "subset.txt": b"image1"}
    if not tuned:
        contents["head.safetensors"] = weights_to_bytes({"weight": torch.tensor(logits[:2])})
    return contents, result


def second(tmp_path, one: tuple[dict, dict], other: tuple[dict, dict], parents=({}, {})) -> str | None:
    """None where the second writer of a cell is told that it was not the first, else why it is in conflict."""
    files, folder = Files(str(tmp_path)), "cells/c"
    publish(files, folder, *one, recipe="r", parents=parents[0], difference=computed_difference)
    before = open_artefacts(files, folder).result
    try:
        assert not publish(files, folder, *other, recipe="r", parents=parents[1], difference=computed_difference)
    except ConflictingResult as error:
        return str(error).partition("the first one stands; ")[2]
    finally:
        assert open_artefacts(files, folder).result == before, "the first one stands"
    return None


@pytest.mark.parametrize(("tuned", "apart"), [(True, 0.1), (False, 0.003)])
def test_rounding_that_was_amplified_is_no_conflict_on_gpus(tmp_path, tuned, apart):
    assert second(tmp_path, cell(LOGITS, tuned), cell(LOGITS + apart * NOISE, tuned)) is None


def test_of_a_probe_less_is_allowed_than_of_fine_tuning(tmp_path):
    assert "more than 0.001 apart" in second(tmp_path, cell(LOGITS, False), cell(LOGITS + 0.1 * NOISE, False))
    assert PROBE.macro_auroc < TUNED.macro_auroc and PROBE.auroc < TUNED.auroc


def test_one_cell_on_two_kinds_of_card_is_compared_as_well(tmp_path):
    assert second(tmp_path, cell(LOGITS), cell(LOGITS + 0.05 * NOISE, device=H100)) is None


@pytest.mark.parametrize("device", ["cpu", A100])
def test_where_the_same_bits_are_due_any_other_bit_is_a_conflict(tmp_path, device):
    more = {"deterministic": True} if device == A100 else {}
    other = LOGITS.copy()
    other[3, 2] = np.nextafter(other[3, 2], np.float32(9))
    said = second(tmp_path, cell(LOGITS, device=device, **more), cell(other, device=device, **more))
    assert ("on a CPU" if device == "cpu" else "in one order") in said


def test_one_order_on_two_kinds_of_card_is_not_the_same_order(tmp_path):
    sides = [cell(LOGITS + k * 0.05 * NOISE, device=d, deterministic=True) for k, d in enumerate((A100, H100))]
    assert second(tmp_path, *sides) is None


def test_a_cell_says_that_it_was_compiled_which_adds_in_another_order_too(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: A100.removeprefix("cuda: "))
    compute = Compute(torch.device("cuda"), torch.bfloat16, deterministic=True)
    plain, compiled = (computed_by(compute, Resources(compile=how)) for how in (False, True))
    assert plain == {"device": A100, "precision": "bfloat16", "deterministic": True}
    assert compiled == plain | {"compiled": True}
    assert computed_by(Compute(torch.device("cpu")), Resources(compile=True)) == {
        "device": "cpu",
        "precision": "float32",
    }
    near = LOGITS + 0.05 * NOISE
    assert second(tmp_path, cell(LOGITS, **plain), cell(near, **compiled)) is None
    assert "in one order" in second(tmp_path / "both", cell(LOGITS, **compiled), cell(near, **compiled))


def swapped(logits: np.ndarray) -> np.ndarray:
    return logits[:, [1, 0, *range(2, 14)]]


def one_better_one_worse(logits: np.ndarray) -> np.ndarray:
    """By as much: their mean stays."""
    places = np.arange(14)
    return (logits + 0.45 * PART.targets * (1.0 * (places == 5) - (places == 6))).astype(np.float32)


def another_model(logits: np.ndarray) -> np.ndarray:
    """As good to the last pair of images, by other images: the noise of another seed, mirrored about the labels."""
    return (2 * PART.targets + np.random.default_rng(3).standard_normal((400, 14))).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda logits: logits + 0.6 * NOISE, "AUROC"),
        (swapped, "AUROC"),
        (one_better_one_worse, "AUROC of finding_5"),
        (lambda logits: -logits, "macro AUROC"),
        (lambda logits: logits[::-1].copy(), "macro AUROC"),
        (lambda logits: logits + 100 * (np.arange(14) == 5) * NOISE, "AUROC"),
    ],
)
def test_other_predictions_are_in_conflict(tmp_path, change, why):
    assert why in second(tmp_path, cell(LOGITS), cell(change(LOGITS)))


def test_another_model_of_the_same_auroc_is_in_conflict(tmp_path):
    contents, result = cell(another_model(LOGITS))
    same = cell(LOGITS)[1]
    result |= {"macro_auroc": same["macro_auroc"], "findings": same["findings"]}
    assert "correlate by" in second(tmp_path, cell(LOGITS), (contents, result))


def offset_of_one(logits: np.ndarray, by: float) -> np.ndarray:
    """Of one finding: its AUROC, and all correlations, stay."""
    return (logits + by * (np.arange(14) == 3)).astype(np.float32)


@pytest.mark.parametrize("change", [lambda x: 1.05 * x, lambda x: x + 0.1, lambda x: offset_of_one(x, 0.1)])
def test_a_scale_and_an_offset_of_a_probes_logits_are_in_conflict(tmp_path, change):
    """Neither changes an AUROC or a correlation."""
    said = second(tmp_path, cell(LOGITS, False), cell(change(LOGITS).astype(np.float32), False))
    assert "probabilities of logit_" in said and "more than 0.005" in said


@pytest.mark.parametrize("change", [lambda x: 3 * x, lambda x: x + 1, lambda x: offset_of_one(x, -1)])
def test_of_fine_tuning_a_large_one_is_in_conflict(tmp_path, change):
    assert "probabilities of logit_" in second(tmp_path, cell(LOGITS), cell(change(LOGITS).astype(np.float32)))
    assert second(tmp_path / "small", cell(LOGITS), cell((1.05 * LOGITS + 0.1).astype(np.float32))) is None


def test_a_result_of_0_1_0_has_probabilities(tmp_path):
    sides = [cell(LOGITS + shift, False) for shift in (0.0, np.float32(0.1))]
    for contents, _ in sides:
        table = pq.read_table(io.BytesIO(contents["predictions.parquet"]))
        names = [name.replace("logit_", "probability_") for name in table.column_names]
        pairs = zip(names, table.columns, strict=True)
        columns = {n: expit(c.to_numpy()) if n.startswith("probability_") else c for n, c in pairs}
        pq.write_table(pa.table(columns), buffer := io.BytesIO(), store_schema=False)
        contents["predictions.parquet"] = buffer.getvalue()
    assert "probabilities of probability_" in second(tmp_path, *sides)


@pytest.mark.parametrize(
    ("field", "value"),
    [("precision", "float32"), ("subset_sha256", "b" * 64), ("num_train_images", 399), ("key", "other"),
     ("findings_without_positives_in_training", ["finding_1"])],
)  # fmt: skip
def test_what_does_not_depend_on_rounding_must_be_equal(tmp_path, field, value):
    said = second(tmp_path, cell(LOGITS), cell(LOGITS + 0.01 * NOISE, **{field: value}))
    assert said.startswith(f"{field} is ")


def test_another_encoder_below_it_is_in_conflict(tmp_path):
    parents = ({"encoders/e": "one"}, {"encoders/e": "other"})
    assert "parents is" in second(tmp_path, cell(LOGITS), cell(LOGITS + 0.01 * NOISE), parents)


def test_other_images_labels_or_subsets_are_in_conflict(tmp_path):
    contents, result = cell(LOGITS + 0.01 * NOISE)
    assert (
        second(tmp_path / "a", cell(LOGITS), (contents | {"subset.txt": b"image2"}, result)) == "subset.txt is another"
    )
    targets = PART.targets.copy()
    targets[0, 0] = 1 - targets[0, 0]
    for change in ({"targets": targets}, {"image_ids": PART.image_ids[::-1]}):
        parts = replace(PARTS, test=replace(PART, **change))
        other = contents | {"predictions.parquet": predictions_parquet(parts, LOGITS, LOGIT)}
        assert "has another" in second(tmp_path / next(iter(change)), cell(LOGITS), (other, result))


def test_a_network_of_another_form_or_without_numbers_is_in_conflict(tmp_path):
    for name, weight in (("form", torch.zeros(3, 14)), ("nan", torch.full((2, 14), float("nan")))):
        contents, result = cell(LOGITS + 0.001 * NOISE, False)
        other = contents | {"head.safetensors": weights_to_bytes({"weight": weight})}
        assert second(tmp_path / name, cell(LOGITS, False), (other, result)).startswith("head.safetensors ")


def test_what_cannot_be_read_is_in_conflict(tmp_path):
    contents, result = cell(LOGITS + 0.01 * NOISE)
    other = contents | {"predictions.parquet": b"no table"}
    assert "cannot be compared" in second(tmp_path, cell(LOGITS), (other, result))


def test_predictions_that_name_types_of_their_own_are_not_opened(tmp_path):
    """Arrow builds such a type while it opens the file, and that may run what the file's maker wrote."""
    contents, result = cell(LOGITS + 0.01 * NOISE)
    table = pq.read_table(io.BytesIO(contents["predictions.parquet"]))
    pq.write_table(table, buffer := io.BytesIO())  # with an Arrow schema, which could name one
    said = second(tmp_path, cell(LOGITS), (contents | {"predictions.parquet": buffer.getvalue()}, result))
    assert "was not written by this project" in said
