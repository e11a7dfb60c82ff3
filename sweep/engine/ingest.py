"""Are the shards of a study there? What is missing is checked before any work, and built once."""

import time
from collections.abc import Callable

from datasets_io.build.checks import check_archive
from datasets_io.build.corpus import build
from datasets_io.corpus.read import read_manifest
from datasets_io.synthetic.archives import write_archives
from sweep.store.damage import DATA
from sweep.store.lease import Lease
from sweep.store.shards import DataPlan, manifests, plan_data, synthetic_root
from sweep.store.store import ReadStore, Store
from sweep.studies.study import Study
from trainables.recipe import PretrainRecipe

WAIT_SECONDS = 1.0  # until it is asked again whether another driver has released its lease
Show = Callable[[str, int, int], None]  # name, done, total


def check_data(study: Study, plans: dict[str, DataPlan], store: ReadStore) -> None:
    """Check what is to be built, and how much of it there is, before any work.

    Raises ValueError for archives that are not whole, and where a batch is larger than the corpus or validation has
    less than two images.
    """
    manifests(_built(plans), store)  # a damaged one is named before any work
    listed = {s: check_archive(p.spec, p.raw) for s, p in plans.items() if not p.built and p.raw is not None}
    recipes = {row.name: row.recipe for row in study.rows if isinstance(row.recipe, PretrainRecipe)}
    corpus = plans[study.corpus.source]
    for required in {recipe.require_impression for recipe in recipes.values()}:
        kind = "with_impression" if required else "images"
        if corpus.built and corpus.folder is not None:
            splits = read_manifest(store.files, corpus.folder).counts["splits"]
            train, val = splits["train"][kind], splits["val"][kind]
        elif corpus.raw is not None:
            kept = [r.split for r in listed[corpus.spec.source] if r.report_impression or not required]
            train, val = kept.count("train"), kept.count("val")
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
    if len(built := _built(plans)) == len(plans):
        return built
    with Lease(store.files) as lease:
        named = False
        while holders := lease.claim({DATA})[1]:
            if not named:
                say(f"{holders[DATA]} builds data in this storage: waiting for it. Ctrl-C leaves it alone.")
            named = True
            time.sleep(WAIT_SECONDS)
        return _build(study, plans, store, show)


def _built(plans: dict[str, DataPlan]) -> dict[str, str]:
    """Source -> folder of its shards, of what is built."""
    return {source: plan.folder for source, plan in plans.items() if plan.built and plan.folder is not None}


def _build(study: Study, plans: dict[str, DataPlan], store: Store, show: Show) -> dict[str, str]:
    # Folders are named after what the archives hold, so those of synthetic ones are known once they are written.
    if any(plan.folder is None for plan in plans.values()):
        assert study.synthetic is not None, "an archive that is named can be read, and its folder is known"
        root = synthetic_root(study, store)
        write_archives(study.synthetic, root, _named("synthetic archives", show))
        plans = plan_data(study, {}, store)
        check_data(study, plans, store)
    folders: dict[str, str] = {}
    for source, plan in plans.items():
        assert plan.folder is not None, "all archives are there now, so all folders are known"
        if not plan.built:
            assert plan.raw is not None, "what is not built has an archive, or plan_data would have refused it"
            build(plan.spec, plan.raw, store.files, progress=_named(f"ingest {source}", show))
        folders[source] = plan.folder
    return folders


def _named(name: str, show: Show) -> Callable[[int, int, str], None]:
    """For what reports (done, total, text): a bar of its own."""
    return lambda done, total, text: show(name, done, total)
