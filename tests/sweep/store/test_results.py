"""Are results read the same from a storage that makes one wait, and is each of them read once?"""

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_study import study as small_study
from test_status import finish, the_plan

from datasets_io import granted, read_ahead, threads
from datasets_io.storage.artefacts import RESULT, publish, record_failure, seal, unseal
from sweep.store import results
from sweep.store.damage import Damage
from sweep.store.results import ResultReader
from sweep.store.store import ReadStore, Store
from sweep.studies.plan import Plan


@pytest.mark.parametrize(("seconds", "computed"), [(0, 0), (0.002, 0), (0.002, 0.0019)])
def test_a_slow_storage_gives_the_same_rows(seconds, computed, tmp_path, monkeypatch):
    """Many read at once where one waits, and not where a result takes long because the processor is slow."""
    monkeypatch.setattr(threads, "TRIED", 2)
    store, plan = Store(str(tmp_path)), the_plan()
    for place, cell in enumerate(plan.cells[:12]):
        finish(store, cell, 0.5 + place / 100)
    opened, pools, waited = [], [], []
    open_whole, pool_of = store.open_whole, threads.reading_threads

    def slow(cell, sizes):
        opened.append(cell.key)
        waited.append(seconds)
        return open_whole(cell, sizes)

    monkeypatch.setattr(store, "open_whole", slow)
    clock = SimpleNamespace(perf_counter=lambda: sum(waited), thread_time=lambda: len(waited) * computed)
    monkeypatch.setattr(threads, "time", clock)  # a loaded machine is slow
    monkeypatch.setattr(threads, "reading_threads", lambda number: pools.append(number) or pool_of(number))
    reader = ResultReader(small_study(), plan, store)
    rows = reader.collect()
    assert [row.key for row in rows] == [cell.key for cell in plan.cells]
    assert [row.macro_auroc for row in rows[:12]] == [0.5 + place / 100 for place in range(12)]
    assert {row.status for row in rows[12:]} == {"missing"}
    assert bool(pools) == (seconds > computed + threads.WAITING_SECONDS)
    assert reader.collect() == rows and sorted(opened) == sorted(cell.key for cell in plan.cells[:12])


@pytest.fixture
def ahead(monkeypatch) -> None:
    """All but the first four results are read ahead, however long that takes."""
    monkeypatch.setattr(threads, "TRIED", 2)
    monkeypatch.setattr(threads, "WAITING_SECONDS", 60)
    monkeypatch.setattr(granted, "cores", lambda: 2)
    monkeypatch.setattr(read_ahead, "LEAST", 3)
    monkeypatch.setattr(results, "BLOCK", 2)
    monkeypatch.setattr(results, "WORTH_IT", float("inf"))


def finished(root: Path, count: int = 12) -> tuple[Plan, list[str]]:
    """Cells with a file beside their results; their folders."""
    store, plan = Store(str(root)), the_plan()
    for place, cell in enumerate(plan.cells[:count]):
        values = {"macro_auroc": 0.5 + place / 100, "findings": []}
        publish(store.files, store.folder(cell), {"head.bin": b"12345"}, {"name": str(cell), "key": cell.key, **values})
    return plan, [store.folder(cell) for cell in plan.cells]


def read_here(reader: ResultReader, monkeypatch) -> set[str]:
    """Paths of the results that this process reads itself; filled as it does."""
    read, opened = reader.store.files.read, set()
    monkeypatch.setattr(reader.store.files, "read", lambda path: opened.add(path) or read(path))
    return opened


ALL = partial(ReadStore, thorough=True)


@pytest.mark.parametrize("kind", [ReadStore, Store, ALL], ids=["read", "write", "all"])
def test_a_process_that_reads_ahead_gives_the_same_rows(kind, ahead, tmp_path, monkeypatch):
    """Of whole, cut, changed, failed and missing cells; what it is not sure of is read as without it."""
    readers = {}
    for name in ("without", "with"):
        plan, folders = finished(tmp_path / name)
        places = [tmp_path / name / folder for folder in folders]
        (head,) = places[5].glob("head.*")
        head.write_bytes(b"1")
        result = places[6] / RESULT
        result.write_bytes(result.read_bytes().replace(b"0.56", b"0.96"))
        (places[7] / RESULT).unlink()
        record_failure(Store(str(tmp_path / name)).files, folders[7], "no memory left", "trace")
        (places[8] / "x").symlink_to("x")  # a circle, beside a whole result
        readers[name] = ResultReader(small_study(), plan, kind(str(tmp_path / name)))
    opened = read_here(readers["with"], monkeypatch)
    rows = readers["with"].collect()
    here = {path for path in opened if path.endswith(RESULT) and path.startswith("cells/")}
    monkeypatch.setattr(read_ahead, "LEAST", 10**9)
    assert rows == readers["without"].collect()
    assert readers["with"].results == readers["without"].results and len(readers["with"].results) == 9
    assert readers["with"].damage.keys() == readers["without"].damage.keys()
    assert sum(row.status == "damaged" for row in rows) == (0 if kind is Store else 2)
    if kind is not ALL:  # where all bytes are read it reads each result twice
        assert here == {f"{folders[place]}/{RESULT}" for place in (0, 1, 2, 3, 5, 6, 7, 8)}, "others were read ahead"


def of_no_cell(whole: bytes) -> bytes:
    """A sealed result with a finding twice."""
    content = unseal(whole, RESULT)
    return seal({**content, "findings": 2 * [{"finding": "x", "auroc": 0.5, "n_pos": 1, "n_neg": 1}]})


def test_a_result_that_was_computed_again_since_it_was_read_ahead_is_not_moved_away(ahead, tmp_path, monkeypatch):
    """Another driver moves damage to quarantine and computes the cell again while what was read waits in a pipe."""
    plan, folders = finished(tmp_path)
    store, there, real = Store(str(tmp_path)), tmp_path / folders[8], read_ahead.read_ahead
    whole = (there / RESULT).read_bytes()
    (there / RESULT).write_bytes(of_no_cell(whole))

    def then_computed_again(*asked):
        told = list(real(*asked))
        (there / RESULT).write_bytes(whole)
        yield from told

    monkeypatch.setattr(read_ahead, "read_ahead", then_computed_again)
    reader = ResultReader(small_study(), plan, store)
    rows = reader.collect()
    assert rows[8].macro_auroc == 0.58 and (there / RESULT).read_bytes() == whole
    assert store.quarantined() == set()


def test_a_result_is_read_again_before_it_is_moved_away_for_bytes_that_were_read_before(tmp_path):
    """Those of a pack are as old as the listing."""
    plan, folders = finished(tmp_path, 2)
    store, cell = Store(str(tmp_path)), plan.cells[0]
    odd = of_no_cell((tmp_path / folders[0] / RESULT).read_bytes())
    found = store.open_whole(cell, store.sizes(), odd)
    assert found is not None and found.result["macro_auroc"] == 0.5 and store.quarantined() == set()
    (tmp_path / folders[0] / RESULT).write_bytes(odd)
    assert store.open_whole(cell, store.sizes(), odd) is None and len(store.quarantined()) == 1


def test_the_process_ends_where_reading_does(ahead, tmp_path, monkeypatch):
    """By an error in the middle, whose traceback holds all that was read."""
    plan, _ = finished(tmp_path)
    reader, closed = ResultReader(small_study(), plan, Store(str(tmp_path))), []

    def watched(*asked):
        try:
            yield from [None] * 99
        finally:
            closed.append(True)

    monkeypatch.setattr(read_ahead, "read_ahead", watched)
    monkeypatch.setattr(reader, "_result", lambda cell, found: 1 / 0 if cell == plan.cells[6] else None)
    with pytest.raises(ZeroDivisionError) as error:
        reader.collect()
    assert closed and error.tb is not None


def test_a_process_that_reads_ahead_is_left_where_it_is_not_quicker(ahead, tmp_path, monkeypatch):
    """Other work has the core: what is left is read one by one, and each once."""
    monkeypatch.setattr(results, "WORTH_IT", 0)
    plan, folders = finished(tmp_path)
    reader = ResultReader(small_study(), plan, ReadStore(str(tmp_path)))
    opened = read_here(reader, monkeypatch)
    assert [row.macro_auroc for row in reader.collect()[:12]] == [0.5 + place / 100 for place in range(12)]
    # Two to see whether the storage is slow, two without the process, three with it: one and a block.
    here = {path for path in opened if path.endswith(RESULT)}
    assert here == {f"{folder}/{RESULT}" for folder in folders[:4] + folders[7:12]}


@pytest.mark.parametrize("why", ["one core", "few", "slow"])
def test_no_process_reads_ahead_where_it_would_only_cost(why, ahead, tmp_path, monkeypatch):
    plan, _ = finished(tmp_path)
    if why == "one core":
        monkeypatch.setattr(granted, "cores", lambda: 1)
    elif why == "few":
        monkeypatch.setattr(read_ahead, "LEAST", 13)
    else:
        monkeypatch.setattr(threads, "WAITING_SECONDS", -1)
    monkeypatch.setattr(read_ahead, "read_ahead", lambda *asked: 1 / 0)
    reader = ResultReader(small_study(), plan, ReadStore(str(tmp_path)))
    assert sum(row.status == "done" for row in reader.collect()) == 12


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
