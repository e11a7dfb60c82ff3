"""Are results read the same from a storage that makes one wait, and is each of them read once?"""

from types import SimpleNamespace

import pytest
from small_study import study as small_study
from test_status import finish, the_plan

from sweep.store import results
from sweep.store.results import ResultReader
from sweep.store.store import Store


@pytest.mark.parametrize(("seconds", "computed"), [(0, 0), (0.002, 0), (0.002, 0.0019)])
def test_a_slow_storage_gives_the_same_rows(seconds, computed, tmp_path, monkeypatch):
    """Many read at once where one waits, and not where a result takes long because the processor is slow."""
    monkeypatch.setattr(results, "TRIED", 2)
    store, plan = Store(str(tmp_path)), the_plan()
    for place, cell in enumerate(plan.cells[:12]):
        finish(store, cell, 0.5 + place / 100)
    opened, pools, waited = [], [], []
    open_whole, threads = store.open_whole, results.reading_threads

    def slow(cell, sizes):
        opened.append(cell.key)
        waited.append(seconds)
        return open_whole(cell, sizes)

    monkeypatch.setattr(store, "open_whole", slow)
    clock = SimpleNamespace(perf_counter=lambda: sum(waited), thread_time=lambda: len(waited) * computed)
    monkeypatch.setattr(results, "time", clock)  # a loaded machine is slow
    monkeypatch.setattr(results, "reading_threads", lambda number: pools.append(number) or threads(number))
    reader = ResultReader(small_study(), plan, store)
    rows = reader.collect()
    assert [row.key for row in rows] == [cell.key for cell in plan.cells]
    assert [row.macro_auroc for row in rows[:12]] == [0.5 + place / 100 for place in range(12)]
    assert {row.status for row in rows[12:]} == {"missing"}
    assert bool(pools) == (seconds > computed + results.WAITING_SECONDS)
    assert reader.collect() == rows and sorted(opened) == sorted(cell.key for cell in plan.cells[:12])
