"""What does sweep.run do: check, build, work through the plan, and write the report."""

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from rich.markup import escape

from datasets_io.local_ray import overlooked
from sweep.cli.exit_codes import EXIT_OK, EXIT_SOME_FAILED, EXIT_SOME_UNFIT
from sweep.cli.lines import echo
from sweep.cli.logging import silence_libraries
from sweep.run.request import Request
from sweep.studies.bad_input import BadInput

# The rest is imported where it is used: --help and a misspelt flag need none of it, and it takes seconds.
if TYPE_CHECKING:
    from sweep.cli.display import Display
    from sweep.engine.driver import Work
    from sweep.engine.preflight import Preflight
    from sweep.monitoring.sinks import SinkOptions
    from sweep.store.lease import Holder, Lease
    from sweep.store.shards import DataPlan
    from sweep.store.snapshot import Origin, Snapshot
    from sweep.store.store import Store
    from sweep.studies.cell import Cell, EncoderRun
    from sweep.studies.plan import Plan
    from sweep.studies.study import Study

CHAOS_FAULTS = 8


@dataclass(frozen=True)
class CheckedInput:
    """What a request means: its study, its storage, where each build's data comes from, and the part asked for.

    only: field of a cell -> its values.
    """

    study: "Study"
    store: "Store"
    data: "dict[str, DataPlan]"
    only: dict[str, tuple[str, ...]]


def run_study(request: Request) -> int:
    """Run a study to its end. Exit code: 0 if every cell is done, 4 if all but those of rows that do not fit, else 3.

    Raises BadInput before any work.
    """
    silence_libraries()
    # The first word comes before the imports, which take seconds.
    begun = f"radsweep: reading study {request.study} and storage {request.storage}"
    echo(begun, err=request.as_json)
    from rich.console import Console

    from sweep.cli.display import Display
    from sweep.monitoring.sinks import SinkOptions
    from sweep.store.kept_names import check_names

    try:
        checked = check_input(request)
        sinks = SinkOptions(checked.study.name, request.tensorboard, request.mlflow)
        sinks.check()
    except ValueError as error:  # everything that is checked before any work says what is wrong with the input
        raise BadInput(error) from error
    with Display(Console(stderr=True) if request.as_json else None) as display:
        if request.dry_run:
            from sweep.run.dry_run import print_plan

            return print_plan(checked.study, checked.data, checked.store, checked.only, request, display)
        check_names(checked.store.files)
        display.say(f"study [bold]{checked.study.name}[/bold]: {escape(checked.study.title)}")
        display.say(f"storage: {escape(checked.store.shown)}")
        if (others := overlooked()) is not None:
            display.say(f"note: {escape(others.sentence)}")
        return _build_and_run(request, checked, sinks, display, _try_encoders(request, checked, display))


def run_chaos(request: Request) -> int:
    """Run the study undisturbed and with faults, and compare. Exit code: 0 if every promise held, else 3.

    Raises BadInput before any work.
    """
    from sweep.run.chaos import show_chaos

    try:
        if flags := request.of_one_run:
            raise ValueError(f"--chaos runs the whole study twice, in folders of its own: leave out {', '.join(flags)}")
        name = check_input(request).study.name
    except ValueError as error:
        raise BadInput(error) from error
    held = show_chaos(request.study, name, list(request.raw), CHAOS_FAULTS, echo)
    return EXIT_OK if held else EXIT_SOME_FAILED


def check_input(request: Request) -> CheckedInput:
    """What a request means. Writes nothing; raises ValueError for what is wrong with it."""
    from datasets_io.ray_state import ray_folder
    from sweep.engine.ingest import check_data
    from sweep.engine.portion import number_of_drivers
    from sweep.store.shards import parse_raw, plan_data
    from sweep.store.snapshot import fingerprints_of
    from sweep.store.store import Store
    from sweep.studies.outlook.machines import parse_machines
    from sweep.studies.part import with_asked_rows
    from sweep.studies.plan import make_plan, parse_only
    from sweep.studies.presets import load_study

    number_of_drivers()  # refuses what is no number
    if not request.dry_run and (others := overlooked()) is not None and others.refuse:
        raise ValueError(others.sentence)
    if not request.dry_run and (request.machines or request.as_json):
        raise ValueError(f"--{'machines' if request.machines else 'json'} is of a plan: give --dry-run too")
    if request.dry_run and request.redo is not None:
        raise ValueError("--redo computes one cell again, of which there is no plan: leave out --dry-run")
    for text in request.machines:
        parse_machines(text)
    study = load_study(request.study)
    only = parse_only(request.only)
    make_plan(study, fingerprints_of(study, {}), only)  # refuses what does not fit together
    store = Store(request.storage)
    if not request.dry_run:
        ray_folder(store.uri)  # refuses a place that is not this user's alone
    asked = with_asked_rows(study, only)  # builds that only other rows read hold nothing up
    data = plan_data(asked, parse_raw(list(request.raw), study), store, may_lack=request.dry_run)
    check_data(asked, data, store)
    return CheckedInput(study, store, data, only)


def _try_encoders(request: Request, checked: CheckedInput, display: "Display") -> "Preflight":
    """Whether the networks fit that the plan needs. Raises BadInput with all that do not, unless they are left out."""
    from sweep.engine.preflight import Preflight, left_of, preflight
    from sweep.store.shard_checks import open_sources
    from sweep.store.snapshot import fingerprints_of
    from sweep.studies.plan import make_plan

    if request.redo is not None:
        return Preflight()  # of a cell that was computed before
    study, store = checked.study, checked.store
    built = {label: plan.folder for label, plan in checked.data.items() if plan.built and plan.folder is not None}
    plan = make_plan(study, fingerprints_of(study, open_sources(store, built).manifests), checked.only)
    left, _ = left_of(plan, store, request.retry_failed)
    found = preflight(study, left, store, display, keep=True, retry_misfits=request.retry_failed)
    if found.unfit and not request.skip_unfit:
        raise BadInput(found.refusal)
    _say_all(found, display)
    return found


def _say_all(found: "Preflight", display: "Display") -> None:
    for sentence in found.unfit.values():
        display.say(f"[red]left out:[/red] {escape(sentence)}")
    for warning in found.warnings:
        display.say(f"warning: {escape(warning)}")


def _leave_out(plan: "Plan", store: "Store", found: "Preflight") -> None:
    """Rows that do not fit count as failed, for every command that reads; those that fit by now no longer do."""
    from sweep.engine.preflight import left_of
    from sweep.store.unfit import leave_out, take_back

    if not found.unfit and not store.done_and_failed()[1]:
        return
    left, left_out = left_of(plan, store)
    take_back(plan, store, left_out)
    leave_out(left, store, found.unfit)


def _build_and_run(
    request: Request, checked: CheckedInput, sinks: "SinkOptions", display: "Display", found: "Preflight"
) -> int:
    from sweep.engine.driver import Work
    from sweep.engine.ingest import build_data
    from sweep.engine.portion import number_of_drivers
    from sweep.report.live import live_tables
    from sweep.store.lease import Lease
    from sweep.store.results import ResultReader
    from sweep.store.shards import manifests
    from sweep.store.snapshot import fingerprints_of
    from sweep.studies.part import part_of, with_asked_rows
    from sweep.studies.plan import make_plan

    study, store = checked.study, checked.store
    try:
        asked = with_asked_rows(study, checked.only)
        folders = build_data(asked, checked.data, store, partial(display.bar, unit="images"), display.say)
    except ValueError as error:  # an archive that is not whole, or builds that cannot stand beside each other
        raise BadInput(error) from error
    built = manifests(folders, store)
    plan = make_plan(study, fingerprints_of(study, built), checked.only)
    if part := part_of(study, plan):
        display.say(escape(part))
    with Lease(store.files) as lease:
        _restore(store, display, lease)
    if request.retry_failed:
        _forget_failures(plan, store)
    if request.redo is None:
        _leave_out(plan, store, found)
    reader = ResultReader(study, plan, store)
    work = Work(
        plan,
        store,
        folders,
        built,
        study.resources,
        reader,
        display,
        lambda: live_tables(study, plan, reader.collect()),
        sinks,
        partial(_restore, store, display),
        number_of_drivers(),
    )
    return _run_plan(request, study, work, found)


def _restore(store: "Store", display: "Display", lease: "Lease") -> "dict[str, Holder]":
    """Bring back the results of cells whose computation again was cut off; what other drivers compute again."""
    from sweep.run.redo import restore_interrupted

    said, held = restore_interrupted(store, lease)
    for line in said:
        display.say(line)
    return held


def _forget_failures(plan: "Plan", store: "Store") -> None:
    """What failed, and what is damaged, is left to do again."""
    items: tuple[EncoderRun | Cell, ...] = (*plan.encoders, *plan.cells)
    _, failed = store.states(items, store.sizes())
    for item in items:
        if store.folder(item) in failed:
            store.forget_failure(item)
    store.quarantine_damaged(items, thorough=True)


def _run_plan(request: Request, study: "Study", work: "Work", found: "Preflight") -> int:
    from sweep.engine.driver import work_through
    from sweep.report.live import live_tables
    from sweep.report.write import summary_lines, write_report
    from sweep.store.report_folder import ReportFolder
    from sweep.store.shard_checks import Sources
    from sweep.store.snapshot import OpenedStudy, Origin
    from sweep.store.status_names import Status

    plan, store, display = work.plan, work.store, work.display
    origin = Origin(request.study, request.storage, request.raw)
    if request.redo is not None:
        return _redo(work, request.redo, origin)
    work_through(work)
    sizes = store.sizes()
    results = work.reader.collect(sizes)
    work.reader.write_pack()
    display.tables = lambda: live_tables(study, plan, results)
    sources = Sources(work.data_folders, work.manifests)
    data = OpenedStudy(study, plan, store, origin, sources).snapshot(results, work.reader.details, sizes=sizes)
    complete = not study.training_free or compute_columns(data, display)
    display.doing("making the report: statistics, tables and figures")
    paths = write_report(data, ReportFolder.of_study(store, study.name))
    display.doing("")
    if display.live is None:  # on a terminal they stand below the bars already
        for table in live_tables(study, plan, results):
            display.say_table(table)
    for line in summary_lines(data, paths, time.monotonic() - request.started):
        display.say_last(line)
    open_rows = {result.encoder for result in results if result.status != Status.DONE}
    if not complete or not open_rows <= found.unfit.keys():
        return EXIT_SOME_FAILED
    return EXIT_SOME_UNFIT if open_rows else EXIT_OK


def compute_columns(data: "Snapshot", display: "Display") -> bool:
    """Compute the columns without training; whether all are there. What fails is said, and the report goes on."""
    from sweep.training_free.measures import compute_all, is_complete

    try:
        compute_all(data, show=lambda line: display.say(escape(line)))
        return is_complete(data)
    except OSError:  # of the storage, where the report could not be written either
        raise
    except Exception as error:
        display.say(escape(f"columns without training failed: {type(error).__name__}: {error}"))
        return False


def _redo(work: "Work", key: str, origin: "Origin") -> int:
    """Compute one cell again; also when that is interrupted, it has a result afterwards if it had one before.

    Exit code: 0 where it was computed, else 3. The report is of all cells, and is left as it is: what is said last is
    whether the cell came out equal, and the command that makes the report.
    """
    from sweep.engine.driver import work_through
    from sweep.run.redo import claim_of, find_cell, part_of, settle, supersede
    from sweep.store.lease import Lease

    try:
        cell = find_cell(work.plan, key)
    except ValueError as error:
        raise BadInput(error) from error
    with Lease(work.store.files) as lease:
        if held := lease.claim({claim_of(work.store.folder(cell).rpartition("/")[2])})[1]:
            raise BadInput(f"{next(iter(held.values()))} computes {cell} again already: wait for its end")
        redo = supersede(work.store, cell)
        try:
            work_through(replace(work, plan=part_of(work.plan, cell), aside=lambda lease: {}))
        finally:
            settled = settle(work.store, redo)
            if settled.changed:
                command = origin.command("sweep.report")
                work.display.say_last(
                    f"Reports have an earlier result of it, or none; make them again with:\n  {command}"
                )
            work.display.say_last(escape(settled.sentence))
    return EXIT_OK if settled.computed else EXIT_SOME_FAILED
