"""What a study leaves behind in <storage>/reports/<study>/: results, findings and Table 1, from results alone."""

import json
from collections import Counter
from importlib.metadata import PackageNotFoundError, version

from datasets_io.fingerprint import plain
from datasets_io.manifest import Manifest
from sweep.aggregate import CellResult, findings_csv, results_csv
from sweep.display import TableRows
from sweep.layout import layout_of, notes_of
from sweep.plan import Plan
from sweep.store import Store
from sweep.studies import Study, study_fingerprint
from sweep.tables import live_table, table1

SOFTWARE = ("radsweep", "torch", "torchvision", "timm", "transformers", "ray", "numpy", "scikit-learn", "pydicom")


def write_reports(
    study: Study, plan: Plan, results: list[CellResult], manifests: dict[str, Manifest], store: Store
) -> dict[str, str]:
    """File name -> where it lies."""
    table = table1(results, layout_of(study, plan), published=study.show_published, notes=notes_of(study, results))
    contents = {
        "results.csv": results_csv(results),
        "findings.csv": findings_csv(results),
        "table1.md": table.markdown(),
        "table1.csv": table.csv(),
        "table1.tex": table.latex(),
        "study.json": json.dumps(_provenance(study, manifests), indent=1, sort_keys=True),
        "failures.json": json.dumps(_failures(plan, store), indent=1, sort_keys=True),
    }
    return {name: store.write_report(study.name, name, content) for name, content in contents.items()}


def _provenance(study: Study, manifests: dict[str, Manifest]) -> dict:
    return {
        "study": study.name,
        "fingerprint": study_fingerprint(study),
        "deviations": list(study.deviations),
        "recipes": {row.name: plain(row.recipe) for row in study.rows},
        "datasets": {dataset.source: plain(dataset.recipe) for dataset in study.datasets},
        "data": {
            source: {
                "fingerprint": m.fingerprint, "counts": m.counts, "notes": list(m.notes), "rejects": m.reject_reasons,
            }
            for source, m in manifests.items()
        },
        "resources": plain(study.resources) if study.resources else None,
        "versions": {name: _version(name) for name in SOFTWARE},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _failures(plan: Plan, store: Store) -> dict[str, dict]:
    _, failed = store.done_and_failed()
    items = (*plan.encoders, *plan.cells)
    return {str(item): store.failure(item) for item in items if store.folder(item) in failed}


def live_tables(study: Study, plan: Plan, results: list[CellResult]) -> tuple[TableRows, ...]:
    """The table as it stands, one for each dataset."""
    tables, layout = [], layout_of(study, plan)
    for source, display in layout.datasets:
        header, rows = live_table(results, layout, source)
        tables.append(TableRows(f"{display}: macro AUROC (%) ± 95% interval over seeds", header, rows))
    return tuple(tables)


def summary_lines(
    study: Study, plan: Plan, results: list[CellResult], store: Store, paths: dict[str, str], seconds: float
) -> list[str]:
    """The last words of the command."""
    counts = Counter(result.status for result in results)
    lines = [f"{counts['done']} of {len(results)} cells done in {seconds:.0f} s; report: {paths['table1.md']}"]
    lines += [f"note: {note}" for note in notes_of(study, results)]
    if counts["failed"] or counts["missing"]:
        lines.append(
            f"[red]{counts['failed']} cells failed, {counts['missing']} are missing[/red]; "
            f"why: {paths['failures.json']}; try them again with --retry-failed"
        )
    return lines


