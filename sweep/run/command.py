"""What does sweep.run do: check, build, work through the plan, and write the report."""

import time
from dataclasses import replace
from functools import partial

from sweep.cli.exit_codes import EXIT_OK, EXIT_SOME_FAILED
from sweep.cli.logging import silence_libraries
from sweep.studies.bad_input import BadInput


def run_study(
    study_name: str,
    storage: str,
    raw: list[str],
    only: list[str],
    dry_run: bool,
    retry_failed: bool,
    redo: str | None,
    started: float,
    logs_to: tuple[str | None, str | None],
) -> int:
    silence_libraries()
    from datasets_io.schema import ArchiveError
    from sweep.cli.display import Display
    from sweep.engine.ingest import build_data
    from sweep.monitoring.sinks import SinkOptions
    from sweep.store.shards import manifests
    from sweep.store.snapshot import Origin
    from sweep.studies.plan import make_plan

    try:
        study, store, plans, chosen = check_input(study_name, storage, raw, only)
        sinks = SinkOptions(study.name, *logs_to)
        sinks.check()
    except ValueError as error:  # everything that is checked before any work says what is wrong with the input
        raise BadInput(error) from error
    with Display() as display:
        if dry_run:
            from sweep.run.dry_run import print_plan

            return print_plan(study, plans, store, chosen, display)
        display.say(f"[bold]radsweep[/bold] study [bold]{study.name}[/bold]: {study.title}")
        display.say(f"storage: {store.uri}")
        try:
            folders = build_data(study, plans, store, partial(display.bar, unit="images"), display.say)
        except ArchiveError as error:
            raise BadInput(error) from error
        built = manifests(folders, store)
        plan = make_plan(study, {source: manifest.fingerprint for source, manifest in built.items()}, chosen)
        origin = Origin(study_name, storage, tuple(raw))
        return _run_plan(study, plan, store, folders, built, origin, retry_failed, redo, display, started, sinks)


def check_input(study_name: str, storage: str, raw: list[str], only: list[str]):
    """Study, store, where the data comes from, and the part asked for. Writes nothing; raises ValueError."""
    from sweep.engine.ingest import check_data
    from sweep.store.shards import parse_raw, plan_data
    from sweep.store.snapshot import fingerprints_of
    from sweep.store.store import Store
    from sweep.studies.plan import make_plan, parse_only
    from sweep.studies.presets import load_study
    from trainables.networks.backbones import check_backbone

    study = load_study(study_name)
    chosen = parse_only(only)
    for row in study.rows:
        check_backbone(row.recipe.backbone)
    make_plan(study, fingerprints_of(study, {}), chosen)
    store = Store(storage)
    plans = plan_data(study, parse_raw(raw), store)
    check_data(study, plans, store)
    return study, store, plans, chosen


def _run_plan(
    study, plan, store, folders, built, origin, retry_failed: bool, redo: str | None, display, started: float, sinks
) -> int:
    from sweep.engine.driver import Work, work_through
    from sweep.report.live import live_tables
    from sweep.report.write import summary_lines, write_report
    from sweep.store.report_folder import ReportFolder
    from sweep.store.results import ResultReader
    from sweep.store.shard_checks import Sources
    from sweep.store.snapshot import OpenedStudy
    from sweep.store.status_names import Status

    if retry_failed:
        _, failed = store.done_and_failed()
        for item in (*plan.encoders, *plan.cells):
            if store.folder(item) in failed:
                store.forget_failure(item)
        store.quarantine_damaged((*plan.encoders, *plan.cells), thorough=True)
    reader = ResultReader(study, plan, store)

    def tables():
        return live_tables(study, plan, reader.collect())

    work = Work(plan, store, folders, built, study.resources, reader, display, tables, sinks)
    if redo is None:
        work_through(work)
    else:
        _redo(work, redo)
    results = reader.collect()
    display.tables = lambda: live_tables(study, plan, results)
    data = OpenedStudy(study, plan, store, origin, Sources(folders, built)).snapshot(results, reader.details)
    if study.training_free:
        from sweep.training_free.measures import compute_all

        compute_all(data, show=display.say)
    paths = write_report(data, ReportFolder.of_study(store, study.name))
    if display.live is None:
        for table in live_tables(study, plan, results):
            display.say_table(table)
    for line in summary_lines(data, paths, time.monotonic() - started):
        display.say(line)
    return EXIT_OK if all(result.status == Status.DONE for result in results) else EXIT_SOME_FAILED


def _redo(work, key: str) -> None:
    """Compute one cell again; also when that is interrupted, it has a result afterwards if it had one before."""
    from sweep.engine.driver import work_through
    from sweep.run.redo import find_cell, part_of, set_aside, settle

    try:
        cell = find_cell(work.plan, key)
    except ValueError as error:
        raise BadInput(error) from error
    aside = set_aside(work.store, cell)
    try:
        work_through(replace(work, plan=part_of(work.plan, cell)))
    finally:
        for line in settle(work.store, aside):
            work.display.say(line)
