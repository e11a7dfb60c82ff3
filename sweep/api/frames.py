"""What does a storage hold of a study, as pandas frames? Nothing in the storage is changed."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import fields
from os import PathLike, fspath
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from sweep.store.csv_files import FINDINGS_HEADER, RESULTS_HEADER, findings_rows, results_rows
from sweep.store.snapshot import OpenedStudy, Snapshot, open_study
from sweep.store.status_names import Status
from sweep.store.store import CELLS
from sweep.studies.bad_input import BadInput
from sweep.studies.study import Study

if TYPE_CHECKING:  # pandas comes with Ray, and takes a while to load
    from pandas import DataFrame

Place = str | PathLike[str]  # a folder or a URI
# Of columns that may be empty, and of those that are counted: pandas has no missing value in its int64.
TYPES = {str: "object", float: "float64", int: "Int64"}
_COLUMNS: dict[str, type] = {
    **dict.fromkeys((*RESULTS_HEADER, *FINDINGS_HEADER), str),
    **dict.fromkeys(("label_percent", "seed", "pretrain_seed", "num_defined_findings", "n_pos", "n_neg"), int),
    **dict.fromkeys(("macro_auroc", "auroc"), float),
}


def results(
    storage: Place, study: str | Study = "demo", *, raw: Sequence[str] = (), only: Sequence[str] = ()
) -> "DataFrame":
    """A row for each cell of a study, as results.csv: those that failed or are missing have no `macro_auroc`.

    storage: a folder, or s3://... or gs://...; study: a name, a Python file that defines study(), or the Study itself.
    raw, only: as the flags of `radsweep report`. AUROCs lie in [0, 1]. Raises ValueError for what cannot be used.
    """
    return _frame(RESULTS_HEADER, results_rows(read(storage, study, raw, only).results))


def findings(
    storage: Place, study: str | Study = "demo", *, raw: Sequence[str] = (), only: Sequence[str] = ()
) -> "DataFrame":
    """A row for each finished cell and finding, as findings.csv: `auroc` is empty where a class is absent.

    Arguments as of `results`. n_pos, n_neg: test images with the label 1 and 0.
    """
    return _frame(FINDINGS_HEADER, findings_rows(read(storage, study, raw, only).results))


def read(storage: Place, study: str | Study, raw: Sequence[str] = (), only: Sequence[str] = ()) -> Snapshot:
    """All that the storage holds of the study; a warning where that is nothing, and it holds others' results.

    Raises ValueError for what cannot be used.
    """
    try:
        found = opened(storage, study, raw, only).read()
    except BadInput as error:
        raise ValueError(str(error)) from None
    if found.results and all(row.status == Status.MISSING for row in found.results):
        of_others, _ = found.store.done_and_failed()
        if cells := sum(folder.startswith(f"{CELLS}/") for folder in of_others):
            warnings.warn(
                f"{found.store.shown} has no cell of study {found.study.name}, and {cells} of others: is it the right "
                "study, from the same archives?",
                stacklevel=3,
            )
    return found


def opened(storage: Place, study: str | Study, raw: Sequence[str] = (), only: Sequence[str] = ()) -> OpenedStudy:
    """As `read`, before any result is read."""
    if isinstance(raw, str) or isinstance(only, str):
        raise ValueError("raw and only are lists of texts, such as only=['seed=0,1', 'method=clip']")
    try:
        return open_study(study, fspath(storage), tuple(raw), tuple(only))
    except BadInput as error:
        raise ValueError(str(error)) from None


def _frame(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> "DataFrame":
    from pandas import DataFrame

    return DataFrame(list(rows), columns=list(header)).astype({name: TYPES[_COLUMNS[name]] for name in header})


def frame_of_rows(kind: type, rows: Sequence[Any]) -> "DataFrame":
    """A column for each field of a frozen dataclass: text, or a number that may be missing."""
    from pandas import DataFrame

    names = [field.name for field in fields(kind)]
    types = {name: _without_none(hint) for name, hint in get_type_hints(kind).items()}
    values = [[getattr(row, name) for name in names] for row in rows]
    return DataFrame(values, columns=names).astype({name: TYPES[types[name]] for name in names})


def _without_none(hint: Any) -> Any:
    return next((kind for kind in get_args(hint) if kind is not NoneType), hint)
