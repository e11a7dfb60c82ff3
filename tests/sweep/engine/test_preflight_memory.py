"""Is a training step that this machine's memory may not hold named, and no other?"""

import os

from sweep.cli.lines import bytes_text
from sweep.engine.machine_memory import memory_of_device
from sweep.engine.preflight import Preflight, _too_large
from trainables.preflight.verdict import Verdict


def test_a_step_larger_than_the_memory_is_a_warning_with_both_numbers(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    device, has = memory_of_device()
    assert has > 0 and device in ("its GPU", "this machine")
    memory = {
        "small": Verdict(step_bytes=has // 2, step_images=8),
        "large": Verdict(step_bytes=2 * has, step_images=64),
    }
    (warning,) = _too_large(memory)
    assert warning.startswith(f"row large needs about {bytes_text(2 * has)} for a training step of 64 images")
    assert f"{device} has {bytes_text(has)}" in warning
    monkeypatch.setenv("RAY_ADDRESS", "auto")  # the work is done elsewhere
    assert _too_large(memory) == []


def test_the_host_has_what_the_kernel_says_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    device, has = memory_of_device()
    assert device == "this machine" and has <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_the_largest_row_is_printed():
    one, two = Verdict(step_bytes=10**9, step_images=8), Verdict(step_bytes=3 * 10**9, step_images=64)
    assert Preflight(memory={"a": one, "b": two}).memory_lines() == [
        "  memory of a training step in float32: up to 3 GB (b, 64 images)"
    ]
    assert Preflight().memory_lines() == []


def test_a_refusal_names_all_rows_or_the_one():
    one = Preflight({"a": "row a is odd"}).refusal
    assert one == "row a is odd; correct it, leave it out (--only), or go on with the other rows: --skip-unfit"
    two = Preflight({"a": "row a is odd", "b": "row b too"}).refusal.splitlines()
    assert two[0] == "2 rows do not fit:" and two[1:3] == ["  row a is odd", "  row b too"] and len(two) == 4


def test_rows_that_cannot_be_used_for_one_reason_are_one_line():
    why = "has a text encoder that cannot be used: no connection"
    found = Preflight({"clip": f"row clip {why}", "x": "row x is odd", "convirt": f"row convirt {why}"})
    assert found.refusal.splitlines()[:3] == [
        "3 rows do not fit:",
        f"  rows clip, convirt: each {why}",
        "  row x is odd",
    ]
