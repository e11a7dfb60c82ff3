"""What a study consists of and what of it is left to do. Pure: no Ray, no file, no clock."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from datasets_io.nearest import did_you_mean
from sweep.studies.cell import Cell, EncoderRun, Item
from sweep.studies.collector import collector_paused
from sweep.studies.study import EncoderRow, Study
from trainables.protocols.registry import PROTOCOLS
from trainables.recipe import PretrainRecipe, RandomInit

NOT_BUILT = "not built"  # stands for the fingerprint of data that are not there yet
ONLY_FIELDS = ("method", "dataset", "protocol", "label_percent", "seed", "pretrain_seed")
Only = Mapping[str, tuple[str, ...]]  # one of ONLY_FIELDS -> the values that are kept, as text
EncoderPlace = tuple[str, int, int | None]  # row, pretraining seed, downstream seed where that draws a network
Identity = tuple[str, str, str, int, int]  # encoder's key, dataset, protocol, label_percent, seed


@dataclass(frozen=True)
class Plan:
    """Everything asked for. Cells are in the table's order, encoders parents first."""

    encoders: tuple[EncoderRun, ...]
    cells: tuple[Cell, ...]

    @property
    def items(self) -> list[Item]:
        """The encoders, then the cells."""
        return [*self.encoders, *self.cells]


@dataclass(frozen=True)
class Pending:
    """What is left: not done and not failed. `blocked` cells wait on something that failed."""

    encoders: tuple[EncoderRun, ...]
    cells: tuple[Cell, ...]
    blocked: tuple[Cell, ...]
    failed_encoders: tuple[EncoderRun, ...]
    failed_cells: tuple[Cell, ...]

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to compute; what failed or is blocked is left as it is."""
        return not self.encoders and not self.cells

    @property
    def items(self) -> list[Item]:
        """The encoders to be computed, then the cells."""
        return [*self.encoders, *self.cells]


def parse_only(values: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """`seed=0,1,method=clip` -> {"seed": ("0", "1"), "method": ("clip",)}: a bare value belongs to the field before it.

    Raises ValueError for a field that cells do not have.
    """
    only: dict[str, tuple[str, ...]] = {}
    for text in values:
        field = ""
        for item in text.split(","):
            # "seed=0,1" has two items: the first names its field, and the second belongs to the same.
            name, separator, value = (part.strip() for part in item.rpartition("="))
            field = name if separator else field
            if not field or not value:
                raise ValueError(
                    f"--only {text!r} is not FIELD=VALUE,...; for example --only seed=0,1 or seed=0,1,method=clip"
                )
            if field not in ONLY_FIELDS:
                hint = did_you_mean(field, ONLY_FIELDS)
                raise ValueError(f"--only knows no field {field!r}; allowed: {', '.join(ONLY_FIELDS)}{hint}")
            only[field] = (*only.get(field, ()), value)
    return only


def make_plan(study: Study, fingerprints: Mapping[str, str], only: Only) -> Plan:
    """The product of the study's rows, datasets, protocols, percentages and seeds, as far as `only` allows.

    fingerprints: label of a build -> fingerprint of its shards, for every build that the study reads. only: as
    parse_only gives it; what chosen cells start from is added. Raises ValueError for a value of `only` that the
    study does not have.
    """
    _check_only(study, only)
    encoders = _encoders(study, fingerprints)
    with collector_paused():
        cells = list(_every_cell(study, encoders, fingerprints))
    wanted = _with_starts([cell for cell in cells if _matches(cell, only)], cells) if only else cells
    needed: dict[str, EncoderRun] = {}  # a dict keeps the order: of each chain the parents come first
    for cell in wanted:
        if cell.encoder.key not in needed:
            for encoder in _chain(cell.encoder):
                needed[encoder.key] = encoder
    return Plan(tuple(needed.values()), tuple(wanted))


def _every_cell(
    study: Study, encoders: Mapping[EncoderPlace, EncoderRun], fingerprints: Mapping[str, str]
) -> Iterator[Cell]:
    """In the table's order: datasets, rows, pretraining seeds, columns, seeds."""
    for dataset in study.datasets:
        for row in study.rows:
            build = study.build_read(row.recipe.backbone, dataset).label
            for pretrain_seed in study.pretrain_seeds:
                for protocol in (p for p in study.protocols if row.protocols is None or p in row.protocols):
                    for percent in PROTOCOLS[protocol].label_percents:
                        for seed in study.seeds:
                            network_seed = seed if isinstance(row.recipe, RandomInit) else None
                            yield Cell(
                                encoders[row.name, pretrain_seed, network_seed],
                                dataset.instance,
                                protocol,
                                percent,
                                seed,
                                dataset.recipe,
                                fingerprints[build],
                                None if build == dataset.instance else build,
                            )


def _encoders(study: Study, fingerprints: Mapping[str, str]) -> dict[EncoderPlace, EncoderRun]:
    """Place of an encoder -> it; the rows that others start from are among them.

    A row without any pretraining has a network for each downstream seed, as the released code draws one: were it one
    network, its interval over seeds would be that of a head alone. A pretraining starts from one network, whatever
    evaluates it.
    """
    rows = {row.name: row for row in study.rows + study.hidden_rows}
    made: dict[EncoderPlace, EncoderRun] = {}

    def make(row: EncoderRow, seed: int, network_seed: int | None = None) -> EncoderRun:
        place = row.name, seed, network_seed
        if place not in made:
            run = EncoderRun(row.name, seed, row.recipe, network_seed=network_seed)
            if isinstance(row.recipe, PretrainRecipe):
                corpus = study.corpus_instance
                parent = make(rows[row.recipe.initial], seed)
                run = replace(run, corpus=corpus, data_fingerprint=fingerprints[corpus], parent=parent)
            made[place] = run
        return made[place]

    for row in study.rows:
        for seed in study.pretrain_seeds:
            for network_seed in study.seeds if isinstance(row.recipe, RandomInit) else (None,):
                make(row, seed, network_seed)
    return made


def _chain(encoder: EncoderRun) -> list[EncoderRun]:
    return [*(_chain(encoder.parent) if encoder.parent else []), encoder]


def _values(cell: Cell) -> dict[str, str]:
    return {
        "method": cell.encoder.row,
        "dataset": cell.dataset,
        "protocol": cell.protocol,
        "seed": str(cell.seed),
        "label_percent": str(cell.label_percent),
        "pretrain_seed": str(cell.encoder.pretrain_seed),
    }


def _matches(cell: Cell, only: Only) -> bool:
    values = _values(cell)
    return all(values[field] in allowed for field, allowed in only.items())


def _check_only(study: Study, only: Only) -> None:
    percents = {str(percent) for name in study.protocols for percent in PROTOCOLS[name].label_percents}
    allowed = {
        "method": [row.name for row in study.rows],
        "dataset": [d.instance for d in study.datasets],
        "protocol": list(study.protocols),
        "label_percent": sorted(percents, key=int),
        "seed": [str(seed) for seed in study.seeds],
        "pretrain_seed": [str(seed) for seed in study.pretrain_seeds],
    }
    for field, values in only.items():
        for value in values:
            if value not in allowed[field]:
                hint = did_you_mean(value, allowed[field])
                raise ValueError(
                    f"study {study.name!r} has no {field} {value!r}; it has {', '.join(allowed[field])}{hint}"
                )


def _identity(cell: Cell, protocol: str) -> Identity:
    """What tells a plan's cells apart; with another protocol: of the cell of that protocol beside this one."""
    return cell.encoder.key, cell.dataset, protocol, cell.label_percent, cell.seed


def _with_starts(chosen: Sequence[Cell], all_cells: Sequence[Cell]) -> list[Cell]:
    """Add the cells that chosen ones start from, in the table's order."""
    wanted = {_identity(cell, cell.protocol) for cell in chosen}
    for cell in chosen:
        start = PROTOCOLS[cell.protocol].starts_from
        if start is not None:
            wanted.add(_identity(cell, start))
    return [cell for cell in all_cells if _identity(cell, cell.protocol) in wanted]


def starts_from(cells: Sequence[Cell]) -> dict[str, Cell]:
    """Key of a cell -> the cell whose result it starts from, for protocols that start from another one.

    Raises KeyError where that one is not among the cells: make_plan adds it.
    """
    starts = {name: protocol.starts_from for name, protocol in PROTOCOLS.items() if protocol.starts_from is not None}
    begun_from = set(starts.values())
    by_identity = {_identity(cell, cell.protocol): cell for cell in cells if cell.protocol in begun_from}
    going_on = ((cell, starts[cell.protocol]) for cell in cells if cell.protocol in starts)
    return {cell.key: by_identity[_identity(cell, start)] for cell, start in going_on}


def pending(plan: Plan, done: Collection[str], failed: Collection[str], again: Collection[str] = ()) -> Pending:
    """What of a plan is left. done, failed: keys of items with a result, and of those with a failure instead.

    again: keys of encoders that are to be computed even where no open cell needs them: their result was damaged.
    """
    unusable = _unusable_encoders(plan, done, failed)
    open_cells, blocked = _open_cells(plan, done, failed, unusable)
    needed = {encoder.key for cell in open_cells for encoder in _chain(cell.encoder)}
    # A parent may be damaged too: the chain is asked for, and what of it is done is left out below.
    needed |= {encoder.key for run in plan.encoders if run.key in again for encoder in _chain(run)}
    needed -= unusable
    return Pending(
        encoders=tuple(e for e in plan.encoders if e.key in needed and e.key not in done),
        cells=open_cells,
        blocked=blocked,
        failed_encoders=tuple(e for e in plan.encoders if e.key in failed and e.key not in done),
        failed_cells=tuple(c for c in plan.cells if c.key in failed and c.key not in done),
    )


def _unusable_encoders(plan: Plan, done: Collection[str], failed: Collection[str]) -> set[str]:
    """Keys of encoders that failed, and of those that are not finished and start from one of them."""
    unusable = {encoder.key for encoder in plan.encoders if encoder.key in failed}
    for encoder in plan.encoders:  # parents come first, so one pass finds all descendants of a failure
        if encoder.parent and encoder.parent.key in unusable and encoder.key not in done:
            unusable.add(encoder.key)
    return unusable


def _open_cells(
    plan: Plan, done: Collection[str], failed: Collection[str], unusable: Collection[str]
) -> tuple[tuple[Cell, ...], tuple[Cell, ...]]:
    """Cells that can be computed, and those that wait for an encoder or a cell that failed."""
    starts = starts_from(plan.cells)
    open_cells: list[Cell] = []
    blocked: list[Cell] = []
    for cell in plan.cells:
        if cell.key in done or cell.key in failed:
            continue
        start = starts.get(cell.key)
        without_encoder = cell.encoder.key in unusable and cell.encoder.key not in done
        without_start = start is not None and start.key in failed
        (blocked if without_encoder or without_start else open_cells).append(cell)
    return tuple(open_cells), tuple(blocked)


def group_seeds(cells: Iterable[Cell], at_once: int = 1) -> list[tuple[Cell, ...]]:
    """Cells that one job computes: those of a protocol whose seeds share features, else at most `at_once` seeds.

    Jobs come sorted by encoder's key, dataset, protocol, percentage and seed; the cells of one keep their order.
    """
    shared = {name: protocol.seeds_together for name, protocol in PROTOCOLS.items()}

    def together(cell: Cell) -> tuple[str | int, ...]:
        alone = () if shared[cell.protocol] or at_once > 1 else (cell.seed,)
        return (cell.encoder.key, cell.dataset, cell.protocol, cell.label_percent, *alone)

    # groupby joins only neighbours: cells of one job must stand together first.
    groups = [tuple(members) for _, members in groupby(sorted(cells, key=together), key=together)]
    if at_once == 1:
        return groups
    sizes = [len(group) if shared[group[0].protocol] else at_once for group in groups]
    pairs = zip(groups, sizes, strict=True)
    return [group[start : start + size] for group, size in pairs for start in range(0, len(group), size)]
