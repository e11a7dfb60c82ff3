"""Which flags do several commands share, and which values does none take? Defaults are a command's own.

A command that computes (run, tune, doctor) is told where the data is and where results go. One that reads what
sweep.run has made (report, status, export, training_free) is told what sweep.run was told: those types end in OfRun.
"""

from typing import Annotated

import typer

from datasets_io.command_line import DEFAULT_STORAGE as DEFAULT_STORAGE  # these stand where datasets_io.build has them
from datasets_io.command_line import PLACE
from datasets_io.command_line import Command as Command
from datasets_io.command_line import Storage as Storage
from datasets_io.command_line import WorkingCommand as WorkingCommand
from sweep.cli import completion

DEFAULT_STUDY = "demo"

_STUDY = "NAME|FILE.py"

Study = Annotated[
    str,
    typer.Option(
        metavar=_STUDY,
        autocompletion=completion.studies,
        help="demo, paper, released or strict, or a Python file that defines study().",
    ),
]
StudyOfRun = Annotated[
    str,
    typer.Option(
        metavar=_STUDY,
        autocompletion=completion.studies,
        help="demo, paper, released or strict, or the Python file that sweep.run was given.",
    ),
]

StorageOfRun = Annotated[
    str, typer.Option(metavar=PLACE, help="What sweep.run was given: a folder, an NFS path, s3://... or gs://...")
]

Raw = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SOURCE=DIR",
        autocompletion=completion.raw_sources,
        help="A raw archive as it was downloaded, e.g. mimic_cxr=/data/MIMIC-CXR. Repeat for each. Where a study "
        "uses a source several times: NAME=DIR for one of them.",
    ),
]
RawOfRun = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SOURCE=DIR",
        autocompletion=completion.raw_sources,
        help="Only where the storage has several builds of a source: the archive of the one that is meant.",
    ),
]

Only = Annotated[
    list[str] | None,
    typer.Option(
        metavar="FIELD=VALUE,...",
        autocompletion=completion.only,
        help="Part of the study, by method, dataset, protocol, label_percent, seed or pretrain_seed: "
        "e.g. seed=0,1. Repeatable.",
    ),
]

AsJson = Annotated[bool, typer.Option("--json", help="Print it as JSON, for scripts.")]
