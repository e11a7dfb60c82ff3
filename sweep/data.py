"""From --raw folders, synthetic archives or earlier builds to the shards of a study, checked before any work."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets_io.build import BuildSpec, build, check_archive, data_folder, identity_of
from datasets_io.fingerprint import fingerprint
from datasets_io.manifest import MANIFEST, Manifest
from datasets_io.read import local_cache, read_manifest
from datasets_io.registry import get_source
from datasets_io.synthetic.archives import is_written, write_archives
from sweep.lease import Lease
from sweep.store import RAW, ReadStore, Store
from sweep.studies import Study
from trainables.recipe import PretrainRecipe

DATA, WAIT_SECONDS = "data", 1.0  # what is leased; between two looks at whether it is free
Show = Callable[[str, int, int], None]  # name, done, total


@dataclass(frozen=True)
class DataPlan:
    """Where each source of a study comes from. raw is None for shards found in the storage."""

    spec: BuildSpec
    raw: Path | None
    folder: str | None
    built: bool


def parse_raw(values: list[str]) -> dict[str, Path]:
    """`mimic_cxr=DIR` -> {"mimic_cxr": Path}. Raises ValueError for another form, an unknown source, no folder."""
    raw = {}
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
    name = f"synthetic-{fingerprint(study.synthetic)}"
    base = Path(store.files.root) if store.files.is_local else local_cache()
    return base / RAW / name


def plan_data(study: Study, raw: dict[str, Path], store: ReadStore) -> dict[str, DataPlan]:
    """One DataPlan for each source. Writes nothing. Raises ValueError with one sentence."""
    specs = {spec.source: spec for spec in study.builds()}
    unused = sorted(set(raw) - set(specs))
    if unused:
        raise ValueError(f"study {study.name!r} does not read {', '.join(unused)}; it reads {', '.join(specs)}")
    found = {}
    for source, spec in specs.items():
        if source in raw:
            folder = data_folder(spec, raw[source])
            found[source] = DataPlan(spec, raw[source], folder, store.files.exists(f"{folder}/{MANIFEST}"))
    if not raw and study.synthetic is not None:
        return _plan_synthetic(study, store, specs)
    for source, spec in specs.items():
        if source not in found:
            found[source] = find_built(study, store, spec)
    return found


def _plan_synthetic(study: Study, store: ReadStore, specs: dict[str, BuildSpec]) -> dict[str, DataPlan]:
    root = synthetic_root(study, store)
    archives = is_written(study.synthetic, root)
    if archives is None:
        return {source: DataPlan(spec, None, None, False) for source, spec in specs.items()}
    plans = {}
    for source, spec in specs.items():
        folder = data_folder(spec, archives[source])
        plans[source] = DataPlan(spec, archives[source], folder, store.files.exists(f"{folder}/{MANIFEST}"))
    return plans


def builds_of(store: ReadStore, spec: BuildSpec) -> list[str]:
    """Folders of the finished shards that were built as `spec` says."""
    wanted = identity_of(spec)
    found = ((folder, _manifest(store, folder)) for folder in _data_folders(store))
    return [folder for folder, m in found if m is not None and (m.source, m.spec) == (spec.source, wanted)]


def damaged_builds(store: ReadStore, source: str) -> list[str]:
    """Folders of a source's shards, as their names say, whose manifest cannot be read."""
    own = (folder for folder in _data_folders(store) if folder.rpartition("-")[0] == f"{DATA}/{source}")
    return [folder for folder in own if _manifest(store, folder) is None]


def _data_folders(store: ReadStore) -> list[str]:
    return [path.rsplit("/", 1)[0] for path in store.files.list(DATA, f"/{MANIFEST}")]


def _manifest(store: ReadStore, folder: str) -> Manifest | None:
    """None where it is damaged."""
    try:
        return read_manifest(store.files, folder)
    except ValueError:
        return None


def find_built(study: Study, store: ReadStore, spec: BuildSpec) -> DataPlan:
    """The one build of a source. Raises ValueError where the storage has none, more than one, or a damaged one."""
    folders = builds_of(store, spec)
    if damaged := damaged_builds(store, spec.source):
        raise ValueError(
            f"{damaged[0]}/{MANIFEST} is damaged: remove {damaged[0]} and give {spec.source}'s folder with "
            f"--raw {spec.source}=DIR, so that it is built again"
        )
    if not folders:
        raise ValueError(
            f"study {study.name!r} needs {spec.source}, and {store.uri} has no build of it: "
            f"give its folder with --raw {spec.source}=DIR"
        )
    if len(folders) > 1:
        raise ValueError(
            f"{store.uri} has {len(folders)} builds of {spec.source}: say which with --raw {spec.source}=DIR"
        )
    return DataPlan(spec, None, folders[0], True)


def check_data(study: Study, plans: dict[str, DataPlan], store: ReadStore) -> None:
    """Look at what is to be built before any work. Raise ValueError for archives that are not whole, and where
    a batch is larger than the corpus or validation has less than two images.
    """
    manifests({s: p.folder for s, p in plans.items() if p.built}, store)  # a damaged one is named before any work
    listed = {s: check_archive(p.spec, p.raw) for s, p in plans.items() if not p.built and p.raw is not None}
    recipes = {row.name: row.recipe for row in study.rows if isinstance(row.recipe, PretrainRecipe)}
    corpus = plans[study.corpus.source]
    for required in {recipe.require_impression for recipe in recipes.values()}:
        kind = "with_impression" if required else "images"
        if corpus.built:
            splits = read_manifest(store.files, corpus.folder).counts["splits"]
            train, val = splits["train"][kind], splits["val"][kind]
        elif corpus.raw is not None:
            seen = [r.split for r in listed[corpus.spec.source] if r.report_impression or not required]
            train, val = seen.count("train"), seen.count("val")
        else:
            continue  # synthetic archives, still to be written
        _check_sizes(study.corpus.source, recipes, train, val, "images with an impression" if required else "images")


def _check_sizes(source: str, recipes: dict[str, PretrainRecipe], train: int, val: int, what: str) -> None:
    for name, recipe in recipes.items():
        if recipe.global_batch_size > train:
            raise ValueError(
                f"{name}: global_batch_size {recipe.global_batch_size} is larger than the corpus: "
                f"{source} has {train} training {what}; take a smaller batch or more data"
            )
    if val < 2:
        raise ValueError(f"{source} has {val} validation {what}; early stopping needs at least 2")


def build_data(
    study: Study, plans: dict[str, DataPlan], store: Store, show: Show, say: Callable[[str], None]
) -> dict[str, str]:
    """Build what is missing; source -> data folder. Of two drivers the second waits, and finds all built."""
    if all(plan.built for plan in plans.values()):
        return {source: plan.folder for source, plan in plans.items()}
    with Lease(store.files) as lease:
        told = False
        while holders := lease.claim({DATA})[1]:
            if not told:
                say(f"{holders[DATA]} builds data in this storage: waiting for it. Ctrl-C leaves it alone.")
            told = True
            time.sleep(WAIT_SECONDS)
        return _build(study, plans, store, show)


def _build(study: Study, plans: dict[str, DataPlan], store: Store, show: Show) -> dict[str, str]:
    if any(plan.folder is None for plan in plans.values()):
        root = synthetic_root(study, store)
        write_archives(study.synthetic, root, lambda done, total, text: show("synthetic archives", done, total))
        plans = plan_data(study, {}, store)
        check_data(study, plans, store)
    folders = {}
    for source, plan in plans.items():
        if not plan.built:
            build(
                plan.spec, plan.raw, store.files,
                progress=lambda done, total, text, source=source: show(f"ingest {source}", done, total),
            )
        folders[source] = plan.folder
    return folders


def manifests(folders: dict[str, str], store: ReadStore) -> dict[str, Manifest]:
    return {source: read_manifest(store.files, folder) for source, folder in folders.items()}


