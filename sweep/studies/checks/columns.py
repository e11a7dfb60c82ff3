"""Is each axis of a study's product known and without repetition: datasets, protocols, seeds, training-free kinds?"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial

from datasets_io.corpus.label_subsets import SAMPLERS
from datasets_io.nearest import did_you_mean
from datasets_io.sources.registry import get_source
from sweep.studies.checks.recipes import refusal
from sweep.studies.study import INTERVALS, NEEDS_REPORTS, TRAINING_FREE, Dataset, Study
from trainables.objectives.clip import ClipConfig
from trainables.objectives.joint import JointConfig
from trainables.protocols.registry import PROTOCOLS
from trainables.recipe import PretrainRecipe, Resources
from trainables.training.optim import check_optimizer
from trainables.training.precision import check_precision

# The least that each number of Resources may be where it is not None; see sweep/engine/schedule.py for what 0 means.
LEAST_OF_RESOURCES = {
    "pretrain_workers": 1,
    "gpus_per_worker": 0,
    "gpus_per_cell": 0,
    "cpus_per_worker": 1,
    "cpus_per_cell": 1,
    "max_concurrent_cells": 1,
    "seeds_at_once": 1,
    "checkpoint_every_seconds": 0,
    "checkpoint_every_steps": 1,
    "resident_bytes": 0,
    "prefetch_batches": 0,
    "max_failures": 0,
    "cell_time_limit_seconds": 0,
}
# What a SplitRecipe says that it takes; its second test split is another one than the first, which it checks itself.
SPLITS: dict[str, tuple[str | None, ...]]
SPLITS = {"val": ("val", "carved"), "test": ("test", "val"), "also_test": ("test", "val", None)}


def column_problems(study: Study) -> Iterator[str]:
    """A sentence for each value of an axis that is not known, is there twice, or is missing."""
    title = f"study {study.name!r}"
    for name in ("rows", "datasets", "protocols", "seeds", "pretrain_seeds"):
        if not getattr(study, name):
            yield f"{title} has no {name}: there would be nothing to compute; give at least one"
    for name in ("protocols", "seeds", "pretrain_seeds", "training_free"):
        yield from _repeated(f"{title}: {name}", getattr(study, name))
    yield from _seeds(title, study)
    yield from _unknown(title, "protocol", study.protocols, PROTOCOLS)
    yield from _without_start("the study's", study.protocols)
    yield from _rows_protocols(study)
    if study.interval not in INTERVALS:
        hint = did_you_mean(study.interval, INTERVALS)
        yield f"{title} has interval {study.interval!r}; allowed: {', '.join(INTERVALS)}{hint}"
    yield from _training_free(title, study)
    for dataset in study.datasets:
        yield from _of_dataset(dataset)
    yield from refusal(f"{title}: resources", partial(check_precision, study.resources.precision))
    yield from _resources(f"{title}: resources", study.resources)


def _resources(title: str, resources: Resources) -> Iterator[str]:
    for name, least in LEAST_OF_RESOURCES.items():
        value = getattr(resources, name)
        if value is not None and value < least:
            yield f"{title}.{name} is {value:g}; allowed: {least} or more"


def _repeated(what: str, values: Iterable[object]) -> Iterator[str]:
    for value, count in Counter(values).items():
        if count > 1:  # each would be computed and counted as often
            yield f"{what} has {value!r} {'twice' if count == 2 else f'{count} times'}: once is enough"


def _seeds(title: str, study: Study) -> Iterator[str]:
    for name in ("seeds", "pretrain_seeds"):
        for seed in getattr(study, name):
            if not 0 <= seed < 2**63:
                yield f"{title}: {name} has {seed}; allowed: whole numbers from 0 to 2^63 - 1"


def _unknown(title: str, kind: str, names: Sequence[str], known: Collection[str]) -> Iterator[str]:
    for name in names:
        if name not in known:
            yield f"{title} has no {kind} {name!r}; known: {', '.join(known)}{did_you_mean(name, known)}"


def _without_start(whose: str, protocols: Sequence[str]) -> Iterator[str]:
    for name in protocols:
        start = PROTOCOLS[name].starts_from if name in PROTOCOLS else None
        if start is not None and start not in protocols:  # LPFT begins with the head that LP has trained
            yield f"protocol {name} starts from {start}: add {start} to {whose} protocols"


def _rows_protocols(study: Study) -> Iterator[str]:
    for row in study.rows:
        title = f"row {row.name!r}"
        if row.protocols is None:
            continue
        if not row.protocols:
            yield f"{title} has no protocols: give at least one, or None for all of the study's"
        yield from _unknown(title, "protocol", row.protocols, PROTOCOLS)
        yield from _repeated(f"{title}: protocols", row.protocols)
        yield from (f"{title}: {text}" for text in _without_start("its", row.protocols))
        for name in row.protocols:
            if name in PROTOCOLS and name not in study.protocols:
                yield f"{title} has protocol {name}, which study {study.name!r} has not: add it there or leave it out"


def _training_free(title: str, study: Study) -> Iterator[str]:
    for kind in study.training_free:
        if kind not in TRAINING_FREE:
            hint = did_you_mean(kind, TRAINING_FREE)
            yield f"{title} has no training-free kind {kind!r}; known: {', '.join(TRAINING_FREE)}{hint}"
        elif kind in NEEDS_REPORTS and not any(_has_text_tower(row.recipe) for row in study.rows):
            yield (
                f"{title}: training_free has {kind!r}, which needs a row that was pretrained on reports, and there is "
                "none: add one, such as clip, or leave it out"
            )
    if "retrieval" in study.training_free and not get_source(study.corpus.source).has_reports:
        corpus = study.corpus.source
        yield f"{title}: training_free has 'retrieval', which needs reports, and corpus {corpus!r} has none"


def _has_text_tower(recipe: object) -> bool:
    return isinstance(recipe, PretrainRecipe) and isinstance(recipe.objective, (ClipConfig, JointConfig))


def _of_dataset(dataset: Dataset) -> Iterator[str]:
    """What of a dataset's recipe is otherwise found when its first cell is computed."""
    title, recipe = f"dataset {dataset.display!r}", dataset.recipe
    if recipe.subset not in SAMPLERS:
        hint = did_you_mean(recipe.subset, SAMPLERS)
        yield f"{title}: recipe.subset is {recipe.subset!r}; allowed: {', '.join(SAMPLERS)}{hint}"
    for name, values in SPLITS.items():
        if (value := getattr(recipe.splits, name)) not in values:
            known = [text for text in values if text is not None]
            hint = did_you_mean(value, known)
            yield f"{title}: recipe.splits.{name} is {value!r}; allowed: {', '.join(known)}{hint}"
    for name in ("optimizer", "linear_probe_optimizer"):
        if (optimizer := getattr(recipe, name)) is not None:
            yield from refusal(f"{title}: recipe.{name}", partial(check_optimizer, optimizer))
