"""Which rows, datasets and columns of two studies are the same thing, whatever they are called, and what differs?"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from datasets_io.fingerprint import fingerprint, plain
from sweep.studies.layout import method_of
from sweep.studies.study import Dataset, EncoderRow
from trainables.recipe import PretrainRecipe

SAME_RECIPE, SAME_NAME, SAME_METHOD, SAME_SOURCE = "same recipe", "same name", "same method", "same source"
T = TypeVar("T")
Key = Callable[[T], Hashable | None]


@dataclass(frozen=True)
class Match:
    """One thing of both studies: its name in this one, its name in the other, and by what they were matched."""

    here: str
    there: str
    how: str


def matched_rows(here: Sequence[EncoderRow], there: Sequence[EncoderRow]) -> tuple[Match, ...]:
    """Rows of both, in this study's order: of the same recipe, else of the same name, else the only ones of a method.

    A method is an objective with its global batch size; without pretraining, the kind of the encoder.
    """
    kinds: list[tuple[str, Key[EncoderRow]]] = [
        (SAME_RECIPE, lambda row: fingerprint(row.recipe)),
        (SAME_NAME, lambda row: row.name),
        (SAME_METHOD, _method),
    ]
    return _matched(here, there, kinds, lambda row: row.name)


def matched_datasets(here: Sequence[Dataset], there: Sequence[Dataset]) -> tuple[Match, ...]:
    """Datasets of both, in this study's order: of the same name and source, else the only ones of a source."""
    kinds: list[tuple[str, Key[Dataset]]] = [
        (SAME_NAME, lambda dataset: (dataset.instance, dataset.source)),
        (SAME_SOURCE, lambda dataset: dataset.source),
    ]
    return _matched(here, there, kinds, lambda dataset: dataset.instance)


def _method(row: EncoderRow) -> Hashable | None:
    recipe = row.recipe
    if isinstance(recipe, PretrainRecipe):
        method = method_of(recipe.objective)
        return None if method is None else (method, recipe.global_batch_size)
    return type(recipe).__name__


def _matched(
    here: Sequence[T], there: Sequence[T], kinds: Iterable[tuple[str, Key[T]]], name: Callable[[T], str]
) -> tuple[Match, ...]:
    """One to one, the first kind of key first; a key that several on one side have matches none of them."""
    found: dict[str, Match] = {}
    left = list(there)
    for how, key in kinds:
        mine = [one for one in here if name(one) not in found]
        for one in mine:
            wanted = key(one)
            same = [other for other in left if key(other) == wanted]
            if wanted is not None and len(same) == 1 and sum(key(other) == wanted for other in mine) == 1:
                found[name(one)] = Match(name(one), name(same[0]), how)
                left.remove(same[0])
    return tuple(found[name(one)] for one in here if name(one) in found)


def differences(here: Any, there: Any) -> tuple[str, ...]:
    """`optimizer.lr: 0.001 / 0.002`: what two recipes differ in, this study's value first."""
    return tuple(f"{path}: {_short(a)} / {_short(b)}" for path, a, b in _differing(plain(here), plain(there), ""))


def _differing(here: Any, there: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(here, Mapping) and isinstance(there, Mapping):
        for name in dict.fromkeys((*here, *there)):
            yield from _differing(here.get(name), there.get(name), f"{path}.{name}" if path else str(name))
    elif here != there:
        yield path or "kind", here, there


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
