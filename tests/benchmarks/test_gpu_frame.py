"""Does a section of benchmarks.gpu that fails, hangs or dies cost the others nothing, and is it said?"""

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import worker
from benchmarks.gpu.bench import FULL, Bench, check, figure
from benchmarks.gpu.frame import measure
from benchmarks.gpu.sections import SECTIONS, Section

# A worker whose sections do what their names say, without torch.
WORKER = """
import json, os, sys, time
def say(**line): print(json.dumps(line), flush=True)
say(machine="made up")
for name in sys.argv[1:]:
    say(section=name, status="begun")
    say(section=name, figure=f"{name}_figure")
    if name == "hangs": time.sleep(60)
    if name == "dies": os._exit(7)
    if name == "fails":
        say(section=name, status="failed", error="ValueError: no")
        sys.exit(1)
    print("a library's words", 12, flush=True)
    say(section=name, status="done", seconds=0.0)
"""


def run(*names: str, seconds: float = 20.0, total: float = 60.0) -> list[dict]:
    return list(measure(dict.fromkeys(names, seconds), total, lambda left: [sys.executable, "-S", "-c", WORKER, *left]))


def ends(lines: list[dict]) -> list[tuple[str, str]]:
    return [(line["section"], line["status"]) for line in lines if "status" in line]


def test_all_sections_in_one_process():
    lines = run("one", "two")
    assert ends(lines) == [("one", "done"), ("two", "done")] and sum("machine" in line for line in lines) == 1
    assert [line["figure"] for line in lines if "figure" in line] == ["one_figure", "two_figure"]


@pytest.mark.parametrize(("name", "said"), [("fails", "ValueError: no"), ("dies", "its process ended with 7")])
def test_what_goes_wrong_is_a_line_and_the_others_go_on_in_another_process(name, said):
    lines = run("one", name, "two")
    assert ends(lines) == [("one", "done"), (name, "failed"), ("two", "done")]
    assert sum("machine" in line for line in lines) == 2
    assert said in next(line["error"] for line in lines if line.get("status") == "failed")
    assert f"{name}_figure" in [line.get("figure") for line in lines], "what it had found is kept"


def test_a_section_that_is_late_is_ended_and_leaves_the_others_their_time():
    began = time.monotonic()
    lines = run("one", "hangs", "two", seconds=0.6)
    assert ends(lines) == [("one", "done"), ("hangs", "over its time"), ("two", "done")]
    assert time.monotonic() - began < 20


def test_once_the_whole_time_is_over_what_is_left_is_named():
    lines = run("hangs", "one", "two", total=1.0)
    assert ends(lines) == [("hangs", "over its time"), ("one", "left out"), ("two", "left out")]
    assert "all sections" in next(line["error"] for line in lines if line.get("status") == "over its time")


def test_every_section_has_a_share_of_eight_minutes_and_a_start_after_a_failure_is_left():
    assert command.SECONDS == 480 and sum(section.seconds for section in SECTIONS.values()) <= command.SECONDS - 40


def test_what_the_cpu_multiplies_for_the_card_is_small_beside_its_time():
    few = replace(FULL, product=64, copied_bytes=1 << 16, rounds=1)  # what the card does is no matter here
    began = time.process_time()
    lines = list(SECTIONS["card"].measure(Bench(torch.device("cpu"), few)))
    assert time.process_time() - began < SECTIONS["card"].seconds / 3
    assert [line["figure"] for line in lines] == [
        "float32_product_from_float64",
        "bfloat16_product",
        "copy_on_the_device",
    ]
    assert lines[0]["passed"] and FULL.exact_product >= 1024, "sums long enough that TF32 would be seen"


def test_one_order_can_be_asked_for_whatever_was_computed_before(monkeypatch):
    """torch before 2.14 looks for the variable at its first product, and never again."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is as it was afterwards
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    seen = []

    def section(bench: Bench) -> Iterator[dict]:
        seen.append(os.environ.get("CUBLAS_WORKSPACE_CONFIG"))
        yield figure("nothing", "1", 0.0)

    monkeypatch.setitem(SECTIONS, "card", Section(section, 1.0))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    assert worker.main(["cpu", "quick", "card"]) == 0 and seen == [":4096:8"]


def test_the_exit_status_is_of_failed_sections_and_of_checks_that_did_not_pass(capsys):
    good, bad, nan = check("same", "1", 0.0, 0.0), check("far", "1", 0.2, 0.1), check("none", "1", float("nan"), 1.0)
    assert command.printed([{"machine": "a card"}, {"section": "a", **good}, {"section": "a", "status": "done"}]) == 0
    out = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert out[1]["card"] == "a card" and out[1]["passed"] is True
    assert command.printed([{"section": "a", **bad}]) == 1
    assert "a: far is 0.2; allowed: 0.1" in capsys.readouterr().err
    assert command.printed([{"section": "a", **nan}]) == 1 and nan["ours"] is None
    assert command.printed([{"section": "a", "status": "failed", "error": "no"}]) == 1


def test_without_a_card_one_sentence_and_its_exit_status(capsys, monkeypatch):
    monkeypatch.setattr(command, "why_no_card", lambda: "needs an NVIDIA GPU, and there is none")
    assert command.main([]) == 3
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "needs an NVIDIA GPU" in said.err


def test_a_section_that_there_is_not_is_refused():
    with pytest.raises(SystemExit):
        command.main(["--only", "speed"])
