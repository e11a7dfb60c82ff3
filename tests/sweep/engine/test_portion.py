"""Do several drivers divide a plan: each item once, none before what it needs, and about the same work for each?"""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from sweep.engine.driver import _bars, _possible
from sweep.engine.portion import DRIVERS, number_of_drivers, portion
from sweep.monitoring.progress import ProgressSnapshot
from sweep.monitoring.time_left import Left
from sweep.store.store import Store
from sweep.studies import Study, demo
from sweep.studies.forecast import forecast
from sweep.studies.plan import Pending, Plan, make_plan, pending, starts_from

COUNTS = {"train": 400, "val": 80, "test": 200}


def plan_of(study: Study) -> tuple[Plan, dict[str, dict[str, int]]]:
    labels = [build.label for build in study.data_builds()]
    return make_plan(study, dict.fromkeys(labels, "any"), {}), dict.fromkeys(labels, COUNTS)


@pytest.fixture(scope="module")
def planned() -> tuple[Plan, dict[str, dict[str, int]]]:
    return plan_of(demo())


class Drivers:
    """Drivers that work one item after the other, in a simulated time; what each took is in `passes`."""

    def __init__(self, plan: Plan, counts: dict[str, dict[str, int]], drivers: int, running: int):
        self.plan, self.counts, self.drivers = plan, counts, drivers
        self.starts = starts_from(plan.cells)
        self.items = {item.key: item for item in plan.items}
        self.done: set[str] = set()
        self.ends: dict[str, float] = {}  # of what is being computed -> when it will be done
        self.until = dict.fromkeys(range(running), 0.0)
        self.passes: dict[int, list[set[str]]] = {driver: [] for driver in range(running)}

    def run(self) -> float:
        """The time at which all is done."""
        now = 0.0
        while not (left := pending(self.plan, self.done, set(), ())).nothing:
            for driver in [driver for driver, until in self.until.items() if until <= now]:
                self.begin(driver, left, now)
            assert self.ends, "something is left, and nobody can begin it"
            now = min(self.ends.values())
            self.done |= {key for key, end in self.ends.items() if end <= now}
            self.ends = {key: end for key, end in self.ends.items() if end > now}
        return now

    def begin(self, driver: int, left: Pending, now: float) -> None:
        free = {item.key for item in left.items} - self.ends.keys()
        part = portion(left, free, self.drivers, self.starts, self.counts)
        assert part <= free
        possible = _possible(left, part, self.starts).items
        assert {item.key for item in possible} == part, "nothing that waits for another driver"
        for item in possible:
            now += self.work({item.key})
            self.ends[item.key] = now
        self.until[driver] = now
        if part:
            self.passes[driver].append(part)

    def work(self, keys: set[str]) -> float:
        encoders = [encoder for encoder in self.plan.encoders if encoder.key in keys]
        cells = [cell for cell in self.plan.cells if cell.key in keys]
        return 1.0 + forecast(encoders, cells, self.counts).flops


@pytest.mark.parametrize("running", [1, 2, 3])
def test_each_item_is_taken_once_however_many_of_three_run(planned, running):
    drivers = Drivers(*planned, drivers=3, running=running)
    drivers.run()
    taken = [key for passes in drivers.passes.values() for part in passes for key in part]
    assert sorted(taken) == sorted(item.key for item in planned[0].items)
    assert max(len(passes) for passes in drivers.passes.values()) <= 60


def test_three_take_about_a_third_of_the_time(planned):
    alone, three = Drivers(*planned, drivers=3, running=1), Drivers(*planned, drivers=3, running=3)
    assert three.run() < 0.4 * alone.run()


def test_the_seeds_of_a_column_stay_together(planned):
    plan, counts = planned
    left = pending(plan, {encoder.key for encoder in plan.encoders}, set(), ())
    part = portion(left, {cell.key for cell in plan.cells}, 4, starts_from(plan.cells), counts)
    columns = {}
    for cell in plan.cells:
        columns.setdefault((cell.encoder.key, cell.dataset, cell.protocol, cell.label_percent), set()).add(cell.key)
    assert all(seeds <= part or not seeds & part for seeds in columns.values())
    work = Drivers(plan, counts, 4, 1).work
    assert 0.25 <= work(part) / work({cell.key for cell in plan.cells}) < 0.3


def test_a_cell_whose_start_another_driver_computes_is_left_to_it(planned):
    plan, counts = planned
    starts = starts_from(plan.cells)
    left = pending(plan, {encoder.key for encoder in plan.encoders}, set(), ())
    free = {cell.key for cell in plan.cells} - {start.key for start in starts.values()}
    part = portion(left, free, 1, starts, counts)
    assert part and not part & starts.keys()


def test_encoders_that_cost_nothing_are_shared_too():
    study = demo()
    rows = tuple(row for row in study.rows if row.name == "random")
    plan, counts = plan_of(replace(study, rows=rows))
    left = pending(plan, (), (), ())
    part = portion(left, {item.key for item in plan.items}, 3, starts_from(plan.cells), counts)
    assert sum(encoder.key in part for encoder in plan.encoders) == 2, "of five"


@pytest.mark.parametrize("value", ["0", "-1", "three", "1.5", "²"])
def test_a_number_of_drivers_that_is_none_is_refused(value):
    with pytest.raises(ValueError, match=f"{DRIVERS} is '{value}'.*a whole number from 1 on"):
        number_of_drivers({DRIVERS: value})


def test_there_is_one_driver_where_nobody_says_more():
    assert number_of_drivers({}) == number_of_drivers({DRIVERS: ""}) == 1 and number_of_drivers({DRIVERS: "3"}) == 3


@pytest.mark.parametrize(("drivers", "named"), [(1, "all work"), (3, "this driver's portion")])
def test_of_several_drivers_each_says_what_its_time_left_is_of(tmp_path, planned, drivers, named):
    shown: list[str] = []
    display = SimpleNamespace(
        say=lambda text: None, hide_full_bars=lambda: None, bar=lambda name, *rest, **more: shown.append(name)
    )
    plan, _ = planned
    work = SimpleNamespace(plan=plan, store=Store(str(tmp_path)), display=display, drivers=drivers, tables=tuple)
    bars = _bars(work, Pending((), plan.cells[:1], (), (), ()), set())
    time_left = SimpleNamespace(read=lambda now: Left(60.0, 0.5))
    bars.show(ProgressSnapshot([], []), time_left)
    assert shown[-1] == named
