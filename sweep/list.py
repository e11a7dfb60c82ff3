"""The command: python -m sweep.list shows the names that the other commands take: methods, datasets, studies, ..."""

if __name__ == "__main__":
    from datasets_io.interrupts import INTERRUPTS

    INTERRUPTS.install()

import json
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from datasets_io.command_line import OTHER_ENDS
from datasets_io.nearest import did_you_mean
from sweep.cli import completion
from sweep.cli.display import Display
from sweep.cli.exit_codes import errors_as_sentences
from sweep.cli.logging import silence_libraries
from sweep.cli.options import AsJson, Command
from sweep.studies.bad_input import BadInput

Row = dict[str, object]  # column -> value: text, number, truth value, or a list of texts
KINDS = completion.LISTS

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command(cls=Command, epilog=f"Exit codes: 0; 2 bad input; {OTHER_ENDS}. For example: python -m sweep.list methods")
def list_command(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="|".join(KINDS), autocompletion=completion.lists, help="methods, datasets, studies or protocols."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Which names are there for --study, --raw, --method and --only?"""
    silence_libraries()
    with errors_as_sentences("", BadInput):
        rows = rows_of(kind)
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in rows[0]:  # every registry has an entry
        table.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(escape(_text(value)) for value in row.values()))
    Display().console.print(table)


def rows_of(kind: str) -> list[Row]:
    """The rows of one list. Raises BadInput for a kind that there is not."""
    if kind not in KINDS:
        raise BadInput(f"there is no list of {kind!r}; allowed: {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    return {"methods": methods, "datasets": datasets, "studies": studies, "protocols": protocols}[kind]()


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


# Each function imports its registry itself: `--help` and a wrong name need none of them, and torch takes seconds.


def methods() -> list[Row]:
    """A row for each way of pretraining, with what sweep.tune can search of it."""
    from sweep.studies.tunable import space_of
    from trainables.objectives.joint import JointSettings
    from trainables.registry import METHODS, PAPER_METHODS, display_name, method_group, needs_reports, objective_config

    return [
        {
            "method": name,
            "called": display_name(name),
            "group": method_group(name),
            "needs_reports": needs_reports(name),
            "in_the_paper": name in PAPER_METHODS,
            "can_be_tuned": list(space_of(objective_config(name, {}, JointSettings()))),
        }
        for name in METHODS
    ]


def datasets() -> list[Row]:
    """A row for each source that --raw takes."""
    from datasets_io.sources.registry import SOURCES

    return [
        {
            "dataset": name,
            "findings": len(source.findings) or "those of the csv file",
            "has_reports": source.has_reports,
            "images_of": ", ".join(source.modalities) or "any kind",
        }
        for name, source in SOURCES.items()
    ]


def studies() -> list[Row]:
    """A row for each study, with its size."""
    from sweep.studies.plan import make_plan
    from sweep.studies.presets import STUDIES

    rows: list[Row] = []
    for name, make in STUDIES.items():
        study = make()
        # Counting cells needs no data: any fingerprint does.
        plan = make_plan(study, {build.label: "any" for build in study.data_builds()}, {})
        rows.append(
            {
                "study": name,
                "title": study.title,
                "encoders": len(plan.encoders),
                "cells": len(plan.cells),
                "corpus": study.corpus_instance,
                "datasets": [dataset.instance for dataset in study.datasets],
            }
        )
    return rows


def protocols() -> list[Row]:
    """A row for each way of evaluating."""
    from trainables.protocols.registry import PROTOCOLS

    return [
        {
            "protocol": name,
            "title": protocol.title,
            "label_percents": list(protocol.label_percents),
            "starts_from": protocol.starts_from or "the encoder",
        }
        for name, protocol in PROTOCOLS.items()
    ]


if __name__ == "__main__":
    app()
