"""What does a storage hold of a study: its shards, cells and encoders, found without building or running anything."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_io.manifest import Manifest
from datasets_io.read import read_manifest
from datasets_io.schema_version import NewerSchema
from sweep.aggregate import CellResult
from sweep.damage import Damage
from sweep.data import builds_of, damaged_builds, find_built, parse_raw, plan_data
from sweep.layout import without_nan
from sweep.plan import NOT_BUILT, Plan, make_plan, parse_only
from sweep.report_data import CellDetail, Origin, ReportData, damage_as_failures, encoder_details, failures_of
from sweep.results import ResultReader
from sweep.shards import Sources, open_sources
from sweep.store import ReadStore
from sweep.studies import Study, load_study


class BadInput(Exception):
    """What the user gave cannot be reported; the message is one sentence for the user."""


@dataclass(frozen=True)
class Opened:
    """A study and where a storage has it; no result was read yet. damage: of its data."""

    study: Study
    plan: Plan
    store: ReadStore
    origin: Origin
    sources: Sources

    def read(self) -> ReportData:
        """Everything for a report. Raises BadInput for what a newer version wrote."""
        reader = ResultReader(self.study, self.plan, self.store)
        try:
            results = reader.collect()
            return report_data(
                self.study, self.plan, results, reader.details, self.sources.manifests, self.store, self.origin,
                self.sources.folders, (*self.sources.damage, *reader.damage.values()),
            )
        except NewerSchema as error:
            raise BadInput(error) from error


def open_study(
    study_name: str, storage: str, raw: Sequence[str] = (), only: Sequence[str] = (), thorough: bool = False
) -> Opened:
    """A storage that is only read. thorough: as of ReadStore. Raises BadInput."""
    try:
        study = load_study(study_name)
        store = ReadStore(storage, thorough)
        if not store.files.exists(""):
            raise ValueError(f"storage {storage} does not exist: give what sweep.run was given as --storage")
        sources = open_sources(store, data_folders(study, raw, store))
        plan = make_plan(study, fingerprints_of(study, sources), parse_only(only))
    except (ValueError, NewerSchema) as error:
        raise BadInput(error) from error
    return Opened(study, plan, store, Origin(study_name, storage, tuple(raw)), sources)


def fingerprints_of(study: Study, sources: Sources) -> dict[str, str]:
    """Of every source that the study reads; NOT_BUILT for one without a whole manifest."""
    return {
        spec.source: sources.manifests[spec.source].fingerprint if spec.source in sources.manifests else NOT_BUILT
        for spec in study.builds()
    }


def gather(study_name: str, storage: str, raw: Sequence[str] = (), only: Sequence[str] = ()) -> ReportData:
    """Everything for a report, from a storage alone. Raises BadInput."""
    return open_study(study_name, storage, raw, only).read()


def report_data(
    study: Study, plan: Plan, results: Sequence[CellResult], details: Mapping[str, CellDetail],
    manifests: Mapping[str, Manifest], store: ReadStore, origin: Origin, folders: Mapping[str, str],
    damage: Iterable[Damage] = (),
) -> ReportData:
    """Results and what else the store knows about the items of the plan. damage: of data and cells."""
    kept, broken = without_nan(results)
    encoders, damaged = encoder_details(plan, store)
    of = {found.name: found for found in (*damage, *damaged)}
    return ReportData(
        study, plan, kept, manifests, store, origin, encoders, details,
        failures_of(plan, store) | damage_as_failures(of), broken, folders, raw_archives(study, origin.raw, store), of,
    )


def data_folders(study: Study, raw: Sequence[str], store: ReadStore) -> dict[str, str]:
    """Source -> folder of its finished shards, damaged ones included; a source that is not built yet is not in it.

    The archives that are named come first, then what the storage has; of several builds that of the last report.
    Raises ValueError where a choice is to be made.
    """
    named = parse_raw(list(raw))
    folders = {s: plan.folder for s, plan in _planned(study, named, store).items() if plan.built}
    for spec in study.builds():
        if spec.source not in folders and spec.source not in named:
            found = builds_of(store, spec) or damaged_builds(store, spec.source)[:1]
            if len(found) > 1:
                found = _recorded(study, spec.source, found, store) or [find_built(study, store, spec).folder]
            if found:
                folders[spec.source] = found[0]
    return folders


def raw_archives(study: Study, raw: Sequence[str], store: ReadStore) -> dict[str, Path]:
    """Source -> its raw archive, where it was named or is synthetic and lies in the storage."""
    plans = _planned(study, parse_raw(list(raw)), store)
    return {source: plan.raw for source, plan in plans.items() if plan.raw is not None}


def _planned(study: Study, named: Mapping, store: ReadStore) -> Mapping:
    if named or study.synthetic is not None:
        return plan_data(study, dict(named), store)
    return {}


def _recorded(study: Study, source: str, folders: Sequence[str], store: ReadStore) -> list[str]:
    """Among several builds the one that the last report of this study was made from, if it is there."""
    path = store.report_path(study.name, "study.json")
    if not store.files.exists(path):
        return []
    try:
        wanted = json.loads(store.files.read(path))["data"][source]["fingerprint"]
    except (ValueError, KeyError, TypeError):  # a report can be made again: that it is damaged costs this choice only
        return []
    return [folder for folder in folders if read_manifest(store.files, folder).fingerprint == wanted]
