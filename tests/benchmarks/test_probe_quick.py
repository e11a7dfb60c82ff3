"""Does the benchmark of probing run, and does it refuse heads that differ?"""

from dataclasses import replace

import pytest
import torch
from benchmark_lines import figures_of

from benchmarks.probe import QUICK, SEEDS, Comparison, check_passes, largest_difference, main


def test_quick(capsys):
    threads = torch.get_num_threads()
    found = figures_of(main, "probe", capsys)
    assert torch.get_num_threads() == threads
    passes = found["five_seeds_demo_cnn_16px_forward_passes"]
    assert passes["ours"] == 37 + 20 and passes["peer"] == 5 * 3 * (37 + 20)
    with_test = found["five_seeds_demo_cnn_16px_with_test_forward_passes"]
    assert with_test["ours"] == 37 + 20 + 11 and with_test["peer"] == 37 + 20 + 5 * 11
    assert found["five_seeds_resnet18_32px_with_test_forward_passes"] == {
        **with_test,
        "figure": "five_seeds_resnet18_32px_with_test_forward_passes",
    }
    assert found["five_seeds_demo_cnn_16px_largest_difference"]["ours"] <= 1e-6


def test_a_head_that_differs_is_refused():
    both = Comparison(replace(QUICK, num_epochs=1))
    cached, uncached = both.cached(), [both.uncached(seed) for seed in SEEDS]
    assert largest_difference(cached, uncached) <= 1e-6
    uncached[3]["bias"][0] += 1e-5
    with pytest.raises(ArithmeticError, match="differs by"):
        largest_difference(cached, uncached)
    with pytest.raises(ArithmeticError, match="the plan counts"):
        check_passes(both, 57, 56)
