"""Are results read the same from a storage that makes one wait, and is each of them read once?"""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
from small_study import study as small_study
from test_status import finish, the_plan

from datasets_io import granted, read_ahead
from datasets_io.storage.artefacts import RESULT, publish, record_failure
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


def test_a_process_that_reads_ahead_gives_the_same_rows(tmp_path, monkeypatch):
    """Of whole, cut, changed, failed and missing cells; what it is not sure of is read as without it."""
    store, plan = Store(str(tmp_path)), the_plan()
    for place, cell in enumerate(plan.cells[:12]):
        values = {"macro_auroc": 0.5 + place / 100, "findings": []}
        publish(store.files, store.folder(cell), {"head.bin": b"12345"}, {"name": str(cell), "key": cell.key, **values})
    folders = [tmp_path / store.folder(cell) for cell in plan.cells]
    (head,) = folders[3].glob("head.*")
    head.write_bytes(b"1")
    result = folders[4] / RESULT
    result.write_bytes(result.read_bytes().replace(b"0.54", b"0.94"))
    (folders[5] / RESULT).unlink()
    record_failure(store.files, store.folder(plan.cells[5]), "no memory left", "trace")
    (folders[6] / "x").symlink_to("x")  # a circle, beside a whole result
    monkeypatch.setattr(results, "TRIED", 2)
    monkeypatch.setattr(granted, "cores", lambda: 2)
    expected = ResultReader(small_study(), plan, ReadStore(str(tmp_path)))
    expected.collect()
    monkeypatch.setattr(read_ahead, "LEAST", 3)
    ahead = ResultReader(small_study(), plan, ReadStore(str(tmp_path)))
    read, opened = ahead.store.files.read, []
    monkeypatch.setattr(ahead.store.files, "read", lambda path: opened.append(path) or read(path))
    assert ahead.collect() == expected.collect()
    assert (ahead.results, ahead.damage) == (expected.results, expected.damage)
    assert set(ahead.damage) == {plan.cells[3].key, plan.cells[4].key} and len(ahead.results) == 9
    here = {path for path in opened if path.endswith(RESULT)}
    assert here == {f"{store.folder(plan.cells[place])}/{RESULT}" for place in (0, 1, 3, 5, 6)}, (
        "others were read ahead"
    )


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
