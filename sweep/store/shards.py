"""Where do the shards of a study come from: archives that are named, synthetic ones, or earlier builds?"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_io.build.spec import BuildSpec, data_folder, identity_of
from datasets_io.corpus.manifest import MANIFEST, Manifest
from datasets_io.corpus.read import local_cache, read_manifest
from datasets_io.fingerprint import fingerprint
from datasets_io.nearest import did_you_mean
from datasets_io.sources.registry import get_source
from datasets_io.synthetic.archives import is_written
from sweep.store.damage import DATA, data_damage
from sweep.store.shard_checks import whole_manifest
from sweep.store.store import RAW, ReadStore
from sweep.studies.study import Study


@dataclass(frozen=True)
class DataPlan:
    """Where a source of a study comes from.

    raw: its archive; None for shards found in the storage, and for synthetic archives that are not written yet.
    folder: of its shards; None where it cannot be known before the archive is written. built: whether they are there.
    """

    spec: BuildSpec
    raw: Path | None
    folder: str | None
    built: bool


def data_folders(study: Study, raw: Sequence[str], store: ReadStore) -> dict[str, str]:
    """Source -> folder of its finished shards, damaged ones included; a source that is not built yet is not in it.

    The archives that are named come first, then what the storage has; of several builds that of the last report.
    Raises ValueError where a choice is to be made.
    """
    named = parse_raw(raw)
    folders = built_folders(_planned(study, named, store))
    for spec in study.builds():
        if spec.source not in folders and spec.source not in named:
            # A damaged manifest does not say what it was built by: any one is taken, so that the damage is reported.
            found = builds_of(store, spec) or damaged_builds(store, spec.source)[:1]
            if len(found) > 1:
                # Of several builds _one_build raises what to do about it.
                found = _recorded(study, spec.source, found, store) or [_one_build(study, store, spec)]
            if found:
                folders[spec.source] = found[0]
    return folders


def raw_archives(study: Study, raw: Sequence[str], store: ReadStore) -> dict[str, Path]:
    """Source -> its raw archive, where it was named or is synthetic and lies in the storage."""
    plans = _planned(study, parse_raw(raw), store)
    return {source: plan.raw for source, plan in plans.items() if plan.raw is not None}


def _planned(study: Study, named: dict[str, Path], store: ReadStore) -> dict[str, DataPlan]:
    """As plan_data where an archive is named or the study is synthetic; else nothing: the storage alone is asked."""
    if named or study.synthetic is not None:
        return plan_data(study, named, store)
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
    return [folder for folder, m in _manifests_in(store, folders) if m is not None and m.fingerprint == wanted]


def parse_raw(values: Sequence[str]) -> dict[str, Path]:
    """`mimic_cxr=DIR` -> {"mimic_cxr": Path}. Raises ValueError for another form, an unknown source, no folder."""
    raw: dict[str, Path] = {}
    for text in values:
        source, separator, folder = text.partition("=")
        if not separator or not folder:
            raise ValueError(f"--raw {text!r} is not SOURCE=DIR; for example --raw mimic_cxr=/data/MIMIC-CXR")
        get_source(source)
        if source in raw:
            raise ValueError(f"--raw names {source} twice")
        raw[source] = Path(folder).expanduser()
        if not raw[source].is_dir():
            raise ValueError(f"--raw {source}: folder {folder} does not exist")
    return raw


def synthetic_root(study: Study, store: ReadStore) -> Path:
    """Folder of a study's synthetic archives: in the storage where that is a folder, else on this machine."""
    name = f"synthetic-{fingerprint(study.synthetic)}"
    # Archives are read as files: beside an object store they need a folder of this machine.
    base = Path(store.files.root) if store.files.is_local else local_cache()
    return base / RAW / name


def plan_data(study: Study, raw: dict[str, Path], store: ReadStore) -> dict[str, DataPlan]:
    """Source -> where its data comes from. Writes nothing. raw: source -> archive that was named.

    Raises ValueError for an archive that the study does not read, and where the storage lacks a source or has several
    builds of it.
    """
    specs = {spec.source: spec for spec in study.builds()}
    unused = sorted(set(raw) - set(specs))
    if unused:
        hint = did_you_mean(unused[0], specs)
        raise ValueError(f"study {study.name!r} does not read {', '.join(unused)}; it reads {', '.join(specs)}{hint}")
    found: dict[str, DataPlan] = {}
    for source, spec in specs.items():
        if source in raw:
            folder = data_folder(spec, raw[source])
            found[source] = DataPlan(spec, raw[source], folder, store.files.exists(f"{folder}/{MANIFEST}"))
    # Synthetic data stands in only where no archive is named.
    if not raw and study.synthetic is not None:
        return _plan_synthetic(study, store, specs)
    for source, spec in specs.items():
        if source not in found:
            found[source] = find_built(study, store, spec)
    return found


def built_folders(plans: Mapping[str, DataPlan]) -> dict[str, str]:
    """Source -> folder of its shards, of the sources that are built."""
    return {source: plan.folder for source, plan in plans.items() if plan.built and plan.folder is not None}


def _plan_synthetic(study: Study, store: ReadStore, specs: Mapping[str, BuildSpec]) -> dict[str, DataPlan]:
    assert study.synthetic is not None, "only studies with synthetic data come here"
    archives = is_written(study.synthetic, synthetic_root(study, store))
    if archives is None:
        # Folders are named by the archives' content, which is not known yet.
        return {source: DataPlan(spec, None, None, False) for source, spec in specs.items()}
    plans = {}
    for source, spec in specs.items():
        folder = data_folder(spec, archives[source])
        plans[source] = DataPlan(spec, archives[source], folder, store.files.exists(f"{folder}/{MANIFEST}"))
    return plans


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


def find_built(study: Study, store: ReadStore, spec: BuildSpec) -> DataPlan:
    """The one build of a source. Raises ValueError where the storage has none that is whole, or more than one."""
    return DataPlan(spec, None, _one_build(study, store, spec), True)


def _one_build(study: Study, store: ReadStore, spec: BuildSpec) -> str:
    folders = builds_of(store, spec)
    # A damaged manifest does not say what it was built by: beside a whole build it may be of another study.
    if not folders and (damaged := damaged_builds(store, spec.source)):
        raise ValueError(
            f"{damaged[0]}/{MANIFEST} is damaged: remove {damaged[0]} and give {spec.source}'s folder with "
            f"--raw {spec.source}=DIR, so that it is built again"
        )
    if not folders:
        raise ValueError(
            f"study {study.name!r} needs {spec.source}, and {store.uri} has no build of it{_near_miss(store, spec)}: "
            f"give its folder with --raw {spec.source}=DIR"
        )
    if len(folders) > 1:
        raise ValueError(
            f"{store.uri} has {len(folders)} builds of {spec.source}: say which with --raw {spec.source}=DIR"
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
    """Source -> manifest of its shards, with the counts that commands print.

    Raises ValueError that says what to do about a damaged one, NewerSchema for one of a newer version.
    """
    found: dict[str, Manifest] = {}
    for source, folder in folders.items():
        try:
            found[source] = whole_manifest(store.files, folder)
        except ValueError as error:
            raise ValueError(data_damage(source, folder, [str(error)]).sentence) from error
    return found
