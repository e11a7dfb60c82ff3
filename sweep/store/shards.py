"""Where do the shards of a study come from: archives that are named, synthetic ones, or earlier builds?"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from datasets_io.build.complete import complete_of, open_complete, others_of_it
from datasets_io.build.inventory import Inventory, take_inventory
from datasets_io.build.spec import BuildSpec, identity_of, options_of
from datasets_io.corpus.manifest import MANIFEST, Manifest
from datasets_io.corpus.node_array import local_cache
from datasets_io.corpus.read import read_manifest
from datasets_io.fingerprint import fingerprint
from datasets_io.nearest import did_you_mean
from datasets_io.schema import ArchiveError
from datasets_io.sources.registry import SOURCES, SourceOptions, get_source
from datasets_io.synthetic.archives import is_written
from sweep.store.damage import DATA, data_damage
from sweep.store.shard_checks import whole_manifest
from sweep.store.store import RAW, ReadStore
from sweep.studies.builds import Build
from sweep.studies.study import Study


@dataclass(frozen=True)
class DataPlan:
    """Where a build of a study comes from.

    raw: its archive; None for shards found in the storage, and for synthetic archives that are not written yet.
    folder: of its shards; None where it cannot be known before the archive is written. built: whether they are there.
    beside: sentences about shards of the same csv files that were built when other files of the archive were there.
    """

    spec: BuildSpec
    raw: Path | None
    folder: str | None
    built: bool
    beside: tuple[str, ...] = ()


def data_folders(study: Study, raw: Sequence[str], store: ReadStore) -> dict[str, str]:
    """Label of a build -> folder of its finished shards, damaged ones included; one that is not built is not in it.

    The archives that are named come first, then what the storage has; of several builds that of the last report.
    Raises ValueError where a choice is to be made.
    """
    named = parse_raw(raw, study)
    folders = built_folders(_planned(study, named, store))
    archives = archives_of(study, named)
    for build in study.data_builds():
        if build.label not in folders and build.instance not in archives:
            # A damaged manifest does not say what it was built by: any one is taken, so that the damage is reported.
            found = builds_of(store, build.spec)
            if len(found) > 1 or (found and _share_a_form(study, build)):
                # Of several builds _one_build raises what to do about it.
                found = _recorded(study, build.label, found, store) or [_one_build(study, store, build)]
            found = found or damaged_builds(store, build.source)[:1]
            if found:
                folders[build.label] = found[0]
    return folders


def raw_archives(study: Study, raw: Sequence[str], store: ReadStore) -> dict[str, Path]:
    """Name of a use of a source -> its raw archive, where it was named or is synthetic and lies in the storage."""
    plans = _planned(study, parse_raw(raw, study), store)
    archives = {build.instance: plans[build.label].raw for build in study.data_builds() if build.label in plans}
    return {name: path for name, path in archives.items() if path is not None}


def _planned(study: Study, named: dict[str, Path], store: ReadStore) -> dict[str, DataPlan]:
    """As plan_data where an archive is named or the study is synthetic; else nothing: the storage alone is asked."""
    if named or study.synthetic is not None:
        return plan_data(study, named, store, check=False)
    return {}


def _share_a_form(study: Study, build: Build) -> bool:
    """Whether another use of its source is built alike, from any archive: a build does not say of which it is.

    Sources with findings of their own read one archive, which all their uses share where none is named.
    """
    if get_source(build.source).findings_in is None:
        return False
    wanted = identity_of(build.spec)
    others = (other for other in study.data_builds() if other.instance != build.instance)
    return any(identity_of(other.spec) == wanted for other in others)


def _recorded(study: Study, label: str, folders: Sequence[str], store: ReadStore) -> list[str]:
    """Among several builds the one that the last report of this study was made from, if it is there."""
    path = store.report_path(study.name, "study.json")
    if not store.files.exists(path):
        return []
    try:
        wanted = json.loads(store.files.read(path))["data"][label]["fingerprint"]
    except (
        ValueError,
        KeyError,
        TypeError,
        RecursionError,
    ):  # a report can be made again: that it is damaged costs this choice only
        return []
    return [folder for folder, m in _manifests_in(store, folders) if m is not None and m.fingerprint == wanted]


def parse_raw(values: Sequence[str], study: Study | None = None) -> dict[str, Path]:
    """`mimic_cxr=DIR` -> {"mimic_cxr": Path}. Names are sources, and the study's own names of their uses.

    Raises ValueError for another form, an unknown name, no folder.
    """
    raw: dict[str, Path] = {}
    instances = study.instances if study is not None else {}
    for text in values:
        name, separator, folder = text.partition("=")
        if not separator or not folder:
            raise ValueError(f"--raw {text!r} is not SOURCE=DIR; for example --raw mimic_cxr=/data/MIMIC-CXR")
        if name not in instances:
            _check_source(name, study)
        if name in raw:
            raise ValueError(
                f"--raw names {name} twice; where a study uses a source twice, each use has a name: "
                "Dataset(name=...) or Study(corpus_name=...), and --raw NAME=DIR"
            )
        raw[name] = Path(folder).expanduser()
        if not raw[name].is_dir():
            raise ValueError(f"--raw {name}: folder {folder} does not exist")
    return raw


def _check_source(name: str, study: Study | None) -> None:
    if name in SOURCES:
        return
    reads, known = "", set(SOURCES)
    if study is not None:
        reads, known = f"; study {study.name!r} reads {_listed(study)}", known | set(study.instances)
    raise ValueError(
        f"--raw {name}: there is no source {name!r}; known: {', '.join(sorted(SOURCES))}{reads}"
        f"{did_you_mean(name, sorted(known))}"
    )


def _listed(study: Study) -> str:
    """`inside (csv_images), chexpert`: the names of the study's uses of sources, with the source where it differs."""
    return ", ".join(name if name == source else f"{name} ({source})" for name, source in study.instances.items())


def archives_of(study: Study, raw: Mapping[str, Path]) -> dict[str, Path]:
    """Name of a use of a source -> the archive that was named for it: its own, else its source's.

    raw: as `parse_raw` gives. Raises ValueError for an archive that no use reads.
    """
    found, read = {}, set()
    for instance, source in study.instances.items():
        name = instance if instance in raw else source
        if name in raw:
            found[instance] = raw[name]
            read.add(name)
    unused = sorted(set(raw) - read)
    if unused and unused[0] in study.instances.values():
        own = [instance for instance, source in study.instances.items() if source == unused[0]]
        raise ValueError(f"--raw {unused[0]} is read by nothing: {' and '.join(own)} have archives of their own")
    if unused:
        hint = did_you_mean(unused[0], study.instances)
        raise ValueError(f"study {study.name!r} does not read {', '.join(unused)}; it reads {_listed(study)}{hint}")
    return found


def synthetic_root(study: Study, store: ReadStore) -> Path:
    """Folder of a study's synthetic archives: in the storage where that is a folder, else on this machine."""
    name = f"synthetic-{fingerprint(study.synthetic)}"
    # Archives are read as files: beside an object store they need a folder of this machine.
    base = Path(store.files.root) if store.files.is_local else local_cache()
    return base / RAW / name


def plan_data(
    study: Study, raw: Mapping[str, Path], store: ReadStore, *, check: bool = True, may_lack: bool = False
) -> dict[str, DataPlan]:
    """Label of a build -> where its data comes from. Writes nothing. raw: as `parse_raw` gives.

    A corpus that the study can do without is left out where neither an archive nor the storage has it. check: whether
    a build that is there is compared with the archive as it is now; may_lack: whether a build that neither has is
    planned all the same, without an archive and a folder. Raises ValueError for an archive that the study does not
    read, where the storage lacks a build or has several of it, and where a build was made of other files than the
    archive has now.
    """
    archives = archives_of(study, raw)
    builds = study.data_builds()
    # Synthetic data stands in only where no archive is named.
    if not raw and study.synthetic is not None:
        return _plan_synthetic(study, store, builds, check)
    found: dict[str, DataPlan] = {}
    taken: Inventories = {}
    for build in builds:
        if build.instance in archives:
            with naming(build.label, build.spec):
                found[build.label] = _plan_of(build.spec, archives[build.instance], store, check, taken)
    for build in builds:  # in a second pass: an archive that is not whole is named before a build that is not there
        if build.label not in found:
            there = builds_of(store, build.spec)
            if study.can_do_without(build) and not there:
                continue
            if may_lack and not there and not damaged_builds(store, build.source):
                found[build.label] = DataPlan(build.spec, None, None, False)
                continue
            recorded = _recorded(study, build.label, there, store)
            unclear = _share_a_form(study, build)
            folder = recorded[0] if unclear and recorded else _one_build(study, store, build)
            found[build.label] = DataPlan(build.spec, None, folder, True)
    return {build.label: found[build.label] for build in builds if build.label in found}


@contextmanager
def naming(label: str, spec: BuildSpec) -> Iterator[None]:
    """An ArchiveError of the block names the build, where the source's name, which it may have, does not tell it."""
    try:
        yield
    except ArchiveError as error:
        if label == spec.source:
            raise
        raise ArchiveError(f"{label}: {error}") from error


Inventories = dict[tuple[str, SourceOptions, Path], Inventory]


def _plan_of(spec: BuildSpec, raw: Path, store: ReadStore, check: bool, taken: Inventories) -> DataPlan:
    """check: False where results are read: they were computed on what is there, whatever the archive is by now.

    taken: inventories of this call, to which new ones are added: sizes and shapes of one archive share one.
    """
    if not check and (folder := complete_of(spec, raw, store.files)):
        return DataPlan(
            spec, raw, folder, True
        )  # without a look at the files of an archive, of which there may be 10^6
    archive = (spec.source, options_of(spec), raw)
    if archive not in taken:
        taken[archive] = take_inventory(spec, raw)
    opened = open_complete(spec, raw, taken[archive], store.files, check=check)
    beside = () if opened.built else others_of_it(spec, taken[archive], store.files)
    return DataPlan(spec, raw, opened.folder, opened.built, tuple(beside))


def built_folders(plans: Mapping[str, DataPlan]) -> dict[str, str]:
    """Label of a build -> folder of its shards, of those that are there."""
    return {label: plan.folder for label, plan in plans.items() if plan.built and plan.folder is not None}


def _plan_synthetic(study: Study, store: ReadStore, builds: Sequence[Build], check: bool) -> dict[str, DataPlan]:
    assert study.synthetic is not None, "only studies with synthetic data come here"
    for build in builds:
        if build.source not in study.synthetic.image_counts():
            raise ValueError(
                f"study {study.name!r} needs {build.label}, and there are no synthetic archives of {build.source}: "
                f"give its folder with --raw {build.instance}=DIR"
            )
    archives = is_written(study.synthetic, synthetic_root(study, store))
    if archives is None:
        # Folders are named by the archives' content, which is not known yet.
        return {build.label: DataPlan(build.spec, None, None, False) for build in builds}
    taken: Inventories = {}
    return {build.label: _plan_of(build.spec, archives[build.source], store, check, taken) for build in builds}


def builds_of(store: ReadStore, spec: BuildSpec) -> list[str]:
    """Folders of the finished shards that were built as `spec` says."""
    wanted = identity_of(spec)
    found = _manifests_in(store, _data_folders(store))
    return [folder for folder, m in found if m is not None and (m.source, m.spec) == (spec.source, wanted)]


def damaged_builds(store: ReadStore, source: str) -> list[str]:
    """Folders of a source's shards, as their names say, whose manifest cannot be read."""
    # data/<source>-<key>: the manifest, which would say the source, cannot be read.
    own = (folder for folder in _data_folders(store) if folder.rpartition("-")[0] == f"{DATA}/{source}")
    return [folder for folder, manifest in _manifests_in(store, own) if manifest is None]


def _data_folders(store: ReadStore) -> list[str]:
    return [path.rsplit("/", 1)[0] for path in store.files.list(DATA, f"/{MANIFEST}")]


def _manifests_in(store: ReadStore, folders: Iterable[str]) -> Iterator[tuple[str, Manifest | None]]:
    """Each folder with its manifest, None where that is damaged; without those that are gone by now."""
    for folder in folders:
        try:
            yield folder, read_manifest(store.files, folder)
        except FileNotFoundError:  # removed since it was listed
            continue
        except ValueError:
            yield folder, None


def _one_build(study: Study, store: ReadStore, build: Build) -> str:
    folders, give = builds_of(store, build.spec), f"--raw {build.instance}=DIR"
    # A damaged manifest does not say what it was built by: beside a whole build it may be of another study.
    if not folders and (damaged := damaged_builds(store, build.source)):
        raise ValueError(
            f"{damaged[0]}/{MANIFEST} is damaged: remove {damaged[0]} and give {build.instance}'s folder with "
            f"{give}, so that it is built again"
        )
    if not folders:
        raise ValueError(
            f"study {study.name!r} needs {build.label}, and {store.shown} has no build of it"
            f"{_near_miss(store, build.spec)}: give its folder with {give}"
        )
    if len(folders) > 1:
        raise ValueError(f"{store.shown} has {len(folders)} builds of {build.label}: say which with {give}")
    if _share_a_form(study, build):
        alike = [name for name, source in study.instances.items() if source == build.source]
        raise ValueError(
            f"study {study.name!r} uses {build.source} as {' and as '.join(alike)}, and {store.shown} does not say "
            "which of them its build is of: name the archive of each, "
            f"{' '.join(f'--raw {name}=DIR' for name in alike)}"
        )
    return folders[0]


def _near_miss(store: ReadStore, spec: BuildSpec) -> str:
    """Names a build of the source whose records are in another order, where the storage has one that else fits."""
    wanted = identity_of(spec)
    order = wanted.pop("order", "archive")
    for folder, manifest in _manifests_in(store, _data_folders(store)):
        if manifest is not None and manifest.source == spec.source:
            has = dict(manifest.spec)
            if has.pop("order", "archive") != order and has == wanted:
                return f" in the order {order!r} ({folder} has another, and is left as it is)"
    return ""


def manifests(folders: Mapping[str, str], store: ReadStore) -> dict[str, Manifest]:
    """Label of a build -> manifest of its shards, with the counts that commands print.

    Raises ValueError that says what to do about a damaged one, NewerSchema for one of a newer version.
    """
    found: dict[str, Manifest] = {}
    for label, folder in folders.items():
        try:
            manifest = found[label] = whole_manifest(store.files, folder)
            store.findings[manifest.fingerprint] = manifest.findings
        except ValueError as error:
            raise ValueError(data_damage(label, folder, [str(error)]).sentence) from error
    return found
