"""A study's plan with made-up results, for figures: no training, no images."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from datasets_io.storage.artefacts import seal
from datasets_io.storage.files import Files
from sweep.figures.view import View, make_view
from sweep.store.records import CellResult
from sweep.store.store import Store
from sweep.studies import Study, demo
from sweep.studies.plan import Plan, make_plan
from trainables.evaluation.metrics import FindingAuroc

FINDINGS = ("edema", "pleural_effusion", "hernia")


def small(rows: Iterable[str] = ("random", "imagenet", "clip", "simclr", "clip+simclr"), **changes) -> Study:
    base = demo()
    keep = set(rows)
    return replace(base, rows=tuple(row for row in base.rows if row.name in keep), seeds=(0, 1, 2), **changes)


def plan_of(study: Study) -> Plan:
    return make_plan(study, {build.label: "made up" for build in study.data_builds()}, {})


def number(*parts: object) -> float:
    """A number in [0, 1) from a text: the same on every machine."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big") / 2**32


def done(cell, display: str) -> CellResult:
    level = 0.6 + 0.1 * number(cell.encoder.row) + 0.04 * number(str(cell)) + 0.001 * cell.label_percent
    findings = (
        FindingAuroc("edema", level, 30, 70),
        FindingAuroc("pleural_effusion", level + 0.02, 4, 96),
        FindingAuroc("hernia", None, 0, 100),
    )
    return CellResult(
        cell.encoder.row,
        display,
        cell.dataset,
        cell.protocol,
        cell.label_percent,
        cell.encoder.pretrain_seed,
        cell.seed,
        "done",
        cell.key,
        findings,
        level + 0.01,
    )


def results_of(study: Study, plan: Plan) -> list[CellResult]:
    displays = {row.name: row.display for row in study.rows}
    return [done(cell, displays[cell.encoder.row]) for cell in plan.cells]


def without(result: CellResult, status: str = "missing") -> CellResult:
    return replace(result, status=status, findings=(), macro_auroc=None)


def view_of(study: Study, folder: Path, results: list[CellResult] | None = None) -> View:
    plan = plan_of(study)
    return make_view(study, plan, results_of(study, plan) if results is None else results, Store(str(folder)))


def with_results(view: View, results: Iterable[CellResult]) -> View:
    """The same study with other results."""
    return make_view(view.study, view.plan, list(results), view.store, view.data_folders, view.raw)


def pretend_pretrained(view: View, histories: dict[str, list[dict]]) -> None:
    """Write result.json files as pretraining does, with these histories."""
    files = Files(view.store.uri)
    for run in view.plan.encoders:
        if run.row in histories:
            sealed = seal({"history": histories[run.row], "best_epoch": 1, "files": {}})
            files.write(f"{view.store.folder(run)}/result.json", sealed)
