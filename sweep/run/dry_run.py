"""What --dry-run prints: the plan, what is done, what is damaged, what is left, and what it will take."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import typer
from rich.markup import escape

from datasets_io.build.spec import options_of
from datasets_io.corpus.manifest import Manifest
from datasets_io.sources.nominal import nominal_splits
from datasets_io.sources.registry import get_source
from sweep.cli.display import Display
from sweep.cli.exit_codes import EXIT_BAD_INPUT, EXIT_OK, EXIT_SOME_UNFIT
from sweep.cli.lines import echo
from sweep.engine.preflight import Preflight, preflight
from sweep.run.machines_at_hand import at_hand, measured_rates
from sweep.run.outlook_tables import lines, tables
from sweep.run.request import Request
from sweep.store.damage import Damage
from sweep.store.other_keys import other_keys_note, stored_under_names
from sweep.store.records import CellDetail, EncoderDetail
from sweep.store.results import ResultReader, encoder_details
from sweep.store.shard_checks import open_sources
from sweep.store.shards import DataPlan, built_folders
from sweep.store.snapshot import fingerprints_of
from sweep.store.store import ReadStore
from sweep.store.unfit import unfit_keys
from sweep.studies.costs import costs_of
from sweep.studies.inputs import input_lines
from sweep.studies.outlook import BUILT, MADE_UP, STANDARD, UNKNOWN, Machines, Outlook, outlook, parse_machines
from sweep.studies.part import part_of
from sweep.studies.plan import Pending, Plan, make_plan, pending
from sweep.studies.preflight_checks import without_rows
from sweep.studies.study import Study

MOST_DAMAGE_LINES = 10  # sweep.status --json has them all


def print_plan(
    study: Study,
    plans: dict[str, DataPlan],
    store: ReadStore,
    only: dict[str, tuple[str, ...]],
    request: Request,
    display: Display,
) -> int:
    """Print the plan; write nothing. only: field of a cell -> its values.

    Returns the exit code: 0; 2 where rows do not fit, or with skip_unfit 4, and then they are not in the outlook.
    """
    store = ReadStore(store.uri)  # a Store would put what is damaged into quarantine
    sources = open_sources(store, built_folders(plans))
    plan = make_plan(study, fingerprints_of(study, sources.manifests), only)
    stored = _read(study, plan, store, request.retry_failed)
    known = {label: _counts(label, data, sources.manifests, study) for label, data in plans.items()}
    for line in _study_lines(study, plan, plans, known):
        display.say(escape(line))
    for line in (*_plan_lines(plan, stored.left), *_damage_lines((*sources.damage, *stored.damage))):
        display.say(line)
    if note := other_keys_note(plan.items, stored_under_names(plan.items, store.sizes())):
        display.say(f"  note: {note}")
    counts = {label: one.images for label, one in known.items() if one is not None}
    origins = {label: one.origin for label, one in known.items() if one is not None}
    machines, unknown = _machines(request, plan, stored, counts)
    left, made = stored.left, outlook(study, counts, machines, only, stored.left, origins)
    if not request.skip_unfit:  # before encoders are tried, which may take minutes
        _say_outlook(made, display, unknown)
    found = preflight(study, stored.left, store, display, keep=False)
    if request.skip_unfit:
        left = without_rows(stored.left, found.unfit)
        made = outlook(study, counts, machines, only, left, origins)
        _say_outlook(made, display, unknown)
    for line in (*found.memory_lines(), *(f"  warning: {escape(warning)}" for warning in found.warnings)):
        display.say(line)
    if found.unfit:
        echo(f"error: {found.refusal}", err=True)
    if request.as_json:
        typer.echo(json.dumps(_as_json(plan, left, made, found), indent=1))
    return (EXIT_SOME_UNFIT if request.skip_unfit else EXIT_BAD_INPUT) if found.unfit else EXIT_OK


def _study_lines(
    study: Study, plan: Plan, plans: Mapping[str, DataPlan], known: Mapping[str, "_Known | None"]
) -> Iterator[str]:
    """The study, where its data comes from, and what its networks are given."""
    yield f"study {study.name}: {study.title}"
    if part := part_of(study, plan):
        yield f"  {part}"
    read = {run.corpus for run in plan.encoders} | {cell.shards for cell in plan.cells}
    for label, data in plans.items():
        # A run builds all that it is given, also what no item of it reads.
        unread = "" if data.built or label in read else "; no encoder or cell of this plan reads it, no table counts it"
        yield _data_line(label, data, known[label]) + unread
        yield from (f"    note: {sentence}" for sentence in (*data.beside, *_source_notes(data)))
    asked = {run.row for run in plan.encoders}
    yield from (f"  images of {names}: {line}" for names, line in input_lines(study, asked))


def _say_outlook(made: Outlook, display: Display, unknown: str) -> None:
    total = made.total
    if made.nothing_known:
        display.say(f"  images to be read: {UNKNOWN}; backbone passes: {UNKNOWN}")
    else:
        display.say(
            f"  images to be read: {total.images_read:,}; backbone passes: {total.forward_passes:,} forward, "
            f"{total.training_passes:,} forward and backward"
        )
    for table in tables(made):
        if table.rows:
            display.say_table(table)
    for line in (*lines(made), *([unknown] if unknown else [])):
        display.say(f"  {escape(line)}")


def _as_json(plan: Plan, left: Pending, made: Outlook, found: Preflight) -> dict[str, Any]:
    counts = {
        "encoders": {"all": len(plan.encoders), "left": len(left.encoders)},
        "cells": {"all": len(plan.cells), "left": len(left.cells)},
    }
    return counts | asdict(made) | {"unfit": dict(found.unfit), "warnings": list(found.warnings)}


def _machines(
    request: Request, plan: Plan, stored: "_Stored", counts: Mapping[str, Mapping[str, int]]
) -> tuple[list[Machines], str]:
    """Those that were named, else STANDARD and what is at hand; and a sentence where that cannot be priced."""
    if request.machines:
        return [parse_machines(text) for text in request.machines], ""
    rates = measured_rates(costs_of(plan.encoders, plan.cells, counts), stored.encoders, stored.cells)
    here, why_not = at_hand(rates)
    return [*STANDARD, *([here] if here is not None else [])], why_not


class _Stored(NamedTuple):
    """What of a plan the storage has. left: what sweep.run would compute; damage: of results, which count as open."""

    left: Pending
    damage: tuple[Damage, ...]
    encoders: tuple[EncoderDetail, ...]
    cells: Mapping[str, CellDetail]


def _read(study: Study, plan: Plan, store: ReadStore, retry_failed: bool) -> _Stored:
    sizes = store.sizes()
    done, failed = store.states(plan.items, sizes)
    reader = ResultReader(study, plan, store)
    reader.collect(sizes)
    encoders, damaged_encoders = encoder_details(plan, store, sizes)
    damage = (*damaged_encoders, *reader.damage.values())
    damaged = {found.folder for found in damage}
    done -= damaged
    # Also where no open cell needs it; one that was damaged before lies in quarantine.
    quarantined = store.quarantined()
    again = {run.key for run in plan.encoders if store.folder(run) in damaged or f"{run}-{run.key}" in quarantined}
    keys_done, keys_failed = ({item.key for item in plan.items if store.folder(item) in f} for f in (done, failed))
    unfit = unfit_keys((item for item in plan.items if item.key in keys_failed), store)  # to be tried again
    skipped = set() if retry_failed else keys_failed - unfit
    return _Stored(pending(plan, keys_done, skipped, again), damage, encoders, reader.details)


def _damage_lines(damage: tuple[Damage, ...]) -> list[str]:
    lines = [f"  damaged: {found.line}" for found in damage[:MOST_DAMAGE_LINES]]
    more = len(damage) - MOST_DAMAGE_LINES
    return [*lines, f"  and {more} more that are damaged: sweep.status --json has them all"] if more > 0 else lines


@dataclass(frozen=True)
class _Known:
    """How many images each split has, and where that is known from: BUILT, `listed` or MADE_UP."""

    images: Mapping[str, int]
    origin: str


def _counts(label: str, data: DataPlan, built: Mapping[str, Manifest], study: Study) -> _Known | None:
    """None of an archive that is not there: what was published stands in."""
    if label in built:
        return _Known(built[label].split_sizes, BUILT)
    if data.raw is not None:
        # What the archive lists: no image is opened, so some may still be rejected when it is built.
        counts = {"train": 0, "val": 0, "test": 0}
        for record in get_source(data.spec.source).read_records(data.raw, options_of(data.spec)):
            counts[record.split] += 1
        return _Known(counts, "listed")
    made_up = study.synthetic.image_counts() if study.synthetic is not None else {}
    return _Known(made_up[data.spec.source], MADE_UP) if data.spec.source in made_up else None


def _source_notes(data: DataPlan) -> list[str]:
    """What the archive's reader has to say, of one that is still to be built: its build says it too."""
    if data.built or data.raw is None:
        return []
    return get_source(data.spec.source).notes(data.raw, options_of(data.spec))


def _data_line(label: str, data: DataPlan, known: _Known | None) -> str:
    if known is None:
        published = nominal_splits(data.spec.source, options_of(data.spec)) is not None
        stands_in = "what was published of it stands in (nominal)" if published else "its size is unknown"
        return f"  {label}: neither built nor named: {stands_in}. To run it: --raw {label.partition(' (')[0]}=DIR"
    numbers = ", ".join(f"{split} {number:,}" for split, number in known.images.items())
    if data.built:
        return f"  {label}: built ({data.folder}): {numbers}"
    return f"  {label}: to be built from {data.raw or 'synthetic archives, still to be written'}: {numbers} listed"


def _plan_lines(plan: Plan, left: Pending) -> list[str]:
    encoders_done = len(plan.encoders) - len(left.encoders) - len(left.failed_encoders)
    cells_done = len(plan.cells) - len(left.cells) - len(left.blocked) - len(left.failed_cells)
    lines = [
        f"  encoder runs: {len(plan.encoders)} in all, {encoders_done} done, {len(left.encoders)} left",
        f"  cells: {len(plan.cells)} in all, {cells_done} done, {len(left.cells)} left",
    ]
    if left.failed_encoders or left.failed_cells:
        lines.append(
            f"  failed before: {len(left.failed_encoders)} encoder runs, {len(left.failed_cells)} cells, "
            f"{len(left.blocked)} cells blocked by them; --retry-failed tries them again"
        )
    return lines
