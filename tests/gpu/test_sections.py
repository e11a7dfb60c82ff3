"""Do the checks of benchmarks.gpu pass on this card, at small sizes? Its rates are measured by the command alone."""

import pytest
import torch

from benchmarks.gpu.bench import QUICK, Bench
from benchmarks.gpu.sections import SECTIONS

pytestmark = pytest.mark.gpu
OF_CHECKS = (
    "card",
    "methods",
    "precision",
    "views",
    "checkpoints",
    "streams",
    "memory",
    "one_order",
    "captured_same_bits",
    "inference",
)


@pytest.mark.parametrize("name", OF_CHECKS)
def test_all_checks_of_a_section_pass(card: torch.device, name: str):
    lines = list(SECTIONS[name].measure(Bench(card, QUICK)))
    failed = [(line["figure"], line["ours"], line["allowed"]) for line in lines if line.get("passed") is False]
    assert lines and not failed
