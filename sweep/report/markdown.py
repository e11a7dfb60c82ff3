"""The report for a terminal: what was run, what the numbers say, the tables, what is left out, how to redo a cell."""

from collections import Counter
from collections.abc import Mapping, Sequence

from sweep.report.cached_parts import CachedParts, describe
from sweep.report.narrative import ANSWER, CAUTION, DETAIL, Sentence
from sweep.report.precision import precision_lines
from sweep.report.provenance import compute_hours_of, origin_of, software_lines
from sweep.report.side_by_side import side_by_side_markdown, with_flag
from sweep.report.tables.finding_table import FindingTable
from sweep.report.tables.main_table import Table
from sweep.statistics.side_by_side import SideBySide
from sweep.store.snapshot import Snapshot
from sweep.store.status_names import Status
from sweep.studies.builds import Build
from sweep.studies.inputs import input_lines
from sweep.studies.plan import NOT_BUILT
from sweep.studies.study import study_fingerprint

MOST_FAILURES = 20  # in the text; failures.json has all


def report_markdown(
    data: Snapshot,
    note: str,
    narrative: Sequence[Sentence],
    tables: Sequence[Table],
    per_finding: Sequence[FindingTable],
    figures: Sequence[str],
    extras: CachedParts,
    both: SideBySide | None = None,
) -> str:
    """The text of report.md.

    note: what is not in it, as `partial_note` says. figures: lines that say where each
    figure lies, or why there is none. both: this study beside another one.
    """
    lines = [
        f"# {data.study.name}: {data.study.title}",
        "",
        *([f"**{note}**", ""] if note else []),
        *_narrative(narrative),
        *_state(data),
        "",
    ]
    for table in tables:
        lines += [f"## Table {table.name}", "", table.markdown()]
    for findings in per_finding:
        place = f"{findings.dataset_display}, FT ({findings.label_percent}%)"
        title = f"Table {findings.number}" if findings.number else place
        lines += [f"## {title}", "", findings.markdown()]
    if both is not None:
        lines += side_by_side_markdown(both)
    lines += ["## Figures", "", *(f"- {line}" for line in figures), ""]
    lines += ["## Statistics", "", *(f"- {name}: {describe(name)}" for name in extras.statistics)]
    lines += [*(f"- {note}" for note in extras.notes), ""]
    lines += _left_out(data)
    lines += _provenance(data, both)
    return "\n".join(lines).rstrip() + "\n"


def _narrative(narrative: Sequence[Sentence]) -> list[str]:
    lines: list[str] = []
    for kind, title in ((ANSWER, "Findings"), (DETAIL, "In detail"), (CAUTION, "How far this carries")):
        texts = [f"- {sentence.text}" for sentence in narrative if sentence.kind == kind]
        lines += [f"## {title}", "", *texts, ""] if texts else []
    return lines


def _state(data: Snapshot) -> list[str]:
    # Damage is rare and named only where there is some; the other counts are always there, also as 0.
    counts: Counter[str] = Counter(result.status for result in data.results)
    damaged = f", {counts[Status.DAMAGED]:,} damaged" if counts[Status.DAMAGED] else ""
    return [
        f"Cells: {counts[Status.DONE]:,} done{damaged}, {counts[Status.FAILED]:,} failed, "
        f"{counts[Status.MISSING]:,} missing of {len(data.results):,}."
    ]


def _left_out(data: Snapshot) -> list[str]:
    lines = ["## Left out", ""]
    if data.broken:
        names = sorted(f"{r.encoder} {r.dataset} {r.protocol}{r.label_percent} s{r.seed}" for r in data.broken)
        lines.append(f"- values that are no numbers, so that these count as failed: {', '.join(names)}")
    lines += [f"- damaged: {damage.line}" for damage in list(data.damage.values())[:MOST_FAILURES]]
    if len(data.damage) > MOST_FAILURES:
        lines.append(f"- and {len(data.damage) - MOST_FAILURES} more that are damaged, in failures.json")
    # data.failures holds the damaged items too, which have been named above.
    failures = [(name, failure) for name, failure in data.failures.items() if name not in data.damage]
    lines += [f"- failed: {name}: {failure['error']}" for name, failure in failures[:MOST_FAILURES]]
    if len(failures) > MOST_FAILURES:
        lines.append(f"- and {len(failures) - MOST_FAILURES} more failures, in failures.json")
    for label, manifest in data.manifests.items():
        for reason, number in manifest.reject_reasons.items():
            lines.append(f"- {label}: {number:,} images rejected: {reason}")
    # Two lines are the title alone.
    return [*lines, ""] if len(lines) > 2 else [*lines, "Nothing: no failure, no rejected image.", ""]


def _provenance(data: Snapshot, both: SideBySide | None) -> list[str]:
    """The study, its data, hours and versions, and the command that makes this report again."""
    lines = ["## What was run", "", f"- study {data.study.name}, fingerprint {study_fingerprint(data.study)}"]
    lines += [f"- deviation: {text}" for text in data.study.deviations]
    lines += [f"- {data_line(build, data)}" for build in data.study.data_builds()]
    lines += [f"- images of {names}: {line}" for names, line in input_lines(data.study)]
    lines += [f"- {text}" for text in (*compute_lines(data), *precision_lines(data.results, data.encoders))]
    lines += [f"- {text}" for text in software_lines(data)]
    lines += ["- make this report again:", "", f"      {data.origin.command('sweep.report', *with_flag(both))}"]
    return lines


def data_line(build: Build, data: Snapshot) -> str:
    """Fingerprint, origin and sizes of one build's shards, or that they are damaged or not built yet."""
    label, manifest = build.label, data.manifests.get(build.label)
    if manifest is None:
        return f"{label}: {'damaged' if label in data.damaged_sources else NOT_BUILT + ' yet'}"
    splits: Mapping[str, Mapping[str, int]] = manifest.counts["splits"]
    sizes = ", ".join(
        f"{name} {part['images']:,} images of {part['patients']:,} patients"
        for name, part in splits.items()
        if part["images"]
    )
    return "; ".join(
        [f"{label}: fingerprint {manifest.fingerprint}", *filter(None, (origin_of(build, manifest), sizes))]
    )


def compute_lines(data: Snapshot) -> list[str]:
    """Hours by device, as far as results say on what they were computed."""
    spent = compute_hours_of(data)
    where = [
        (spent.gpu_hours, "GPU-hours"),
        (spent.cpu_hours, "worker-hours on CPUs"),
        (spent.unknown_hours, "worker-hours on a device that the results do not name"),
    ]
    parts = [f"{hours:,.2f} {name}" for hours, name in where if hours]
    if not parts:
        return ["compute: nothing is finished"]
    return [
        f"compute of {spent.encoders} encoders and {spent.cells:,} cells: {', '.join(parts)} (wall time of finished "
        "items; attempts that were lost are not counted)"
    ]
