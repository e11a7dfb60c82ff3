"""What does a storage hold of a study at one moment: results, training logs, failures, and their origin."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from datasets_io.corpus.manifest import Manifest
from datasets_io.ray_state import BELOW_STORAGE
from datasets_io.storage.schema_version import NewerSchema
from datasets_io.storage.secrets import without_secrets
from datasets_io.storage.stored_sizes import StoredSizes
from sweep.store.damage import Damage, data_name
from sweep.store.records import CellDetail, CellResult, EncoderDetail, without_nan
from sweep.store.results import ResultReader, encoder_details, failures_of
from sweep.store.shard_checks import Sources, open_sources
from sweep.store.shards import data_folders, raw_archives
from sweep.store.status_names import Status
from sweep.store.store import ReadStore
from sweep.studies.bad_input import BadInput
from sweep.studies.plan import NOT_BUILT, Plan, make_plan, parse_only
from sweep.studies.presets import load_study
from sweep.studies.study import Study


@dataclass(frozen=True)
class Origin:
    """How the command was told about this study, so that a report can print commands that work.

    study: a name or a Python file; raw: SOURCE=DIR or NAME=DIR as given.
    """

    study: str
    storage: str
    raw: tuple[str, ...] = ()

    def command(self, module: str, *more: str) -> str:
        """A line for a shell that runs `module` on this study; more: further arguments, quoted where they need it."""
        # shlex.join quotes: a storage or a study's file may have a space in its path.
        words = ["python", "-m", module, "--study", self.study, "--storage", self.storage]
        words += [word for value in self.raw for word in ("--raw", value)]
        return without_secrets(shlex.join([*words, *more]))


@dataclass(frozen=True)
class Snapshot:
    """All that a storage holds of a study, read once: reports, figures and exports are made from it.

    results: one for each cell, in the plan's order; broken: those of them that held NaN, and count as failed.
    manifests, data_folders: label of a build (`Study.data_builds`) -> manifest and folder of its shards, of those whose
    manifest is whole. raw: name of a use of a source -> its raw archive, where it is at hand. encoders: one for each
    of the plan, in its order. cells: key of a finished cell -> its training. failures: name of an item that failed or
    is damaged -> error, traceback, and for a damaged one its status. damage: name of an item -> what is damaged in it.
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
        """Labels of builds whose shards or manifest are damaged."""
        return tuple(build.label for build in self.study.data_builds() if data_name(build.label) in self.damage)

    @property
    def logs(self) -> str:
        """Folder of Ray's logs of this storage's runs."""
        return self.store.files.full(BELOW_STORAGE)

    def without_logs(self) -> "Snapshot":
        """The same without training logs, which grow with every epoch: for a process that needs none of them."""
        return replace(self, encoders=(), cells={})


def damage_as_failures(damage: Mapping[str, Damage]) -> dict[str, dict[str, str]]:
    """Damaged items as failures.json and the page list them."""
    return {
        name: {"error": found.sentence, "traceback": "", "status": Status.DAMAGED} for name, found in damage.items()
    }


@dataclass(frozen=True)
class OpenedStudy:
    """A study and where a storage has it; no result was read yet."""

    study: Study
    plan: Plan
    store: ReadStore
    origin: Origin
    sources: Sources

    def read(self) -> Snapshot:
        """Everything that the storage holds of it. Raises BadInput for what a newer version wrote."""
        reader, sizes = ResultReader(self.study, self.plan, self.store), self.store.sizes()
        try:
            return self.snapshot(reader.collect(sizes), reader.details, reader.damage.values(), sizes)
        except NewerSchema as error:
            raise BadInput(error) from error

    def snapshot(
        self,
        results: Sequence[CellResult],
        details: Mapping[str, CellDetail],
        damage: Iterable[Damage] = (),
        sizes: StoredSizes | None = None,
    ) -> Snapshot:
        """Cells that were read already, and what else the store knows about the items of the plan.

        results: one for each cell of the plan; details: key of a finished cell -> its training; damage: of cells.
        sizes: as `store.sizes()` gives them, where it was asked. Raises NewerSchema for what a newer version wrote.
        """
        sizes = self.store.sizes() if sizes is None else sizes
        kept, broken = without_nan(results)
        encoders, damaged_encoders = encoder_details(self.plan, self.store, sizes)
        all_damage = {found.name: found for found in (*self.sources.damage, *damage, *damaged_encoders)}
        return Snapshot(
            self.study,
            self.plan,
            kept,
            self.sources.manifests,
            self.store,
            self.origin,
            encoders,
            details,
            # An item with a failed.json and a damaged result is listed as damaged: that is what is to be mended.
            failures_of(self.plan, self.store, sizes) | damage_as_failures(all_damage),
            broken,
            self.sources.folders,
            raw_archives(self.study, self.origin.raw, self.store),
            all_damage,
        )


def open_study(
    named: str | Study, storage: str, raw: Sequence[str] = (), only: Sequence[str] = (), thorough: bool = False
) -> OpenedStudy:
    """A storage that is only read. named: as of load_study.

    raw: SOURCE=DIR or NAME=DIR; only: FIELD=VALUE,...; thorough: as of ReadStore.
    Raises BadInput for an argument that cannot be used, and for data that a newer version wrote.
    """
    try:
        study = load_study(named)
        store = ReadStore(storage, thorough)
        store.check_folder()
        if not store.files.exists(""):
            raise ValueError(f"storage {storage} does not exist: give what sweep.run was given as --storage")
        # Keys hold the fingerprints of data, so manifests come first: without one its cells have other keys.
        sources = open_sources(store, data_folders(study, raw, store))
        plan = make_plan(study, fingerprints_of(study, sources.manifests), parse_only(only))
    except (ValueError, NewerSchema) as error:
        raise BadInput(error) from error
    return OpenedStudy(
        study, plan, store, Origin(study.name if isinstance(named, Study) else named, storage, tuple(raw)), sources
    )


def fingerprints_of(study: Study, manifests: Mapping[str, Manifest]) -> dict[str, str]:
    """Label of every build that the study reads -> its fingerprint; NOT_BUILT for one without a whole manifest."""
    return {build.label: fingerprint_of(build.label, manifests) for build in study.data_builds()}


def fingerprint_of(label: str, manifests: Mapping[str, Manifest]) -> str:
    """Of a build's shards, 12 hex digits; NOT_BUILT for one without a whole manifest."""
    return manifests[label].fingerprint if label in manifests else NOT_BUILT


def read_snapshot(study_name: str, storage: str, raw: Sequence[str] = (), only: Sequence[str] = ()) -> Snapshot:
    """What a storage holds of a study now. Arguments as of `open_study`. Raises BadInput."""
    return open_study(study_name, storage, raw, only).read()
