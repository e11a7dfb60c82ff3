"""The command: python -m sweep.run runs a study from raw archives to the paper's table, or goes on where it stopped."""

if __name__ == "__main__":
    from sweep.interrupts import hear

    hear()

import time
from dataclasses import replace
from functools import partial
from typing import Annotated

import typer

from sweep.console import EXIT_OK, EXIT_SOME_FAILED, answers, quiet_libraries

CHAOS_FAULTS = 8
app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(epilog="Run it again to go on after any stop: what is finished is never computed again.")
def run(
    study: Annotated[
        str, typer.Option(help="demo, paper, released or strict, or a Python file that defines study().")
    ] = "demo",
    storage: Annotated[
        str, typer.Option(help="Where everything is kept: a folder, an NFS path, s3://... or gs://...")
    ] = "radsweep-results",
    raw: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE=DIR",
            help="A raw archive as it was downloaded, e.g. mimic_cxr=/data/MIMIC-CXR. Repeat for each.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE,...",
            help="Part of the study, by method, dataset, protocol, label_percent, seed or pretrain_seed: "
            "e.g. seed=0,1. Repeatable.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and what it costs; do nothing.")] = False,
    retry_failed: Annotated[
        bool,
        typer.Option("--retry-failed", help="Try what failed before once more, and what is damaged: all is read."),
    ] = False,
    redo: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="Compute one cell again, and nothing else, and say whether it comes out equal. Its key "
            "stands in the report and in results.csv.",
        ),
    ] = None,
    chaos: Annotated[
        bool,
        typer.Option(
            "--chaos", help="Run the study twice in folders of its own, once killing its workers and its driver at "
            "random, and show that the table comes out the same.",
        ),
    ] = False,
    tensorboard: Annotated[
        str | None, typer.Option(metavar="DIR", help="Write TensorBoard logs of every run there, as it goes on.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(metavar="URI", help="Send each finished run's numbers, and no data, to this server.")
    ] = None,
) -> None:
    """Which way of pretraining makes the best chest-radiograph encoder?

    Ingests the archives, pretrains an encoder by each method, evaluates each by linear probing and
    fine-tuning at 1, 10 and 100% of the labels, and fills the table with means and 95% intervals.
    Without --raw, the demo runs the whole study on synthetic archives.
    """
    started = time.monotonic()
    with answers("sweep.run", storage, BadInput, retry=" --retry-failed"):
        if chaos:
            raise typer.Exit(_chaos(study, storage, raw or [], only or []))
        watchers = tensorboard, mlflow
        raise typer.Exit(_run(study, storage, raw or [], only or [], dry_run, retry_failed, redo, started, watchers))


def _chaos(study_name: str, storage: str, raw: list[str], only: list[str]) -> int:
    from sweep.chaos import show_chaos

    try:
        study = _check_input(study_name, storage, raw, only)[0]
    except ValueError as error:
        raise BadInput(error) from error
    held = show_chaos(study_name, study.name, raw, CHAOS_FAULTS, typer.echo)
    return EXIT_OK if held else EXIT_SOME_FAILED


class BadInput(Exception):
    """What the user gave cannot be run; the message is one sentence for the user."""


def _run(
    study_name: str, storage: str, raw: list[str], only: list[str], dry_run: bool, retry_failed: bool,
    redo: str | None, started: float, watchers: tuple[str | None, str | None],
) -> int:
    quiet_libraries()
    from datasets_io.schema import ArchiveError
    from sweep.data import build_data, manifests
    from sweep.display import Display
    from sweep.plan import make_plan
    from sweep.report_data import Origin
    from sweep.watchers import Watching

    try:
        study, store, plans, chosen = _check_input(study_name, storage, raw, only)
        watching = Watching(study.name, *watchers)
        watching.check()
    except ValueError as error:  # everything that is checked before any work says what is wrong with the input
        raise BadInput(error) from error
    with Display() as display:
        if dry_run:
            from sweep.dry_run import print_plan

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
        return _run_plan(study, plan, store, folders, built, origin, retry_failed, redo, display, started, watching)


def _check_input(study_name: str, storage: str, raw: list[str], only: list[str]):
    """Study, store, where the data comes from, and the part asked for. Writes nothing; raises ValueError."""
    from sweep.data import check_data, parse_raw, plan_data
    from sweep.plan import NOT_BUILT, make_plan, parse_only
    from sweep.store import Store
    from sweep.studies import load_study
    from trainables.backbones import check_backbone

    study = load_study(study_name)
    chosen = parse_only(only)
    for row in study.rows:
        check_backbone(row.recipe.backbone)
    make_plan(study, {spec.source: NOT_BUILT for spec in study.builds()}, chosen)
    store = Store(storage)
    plans = plan_data(study, parse_raw(raw), store)
    check_data(study, plans, store)
    return study, store, plans, chosen


def _run_plan(
    study, plan, store, folders, built, origin, retry_failed: bool, redo: str | None, display, started: float, watching
) -> int:
    from sweep.locate import report_data
    from sweep.passes import Work, work_through
    from sweep.report import live_tables, summary_lines, write_report
    from sweep.report_files import ReportFolder
    from sweep.results import ResultReader
    from sweep.status_names import Status

    if retry_failed:
        _, failed = store.done_and_failed()
        for item in (*plan.encoders, *plan.cells):
            if store.folder(item) in failed:
                store.forget_failure(item)
        store.put_damaged_aside((*plan.encoders, *plan.cells), thorough=True)
    reader = ResultReader(study, plan, store)

    def tables():
        return live_tables(study, plan, reader.collect())

    work = Work(plan, store, folders, built, study.resources, reader, display, tables, watching)
    if redo is None:
        work_through(work)
    else:
        _redo(work, redo)
    results = reader.collect()
    display.tables = lambda: live_tables(study, plan, results)
    data = report_data(study, plan, results, reader.details, built, store, origin, folders)
    if study.training_free:
        from sweep.training_free import compute_all

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
    from sweep.passes import work_through
    from sweep.redo import find_cell, part_of, settle, step_aside

    try:
        cell = find_cell(work.plan, key)
    except ValueError as error:
        raise BadInput(error) from error
    aside = step_aside(work.store, cell)
    try:
        work_through(replace(work, plan=part_of(work.plan, cell)))
    finally:
        for line in settle(work.store, aside):
            work.display.say(line)


if __name__ == "__main__":
    app()
