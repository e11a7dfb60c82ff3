"""How is an outlook shown: as tables and lines for a terminal or a page?"""

from collections.abc import Iterable, Sequence

from sweep.cli.display import TableRows, duration_text
from sweep.cli.lines import bytes_text
from sweep.studies.outlook import NOMINAL, UNKNOWN, Archive, Machines, OnMachines, Outlook, Stage
from sweep.studies.outlook.stages import INGEST_RATES

YEAR = 8766.0  # hours
WAY_OF_COUNTING = (
    "every image, lateral ones and those without an impression too, and every epoch: early stopping may save some"
)


def tables(found: Outlook) -> tuple[TableRows, ...]:
    """Archives, stages, machines."""
    return (
        TableRows("Archives", ("archive", "train", "val", "test", "counts are", "stored"), _archives(found.archives)),
        TableRows("Stages", ("stage", "jobs", "of", "images", *_cards(found)), tuple(_stages(found))),
        TableRows("Machines", ("machines", "at least", "bound by", "longest chain", "reading"), _machines(found)),
    )


def lines(found: Outlook) -> list[str]:
    """What stands below the tables."""
    storage = ", ".join(f"{_bytes(part.bytes)} {part.what}" for part in found.storage)
    said = [f"storage: {storage}", *(f"memory {part.what}: {_bytes(part.bytes)}" for part in found.memory)]
    chain = found.machines[0].chain if found.machines else None
    if chain is not None and chain.names:
        said.append(f"longest chain: {' -> '.join(chain.names)}")
    said += dict.fromkeys(_rate(one.machines) for one in found.machines)
    if any(stage.core_hours for stage in found.stages):
        rates = ", ".join(f"{kind} {rate:g}" for kind, rate in INGEST_RATES.items())
        said.append(f"rate of a core: {rates} images ingested a second, as in docs/performance.md")
    said.append(f"counted: {WAY_OF_COUNTING}")
    return [*said, *(f"not counted: {sentence}" for sentence in found.missing)]


def hours_text(hours: float | None) -> str:
    """`39 years`, `102 h`, `4.7 h`, `14 min`, `12 s`: hours stay hours, so that columns can be compared."""
    if hours is None:
        return UNKNOWN
    if hours >= 2 * YEAR:
        return f"{hours / YEAR:,.0f} years"
    if hours >= 1.95:
        return f"{hours:,.0f} h" if hours >= 99.5 else f"{hours:.1f} h"
    return duration_text(3600 * hours) if hours >= 1 / 3600 else "under 1 s" if hours else "0"


def count_text(count: int | None) -> str:
    """`705.8 M`, `37,711`, `unknown`."""
    if count is None:
        return UNKNOWN
    return f"{count / 1e6:,.1f} M" if count >= 1e6 else f"{count:,}"


def _bytes(count: int | None) -> str:
    return UNKNOWN if count is None else bytes_text(count)


def _archives(archives: Sequence[Archive]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (archive.label, *_counts(archive), _origin(archive), _bytes(archive.stored_bytes)) for archive in archives
    )


def _counts(archive: Archive) -> tuple[str, ...]:
    counts = dict(archive.splits)
    return tuple(f"{counts.get(split, 0):,}" if archive.splits else UNKNOWN for split in ("train", "val", "test"))


def _origin(archive: Archive) -> str:
    return f"{archive.origin}, cut in proportion" if archive.origin == NOMINAL and not archive.exact else archive.origin


def _cards(found: Outlook) -> tuple[str, ...]:
    return tuple(f"on one {card}" for card in _by_card(found))


def _by_card(found: Outlook) -> dict[str, Machines]:
    """One of the machines of each card."""
    cards: dict[str, Machines] = {}
    for row in found.machines:
        cards.setdefault(_one(row.machines), row.machines)
    return cards


def _one(machines: Machines) -> str:
    return machines.card if machines.on_gpus else "core"


def _stages(found: Outlook) -> Iterable[tuple[str, ...]]:
    cards = _by_card(found)
    for stage in found.stages:
        yield (stage.name, f"{stage.jobs:,}", _items(stage), count_text(stage.images), *_hours(stage, cards))
    total = [hours_text(found.total.seconds_at(one.flops_per_second) / 3600) for one in cards.values()]
    passes = found.total.forward_passes + found.total.training_passes
    if found.nothing_known:
        yield ("all, but for ingest", "", "", UNKNOWN, *([UNKNOWN] * len(total)))
    else:
        yield ("all, but for ingest", "", "", count_text(passes), *total)


def _items(stage: Stage) -> str:
    kind = "archive" if stage.name.startswith("ingest ") else "cell" if " " in stage.name else "encoder"
    kind = "encoder" if stage.name == "initial weights" else kind
    return f"{stage.items:,} {kind}{'s' * (stage.items != 1)}"


def _hours(stage: Stage, cards: dict[str, Machines]) -> list[str]:
    if stage.unpriced == stage.items:
        return [UNKNOWN] * len(cards)
    if stage.name.startswith("ingest "):
        took = f"{hours_text(stage.core_hours)} of a core" if stage.core_hours else "seconds of a core"
        return [took] + [""] * (len(cards) - 1)
    return [hours_text(stage.cost.seconds_at(one.flops_per_second) / 3600) for one in cards.values()]


def _machines(found: Outlook) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            one.machines.name,
            hours_text(one.hours),
            one.bound or UNKNOWN,
            UNKNOWN if one.chain is None else hours_text(one.chain.hours),
            _speed(one),
        )
        for one in found.machines
    )


def _speed(one: OnMachines) -> str:
    if one.hours is None or one.bytes_per_second is None or 3600 * one.hours < 1:
        return ""
    return f"{bytes_text(one.bytes_per_second)}/s"


def _rate(machines: Machines) -> str:
    where = machines.note or (
        "published for ResNet-50 at 224 in half precision" if machines.on_gpus else "stated, as seen on small networks"
    )
    return f"rate of one {_one(machines)}: {machines.flops_per_second:.3g} FLOP a second, {where}"
