"""What does a storage hold of a study: its shards, cells and encoders, found without building or running anything."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets_io.manifest import Manifest
from datasets_io.read import read_manifest
from datasets_io.schema_version import NewerSchema
from sweep.aggregate import CellResult
from sweep.data import builds_of, find_built, parse_raw, plan_data
from sweep.layout import without_nan
from sweep.plan import Plan, make_plan, parse_only
from sweep.report_data import CellDetail, Origin, ReportData, encoder_details, failures_of
from sweep.results import ResultReader
from sweep.store import Store
from sweep.studies import Study, load_study

NOT_BUILT = "not built"


class BadInput(Exception):
    """What the user gave cannot be reported; the message is one sentence for the user."""


def gather(study_name: str, storage: str, raw: Sequence[str] = (), only: Sequence[str] = ()) -> ReportData:
    """Everything for a report, from a storage alone. Raises BadInput."""
    try:
        return _gather(study_name, storage, raw, only)
    except NewerSchema as error:
        raise BadInput(error) from error


def _gather(study_name: str, storage: str, raw: Sequence[str], only: Sequence[str]) -> ReportData:
    try:
        study = load_study(study_name)
        store = Store(storage)
        if not store.files.exists(""):
            raise ValueError(f"storage {storage} does not exist: give what sweep.run was given as --storage")
        folders = data_folders(study, raw, store)
        manifests = {source: read_manifest(store.files, folder) for source, folder in folders.items()}
        fingerprints = {
            spec.source: manifests[spec.source].fingerprint if spec.source in manifests else NOT_BUILT
            for spec in study.builds()
        }
        plan = make_plan(study, fingerprints, parse_only(only))
    except ValueError as error:
        raise BadInput(error) from error
    reader = ResultReader(study, plan, store)
    results = reader.collect()
    origin = Origin(study_name, storage, tuple(raw))
    return report_data(study, plan, results, reader.details, manifests, store, origin, folders)


def report_data(
    study: Study, plan: Plan, results: Sequence[CellResult], details: Mapping[str, CellDetail],
    manifests: Mapping[str, Manifest], store: Store, origin: Origin, folders: Mapping[str, str],
) -> ReportData:
    """Results and what else the store knows about the items of the plan."""
    kept, broken = without_nan(results)
    return ReportData(
        study, plan, kept, manifests, store, origin, encoder_details(plan, store), details, failures_of(plan, store),
        broken, folders, raw_archives(study, origin.raw, store),
    )


def data_folders(study: Study, raw: Sequence[str], store: Store) -> dict[str, str]:
    """Source -> folder of its finished shards; a source that is not built yet is not in it.

    The archives that are named come first, then what the storage has; of several builds that of the last report.
    Raises ValueError where a choice is to be made.
    """
    named = parse_raw(list(raw))
    folders = {s: plan.folder for s, plan in _planned(study, named, store).items() if plan.built}
    for spec in study.builds():
        if spec.source not in folders and spec.source not in named:
            found = builds_of(store, spec)
            if len(found) > 1:
                found = _recorded(study, spec.source, found, store) or [find_built(study, store, spec).folder]
            if found:
                folders[spec.source] = found[0]
    return folders


def raw_archives(study: Study, raw: Sequence[str], store: Store) -> dict[str, Path]:
    """Source -> its raw archive, where it was named or is synthetic and lies in the storage."""
    plans = _planned(study, parse_raw(list(raw)), store)
    return {source: plan.raw for source, plan in plans.items() if plan.raw is not None}


def _planned(study: Study, named: Mapping, store: Store) -> Mapping:
    if named or study.synthetic is not None:
        return plan_data(study, dict(named), store)
    return {}


def _recorded(study: Study, source: str, folders: Sequence[str], store: Store) -> list[str]:
    """Among several builds the one that the last report of this study was made from, if it is there."""
    path = store.report_path(study.name, "study.json")
    if not store.files.exists(path):
        return []
    wanted = json.loads(store.files.read(path)).get("data", {}).get(source, {}).get("fingerprint")
    return [folder for folder in folders if read_manifest(store.files, folder).fingerprint == wanted]
