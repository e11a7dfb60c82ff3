"""Are the uses of sources in a study told apart: names, displays, findings? Checked before any data is seen."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from datasets_io.build.spec import BuildSpec
from datasets_io.sources.registry import SOURCES, get_source

SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")  # a name is part of paths and of --only dataset=NAME


@dataclass(frozen=True)
class Use:
    """One use of a source in a study. name: as `Dataset.instance`; display: None for the corpus, which is no column.

    findings: the subset that a recipe asks for, None for all.
    """

    name: str
    spec: BuildSpec
    display: str | None = None
    findings: tuple[str, ...] | None = None


def use_problems(study: str, uses: Sequence[Use]) -> Iterator[str]:
    """A sentence for each use of a source whose results would be kept or shown as another's. uses: the corpus first."""
    corpus, datasets = uses[0], uses[1:]
    for use in uses:
        yield from _of_name(study, use)
        yield from _of_findings(study, use)
    yield from _of_corpus(study, corpus, datasets)
    yield from _same(study, "name", datasets, [dataset.name for dataset in datasets])
    yield from _same(study, "display", datasets, [dataset.display or dataset.name for dataset in datasets])


def _of_name(study: str, use: Use) -> Iterator[str]:
    if not SAFE_NAME.fullmatch(use.name):
        yield (
            f"study {study!r} has the dataset name {use.name!r}; allowed: letters, digits, _ and - after the first, "
            "since folders and files are called by it"
        )
    if use.name in SOURCES and use.name != use.spec.source:
        yield (
            f"study {study!r} calls a use of {use.spec.source} {use.name!r}, which is another source's name: "
            "take another one, or --raw could mean either"
        )


def _of_findings(study: str, use: Use) -> Iterator[str]:
    known = get_source(use.spec.source).findings
    if use.findings is not None and known:  # those of a csv are known once its header is read
        yield from finding_problems(use.findings, known, f"study {study!r}, dataset {use.name}")


def _of_corpus(study: str, corpus: Use, datasets: Sequence[Use]) -> Iterator[str]:
    """A dataset of the corpus's name is the corpus's build, so both must say the same of it."""
    for dataset in datasets:
        if dataset.name.casefold() != corpus.name.casefold():
            continue
        # The corpus decides the order of the records, whatever either says.
        if dataset.name != corpus.name or replace(dataset.spec, order=None) != replace(corpus.spec, order=None):
            yield (
                f"study {study!r} uses {dataset.spec.source} as corpus and as dataset under one name, "
                f"{dataset.name!r}, and builds them differently ({corpus.spec} and {dataset.spec}): "
                f"give one a name of its own, such as Dataset(name={dataset.name + '_test'!r}, ...)"
            )


def _same(study: str, what: str, datasets: Sequence[Use], texts: Sequence[str]) -> Iterator[str]:
    """what: `name` or `display`; texts: it, of each dataset."""
    found: dict[str, list[int]] = {}
    for place, text in enumerate(texts):  # without regard to case: some file systems have none
        found.setdefault(text.casefold(), []).append(place)
    for places in (places for places in found.values() if len(places) > 1):
        own, sources = texts[places[0]], sorted({datasets[place].spec.source for place in places})
        example = f"{own}_2" if what == "name" else f"{own}, second"
        number = {2: "two"}.get(len(places), str(len(places)))
        yield (
            f"study {study!r} has {number} datasets of {' and '.join(sources)} with the {what} {own!r}, and results of "
            f"one would be {'kept' if what == 'name' else 'shown'} as the other's: give each its own, such as "
            f"Dataset({what}={example!r}, ...)"
        )


def finding_problems(asked: Iterable[str], known: Sequence[str], where: str) -> Iterator[str]:
    """A sentence for each finding that a source does not have. where: what asks for it, the sentence's subject."""
    for finding in asked:
        if finding not in known:
            yield f"{where} asks for the finding {finding!r}; it has {', '.join(known)}{nearest(finding, known)}"


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'edema'?`; empty where nothing known is near."""
    close = get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
