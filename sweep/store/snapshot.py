"""What does a storage hold of a study at one moment: results, training logs, failures, and their origin."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets_io.corpus.manifest import Manifest
from datasets_io.storage.schema_version import NewerSchema
from sweep.store.damage import Damage, data_name
from sweep.store.records import CellDetail, CellResult, EncoderDetail, without_nan
from sweep.store.results import ResultReader, encoder_details, failures_of
from sweep.store.shard_checks import Sources, open_sources
from sweep.store.shards import data_folders, raw_archives
from sweep.store.status_names import Status
from sweep.store.store import LOGS, ReadStore
from sweep.studies.bad_input import BadInput
from sweep.studies.plan import NOT_BUILT, Plan, make_plan, parse_only
from sweep.studies.presets import load_study
from sweep.studies.study import Study


@dataclass(frozen=True)
class Origin:
    """How the command was told about this study, so that a report can print commands that work.

    study: a name or a Python file; raw: SOURCE=DIR as given.
    """

    study: str
    storage: str
    raw: tuple[str, ...] = ()

    def command(self, module: str, *more: str) -> str:
        """A line for a shell."""
        words = ["python", "-m", module, "--study", self.study, "--storage", self.storage]
        words += [word for value in self.raw for word in ("--raw", value)]
        return shlex.join([*words, *more])


@dataclass(frozen=True)
class ReportData:
    """All that a report shows, read once. results are in the plan's order; broken: results that held NaN.

    failures: name of an item that failed or is damaged -> error, traceback, and for a damaged one its status.
    damage: name of an item -> what is damaged in it. data_folders: source -> folder of its shards; raw: source -> its
    raw archive, where it is at hand.
    """

    study: Study
    plan: Plan
    results: Sequence[CellResult]
    manifests: Mapping[str, Manifest]
    store: ReadStore
    origin: Origin
    encoders: Sequence[EncoderDetail] = ()
    cells: Mapping[str, CellDetail] = field(default_factory=dict)
    failures: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    broken: Sequence[CellResult] = ()
    data_folders: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, Path] = field(default_factory=dict)
    damage: Mapping[str, Damage] = field(default_factory=dict)

    @property
    def damaged_sources(self) -> tuple[str, ...]:
        """Sources whose shards or manifest are damaged."""
        return tuple(spec.source for spec in self.study.builds() if data_name(spec.source) in self.damage)

    @property
    def logs(self) -> str:
        """Folder of Ray's logs of this storage's runs."""
        return self.store.files.full(LOGS)


def damage_as_failures(damage: Mapping[str, Damage]) -> dict[str, dict[str, str]]:
    """Damaged items as failures.json and the page list them."""
    return {
        name: {"error": found.sentence, "traceback": "", "status": Status.DAMAGED} for name, found in damage.items()
    }


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
                self.study,
                self.plan,
                results,
                reader.details,
                self.sources.manifests,
                self.store,
                self.origin,
                self.sources.folders,
                (*self.sources.damage, *reader.damage.values()),
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
    study: Study,
    plan: Plan,
    results: Sequence[CellResult],
    details: Mapping[str, CellDetail],
    manifests: Mapping[str, Manifest],
    store: ReadStore,
    origin: Origin,
    folders: Mapping[str, str],
    damage: Iterable[Damage] = (),
) -> ReportData:
    """Results and what else the store knows about the items of the plan. damage: of data and cells."""
    kept, broken = without_nan(results)
    encoders, damaged = encoder_details(plan, store)
    of = {found.name: found for found in (*damage, *damaged)}
    return ReportData(
        study,
        plan,
        kept,
        manifests,
        store,
        origin,
        encoders,
        details,
        failures_of(plan, store) | damage_as_failures(of),
        broken,
        folders,
        raw_archives(study, origin.raw, store),
        of,
    )
