"""Which mutants of the pure modules does no test notice?

python -m benchmarks.counts.mutants [--only PATH,...] [--sample N] [--processes N] [--write]. Every mutant of every
module of MODULES is run against the tests named there; with --sample the N of each module that a hash puts first,
always the same ones. A mutant that survives is to be killed by a test or listed in tests/golden/surviving_mutants.json
with the reason why no test can notice it; --write adds to that file what survived, with reasons to be filled in, and
takes out what is killed or gone. Ends with 1 where a survivor is not listed or a listed one is killed or gone.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # each child would load a dozen plugins
os.environ.setdefault("OMP_NUM_THREADS", "1")

from benchmarks.mutation.mutant_code import MODULES, ROOT, Mutant, mutants_of
from benchmarks.mutation.mutant_run import SPARE_CPU_SECONDS, Outcome, Task, import_libraries, run

SURVIVORS = ROOT / "tests" / "golden" / "surviving_mutants.json"
Name = tuple[str, str, str, str]  # Mutant.name


def read_survivors(path: Path = SURVIVORS) -> dict[Name, str]:
    """Listed survivor -> the reason why no test notices it."""
    listed = json.loads(path.read_text(encoding="utf-8"))
    return {(module, e["where"], e["before"], e["after"]): e["reason"] for module in listed for e in listed[module]}


def write_survivors(survivors: dict[Name, str], path: Path = SURVIVORS) -> None:
    listed: dict[str, list[dict[str, str]]] = {}
    for (module, where, before, after), reason in sorted(survivors.items()):
        entry = {"where": where, "before": before, "after": after, "reason": reason}
        listed.setdefault(module, []).append(entry)
    path.write_text(json.dumps(listed, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def outcomes(mutants: Sequence[Mutant], processes: int) -> list[tuple[Mutant, Outcome]]:
    """Raises RuntimeError where a module's tests do not pass without a mutant: every mutant would seem to be killed."""
    # Several modules share their tests, which then run once.
    tasks = list({MODULES[m.module]: Task(m.module, MODULES[m.module]) for m in mutants}.values())
    seconds: dict[tuple[str, ...], float] = {}
    for index, outcome in run(tasks, processes):
        _check_baseline(tasks[index].module, outcome)
        seconds[tasks[index].tests] = outcome.cpu_seconds
    plain = [Task(m.module, MODULES[m.module], m.source) for m in mutants]
    limited = [replace(task, cpu_seconds=int(4 * seconds[task.tests] + SPARE_CPU_SECONDS)) for task in plain]
    found = []
    for number, (index, outcome) in enumerate(run(limited, processes)):
        found.append((mutants[index], outcome))
        if sys.stderr.isatty() or number % 50 == 49:
            print(f"{number + 1} of {len(mutants)}", file=sys.stderr)
    return found


def outcomes_of_few(mutants: Sequence[Mutant], processes: int) -> list[tuple[Mutant, Outcome]]:
    """The same of a sample, at a part of the cost: without a mutant only those tests run that noticed one.

    Raises RuntimeError where one of these does not pass.
    """
    tasks = [Task(m.module, MODULES[m.module], m.source) for m in mutants]
    found = [(mutants[index], outcome) for index, outcome in run(tasks, processes)]
    killed = [(mutant.module, outcome.failed_tests) for mutant, outcome in found if not outcome.passed]
    together = tuple(sorted({test for _, tests in killed for test in tests}))
    baselines = [Task(killed[0][0], together)] if together else []
    # Where no single test says that it noticed the mutant (a module that cannot be imported), all are to pass.
    baselines += [Task(module, MODULES[module]) for module in sorted({m for m, tests in killed if not tests})]
    for index, outcome in run(baselines, processes):
        _check_baseline(baselines[index].module if baselines[index].tests != together else "the sample", outcome)
    return found


def _check_baseline(what: str, outcome: Outcome) -> None:
    if not outcome.passed:
        raise RuntimeError(f"the tests of {what} do not pass as they are:\n{outcome.said}")


def table(mutants: Sequence[Mutant], survived: set[Name]) -> str:
    """Module, mutants, killed: one Markdown row each, and their sum."""
    rows = []
    for module in sorted({mutant.module for mutant in mutants}):
        names = [mutant.name for mutant in mutants if mutant.module == module]
        rows.append((f"`{module}`", len(names), sum(name not in survived for name in names)))
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    lines = [f"| {name} | {count:,} | {killed:,} | {killed / count:.1%} |" for name, count, killed in rows]
    return "\n".join(["| module | mutants | killed | share |", "|---|---|---|---|", *lines])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counts.mutants", description=__doc__)
    parser.add_argument("--only", default=",".join(MODULES), metavar="PATH,...", help="modules")
    parser.add_argument("--sample", type=int, metavar="N", help="so many mutants of each module, listed ones left out")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), metavar="N")
    parser.add_argument("--write", action="store_true", help="write what survived into the list of survivors")
    chosen = parser.parse_args(arguments)
    modules = chosen.only.split(",")
    if unknown := sorted(set(modules) - set(MODULES)):
        parser.error(f"no tests are named for {', '.join(unknown)}; there are {', '.join(MODULES)}")
    listed = read_survivors()
    mutants = [mutant for module in modules for mutant in mutants_of(module)]
    gone = {name for name in listed if name[0] in modules} - {mutant.name for mutant in mutants}
    if chosen.sample is not None:
        unlisted = [[m for m in mutants if m.module == module and m.name not in listed] for module in modules]
        mutants = [m for group in unlisted for m in sorted(group, key=lambda m: m.rank)[: chosen.sample]]
    import_libraries()
    found = (outcomes if chosen.sample is None else outcomes_of_few)(mutants, chosen.processes)
    alive = {mutant.name for mutant, outcome in found if outcome.passed}
    killed = {mutant.name for mutant, _ in found} - alive
    print(table(mutants, alive))
    new, wrong = sorted(alive - set(listed)), sorted((killed & set(listed)) | gone)
    for name in new:
        print("survived, not listed:", *name, sep="\n  ")
    for name in wrong:
        print("listed, but killed or gone:", *name, sep="\n  ")
    if chosen.write:
        write_survivors({n: r for n, r in listed.items() if n not in wrong} | {name: "" for name in new})
    return 1 if new or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
