"""Are results read the same from a storage that makes one wait, and is each of them read once?"""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from small_study import study as small_study
from test_status import finish, the_plan

from datasets_io.storage.artefacts import publish
from sweep.store import results
from sweep.store.damage import Damage
from sweep.store.results import ResultReader
from sweep.store.store import ReadStore, Store


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


FINDINGS = ("edema", "hernia")
ESC = "\x1b]0;pwn\x07"


def listed(*names: str) -> list[dict]:
    return [{"finding": name, "auroc": 0.5, "n_pos": 3, "n_neg": 4} for name in names]


ODD = {
    "another finding": (
        {"findings": listed(ESC, "hernia")},
        r"findings .*: '\\x1b\]0;pwn\\x07' stands in the place of 'ed",
    ),
    "another order": ({"findings": listed("hernia", "edema")}, "'hernia' stands in the place of 'edema'"),
    "one twice": ({"findings": listed("edema", "hernia", "edema")}, "'edema' is there twice"),
    "one too few": ({"findings": listed("edema")}, "they are 1 and not 2"),
    "none": ({"findings": []}, "they are 0 and not 2"),
    "of studies": ({"studies": {"max": listed("edema", "mass")}}, "findings of studies 'max' .* 'mass' stands in"),
    "of a second split": (
        {"also_test": {"test": listed("edema")}},
        "findings of also_test 'test' .* they are 1 and not 2",
    ),
    "a split of no cell": ({"also_test": {ESC: listed(*FINDINGS)}}, r"second test split '\\x1b.* its cell has 'test'"),
}


@pytest.mark.parametrize(("change", "said"), ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("known", [True, False], ids=["of the manifest", "of the recipe"])
def test_findings_of_another_data_set_are_damage(tmp_path, known, change, said):
    store = Store(str(tmp_path))
    cell = the_plan().cells[0]
    splits = replace(cell.recipe.splits, test="val", also_test="test")
    cell = replace(cell, recipe=replace(cell.recipe, splits=splits, findings=None if known else FINDINGS))
    whole = {"name": str(cell), "key": cell.key, "macro_auroc": 0.5, "findings": listed(*FINDINGS)}
    whole |= {"studies": {"max": listed(*FINDINGS)}, "also_test": {"test": listed(*FINDINGS)}}
    publish(Store(str(tmp_path / "whole")).files, store.folder(cell), {}, whole)
    publish(store.files, store.folder(cell), {}, whole | change)
    readers = {name: ReadStore(str(tmp_path / name)) for name in ("whole", "")}
    for reader in (*readers.values(), store):
        reader.findings |= {cell.data_fingerprint: FINDINGS} if known else {}
    assert not isinstance(readers["whole"].open_whole(cell, readers["whole"].sizes()), Damage | None)
    found = readers[""].open_whole(cell, readers[""].sizes())
    assert isinstance(found, Damage) and "sweep.run again" in found.mend
    assert re.search(said, found.what) and found.what.isprintable(), found.what
    assert store.open_whole(cell, store.sizes()) is None and store.quarantined() == {f"{cell}-{cell.key}"}


def test_of_data_that_are_not_known_findings_are_there_once(tmp_path):
    store, cell = Store(str(tmp_path)), the_plan().cells[0]
    publish(store.files, store.folder(cell), {}, {"macro_auroc": 0.5, "findings": listed("edema", "edema")})
    found = ReadStore(str(tmp_path)).open_whole(cell, store.sizes())
    assert isinstance(found, Damage) and "'edema' is there twice" in found.what
