"""Would the tests notice one wrong operator? A fixed sample of mutants of the pure modules, and the known survivors.

`python -m benchmarks.counts.mutants` runs all; golden/surviving_mutants.json lists those that no test can notice.
"""

import os
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator

from benchmarks.counts.mutants import main, outcomes, read_survivors, write_survivors
from benchmarks.mutation.mutant_code import MODULES, OPERATORS, Mutant, mutants_of, mutated_sources
from benchmarks.mutation.mutant_run import Outcome, Task, run

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = 1  # mutant of each module
MOST_SURVIVORS = 0.05  # of all mutants, listed ones included: nineteen in twenty are noticed


@cache
def all_mutants() -> dict[str, list[Mutant]]:
    return {module: mutants_of(module) for module in MODULES}


def test_a_fixed_sample_of_mutants_is_noticed():
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.counts.mutants", "--sample", str(SAMPLE), "--processes", "2"],
        cwd=ROOT, capture_output=True, text=True, timeout=600, env=environment | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert f"| all | {SAMPLE * len(MODULES)} " in done.stdout


def test_every_listed_survivor_is_there_and_has_its_reason():
    names = {mutant.name for mutants in all_mutants().values() for mutant in mutants}
    listed = read_survivors()
    gone = sorted(set(listed) - names)
    assert not gone, f"listed, but no mutant of today's code: run python -m benchmarks.counts.mutants --write; {gone}"
    assert all(len(reason) > 20 for reason in listed.values()), "say why no test can notice it"


def test_nineteen_of_twenty_mutants_are_noticed():
    counts = {module: len(mutants) for module, mutants in all_mutants().items()}
    survivors = Counter(name[0] for name in read_survivors())
    assert len(MODULES) >= 25 and sum(counts.values()) > 2000
    assert survivors.total() <= MOST_SURVIVORS * sum(counts.values())


def test_mutants_are_those_that_cosmic_ray_makes():
    """Which parses the source anew for each; here one tree is changed and put back."""
    source = (ROOT / "datasets_io/sources/splits.py").read_text(encoding="utf-8")
    theirs = []
    for name in OPERATORS:
        operator, occurrence = get_operator(f"core/{name}")(), 0
        while (mutated := mutate_code(source, operator, occurrence)) is not None:
            theirs.append(mutated)
            occurrence += 1
    assert [text for _, text, _ in mutated_sources(source)] == theirs
    assert len(theirs) > 20


def test_annotations_are_not_mutated_and_names_outlive_moved_lines(tmp_path, monkeypatch):
    text = "def f(x: int | None = 3) -> float | None:\n    y: int | str = x + 1\n    return y\n"
    monkeypatch.setattr("benchmarks.mutation.mutant_code.ROOT", tmp_path)
    (tmp_path / "m.py").write_text(text)
    (tmp_path / "n.py").write_text("import os\n\n" + text)
    first, moved = mutants_of("m.py"), mutants_of("n.py")
    assert [mutant.after for mutant in first if mutant.line == 2] == [
        "y: int | str = x + 0", "y: int | str = x + 2", "y: int | str = x - 1"
    ]  # fmt: skip
    assert all("|" in mutant.source for mutant in first) and {mutant.where for mutant in first} == {"f"}
    assert [mutant.name[1:] for mutant in first] == [mutant.name[1:] for mutant in moved]


def test_tests_that_fail_as_they_are_are_no_proof(monkeypatch):
    module = "datasets_io/sources/splits.py"
    monkeypatch.setattr(
        "benchmarks.counts.mutants.run", lambda tasks, processes: iter([(0, Outcome(False, 1.0, "1 failed"))])
    )
    with pytest.raises(RuntimeError, match=f"the tests of {module} do not pass as they are"):
        outcomes(all_mutants()[module][:1], 1)


@pytest.mark.parametrize("gone", ["root", "tests"])
def test_a_checkout_that_is_gone_notices_no_mutant(gone, tmp_path, monkeypatch):
    (tmp_path / "m.py").write_text("A = 1\n")
    monkeypatch.setattr("benchmarks.mutation.mutant_run.ROOT", tmp_path / "none" if gone == "root" else tmp_path)
    with pytest.raises(RuntimeError, match=r"the tests of m\.py could not be run"):
        list(run([Task("m.py", ("test_m.py",), "A = 2\n")], 1))


def test_a_mutant_that_no_test_imports_is_no_survivor(tmp_path, monkeypatch, capfd):
    """pytest imports a module called *_test.py itself, from where it lies, where its own patterns say so."""
    monkeypatch.setattr("benchmarks.mutation.mutant_run.ROOT", tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "a_mutant_test.py").write_text("A = 1\n")
    (tmp_path / "test_mutant.py").write_text("from a_mutant_test import A\n\ndef test():\n    assert A == 1\n")
    (tmp_path / "test_none.py").write_text("def test():\n    assert True\n")
    tasks = [Task("a_mutant_test.py", ("test_mutant.py",), source) for source in ("A = 2\n", "A = 1 + 0\n")]
    with capfd.disabled():  # the children's output is their own
        first, second = (outcome for _, outcome in sorted(run(tasks, 1), key=lambda pair: pair[0]))
        assert (first.passed, second.passed) == (False, True)
        assert first.failed_tests == ("test_mutant.py::test",) and second.failed_tests == ()
        with pytest.raises(RuntimeError, match=r"they do not import the mutant of a_mutant_test"):
            list(run([Task("a_mutant_test.py", ("test_none.py",), "A = 2\n")], 1))


def test_the_list_of_survivors_is_read_as_it_was_written(tmp_path):
    survivors = {("a.py", "f", "x + 1", "x - 1"): "x is 0", ("b.py", "module", "A = 1", "A = 2"): "why"}
    write_survivors(survivors, tmp_path / "list.json")
    assert read_survivors(tmp_path / "list.json") == survivors


def test_a_module_without_tests_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "sweep/cli/display.py"])
    assert "no tests are named for sweep/cli/display.py" in capsys.readouterr().err


def test_the_tests_of_every_module_are_there():
    for module, tests in MODULES.items():
        assert (ROOT / module).is_file() and tests
        for test in tests:
            assert (ROOT / test.removeprefix("--deselect=").split("::")[0]).is_file(), test
