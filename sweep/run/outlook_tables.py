"""How is an outlook shown: as tables and lines for a terminal or a page?"""

from collections.abc import Iterable, Sequence

from sweep.cli.display import TableRows, duration_text
from sweep.cli.lines import bytes_text
from sweep.studies.outlook import NOMINAL, Archive, Machines, Outlook, Stage
from sweep.studies.outlook.stages import INGEST_RATES

UNKNOWN = "unknown"
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
    storage = ", ".join(f"{bytes_text(part.bytes)} {part.what}" for part in found.storage)
    said = [f"storage: {storage}", *(f"memory {part.what}: {bytes_text(part.bytes)}" for part in found.memory)]
    if found.machines and found.machines[0].chain.names:
        first = found.machines[0]
        said.append(f"longest chain: {' -> '.join(first.chain.names)}")
    said += dict.fromkeys(_rate(one.machines) for one in found.machines)
    if any(stage.core_hours for stage in found.stages):
        rates = ", ".join(f"{kind} {rate:g}" for kind, rate in INGEST_RATES.items())
        said.append(f"rate of a core: {rates} images ingested a second, as in docs/performance.md")
    said.append(f"counted: {WAY_OF_COUNTING}")
    return [*said, *(f"not counted: {sentence}" for sentence in found.missing)]


def hours_text(hours: float) -> str:
    """`39 years`, `102 h`, `4.7 h`, `14 min`, `12 s`: hours stay hours, so that columns can be compared."""
    if hours >= 2 * YEAR:
        return f"{hours / YEAR:,.0f} years"
    if hours >= 1.95:
        return f"{hours:,.0f} h" if hours >= 99.5 else f"{hours:.1f} h"
    return duration_text(3600 * hours) if hours >= 1 / 3600 else "under 1 s" if hours else "0"


def count_text(count: int) -> str:
    """`705.8 M`, `37,711`."""
    return f"{count / 1e6:,.1f} M" if count >= 1e6 else f"{count:,}"


def _archives(archives: Sequence[Archive]) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (archive.label, *_counts(archive), _origin(archive), bytes_text(archive.stored_bytes)) for archive in archives
    )


def _counts(archive: Archive) -> tuple[str, ...]:
    counts = dict(archive.splits)
    return tuple(f"{counts.get(split, 0):,}" if archive.splits else UNKNOWN for split in ("train", "val", "test"))


def _origin(archive: Archive) -> str:
    if not archive.splits:
        return UNKNOWN
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
    total = [UNKNOWN if _nothing_known(found) else text for text in total]
    yield ("all, but for ingest", "", "", count_text(found.total.forward_passes + found.total.training_passes), *total)


def _nothing_known(found: Outlook) -> bool:
    """Whether no stage that takes time can be priced: then a sum is nothing."""
    return not found.total.seconds_at(1.0) and any(stage.unpriced for stage in found.stages)


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
            *(
                (UNKNOWN,) * 3
                if _nothing_known(found)
                else (hours_text(one.hours), one.bound, hours_text(one.chain.hours))
            ),
            f"{bytes_text(one.bytes_per_second)}/s" if 3600 * one.hours >= 1 else "",
        )
        for one in found.machines
    )


def _rate(machines: Machines) -> str:
    where = machines.note or (
        "published for ResNet-50 at 224 in half precision" if machines.on_gpus else "stated, as seen on small networks"
    )
    return f"rate of one {_one(machines)}: {machines.flops_per_second:.3g} FLOP a second, {where}"
