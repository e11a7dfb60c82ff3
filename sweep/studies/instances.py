"""Are the uses of sources in a study told apart: names, displays, findings? Checked before any data is seen."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from datasets_io.build.spec import BuildSpec
from datasets_io.sources.registry import SOURCES, get_source

SAFE_NAME = re.compile(r"[A-Za-z0-9_-]+")  # a name is part of paths and of --only dataset=NAME


@dataclass(frozen=True)
class Use:
    """One use of a source in a study. name: as `Dataset.instance`; display: None for the corpus, which is no column.

    findings: the subset that a recipe asks for, None for all.
    """

    name: str
    spec: BuildSpec
    display: str | None = None
    findings: tuple[str, ...] | None = None


def check_uses(study: str, corpus: Use, datasets: Sequence[Use]) -> None:
    """Raises ValueError, which names the study and the use, for what would be kept or shown as another's."""
    for use in (corpus, *datasets):
        get_source(use.spec.source)
        _check_name(study, use)
        _check_findings(study, use)
    _check_corpus(study, corpus, datasets)
    # Without regard to case: some file systems have none.
    displays = [dataset.display or dataset.name for dataset in datasets]
    for what, texts, kept in (("name", [d.name for d in datasets], "kept"), ("display", displays, "shown")):
        if twice := _twice(texts):
            sources = sorted(
                {d.spec.source for d, text in zip(datasets, texts, strict=True) if text.casefold() == twice}
            )
            own = next(text for text in texts if text.casefold() == twice)
            example = f"{own}_2" if what == "name" else f"{own}, second"
            raise ValueError(
                f"study {study!r} has two datasets of {' and '.join(sources)} with the {what} {own!r}, and results of "
                f"one would be {kept} as the other's: give each its own, such as Dataset({what}={example!r}, ...)"
            )


def _check_name(study: str, use: Use) -> None:
    if not SAFE_NAME.fullmatch(use.name):
        raise ValueError(
            f"study {study!r} has the dataset name {use.name!r}; allowed: letters, digits, _ and -, since folders and "
            "files are called by it"
        )
    if use.name in SOURCES and use.name != use.spec.source:
        raise ValueError(
            f"study {study!r} calls a use of {use.spec.source} {use.name!r}, which is another source's name: "
            "take another one, or --raw could mean either"
        )


def _check_findings(study: str, use: Use) -> None:
    known = get_source(use.spec.source).findings
    if use.findings is not None and known:  # those of a csv are known once its header is read
        check_findings(use.findings, known, f"study {study!r}, dataset {use.name}")


def _check_corpus(study: str, corpus: Use, datasets: Sequence[Use]) -> None:
    """A dataset of the corpus's name is the corpus's build, so both must say the same of it."""
    for dataset in datasets:
        if dataset.name.casefold() != corpus.name.casefold():
            continue
        # The corpus decides the order of the records, whatever either says.
        if dataset.name != corpus.name or replace(dataset.spec, order=None) != replace(corpus.spec, order=None):
            raise ValueError(
                f"study {study!r} uses {dataset.spec.source} as corpus and as dataset under one name, "
                f"{dataset.name!r}, and builds them differently ({corpus.spec} and {dataset.spec}): "
                f"give one a name of its own, such as Dataset(name={dataset.name + '_test'!r}, ...)"
            )


def _twice(texts: Iterable[str]) -> str | None:
    """The first text that is there twice, case-folded; None where all differ."""
    seen: set[str] = set()
    for text in texts:
        if (folded := text.casefold()) in seen:
            return folded
        seen.add(folded)
    return None


def check_findings(asked: Iterable[str], known: Sequence[str], where: str) -> None:
    """Raises ValueError for a finding that a source does not have. where: what asks for it, the sentence's subject."""
    for finding in asked:
        if finding not in known:
            raise ValueError(
                f"{where} asks for the finding {finding!r}; it has {', '.join(known)}{nearest(finding, known)}"
            )


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'edema'?`; empty where nothing known is near."""
    close = get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
