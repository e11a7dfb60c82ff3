"""Do two results of a pretraining on GPUs count as one where only rounding differs, and never where else?"""

import pytest
import torch

from datasets_io.storage.artefacts import ConflictingResult, open_artefacts, publish
from datasets_io.storage.files import Files
from trainables.pretraining.agreement import computed_difference
from trainables.training.checkpoint import weights_to_bytes

GENERATOR = torch.Generator().manual_seed(0)
WEIGHT, NOISE = (torch.randn(50, 40, generator=GENERATOR) for _ in range(2))


def encoder(apart: float = 0.0, loss: float | None = 1.0, tokenizer: bytes = b"{}", **fields) -> tuple[dict, dict]:
    contents = {
        "backbone.safetensors": weights_to_bytes(
            {"layer": WEIGHT + apart * NOISE, "norm.num_batches_tracked": torch.tensor(50_000)}
        ),
        "objective.safetensors": weights_to_bytes({"head": WEIGHT[:2]}),
        "tokenizer.json": tokenizer,
    }
    result = {
        "key": "k",
        "best_epoch": 1,
        "history": [{"val_loss": 3.0}, {"val_loss": loss}],
        "num_train_images": 9,
        "num_val_images": 3,
        "workers": 1,
        "device": "cuda: NVIDIA A100-SXM4-80GB",
        "precision": "bfloat16",
    }
    return contents, result | fields


def second(tmp_path, other: tuple[dict, dict], **fields_of_first) -> str | None:
    files = Files(str(tmp_path))
    publish(files, "encoders/e", *encoder(**fields_of_first), recipe="r", difference=computed_difference)
    first = open_artefacts(files, "encoders/e").result
    try:
        assert not publish(files, "encoders/e", *other, recipe="r", difference=computed_difference)
    except ConflictingResult as error:
        return str(error).partition("the first one stands; ")[2]
    finally:
        assert open_artefacts(files, "encoders/e").result == first
    return None


def test_weights_that_drifted_apart_and_a_loss_that_did_not_are_no_conflict(tmp_path):
    assert second(tmp_path, encoder(0.1, 1.01)) is None


CPU, ONE_ORDER = {"device": "cpu", "precision": "float32"}, {"deterministic": True}
COMPILED = {"resources": {"compile": True}}


@pytest.mark.parametrize("order", [{}, CPU, ONE_ORDER], ids=["any order", "on a CPU", "in one order"])
@pytest.mark.parametrize("more", [{"workers": 4}, COMPILED], ids=["four workers", "compiled"])
def test_another_number_of_workers_adds_in_another_order_and_is_compared_within_the_limits(tmp_path, order, more):
    assert second(tmp_path, encoder(0.1, 1.01, **order, **more), **order) is None
    said = second(tmp_path / "far", encoder(2.0, **order, **more), **order)
    assert said.startswith("the weights of backbone.safetensors correlate by") and "one order" not in said


@pytest.mark.parametrize("order", [CPU, ONE_ORDER], ids=["on a CPU", "in one order"])
def test_what_is_another_is_named_where_the_same_bits_would_be_due_without_it(tmp_path, order):
    for field, value in (("precision", "float16"), ("num_train_images", 8)):
        said = second(tmp_path / field, encoder(0.1, **order | {field: value}), **order)
        assert said.startswith(f"{field} is {value!r}, there "), said


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (encoder(0.1, 1.05), "validation loss is 1.05, there 1: more than 2% apart"),
        (encoder(0.1, None), "cannot be compared"),
        (encoder(2.0), "the weights of backbone.safetensors correlate"),
        (encoder(0.1, tokenizer=b"[]"), "tokenizer.json is another"),
        (encoder(0.1, 1.05, workers=2), "more than 2% apart (number of workers: 2, there 1)"),
        (encoder(2.0, workers=2), "less than 0.9 (number of workers: 2, there 1)"),
        (encoder(0.1, precision="float32"), "precision is 'float32'"),
        (encoder(0.1, best_epoch=7), "cannot be compared"),
    ],
)
def test_more_than_rounding_is_in_conflict(tmp_path, other, why):
    assert why in second(tmp_path, other)


def test_what_every_network_has_in_batch_norm_makes_no_two_agree(tmp_path):
    """Variances and weights near 1, as large as all else: the networks have nothing else in common."""

    def network(layer: torch.Tensor) -> dict[str, bytes]:
        norm = {"norm.weight": torch.ones(50) + 0.01 * layer[:, 0], "norm.running_var": 30 + layer[:, 1]}
        return {"backbone.safetensors": weights_to_bytes({"layer": layer, **norm})}

    result = encoder()[1]
    files = Files(str(tmp_path))
    publish(files, "encoders/e", network(WEIGHT), result, difference=computed_difference)
    with pytest.raises(ConflictingResult, match=r"correlate by -?0\.0"):
        publish(files, "encoders/e", network(NOISE), result, difference=computed_difference)


def test_on_a_cpu_the_bits_are_the_same_or_in_conflict(tmp_path):
    files = Files(str(tmp_path))
    publish(files, "e", *encoder(device="cpu"), difference=computed_difference)
    with pytest.raises(ConflictingResult, match="on a CPU"):
        publish(files, "e", *encoder(1e-7, device="cpu"), difference=computed_difference)
