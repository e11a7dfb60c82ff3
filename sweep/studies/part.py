"""Is a plan the whole of its study, and what of it was not asked for?"""

from dataclasses import replace

from sweep.studies.plan import Only, Plan
from sweep.studies.study import Study
from trainables.protocols.registry import PROTOCOLS


def part_of(study: Study, plan: Plan) -> str:
    """`Part of study paper: 40 of 5,200 cells were asked for, without ...`; empty for the whole study."""
    whole = num_cells(study)
    if len(plan.cells) >= whole:
        return ""
    cells = plan.cells
    kinds = (
        ("row", {row.name for row in study.rows}, {cell.encoder.row for cell in cells}),
        ("dataset", {dataset.instance for dataset in study.datasets}, {cell.dataset for cell in cells}),
        (
            "column",
            {(name, percent) for name in study.protocols for percent in PROTOCOLS[name].label_percents},
            {(cell.protocol, cell.label_percent) for cell in cells},
        ),
        ("seed", set(study.seeds), {cell.seed for cell in cells}),
        ("pretraining seed", set(study.pretrain_seeds), {cell.encoder.pretrain_seed for cell in cells}),
    )
    absent = [
        f"{len(all_of - asked)} of {len(all_of)} {name}{'s' * (len(all_of) > 1)}"
        for name, all_of, asked in kinds
        if all_of - asked
    ]
    without = f", without {', '.join(absent)}" if absent else ""
    return f"Part of study {study.name}: {len(cells):,} of {whole:,} cells were asked for{without}."


def with_asked_rows(study: Study, only: Only) -> Study:
    """The study with the rows that have cells in the part, and those that they start from: no other is asked for."""
    protocols = {
        name
        for name in study.protocols
        if name in only.get("protocol", (name,))
        and any(
            str(percent) in only.get("label_percent", (str(percent),)) for percent in PROTOCOLS[name].label_percents
        )
    }
    asked = {
        row.name
        for row in study.rows
        if row.name in only.get("method", (row.name,)) and protocols & set(row.protocols or protocols)
    }
    recipes = {row.name: row.recipe for row in study.rows + study.hidden_rows}
    waiting = list(asked)
    while waiting:
        start = getattr(recipes[waiting.pop()], "initial", None)
        if start is not None and start not in asked:
            asked.add(start)
            waiting.append(start)
    return replace(study, rows=tuple(row for row in study.rows if row.name in asked))


def num_cells(study: Study) -> int:
    """Cells of the whole study: what `make_plan` has without --only."""
    shares = {name: len(PROTOCOLS[name].label_percents) for name in study.protocols}
    columns = sum(
        sum(share for name, share in shares.items() if row.protocols is None or name in row.protocols)
        for row in study.rows
    )
    return columns * len(study.datasets) * len(study.seeds) * len(study.pretrain_seeds)
