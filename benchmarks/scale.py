"""How do planning, listing a storage, reading results and aggregating grow from 1,000 to 100,000 cells?

python -m benchmarks.scale [--quick]. One JSON line for each figure on stdout, a table on stderr. The storage is real:
a folder with four files for each cell. Keys are checked against those made the usual way.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from benchmarks.shared.common import in_turn, report, row
from datasets_io.fingerprint import canonical_json, fingerprint
from datasets_io.storage.artefacts import RESULT, seal, unseal
from datasets_io.storage.stored_result import checked_result
from sweep.report.tables.main_table import table1
from sweep.statistics.summaries import study_summaries
from sweep.store.csv_files import findings_csv, results_csv
from sweep.store.records import CellResult, cell_detail
from sweep.store.results import ResultReader
from sweep.store.status_names import Status
from sweep.store.store import CELLS, ENCODERS, Store
from sweep.studies import Study, demo
from sweep.studies.plan import Plan, make_plan
from trainables.evaluation.metrics import FindingAuroc
from trainables.protocols.registry import identity_of

FINGERPRINTS = {"mimic_cxr": "a" * 12, "chexpert": "b" * 12, "nih_cxr14": "c" * 12}
FINDINGS, ROUNDS = 14, 3
ARTEFACTS = ("head.0a1b2c3d.safetensors", "predictions.0a1b2c3d.parquet", "subset.0a1b2c3d.json")
NUM_ROWS = 10  # 10 rows x 2 datasets x 5 columns x pretraining seeds x seeds
SEEDS = {1_000: (1, 10), 10_000: (10, 10), 100_000: (20, 50)}
FEW_SEEDS = {100: (1, 1), 400: (2, 2)}


def study_of(pretrain_seeds: int, seeds: int) -> Study:
    base = demo()
    return replace(
        base, rows=base.rows[:NUM_ROWS], pretrain_seeds=tuple(range(pretrain_seeds)), seeds=tuple(range(seeds))
    )


def planned(study: Study) -> tuple[Plan, list[str]]:
    plan = make_plan(study, FINGERPRINTS, {})
    return plan, [cell.key for cell in plan.cells]


def usual_keys(plan: Plan) -> list[str]:
    """Every cell written out whole as JSON, then hashed."""
    return [hashlib.sha256(json.dumps(asdict(cell), sort_keys=True).encode()).hexdigest()[:12] for cell in plan.cells]


def check_keys(plan: Plan, keys: list[str], every: int) -> None:
    """Compare keys with their definition, nothing remembered. Raises ArithmeticError where one differs."""
    for cell, key in itertools.islice(zip(plan.cells, keys, strict=True), 0, None, every):
        parts = [
            "cell",
            cell.encoder.key,
            cell.dataset,
            cell.data_fingerprint,
            identity_of(cell.protocol),
            cell.label_percent,
            cell.seed,
            fingerprint(cell.recipe),
        ]
        expected = hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:12]
        if key != expected:
            raise ArithmeticError(f"the key of {cell} is {key}, by its definition {expected}")
    if len(set(keys)) != len(keys):
        raise ArithmeticError(f"{len(keys)} cells have {len(set(keys))} different keys")


def write_storage(root: Path, plan: Plan) -> None:
    """What finished cells leave: result.json and three artefacts, here all with the same made-up AUROCs."""
    draws = random.Random(0)
    findings = [asdict(FindingAuroc(f"finding_{i}", draws.random(), 20, 30)) for i in range(FINDINGS)]
    result = seal(
        {
            "macro_auroc": draws.random(),
            "findings": findings,
            "best_epoch": 3,
            "seconds": 1.5,
            "history": [],
            "files": {name: {"path": name, "sha256": "0" * 64, "bytes": 0} for name in ARTEFACTS},
            "recipe": "0" * 12,
            "parents": {},
            "subset_sha256": "0" * 64,
        }
    )
    for cell in plan.cells:
        folder = root / Store.folder(cell)
        folder.mkdir(parents=True)
        (folder / RESULT).write_bytes(result)
        for name in ARTEFACTS:
            (folder / name).touch()


def usual_results(plan: Plan, store: Store) -> list[CellResult]:
    """All files listed with their sizes, then each result parsed, its seal and values checked, and a row made of it."""
    sizes, rows = {**store.files.sizes(ENCODERS), **store.files.sizes(CELLS)}, []
    for cell in plan.cells:
        folder = store.folder(cell)
        path = f"{folder}/{RESULT}"
        if path not in sizes:
            raise ArithmeticError(f"{path} was not listed")
        result = checked_result(unseal(store.files.read(path), path))
        if any(sizes.get(f"{folder}/{entry['path']}") != entry["bytes"] for entry in result["files"].values()):
            raise ArithmeticError(f"a file of {folder} has another size")
        findings = tuple(FindingAuroc(**finding) for finding in result["findings"])
        run, place = cell.encoder, (cell.dataset, cell.protocol, cell.label_percent)
        row = CellResult(run.row, run.row, *place, run.pretrain_seed, cell.seed, Status.DONE, cell.key, findings)
        cell_detail(result)
        rows.append(replace(row, macro_auroc=result["macro_auroc"]))
    return rows


def check_results(plan: Plan, store: Store, results: list[CellResult]) -> None:
    """Compare with those read the usual way. Raises ArithmeticError where one differs."""
    for found, expected in zip(results, usual_results(plan, store), strict=True):
        if replace(found, method=expected.method) != expected:
            raise ArithmeticError(f"{found} was read, and the usual way {expected}")


def aggregated(study: Study, plan: Plan, results: list[CellResult]) -> list[str]:
    table = table1(study_summaries(study, plan, results))
    return [results_csv(results), findings_csv(results), table.markdown(), table.csv(), table.latex()]


def measure(pretrain_seeds: int, seeds: int, root: Path, rounds: int) -> tuple[int, dict[str, float]]:
    """Number of cells, and the median seconds of each step."""
    study = study_of(pretrain_seeds, seeds)
    plan, keys = planned(study)
    check_keys(plan, keys, max(1, len(keys) // 2000))
    write_storage(root, plan)
    store = Store(str(root))
    results = ResultReader(study, plan, store).collect()
    check_results(plan, store, results)
    sides: dict[str, Callable] = {
        "plan": lambda: planned(study),
        "plan the usual way": lambda: usual_keys(make_plan(study, FINGERPRINTS, {})),
        # Whoever lists first after other work finds cold caches and pays for it: not one of the sides.
        "walk first": lambda: sum(len(files) for _, _, files in os.walk(root)),
        "list": store.done_and_failed,
        "list files": lambda: sum(len(files) for _, _, files in os.walk(root)),
        "read": lambda: ResultReader(study, plan, store).collect(),
        "read the usual way": lambda: usual_results(plan, store),
        "read files": lambda: [(root / f"{Store.folder(c)}/{RESULT}").read_bytes() for c in plan.cells],
        "aggregate": lambda: aggregated(study, plan, results),
    }
    return len(keys), in_turn(sides, rounds, warm_ups=0)


def figures(sizes: dict[int, tuple[int, int]], rounds: int) -> list[dict]:
    rows, by_size = [], {}
    for seeds in sizes.values():
        with tempfile.TemporaryDirectory(prefix="radsweep-scale-") as folder:
            count, seconds = measure(*seeds, Path(folder), rounds)
        by_size[count] = seconds
        rows += [
            row(
                "scale",
                f"plan_with_keys_{count}",
                "s",
                seconds["plan"],
                peer=seconds["plan the usual way"],
                peer_name="each cell as JSON, hashed",
            ),
            row(
                "scale",
                f"list_storage_{count}",
                "s",
                seconds["list"],
                limit=seconds["list files"],
                limit_name="os.walk over the same folders",
            ),
            row("scale", f"os_walk_with_cold_caches_{count}", "s", seconds["walk first"]),
            row(
                "scale",
                f"read_results_{count}",
                "s",
                seconds["read"],
                peer=seconds["read the usual way"],
                peer_name="all files listed, each result parsed and checked",
                limit=seconds["read files"],
                limit_name="opening and reading each result.json",
            ),
            row("scale", f"aggregate_{count}", "s", seconds["aggregate"]),
        ]
    return rows + growths(by_size)


def growths(by_size: dict[int, dict[str, float]]) -> list[dict]:
    """How much dearer a cell is at the largest size than at the one before; what is bound to files beside theirs."""
    *_, (few, before), (many, after) = by_size.items()
    growth = {step: after[step] / before[step] / (many / few) for step in after}
    bounds = {"list": "growth of os.walk over the same folders", "read": "growth of opening and reading each file"}
    return [
        row(
            "scale",
            f"{step}_time_a_cell_{many}_over_{few}",
            "x",
            growth[step],
            limit=growth[f"{step} files"] if step in bounds else 1.0,
            limit_name=bounds.get(step, "linear"),
        )
        for step in ("plan", "list", "read", "aggregate")
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100 and 400 cells: checks that it works")
    quick = parser.parse_args(arguments).quick
    report(figures(FEW_SEEDS, 2) if quick else figures(SEEDS, ROUNDS))
    return 0


if __name__ == "__main__":
    sys.exit(main())
