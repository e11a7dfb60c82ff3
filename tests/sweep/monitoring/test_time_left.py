"""Is the time that a running sweep says is left right, from a tenth of the work on, on any machine?"""

import heapq
from dataclasses import dataclass, replace

import pytest

from sweep.monitoring.progress import ProgressSnapshot
from sweep.monitoring.time_left import Places, TimeLeft
from sweep.studies import demo
from sweep.studies.costs import ALONE, INITIAL, PRETRAINING, TOGETHER, Cost, costs_of
from sweep.studies.learnt_seconds import BETWEEN, LearntSeconds, Observations
from sweep.studies.plan import make_plan
from trainables.events import Outcome, Progress

COUNTS = demo().synthetic.image_counts()
PLAN = make_plan(demo(), dict.fromkeys(("mimic_cxr", "chexpert", "nih_cxr14"), "x"), {})
FT = Cost(ALONE, 1, 200, 2000, 1e10)


@dataclass(frozen=True)
class Machine:
    """Seconds of a piece, a step, a FLOP and a view; cores, so many cells, and pretrainings beside them."""

    piece: float
    step: float
    flop: float
    view: float
    cores: int = 2
    groups: int = 1

    @property
    def places(self) -> Places:
        return Places(self.cores, self.groups, False)

    def seconds(self, cost: Cost) -> float:
        return cost.pieces * self.piece + cost.steps * self.step + cost.flops * self.flop + cost.views * self.view


LAPTOP = Machine(0.05, 2e-3, 4e-11, 2e-5)
MACHINES = {
    "a laptop": LAPTOP,
    "slow to begin": replace(LAPTOP, piece=1.0),
    "bound by its steps": replace(LAPTOP, step=5e-2, flop=1e-13),
    "bound by arithmetic": replace(LAPTOP, piece=0.0, step=0.0, flop=4e-9, view=0.0),
    "ten times as slow": Machine(0.5, 2e-2, 4e-10, 2e-4),
    "ten times as slow, with sixteen cores": Machine(0.5, 2e-2, 4e-10, 2e-4, cores=16, groups=8),
}


def events_of(machine: Machine) -> list[tuple[float, ProgressSnapshot]]:
    """A sweep as it would go: pretrainings behind each other, cells as soon as their encoder and a place are there.

    What runs at once shares the cores, so that by a clock all take longer than by a processor.
    """
    costs = costs_of(PLAN.encoders, PLAN.cells, COUNTS)
    events: list[tuple[float, ProgressSnapshot]] = []
    landed, free = dict.fromkeys((run.key for run in PLAN.encoders), 0.0), [0.0] * machine.groups
    slower = (machine.cores + machine.groups) / machine.cores  # while pretrainings run
    for run in PLAN.encoders:
        if costs[run.key].work != PRETRAINING:
            continue
        begun, seconds = heapq.heappop(free), machine.seconds(costs[run.key])
        for part in range(41):  # as often as of ten epochs, each told of four times
            core = machine.piece + (seconds - machine.piece) * part / 40
            event = Progress(run.key, "running", 0, 10 * part, 400, core_seconds=core)
            events.append((begun + slower * core, ProgressSnapshot([event], [])))
        landed[run.key] = begun + slower * seconds
        events.append((landed[run.key], ProgressSnapshot([Progress(run.key, "done", core_seconds=seconds)], [])))
        heapq.heappush(free, landed[run.key])
    pretrained, free = max(landed.values()), [0.0] * machine.cores
    for cell in sorted(PLAN.cells, key=lambda cell: landed[cell.encoder.key]):
        start, core = max(heapq.heappop(free), landed[cell.encoder.key]), machine.seconds(costs[cell.key])
        end = start + core * (slower if start < pretrained else 1.0)
        events.append((end, ProgressSnapshot([], [Outcome(cell.key, "done", 0.5, None, end - start, core)])))
        heapq.heappush(free, end + BETWEEN * costs[cell.key].pieces)
    return sorted(events, key=lambda event: event[0])


@pytest.mark.parametrize("name", MACHINES)
def test_after_a_tenth_nine_of_ten_are_within_a_quarter(name):
    machine = MACHINES[name]
    events = events_of(machine)
    end = events[-1][0]
    time_left = TimeLeft(costs_of(PLAN.encoders, PLAN.cells, COUNTS), PLAN.cells, machine.places)
    off, place = [], 0
    for percent in range(10, 96):
        now = end * percent / 100
        while events[place][0] <= now:
            time_left.update(events[place][1], events[place][0])
            place += 1
        off.append(abs(time_left.read(now).seconds - (end - now)) / (end - now))
    assert sorted(off)[int(0.9 * len(off))] <= 0.25, (sorted(off)[-10:], off)


def test_nothing_is_said_before_anything_was_seen_and_nothing_is_left_at_the_end():
    time_left = TimeLeft({"a": FT, "b": FT}, (), Places(1, 1, False))
    assert (time_left.read(5.0).seconds, time_left.read(5.0).share) == (None, 0.0)
    done = [Outcome(key, "done", 0.5, None, 10.0, 10.0) for key in "ab"]
    time_left.update(ProgressSnapshot([], done[:1]), 10.0)
    half = time_left.read(10.0)
    assert half.share == pytest.approx(0.5) and half.seconds == pytest.approx(10.0, rel=0.05)
    time_left.update(ProgressSnapshot([], done[1:]), 20.0)
    assert (time_left.read(20.0).seconds, time_left.read(20.0).share) == (0.0, 1.0)


def test_of_a_great_deal_nothing_is_said_before_seconds_of_work_were_seen():
    costs = {str(number): FT for number in range(100)}
    time_left = TimeLeft(costs, (), Places(2, 1, False))
    for number in range(4):
        time_left.update(ProgressSnapshot([], [Outcome(str(number), "done", 0.5, None, 1.5, 1.5)]), 1.5 + number)
        left = time_left.read(1.5 + number)
        assert left.share == pytest.approx((number + 1) / 100)
        assert (left.seconds is None) == (number < 3), "the first job has its process's own first steps in it"


def test_of_a_portion_the_time_is_known_from_those_before_it():
    seen = Observations()
    before = TimeLeft({"a": FT}, (), Places(1, 1, False), seen)
    before.update(ProgressSnapshot([], [Outcome("a", "done", 0.5, None, 10.0, 10.0)]), 10.0)
    now = TimeLeft({"b": FT, "c": FT}, (), Places(1, 1, False), seen)
    assert now.read(20.0).seconds == pytest.approx(20, rel=0.05) and now.read(20.0).share == 0


@pytest.mark.parametrize("start", [20.0, 200.0])
def test_what_starts_beside_the_first_cells_is_not_taken_for_the_speed(start):
    """Two cores. Until the pretraining goes on, but for a minute at most, starting processes halve what cells get."""
    costs = {"e": Cost(PRETRAINING, 1, 10, 100, FT.flops / 2)} | {str(number): FT for number in range(400)}
    time_left, now = TimeLeft(costs, (), Places(2, 1, False)), 5.0
    slow_until, number, said = 5.0 + min(start, 60.0), 0, {}
    while number < 400:
        clock = 2.0 if now < slow_until else 1.0  # of a cell of one second of a core, two at a time
        now += clock
        events = [Progress("e", "running", 0, 5, 10, core_seconds=0.2)] if now >= 5.0 + start else []
        done = [Outcome(str(number + one), "done", 0.5, None, clock, 1.0 - BETWEEN) for one in (0, 1)]
        time_left.update(ProgressSnapshot(events, done), now)
        number += 2
        said[now] = time_left.read(now).seconds
    wrong = [at for at, seconds in said.items() if at > 10 and abs(seconds - (now - at)) > 0.25 * (now - at)]
    assert len(wrong) <= 0.1 * len(said), wrong


@pytest.mark.parametrize("between", [0.01, 0.05, 0.15])
def test_what_lies_between_two_jobs_is_learnt_where_no_pretraining_holds_a_place(between):
    """Long jobs first, then as many that take no longer than what lies between them."""
    long, short = replace(FT, work=ALONE), replace(FT, work=TOGETHER)
    costs = {f"{kind}{number}": cost for kind, cost in (("long", long), ("short", short)) for number in range(200)}
    time_left, now = TimeLeft(costs, (), Places(1, 1, False)), 0.0
    for number, key in enumerate(costs):
        seconds = 0.5 if key.startswith("long") else 0.05
        now += seconds
        time_left.update(ProgressSnapshot([], [Outcome(key, "done", 0.5, None, seconds, seconds)]), now)
        now += between
        if number == 240:
            at, said = now, time_left.read(now).seconds
    assert said == pytest.approx(now - at, rel=0.25)


def test_what_failed_and_what_needs_it_is_not_left():
    costs = costs_of(PLAN.encoders, PLAN.cells, COUNTS)
    time_left = TimeLeft(costs, PLAN.cells, Places(2, 1, False))
    done = next(cell for cell in PLAN.cells if costs[cell.key].work == ALONE)
    time_left.update(ProgressSnapshot([], [Outcome(done.key, "done", 0.5, None, 10.0, 10.0)]), 10.0)
    before = time_left.read(10.0).seconds
    failed = next(run for run in PLAN.encoders if costs[run.key].work == PRETRAINING)
    time_left.update(ProgressSnapshot([Progress(failed.key, "failed")], []), 10.0)
    after = time_left.read(10.0).seconds
    learnt = Observations()
    learnt.add(costs[done.key], 10.0)
    expected = LearntSeconds(learnt)
    gone = [failed, *(cell for cell in PLAN.cells if cell.encoder.key == failed.key)]
    whole = [item for item in PLAN.items if item.key != done.key]
    # Of the other of two places half a job, of which one has been seen, counts as done.
    left = sum(expected.of(costs[item.key]) for item in whole) - expected.of(costs[done.key]) / 2
    assert after / before == pytest.approx(1 - sum(expected.of(costs[item.key]) for item in gone) / left)
    time_left.update(ProgressSnapshot([Progress(failed.key, "failed")], []), 11.0)
    assert time_left.read(10.0).seconds == pytest.approx(after), "once"


def test_a_pretraining_that_is_resumed_neither_goes_back_nor_is_taken_for_a_fast_one():
    cost = Cost(PRETRAINING, 1, 1000, 5e4, 2e11, 0)
    time_left = TimeLeft({"e": cost}, (), Places(1, 1, False))

    def tell(step: int, core: float, now: float) -> None:
        event = Progress("e", "running", 0, step, 1000, core_seconds=core)
        time_left.update(ProgressSnapshot([event], []), now)

    for step, core, now in ((0, 5, 5), (500, 105, 105), (400, 5, 160), (500, 25, 180), (600, 45, 200)):
        tell(step, core, now)
    assert time_left.share["e"] == 0.6
    assert time_left.read(200.0).share == pytest.approx(0.6)
    seen = Observations()
    time_left._observe("e", *time_left.moments["e"], seen, [0.0, 0.0])
    rates = LearntSeconds(seen)
    assert rates.of(replace(cost, pieces=0.0)) == pytest.approx(200, rel=0.02), "a fifth of it took 40 s"


def test_what_an_earlier_command_has_done_of_a_pretraining_is_not_speed():
    """Two of ten minutes each; the first goes on where it had done nine."""
    pretraining = Cost(PRETRAINING, 1, 600, 6000, 6e12)
    time_left = TimeLeft({"first": pretraining, "second": pretraining}, (), Places(1, 1, False))
    for second in range(0, 61, 5):
        event = Progress("first", "running", 0, 540 + second, 600, core_seconds=float(second))
        time_left.update(ProgressSnapshot([event], []), float(second))
    time_left.update(ProgressSnapshot([Progress("first", "done", core_seconds=60.0)], []), 60.0)
    for second in range(0, 600, 5):
        event = Progress("second", "running", 0, second, 600, core_seconds=float(second))
        time_left.update(ProgressSnapshot([event], []), 60.0 + second)
        assert time_left.read(60.0 + second).seconds == pytest.approx(600 - second, rel=0.1, abs=5)


@pytest.mark.parametrize("gpus", [1.0, 4.0, 16.0])
def test_work_that_was_not_seen_goes_by_what_a_gpu_has_done_and_not_by_a_pretrainings_gpus(gpus):
    """A pretraining on several GPUs, and a cell on half a one: of a GPU both take the same FLOP a second."""
    pretraining, cell = Cost(PRETRAINING, 1, 0, 0, 1e15, share=gpus), Cost(ALONE, 1, 0, 0, 1e13, share=0.5)
    seen = Observations()
    seen.add(pretraining, 1e15 / gpus / 1e11)
    learnt = LearntSeconds(seen, between=0.0)
    assert learnt.of(replace(pretraining, share=1.0)) == pytest.approx(1e4, rel=0.05)
    assert learnt.of(cell) == pytest.approx(200, rel=0.05)


def test_on_gpus_no_more_than_its_chain_is_promised_however_many_there_are():
    pretraining = Cost(PRETRAINING, 1, 1000, 5e4, 2e11, 0, share=4.0)
    run = next(run for run in PLAN.encoders if run.row == "simclr")
    cell = next(cell for cell in PLAN.cells if cell.encoder == run and cell.protocol == "FT")
    time_left = TimeLeft({run.key: pretraining, cell.key: FT}, [cell], Places(64, 16, True))
    for step, now in ((0, 10), (500, 110)):
        time_left.update(ProgressSnapshot([Progress(run.key, "running", 0, step, 1000)], []), now)
    assert time_left.read(110.0).seconds > 100


def test_initial_weights_cost_nothing_and_tell_nothing():
    time_left = TimeLeft({"i": Cost(INITIAL), "c": FT}, (), Places(1, 1, False))
    time_left.update(ProgressSnapshot([Progress("i", "done")], []), 1.0)
    assert time_left.read(1.0).seconds is None


def test_results_of_one_cost_outweigh_what_others_tell_of_it():
    seen = Observations()
    for _ in range(50):
        seen.add(FT, 10.0)
        seen.add(replace(FT, work=TOGETHER), 1.0)
    learnt = LearntSeconds(seen)
    assert learnt.of(FT) == pytest.approx(10 + BETWEEN, rel=0.02)
    assert learnt.of(replace(FT, work=TOGETHER)) == pytest.approx(1 + BETWEEN, rel=0.05)
    assert learnt.of(replace(FT, work=PRETRAINING)) > 0, "work of which nothing is known goes by all of it"
