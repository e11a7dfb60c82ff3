"""Are the uses of sources in a study told apart, and do their recipes name findings that there are?"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace

from datasets_io.build.spec import BuildSpec, options_of
from datasets_io.nearest import did_you_mean
from datasets_io.schema import SPLITS
from datasets_io.sources.registry import SOURCES, get_source
from sweep.studies.study import Dataset, Study

SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")  # part of paths, of --only dataset=NAME and of --raw NAME=DIR


def instance_problems(study: Study) -> Iterator[str]:
    """A sentence for each use of a source whose results would be kept as another's, or that cannot be evaluated."""
    yield from _name(study, study.corpus_instance, study.corpus.source)
    yield from _untrained(f"the corpus of study {study.name!r}", study.corpus.source)
    if study.corpus.shape != "square":
        yield (
            f"the corpus of study {study.name!r} has shape {study.corpus.shape!r}: encoders are pretrained on squares; "
            "leave BuildSpec.shape of the corpus out"
        )
    for dataset in study.datasets:
        yield from _name(study, dataset.instance, dataset.source)
        known = get_source(dataset.source).findings
        if dataset.recipe.findings is not None and known:  # those of a csv are known once its header is read
            where = f"study {study.name!r}, dataset {dataset.instance}"
            yield from finding_problems(dataset.recipe.findings, known, where)
        yield from _untrained(f"dataset {dataset.instance} of study {study.name!r}", dataset.source)
        yield from _absent_splits(study, dataset)
        yield from _of_corpus(study, dataset)
    yield from _same_names(study)


def _untrained(what: str, source: str) -> Iterator[str]:
    """Encoders are pretrained on images of the train split, and every protocol trains a head on them."""
    splits = get_source(source).splits
    if "train" not in splits:
        yield (
            f"{what} is of {source}, whose archive has no train split (it has {' and '.join(splits)}): nothing can be "
            f"trained on it; take another source, and read {source} from its shards (python -m datasets_io.build)"
        )


def _absent_splits(study: Study, dataset: Dataset) -> Iterator[str]:
    """Of an archive that was published without a split there would be no image to evaluate on, or to pick by."""
    splits, recipe = get_source(dataset.source).splits, dataset.recipe.splits
    for name in ("val", "test", "also_test"):
        asked = getattr(recipe, name)
        if "train" in splits and asked in SPLITS and asked not in splits:
            yield (
                f"dataset {dataset.instance} of study {study.name!r} takes the split {asked!r} as {name}, and the "
                f"archive of {dataset.source} has {' and '.join(splits)} only: say so in its SplitRecipe, such as "
                "SplitRecipe(val='carved', test='val')"
            )


def _name(study: Study, name: str, source: str) -> Iterator[str]:
    if not SAFE_NAME.fullmatch(name):
        yield (
            f"study {study.name!r} has the dataset name {name!r}; allowed: letters, digits, _ and - after the first, "
            "since folders and files are called by it"
        )
    if name in SOURCES and name != source:
        yield (
            f"study {study.name!r} calls a use of {source} {name!r}, which is another source's name: take another one, "
            "or --raw could mean either"
        )


def _of_corpus(study: Study, dataset: Dataset) -> Iterator[str]:
    """A dataset of the corpus's name is the corpus's build, so both must say the same of it."""
    if dataset.instance.casefold() != study.corpus_instance.casefold():
        return
    # The corpus decides the order of the records, whatever either says.
    alike = replace(dataset.build, order=None) == replace(study.corpus, order=None)
    if dataset.instance != study.corpus_instance or not alike:
        yield (
            f"study {study.name!r} uses {dataset.source} as corpus and as dataset under one name, "
            f"{dataset.instance!r}, and builds them differently ({_differing(study.corpus, dataset.build)}): "
            f"give one a name of its own, such as Dataset(name={dataset.instance + '_test'!r}, ...)"
        )


def _differing(one: BuildSpec, other: BuildSpec) -> str:
    """`table 'corpus.csv' and 'test.csv'`: what two builds say otherwise."""
    both = [(spec, options_of(spec)) for spec in (one, other)]
    found = []
    for parts in zip(*both, strict=True):
        names = sorted({field.name for part in parts for field in fields(part)} - {"options", "order"})
        values = [(name, *(getattr(part, name, None) for part in parts)) for name in names]
        found += [f"{name} {first!r} and {second!r}" for name, first, second in values if first != second]
    return ", ".join(found)


def _same_names(study: Study) -> Iterator[str]:
    found: dict[str, list[Dataset]] = {}
    for dataset in study.datasets:  # without regard to case: some file systems have none
        found.setdefault(dataset.instance.casefold(), []).append(dataset)
    for same in (same for same in found.values() if len(same) > 1):
        name, sources = same[0].instance, " and ".join(sorted({dataset.source for dataset in same}))
        yield (
            f"study {study.name!r} has {len(same)} datasets of {sources} with the name {name!r}, and results of one "
            f"would be kept as the other's: give each its own, such as Dataset(name={name + '_2'!r}, ...)"
        )


def finding_problems(asked: Iterable[str], known: Sequence[str], where: str) -> Iterator[str]:
    """A sentence for each finding that a source does not have. where: what asks for it, the sentence's subject."""
    for finding in asked:
        if finding not in known:
            yield f"{where} asks for the finding {finding!r}; it has {', '.join(known)}{did_you_mean(finding, known)}"
