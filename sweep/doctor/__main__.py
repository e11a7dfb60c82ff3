"""The command: python -m sweep.doctor says whether a study would run here, and what mends what would not."""

if __name__ == "__main__":
    from datasets_io.interrupts import INTERRUPTS

    INTERRUPTS.install()

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datasets_io.command_line import OTHER_ENDS
from datasets_io.storage.secrets import without_secrets
from datasets_io.untrusted import printable_lines
from sweep.cli import completion
from sweep.cli.display import Display
from sweep.cli.exit_codes import EXIT_OK, EXIT_SOME_FAILED, errors_as_sentences
from sweep.cli.logging import silence_libraries
from sweep.cli.options import DEFAULT_STORAGE, DEFAULT_STUDY, AsJson, Command, Storage
from sweep.doctor.check import FAIL, OK, WARN, Check, guarded

if TYPE_CHECKING:
    from sweep.studies.study import Study

MARKS = {OK: "[green]ok[/green]", WARN: "[yellow]warn[/yellow]", FAIL: "[red]fail[/red]"}  # with the markup of rich

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(
    cls=Command,
    epilog=f"Exit codes: 0 nothing fails; 2 bad input; 3 something fails; {OTHER_ENDS}. For example: "
    "python -m sweep.doctor --study paper --storage s3://bucket/results --raw chexpert=/data/CheXpert-v1.0",
)
def doctor(
    cluster: Annotated[
        Path | None, typer.Argument(metavar="[cluster.yaml]", help="A cluster file: would `ray up` take it?")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    raw: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SOURCE=DIR",
            autocompletion=completion.raw_sources,
            help="A raw archive: is it complete? No image is read. Repeat for each. NAME=DIR for one use of a source.",
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.py",
            autocompletion=completion.studies,
            help="Whose data and disk space to check; demo, where neither it nor --raw is given.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Would a study run here? Each check that fails comes with the command that fixes it.

    Checks versions, devices, /dev/shm, disks against the plan, ports and the
    token; writes, renames and reads back a file in the storage and removes it
    again; counts the images that the archives list.
    """
    silence_libraries()
    with errors_as_sentences(storage, ValueError):
        checks = examine(study, storage, raw or [], cluster)
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        show(checks)
    raise typer.Exit(EXIT_SOME_FAILED if any(check.status == FAIL for check in checks) else EXIT_OK)


def examine(study_name: str | None, storage: str, raw_values: list[str], cluster: Path | None) -> list[Check]:
    """All checks, in the order in which one needs the other.

    Raises ValueError for bad input, and BrokenInstallation, which is one, where a module cannot be imported.
    """
    try:
        from sweep.doctor.access import access_checks
        from sweep.doctor.machine import machine_checks
        from sweep.doctor.places import check_storage
        from sweep.store.shards import parse_raw
        from sweep.studies.presets import load_study
    except Exception as error:
        from datasets_io.pixels.worker import broken, what_failed

        raise broken(what_failed(error)) from error

    if study_name is None and not raw_values:
        study_name = DEFAULT_STUDY
    study = load_study(study_name) if study_name else None
    raw = parse_raw(raw_values, study)
    if cluster is not None and not cluster.is_file():
        raise ValueError(f"cluster file {cluster} does not exist")
    checks = guarded("machine", machine_checks)
    checks += guarded("access", lambda: access_checks(on_cluster=cluster is not None))
    checks += guarded("storage", lambda: check_storage(storage))
    checks += guarded("data", lambda: _data_and_disk(study, storage, raw))
    if cluster is not None:
        from sweep.doctor.cluster_file import check_cluster_file

        checks += guarded("cluster file", lambda: check_cluster_file(cluster))
    return checks


def _data_and_disk(study: "Study | None", storage: str, raw: dict[str, Path]) -> list[Check]:
    """The archives, and where a study was named its data and the disk space for what is left of it."""
    from sweep.doctor.needs import needs_of, nominal_counts
    from sweep.doctor.places import check_disk
    from sweep.doctor.trees import check_raw, check_study_data
    from sweep.store.store import ReadStore
    from sweep.studies.plan import make_plan

    if study is None:
        return check_raw(raw, ())[0]
    builds = study.data_builds()
    archives, others = _by_use(study, raw)
    # Of the builds of one use any one will do: they read the same archive.
    checks, found = check_raw(archives | others, study.builds(), {build.instance: build.spec for build in builds})
    counts = {build.label: found[build.instance] for build in builds if build.instance in found}
    store = ReadStore(storage)
    usable = {name: folder for name, folder in archives.items() if name in found}  # check_raw counts no broken one
    data, of_study, built = check_study_data(study, store, usable)
    # Sizes depend on no fingerprint: data that are still to be built may have any.
    plan = make_plan(study, {build.label: "any" for build in builds}, {})
    known = nominal_counts(study) | counts | of_study
    needs = needs_of(study, plan.encoders, plan.cells, known, built)
    return [*checks, *data, *check_disk(storage, needs)]


def _by_use(study: "Study", raw: dict[str, Path]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Archives by the names of the study's uses of sources, and those that none of them reads, by source."""
    from sweep.store.shards import archives_of

    read = {name: path for name, path in raw.items() if name in {*study.instances, *study.instances.values()}}
    return archives_of(study, read), {name: path for name, path in raw.items() if name not in read}


def _shown(text: str) -> str:
    """As text that rich prints: no markup, no secret, nothing that a terminal obeys."""
    return escape(printable_lines(without_secrets(text)))


def show(checks: list[Check], console: Console | None = None) -> None:
    """A row for each check, then for each that is not ok the command that mends it."""
    console = Display(console).console
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in checks:
        table.add_row(MARKS[check.status], _shown(check.name), _shown(check.found))
    console.print(table)
    bad = [check for check in checks if check.status != OK]
    for check in bad:
        problem, mend = f"{_shown(check.name)}: {_shown(check.found)}", f"mend: [bold]{_shown(check.mend)}[/bold]"
        console.print(f"{MARKS[check.status]} {problem}\n     {mend}", highlight=False, soft_wrap=True)
    failed = sum(check.status == FAIL for check in checks)
    result = "Everything that a study needs is here."
    if failed:
        result = f"{failed} of {len(checks)} checks fail."
    elif bad:
        result = f"No check fails; {len(bad)} of {len(checks)} warn of what a study may need."
    console.print(result, highlight=False)


if __name__ == "__main__":
    app()
