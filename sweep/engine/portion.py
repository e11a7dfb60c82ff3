"""Which part of what is left does one of several drivers take, so that they divide a study among themselves? Pure.

Each takes its share of what nobody has, works through it, and comes again: large parts first and ever smaller ones, so
that all end at about the same time whenever each began (guided self-scheduling, Polychronopoulos and Kuck, 1987).
"""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

from sweep.studies.cell import Cell, EncoderRun
from sweep.studies.forecast import Counts, forecast
from sweep.studies.plan import Pending

DRIVERS = "RADSWEEP_DRIVERS"  # of the environment
Unit = TypeVar("Unit")


def number_of_drivers(environment: Mapping[str, str] = os.environ) -> int:
    """How many drivers will share the storage; 1 where nobody says so. Raises ValueError for what is no such number."""
    value = environment.get(DRIVERS) or "1"
    if not value.isascii() or not value.isdecimal() or int(value) < 1:
        raise ValueError(
            f"{DRIVERS} is {value!r}: it says how many drivers share the storage, a whole number from 1 on; unset it "
            "where there is only this one"
        )
    return int(value)


def portion(left: Pending, free: Collection[str], drivers: int, starts: Mapping[str, Cell], counts: Counts) -> set[str]:
    """Keys of one driver's share of the free items: of the encoders' work, and of that of cells that can be computed.

    left: all that is not finished; free: keys of it that no other driver computes. starts: key of a cell -> the cell
    that it starts from. counts: label of a build -> images of each split. At least one item where one can be begun.
    """
    open_encoders = {encoder.key for encoder in left.encoders}
    chosen = _chosen_encoders(left.encoders, free, drivers, counts)
    elsewhere = open_encoders - chosen  # another driver computes them, or nobody yet
    cells = [cell for cell in left.cells if cell.key in free and cell.encoder.key not in elsewhere]
    columns = _columns(cells, starts, {cell.key for cell in left.cells})
    works = [forecast((), column, counts).flops for column in columns]
    return chosen | {cell.key for column in _share(columns, works, drivers) for cell in column}


def _chosen_encoders(encoders: Sequence[EncoderRun], free: Collection[str], drivers: int, counts: Counts) -> set[str]:
    """An encoder comes with those that it starts from: none of them is begun before they are there."""
    by_key = {encoder.key: encoder for encoder in encoders}
    chains: list[set[str]] = []
    for encoder in encoders:
        chain, one = {encoder.key}, encoder.parent
        while one is not None and one.key in by_key:
            chain.add(one.key)
            one = one.parent
        if chain <= set(free):
            chains.append(chain)
    works = [forecast((by_key[key] for key in chain), (), counts).flops for chain in chains]
    return set().union(*_share(chains, works, drivers))


def _columns(cells: Iterable[Cell], starts: Mapping[str, Cell], still_open: Collection[str]) -> list[list[Cell]]:
    """What one driver computes: all seeds of an encoder, dataset, protocol and percentage, which are cheaper together.

    Those that start from others come with these; without those that start from a cell that another driver computes.
    """
    free = {cell.key for cell in cells}
    columns: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        start = starts.get(cell.key)
        begins = start if start is not None and start.key in free else cell
        if start is None or start.key in free or start.key not in still_open:
            kind = (begins.encoder.key, begins.dataset, begins.protocol, begins.label_percent)
            columns.setdefault(kind, []).append(cell)
    return list(columns.values())


def _share(units: Sequence[Unit], works: Sequence[float], drivers: int) -> list[Unit]:
    """The largest units that make up one part in `drivers` of the work; of equal ones the first."""
    order = sorted(range(len(units)), key=lambda place: -works[place])
    wanted, taken, chosen = sum(works) / drivers, 0.0, list[Unit]()
    most = -(-len(units) // drivers)  # where the work is nothing, as that of an encoder that is only stored
    for place in order:
        if chosen and (taken >= wanted if wanted else len(chosen) >= most):
            break
        chosen.append(units[place])
        taken += works[place]
    return chosen
