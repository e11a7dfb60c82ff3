"""Are the gauges of a running sweep what arithmetic says, and does Prometheus get them from Ray?"""

import re
import time
import urllib.request

import pytest
import ray

from sweep.monitoring.progress import ProgressSnapshot
from sweep.monitoring.prometheus import HELP, SweepGauges
from sweep.monitoring.throughput import WINDOW_SECONDS, Throughput
from sweep.monitoring.time_left import Places, TimeLeft
from sweep.studies import demo
from sweep.studies.costs import costs_of
from sweep.studies.plan import make_plan, pending
from trainables.events import Outcome, Progress

COUNTS = demo().synthetic.image_counts()
PLAN = make_plan(demo(), dict.fromkeys(("mimic_cxr", "chexpert", "nih_cxr14"), "x"), {"method": ("simclr", "random")})
ENCODERS = {run.row: run.key for run in PLAN.encoders}


def a_throughput(done=(), failed=()) -> Throughput:
    left = pending(PLAN, set(done), set(failed))
    costs = costs_of(left.encoders, left.cells, COUNTS)
    return Throughput(PLAN, left, set(done), TimeLeft(costs, left.cells, Places(2, 1, False)), now=1000.0)


def take(throughput: Throughput, progress: ProgressSnapshot, now: float) -> None:
    """As the driver does."""
    throughput.time_left.update(progress, now)
    throughput.update(progress, now)


def test_what_was_done_before_is_counted_but_not_as_speed():
    throughput = a_throughput(done=[PLAN.cells[0].key], failed=[PLAN.cells[1].key])
    values = throughput.read(1010.0)
    assert (values["cells_total"], values["cells_done"], values["cells_failed"]) == (len(PLAN.cells), 1, 1)
    assert values["encoders_total"] == 7 and "seconds_left" not in values


def test_half_an_encoder_in_ten_seconds():
    throughput = a_throughput()
    load = throughput.costs[ENCODERS["simclr"]]
    take(throughput, ProgressSnapshot([Progress(ENCODERS["simclr"], "running", step=50, total_steps=100)], []), 1010.0)
    values = throughput.read(1010.0)
    assert values["images_per_second"] == pytest.approx(load.images / 2 / 10)
    assert throughput.shares()["simclr-p0"] == 0.5


def test_cells_land_and_fail_and_what_failed_is_not_left():
    throughput = a_throughput()
    cells = [cell.key for cell in PLAN.cells[:3]]
    outcomes = [Outcome(cells[0], "done"), Outcome(cells[1], "failed"), Outcome(cells[2], "waiting")]
    take(throughput, ProgressSnapshot([], outcomes), 1010.0)
    values = throughput.read(1010.0)
    assert (values["cells_done"], values["cells_failed"]) == (1, 1)
    take(throughput, ProgressSnapshot([], [Outcome(cells[1], "done")]), 1020.0)  # a retry went well
    assert throughput.read(1020.0)["cells_failed"] == 0


def test_speed_is_of_the_last_minutes_and_falls_to_nothing():
    throughput = a_throughput()
    take(throughput, ProgressSnapshot([Progress(ENCODERS["simclr"], "done")], []), 1010.0)
    assert throughput.read(1010.0)["images_per_second"] > 0
    for moment in range(10):
        take(throughput, ProgressSnapshot(), 1020.0 + moment * WINDOW_SECONDS)
    assert throughput.read(1020.0 + 9 * WINDOW_SECONDS)["images_per_second"] == 0


def test_speed_is_from_the_last_sample_that_is_five_minutes_old():
    throughput = a_throughput()
    images = throughput.costs[ENCODERS["simclr"]].images

    def speed(moment: float, step: int) -> float:
        event = Progress(ENCODERS["simclr"], "running", step=step, total_steps=100)
        take(throughput, ProgressSnapshot([event], []), moment)
        return throughput.read(moment)["images_per_second"] / images

    assert speed(1100.5, 10) == pytest.approx(0.1 / 100.5) and speed(1200.0, 30) == pytest.approx(0.3 / 200)
    assert speed(1400.0, 60) == pytest.approx(0.6 / 400), "no other sample is five minutes old"
    assert speed(1500.0, 70) == pytest.approx(0.4 / 300)
    assert speed(1900.0, 90) == pytest.approx(0.2 / 400), "one that is older, since none in between is"
    assert speed(2300.0, 95) == pytest.approx(0.05 / 400)


def test_the_last_event_of_an_encoder_ends_it_and_one_without_steps_says_nothing():
    throughput = a_throughput()
    take(throughput, ProgressSnapshot([Progress(ENCODERS["simclr"], "running")], []), 1010.0)
    assert throughput.shares()["simclr-p0"] == 0.0
    take(throughput, ProgressSnapshot([Progress(ENCODERS["simclr"], "done", step=50, total_steps=100)], []), 1020.0)
    assert throughput.shares()["simclr-p0"] == 1.0 and throughput.read(1020.0)["encoders_done"] == 1


def test_a_restarted_encoder_does_not_go_backwards():
    throughput = a_throughput()
    for step in (60, 40):
        progress = Progress(ENCODERS["simclr"], "running", step=step, total_steps=100)
        take(throughput, ProgressSnapshot([progress], []), 1010.0)
    assert throughput.shares()["simclr-p0"] == 0.6


def test_every_gauge_has_a_description():
    throughput = a_throughput()
    cell = Outcome(PLAN.cells[0].key, "done", 0.5, None, 1.0, 1.0)
    take(throughput, ProgressSnapshot([Progress(ENCODERS["simclr"], "done")], [cell]), 1010.0)
    assert throughput.read(1010.0)["seconds_left"] == throughput.time_left.read(1010.0).seconds > 0
    assert set(throughput.read(1010.0)) == set(HELP)


def test_prometheus_gets_them_from_rays_exporter(local_ray):
    throughput, gauges = a_throughput(), SweepGauges("demo")
    take(throughput, ProgressSnapshot([Progress(ENCODERS["simclr"], "running", step=25, total_steps=100)], []), 1010.0)
    gauges.export(throughput, 1010.0)
    node = ray.nodes()[0]
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    deadline, text = time.monotonic() + 60, ""
    while time.monotonic() < deadline and "radsweep_encoder_share" not in text:
        gauges.export(throughput, 1010.0)
        time.sleep(0.5)
        with urllib.request.urlopen(address, timeout=10) as answer:
            text = answer.read().decode()
    total = re.search(r'(?m)^ray_radsweep_cells_total\{.*study="demo".*\} (\S+)$', text)
    share = re.search(r'(?m)^ray_radsweep_encoder_share\{.*encoder="simclr-p0".*\} (\S+)$', text)
    assert float(total[1]) == len(PLAN.cells) and float(share[1]) == 0.25
