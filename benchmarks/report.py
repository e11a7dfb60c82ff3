"""How long does a report take, and how large is its page? python -m benchmarks.report [--cells 100000] [--to DIR]"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from sweep.report.write import write_report
from sweep.store.records import CellDetail, CellResult
from sweep.store.report_folder import ReportFolder
from sweep.store.snapshot import Origin, Snapshot
from sweep.store.store import Store
from sweep.studies import demo
from sweep.studies.plan import make_plan
from trainables.evaluation.metrics import FindingAuroc, macro

FINDINGS = tuple(f"finding_{number}" for number in range(14))
HISTORY = tuple({"epoch": e, "score": 0.7, "train_bce": 0.4, "val_auroc": 0.7, "val_loss": 0.5} for e in range(5))


def made_up(num_cells: int, folder: str) -> Snapshot:
    """The demo with as many seeds as make num_cells cells, each with 14 findings and a log of five epochs."""
    base = demo()
    per_seed = len(base.rows) * len(base.datasets) * 5
    study = replace(base, seeds=tuple(range(-(-num_cells // per_seed))))
    plan = make_plan(study, {build.label: "made up" for build in study.data_builds()}, {})
    random = np.random.default_rng(0)
    displays = {row.name: row.display for row in study.rows}
    results, details = [], {}
    for cell in plan.cells:
        values = random.uniform(0.5, 0.95, len(FINDINGS)).tolist()
        findings = tuple(FindingAuroc(name, value, 30, 200) for name, value in zip(FINDINGS, values, strict=True))
        results.append(
            CellResult(
                cell.encoder.row,
                displays[cell.encoder.row],
                cell.dataset,
                cell.protocol,
                cell.label_percent,
                cell.encoder.pretrain_seed,
                cell.seed,
                "done",
                cell.key,
                findings,
                macro(findings),
            )
        )
        sha256 = f"{cell.seed:064x}"
        details[cell.key] = CellDetail(sha256, 446, 4, 1.5, "cpu", HISTORY, ())
    return Snapshot(study, plan, results, {}, Store(folder), Origin("demo", folder), (), details)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=100_000, help="rows of results.csv")
    parser.add_argument("--to", help="keep the report in this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = made_up(arguments.cells, folder)
        started = time.perf_counter()
        paths = write_report(data, ReportFolder.elsewhere(arguments.to or f"{folder}/report"), quick=True)
        seconds = time.perf_counter() - started
        megabytes = Path(paths["report.html"]).stat().st_size / 1e6
    print(
        f"{len(data.results):,} cells, {len(data.results) * len(FINDINGS):,} finding rows: {seconds:.1f} s; "
        f"report.html {megabytes:.1f} MB"
    )


if __name__ == "__main__":
    main()
