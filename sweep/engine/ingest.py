"""Are the shards of a study there? What is missing is checked before any work, and built once."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from datasets_io.build.checks import check_archive
from datasets_io.build.corpus import build
from datasets_io.build.spec import BuildSpec, options_of
from datasets_io.corpus.manifest import Manifest
from datasets_io.schema import Record
from datasets_io.sources.parts.mimic_reports import NO_REPORT
from datasets_io.sources.registry import get_source
from datasets_io.storage.artefacts import CorruptArtefact
from datasets_io.storage.disk import keep_private
from datasets_io.storage.files import Files
from datasets_io.synthetic.archives import write_archives
from sweep.engine.testable import codes_built, codes_listed, one_class_problem
from sweep.store.damage import DATA
from sweep.store.lease import Lease
from sweep.store.same_images import check_same_images
from sweep.store.shards import DataPlan, built_folders, manifests, naming, plan_data, synthetic_root
from sweep.store.store import ReadStore, Store
from sweep.studies.checks.instances import finding_problems
from sweep.studies.study import Study
from trainables.recipe import PretrainRecipe

WAIT_SECONDS = 1.0  # until it is asked again whether another driver has released its lease
Show = Callable[[str, int, int], None]  # name, done, total


def check_data(study: Study, plans: dict[str, DataPlan], store: ReadStore) -> None:
    """Check what is to be built, and how much of it there is, before any work. plans: by label of a build.

    Raises ValueError for archives that are not whole, where a batch is larger than the corpus or validation has
    less than two images, for findings that a dataset does not have, and where two builds of one use differ in images.
    """
    built = manifests(built_folders(plans), store)  # a damaged one is named before any work
    listed: dict[tuple[BuildSpec, Path], list[Record]] = {}
    for label, plan in plans.items():
        if not plan.built and plan.raw is not None and (plan.spec, plan.raw) not in listed:  # several labels, one build
            with naming(label, plan.spec):
                listed[plan.spec, plan.raw] = check_archive(plan.spec, plan.raw)
    _check_findings(study, plans, built)
    _check_test_parts(study, plans, built, listed, store)
    check_same_images(study, built_folders(plans), built, store.files)
    recipes = {row.name: row.recipe for row in study.rows if isinstance(row.recipe, PretrainRecipe)}
    name = study.corpus_instance
    corpus = plans.get(name)
    for required in {recipe.require_impression for recipe in recipes.values()}:
        kind = "with_impression" if required else "images"
        assert corpus is not None, "what is pretrained has a corpus"
        if name in built:
            splits = built[name].counts["splits"]
            train, val = splits["train"][kind], splits["val"][kind]
        elif corpus.raw is not None:
            kept = [r.split for r in listed[corpus.spec, corpus.raw] if r.report_impression or not required]
            train, val = kept.count("train"), kept.count("val")
        else:
            continue  # synthetic archives, still to be written
        if required and not train and (why := _no_report(built.get(name), corpus)):
            raise ValueError(f"{name} has 0 training images with an impression: {why}")
        _check_sizes(name, recipes, train, val, "images with an impression" if required else "images")


def _no_report(manifest: Manifest | None, plan: DataPlan) -> str:
    """What the corpus, or the archive that it is to be built of, says where no report was found; "" if nothing."""
    notes: Sequence[str] = manifest.notes if manifest else ()
    if manifest is None and plan.raw is not None:
        notes = get_source(plan.spec.source).notes(plan.raw, options_of(plan.spec))
    return next((note for note in notes if note.startswith(NO_REPORT)), "")


def _check_findings(study: Study, plans: Mapping[str, DataPlan], built: Mapping[str, Manifest]) -> None:
    """Those that recipes name, where the archive says which there are: check_study knows those of other sources."""
    for dataset in (d for d in study.datasets if d.recipe.findings is not None):
        for label in (b.label for b in study.data_builds() if b.instance == dataset.instance):
            plan, find = plans[label], get_source(dataset.source).findings_in
            if label in built:
                known = built[label].findings
            elif find is not None and plan.raw is not None:
                known = find(plan.raw, options_of(plan.spec))
            else:
                continue
            where = f"study {study.name!r}, dataset {dataset.instance}"
            for problem in finding_problems(dataset.recipe.findings or (), known, where):
                raise ValueError(problem)


def _check_test_parts(
    study: Study,
    plans: Mapping[str, DataPlan],
    built: Mapping[str, Manifest],
    listed: Mapping[tuple[BuildSpec, Path], list[Record]],
    store: ReadStore,
) -> None:
    """Of archives of somebody's own: those of published ones can be tested."""
    for dataset in (d for d in study.datasets if get_source(d.source).findings_in is not None):
        label = next(b.label for b in study.data_builds() if b.instance == dataset.instance)
        plan, split = plans[label], dataset.recipe.splits.test
        if label in built and plan.folder is not None:
            try:
                found = codes_built(store.files, plan.folder, built[label], split)
            except (OSError, ValueError, CorruptArtefact):
                continue  # a shard that is damaged is named by whoever reads it
        elif plan.raw is not None:
            found = codes_listed(plan, listed[plan.spec, plan.raw], split)
        else:
            continue
        if (problem := one_class_problem(dataset, found)) is not None:
            raise ValueError(problem)


def _check_sizes(corpus: str, recipes: dict[str, PretrainRecipe], train: int, val: int, what: str) -> None:
    for name, recipe in recipes.items():
        if recipe.global_batch_size > train:
            raise ValueError(
                f"{name}: global_batch_size {recipe.global_batch_size} is larger than the corpus: "
                f"{corpus} has {train} training {what}; take a smaller batch or more data"
            )
    if val < 2:
        raise ValueError(f"{corpus} has {val} validation {what}; early stopping needs at least 2")


def build_data(
    study: Study, plans: dict[str, DataPlan], store: Store, show: Show, say: Callable[[str], None]
) -> dict[str, str]:
    """Build what is missing; label of a build -> folder. Of two drivers the second waits, and finds all built."""
    if len(built := built_folders(plans)) == len(plans):
        return built
    with Lease(store.files) as lease:
        named = False
        while holders := lease.claim({DATA})[1]:
            if not named:
                say(f"{holders[DATA]} builds data in this storage: waiting for it. Ctrl-C leaves it alone.")
            named = True
            time.sleep(WAIT_SECONDS)
        return _build(study, plans, store, show, say)


def _build(
    study: Study, plans: dict[str, DataPlan], store: Store, show: Show, say: Callable[[str], None]
) -> dict[str, str]:
    # Folders are named after what the archives hold, so those of synthetic ones are known once they are written.
    if any(plan.folder is None for plan in plans.values()):
        assert study.synthetic is not None, "an archive that is named can be read, and its folder is known"
        root = synthetic_root(study, store)
        Files(str(root)).make_folder()
        images = sum(count for splits in study.synthetic.image_counts().values() for count in splits.values())
        show("synthetic archives", 0, images)  # the first ones come after the imports of what draws them
        write_archives(study.synthetic, root, _named("synthetic archives", show))
        keep_private(str(root))
        plans = plan_data(study, {}, store)
        check_data(study, plans, store)
    folders: dict[str, str] = {}
    for label, plan in plans.items():
        assert plan.folder is not None, "all archives are there now, so all folders are known"
        # Equal specs of one archive have one folder, whatever uses it in the study: the first builds it for all.
        if not plan.built and plan.folder not in folders.values():
            assert plan.raw is not None, "what is not built has an archive, or plan_data would have refused it"
            build(plan.spec, plan.raw, store.files, progress=_named(f"ingest {label}", show), say=say)
        folders[label] = plan.folder
    check_same_images(study, folders, manifests(folders, store), store.files)
    return folders


def _named(name: str, show: Show) -> Callable[[int, int, str], None]:
    """For what reports (done, total, text): a bar of its own."""
    return lambda done, total, text: show(name, done, total)
