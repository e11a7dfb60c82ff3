"""Tests that need an NVIDIA GPU: `pytest -m gpu`. Where there is none each skips with a sentence that says why.

They run from a copy of the tree, without Ray: what they import is in PACKAGES of tests/test_gpu_imports.py.
"""

import pytest
import torch

from benchmarks.gpu.card import allow_one_order, why_no_card


@pytest.fixture(scope="session", autouse=True)
def card() -> torch.device:
    """The GPU that the tests of this folder compute on."""
    if reason := why_no_card():
        pytest.skip(reason)
    allow_one_order()  # some of these tests ask for it, after others have computed
    return torch.device("cuda")
