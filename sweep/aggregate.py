"""What do finished cells add up to: result rows, finding rows, a mean with its interval for each place of a table."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweep.stats import half_width, mean, sd
from trainables.metrics import FindingAuroc

DONE, FAILED, MISSING = "done", "failed", "missing"
RESULTS_HEADER = (
    "method", "dataset", "protocol", "label_percent", "seed", "macro_auroc", "status", "key",
    "pretrain_seed", "num_defined_findings", "display_name",
)
FINDINGS_HEADER = (
    "method", "dataset", "protocol", "label_percent", "seed", "finding", "auroc", "n_pos", "n_neg", "key",
    "pretrain_seed", "display_name",
)

Place = tuple[str, str, str, int]  # encoder row, dataset, protocol, label_percent


@dataclass(frozen=True)
class CellResult:
    """One cell of the plan. `encoder` is the row's name, `method` its display name; AUROCs are in [0, 1].

    status: `done`, `failed` or `missing`; without `done` there are no findings and no macro_auroc. A done cell
    has macro_auroc None where no finding has both classes in the test images.
    """

    encoder: str
    method: str
    dataset: str
    protocol: str
    label_percent: int
    pretrain_seed: int
    seed: int
    status: str
    key: str
    findings: tuple[FindingAuroc, ...] = ()
    macro_auroc: float | None = None

    @property
    def place(self) -> Place:
        return self.encoder, self.dataset, self.protocol, self.label_percent

    @property
    def num_defined(self) -> int:
        return sum(finding.auroc is not None for finding in self.findings)


def _in_order(results: Iterable[CellResult]) -> list[CellResult]:
    """An order of its own, so that files do not depend on what finished first."""
    return sorted(
        results, key=lambda r: (r.dataset, r.encoder, r.protocol, r.label_percent, r.pretrain_seed, r.seed, r.key)
    )


def results_rows(results: Iterable[CellResult]) -> list[tuple]:
    """One row a cell, as RESULTS_HEADER; None where there is no number."""
    return [
        (
            r.encoder, r.dataset, r.protocol, r.label_percent, r.seed, r.macro_auroc, r.status, r.key,
            r.pretrain_seed, r.num_defined if r.status == DONE else None, r.method,
        )
        for r in _in_order(results)
    ]


def findings_rows(results: Iterable[CellResult]) -> list[tuple]:
    """One row a done cell and finding, as FINDINGS_HEADER, undefined findings included with auroc None."""
    return [
        (
            r.encoder, r.dataset, r.protocol, r.label_percent, r.seed, f.finding, f.auroc, f.n_pos, f.n_neg, r.key,
            r.pretrain_seed, r.method,
        )
        for r in _in_order(results)
        for f in r.findings
    ]


def csv_text(header: Sequence[str], rows: Iterable[Sequence]) -> str:
    """CSV with a line feed after each row; floats in the shortest form that reads back equal, None empty."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()


def results_csv(results: Iterable[CellResult]) -> str:
    return csv_text(RESULTS_HEADER, results_rows(results))


def findings_csv(results: Iterable[CellResult]) -> str:
    return csv_text(FINDINGS_HEADER, findings_rows(results))


@dataclass(frozen=True)
class Summary:
    """Mean, standard deviation and half-width of the 95% interval in [0, 1], over n values.

    With one pretraining seed a value is a downstream seed's macro AUROC. With several a value is the mean over
    the downstream seeds of one pretraining seed: seeds on one encoder are no independent draws of a method.
    missing, failed, undefined: what was asked for and is not in the mean, by name ("3", or "p1/s3" with
    several pretraining seeds). ci95 and sd are None for n = 1.
    """

    mean: float | None
    sd: float | None
    n: int
    ci95: float | None
    interval: str
    missing: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    undefined: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        return not (self.missing or self.failed or self.undefined)


def by_place(results: Iterable[CellResult]) -> dict[Place, list[CellResult]]:
    places: dict[Place, list[CellResult]] = defaultdict(list)
    for result in results:
        places[result.place].append(result)
    return dict(places)


def summarise(
    cells: Iterable[CellResult], seeds: Sequence[int], pretrain_seeds: Sequence[int] = (0,), interval: str = "t"
) -> Summary:
    """The cells of one place against all seeds that were asked for; a seed without a cell is missing."""
    found = {(cell.pretrain_seed, cell.seed): cell for cell in cells}
    absent: dict[str, list[str]] = {MISSING: [], FAILED: [], "undefined": []}
    groups = []
    for pretrain_seed in pretrain_seeds:
        group = []
        for seed in seeds:
            cell = found.get((pretrain_seed, seed))
            status = MISSING if cell is None else cell.status
            if status == DONE and cell.macro_auroc is not None:
                group.append(cell.macro_auroc)
            else:
                name = str(seed) if len(pretrain_seeds) == 1 else f"p{pretrain_seed}/s{seed}"
                absent["undefined" if status == DONE else status].append(name)
        groups.append(group)
    values = groups[0] if len(groups) == 1 else [mean(group) for group in groups if group]
    return Summary(
        mean(values), sd(values), len(values), half_width(values, interval), interval,
        tuple(absent[MISSING]), tuple(absent[FAILED]), tuple(absent["undefined"]),
    )


def defined_findings(results: Iterable[CellResult]) -> dict[str, tuple[int, int, int]]:
    """Dataset -> fewest and most findings in a cell's mean, and findings in all, over done cells."""
    counts: dict[str, tuple[int, int, int]] = {}
    for result in results:
        if result.status == DONE:
            low, high, total = counts.get(result.dataset, (len(result.findings), 0, 0))
            defined = result.num_defined
            counts[result.dataset] = (min(low, defined), max(high, defined), max(total, len(result.findings)))
    return counts
