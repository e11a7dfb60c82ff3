"""What does a storage hold of a study, as pandas frames? Nothing in the storage is changed."""

import warnings
from collections.abc import Iterable, Sequence
from os import PathLike, fspath
from typing import Any

from sweep.api.arguments import in_words_of_python, listed
from sweep.api.lazy_pandas import pandas
from sweep.api.rows import TYPES
from sweep.store.csv_files import FINDINGS_HEADER, RESULTS_HEADER, findings_rows, results_rows
from sweep.store.snapshot import OpenedStudy, Snapshot, open_study
from sweep.store.status_names import Status
from sweep.store.store import CELLS
from sweep.studies.study import Study

Place = str | PathLike[str]  # a folder or a URI
_COLUMNS: dict[str, type] = {
    **dict.fromkeys((*RESULTS_HEADER, *FINDINGS_HEADER), str),
    **dict.fromkeys(("label_percent", "seed", "pretrain_seed", "num_defined_findings", "n_pos", "n_neg"), int),
    **dict.fromkeys(("macro_auroc", "auroc"), float),
}


def results(
    storage: Place, study: str | Study = "demo", *, raw: Sequence[str] = (), only: Sequence[str] = ()
) -> "pandas.DataFrame":
    """A row for each cell of a study, as results.csv: those that failed or are missing have no `macro_auroc`.

    storage: a folder, or s3://... or gs://...; study: a name, a Python file that defines study(), or the Study itself.
    raw, only: as the flags of `radsweep report`. AUROCs lie in [0, 1]. Raises ValueError for what cannot be used.
    """
    return _frame(RESULTS_HEADER, results_rows(read(storage, study, raw, only).results))


def findings(
    storage: Place, study: str | Study = "demo", *, raw: Sequence[str] = (), only: Sequence[str] = ()
) -> "pandas.DataFrame":
    """A row for each finished cell and finding, as findings.csv: `auroc` is empty where a class is absent.

    Arguments as of `results`. n_pos, n_neg: test images with the label 1 and 0.
    """
    return _frame(FINDINGS_HEADER, findings_rows(read(storage, study, raw, only).results))


def read(storage: Place, study: str | Study, raw: Sequence[str] = (), only: Sequence[str] = ()) -> Snapshot:
    """All that the storage holds of the study; a warning where that is nothing, and it holds others' results.

    Raises ValueError for what cannot be used.
    """
    with in_words_of_python():
        found = opened(storage, study, raw, only).read()
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
    archives, part = listed("raw", raw, "mimic_cxr=/data/MIMIC-CXR"), listed("only", only, "seed=0,1")
    with in_words_of_python():
        return open_study(study, fspath(storage), archives, part)


def _frame(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> "pandas.DataFrame":
    return pandas.DataFrame(list(rows), columns=list(header)).astype({name: TYPES[_COLUMNS[name]] for name in header})
