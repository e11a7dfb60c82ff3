"""Does what a pretraining says fit together: its method, its views, its text tower, its batch, its group?"""

from collections.abc import Callable, Iterator
from functools import partial

from datasets_io.nearest import nearest
from datasets_io.sources.registry import SOURCES, get_source
from sweep.studies.study import BASELINE, EncoderRow, Study
from trainables.networks.text_config import HuggingFaceText, TinyText
from trainables.objectives.joint import JointConfig
from trainables.objectives.mocov2 import MocoV2Config, key_groups_per_worker, queue_size_for
from trainables.recipe import PretrainRecipe, StandInInit
from trainables.registry import IMAGE_IMAGE_GROUP, IMAGE_TEXT_GROUP, JOINT_GROUP
from trainables.training.gradient_cache import num_chunks
from trainables.training.optim import check_optimizer

GROUPS = (BASELINE, IMAGE_TEXT_GROUP, IMAGE_IMAGE_GROUP, JOINT_GROUP)
TYPO = 0.8  # share of letters that a group has in common with a known one from which on it is taken for a typo
LARGE_CORPUS = 1 << 30  # images: the queue's own size is checked here, the corpus's once that is known


def recipe_problems(study: Study) -> Iterator[str]:
    """A sentence for each part of a row that does not fit the others."""
    for row in (*study.rows, *study.hidden_rows):
        yield from _group(row)
        if isinstance(row.recipe, PretrainRecipe):
            yield from _reports(row, row.recipe, study)
            yield from _views(row, row.recipe)
            yield from _batch(row, row.recipe, study.resources.pretrain_workers or 1)
        if isinstance(row.recipe, (PretrainRecipe, StandInInit)):
            yield from refusal(f"row {row.name!r}", partial(check_optimizer, row.recipe.optimizer))


def refusal(title: str, check: Callable[[], object]) -> Iterator[str]:
    """The sentence of a check that raises ValueError, behind the title of what it is about."""
    try:
        check()
    except ValueError as error:
        yield f"{title}: {error}"


def _group(row: EncoderRow) -> Iterator[str]:
    # A group of one's own is a section of the table like any other; a misspelt baseline would be compared with nobody.
    if row.group not in GROUPS and (close := nearest(row.group, GROUPS, TYPO)) is not None:
        yield (
            f"row {row.name!r} is in group {row.group!r}; did you mean {close!r}? A group of your own needs a "
            f"name that is not near to {', '.join(GROUPS)}"
        )


def _reports(row: EncoderRow, recipe: PretrainRecipe, study: Study) -> Iterator[str]:
    corpus = get_source(study.corpus.source)
    if not recipe.objective.needs_text:
        if recipe.text is not None:
            yield f"row {row.name!r}: the method reads no reports, and recipe.text is {_shown(recipe.text)}: give None"
        return
    if not corpus.has_reports:
        others = ", ".join(name for name, source in SOURCES.items() if source.has_reports and source.findings)
        yield (
            f"method {row.name!r} reads reports, but corpus {corpus.name!r} has none; take a corpus with "
            f"reports ({others}, or csv_images with a report column) or leave this method out"
        )
    if recipe.text is None:
        yield f"row {row.name!r}: the method reads reports, and recipe.text is None: give a TinyText or HuggingFaceText"
    elif not isinstance(recipe.text, (TinyText, HuggingFaceText)):
        yield f"row {row.name!r}: recipe.text is {_shown(recipe.text)}; it must be a TinyText or HuggingFaceText"


def _shown(value: object) -> str:
    return repr(value) if len(repr(value)) <= 60 else f"a {type(value).__name__}"


def _views(row: EncoderRow, recipe: PretrainRecipe) -> Iterator[str]:
    names = [name for name, _ in recipe.views]
    if missing := [repr(name) for name in recipe.objective.views if name not in names]:
        had = ", ".join(map(repr, names)) or "none"
        yield f"row {row.name!r}: the method needs views {', '.join(missing)}, and recipe.views has {had}: add them"
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f"row {row.name!r}: recipe.views has {name!r} {names.count(name)} times: leave the others out"


def _batch(row: EncoderRow, recipe: PretrainRecipe, workers: int) -> Iterator[str]:
    """workers: as many as the study asks for, 1 where the machines decide."""
    title, batch = f"row {row.name!r}", recipe.global_batch_size
    objective = recipe.objective
    for part in (objective.image_text, objective.image_image) if isinstance(objective, JointConfig) else (objective,):
        if isinstance(part, MocoV2Config):
            yield from refusal(title, partial(key_groups_per_worker, part.key_bn_splits, batch, workers))
            yield from refusal(title, partial(queue_size_for, part, batch, LARGE_CORPUS))
    if recipe.gradient_cache_chunk is not None:
        yield from refusal(title, partial(num_chunks, batch, recipe.gradient_cache_chunk, workers))
    elif batch % workers:
        yield (
            f"{title}: global_batch_size {batch} / {workers} workers = {batch / workers:g} images a worker: it must be "
            "a whole number; choose another Resources.pretrain_workers or global_batch_size"
        )
    for name in ("num_epochs", "shuffle_window"):
        if getattr(recipe, name) < 1:
            yield f"{title}: recipe.{name} is {getattr(recipe, name)}; allowed: 1 or more"
