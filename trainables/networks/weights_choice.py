"""Which tensors of a file are the network's: found by their names, and never guessed where several networks fit.

A file may hold a student and a teacher, raw weights and their moving average, two towers, a decoder beside the encoder.
`prefix` names one: what stands before the network's names, or the beginning of it where only one fits below.
"""

import re
from collections import Counter
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from datasets_io.nearest import did_you_mean
from trainables.networks.weights_misfit import misfit
from trainables.networks.weights_names import renamed

# Where the scripts that wrap weights put them. A prefix may be given without these.
WRAPPERS = ("", "state_dict.", "model.", "state_dict.model.")
AVERAGES = re.compile(r"(^|_)(ema|averaged?|momentum|shadow|swa|teacher)(_|$)")
COUNTER = "num_batches_tracked"  # of batch norm: it enters no output, and older files lack it


@dataclass(frozen=True)
class Fit:
    """What of a file stands below a prefix, under the network's names; missing and wrong (another shape) by name."""

    prefix: str
    tensors: dict[str, Tensor]
    missing: list[str]
    wrong: list[str]

    @property
    def fits(self) -> bool:
        """Whether no tensor of the network is missing or of another shape."""
        return not self.missing and not self.wrong


def fitted(
    backbone: nn.Module, name: str, tensors: dict[str, Tensor], place: str | None, prefix: str | None = None
) -> dict[str, Tensor]:
    """The file's tensors under the network's names and in its types; classifiers and other parts are left out.

    name: the network's in timm; place: the file, for errors. Raises ValueError where nothing fits, with what is missing
    in the nearest; where several networks fit and differ; and where a moving average of the weights stands beside them
    and none was asked for.
    """
    wanted = backbone.state_dict()
    if prefix and not any(_asked(prefix, tensors)):
        parts = sorted({one.split(".")[0] for one in tensors})
        raise ValueError(
            f"{place} has nothing under {prefix!r}; its parts are {parts[:10]}{'...' * (len(parts) > 10)}"
            f"{did_you_mean(prefix.rstrip('.'), parts)}"
        )
    tried: list[Fit] = []
    for candidates in _candidates(prefix, wanted, tensors):
        fits: list[Fit] = []
        for candidate in candidates:
            tried.append(_best(candidate, backbone, name, wanted, tensors))
            fits += [tried[-1]] if tried[-1].fits else []
        different = [fit for i, fit in enumerate(fits) if not any(_equal(fit, other) for other in fits[:i])]
        if len(different) > 1:
            raise ValueError(
                f"{place} holds {len(different)} networks that fit {name!r} and differ: "
                f"{_choices([fit.prefix for fit in different])}; say which with prefix or part, as in from_file(..., "
                f"{_choices([different[-1].prefix])})"
            )
        if fits:
            if prefix is None:
                _refuse_averages(fits, wanted, tensors, place)
            return fits[0].tensors
    if not tried:
        tried = [_best(one, backbone, name, wanted, tensors) for one in _fragments(wanted, tensors)]
    nearest = min(tried, key=_distance)
    below = {one[len(nearest.prefix) :]: tensors[one] for one in tensors if one.startswith(nearest.prefix)}
    asked = f" under the prefix {prefix!r}" if prefix else ""
    raise ValueError(
        f"{place} does not fit {name!r}{asked}: "
        f"{misfit(backbone, name, below, nearest.missing, nearest.wrong)}; the file has {sorted(tensors)[:3]}"
    )


def check_finite(tensors: dict[str, Tensor], place: str) -> None:
    """Raise ValueError for a weight that is NaN or infinite, with its name and how many of its values are."""
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            nan, infinite = int(value.isnan().sum()), int(value.isinf().sum())
            counts = " and ".join(f"{count} {kind}" for count, kind in ((nan, "NaN"), (infinite, "infinite")) if count)
            raise ValueError(
                f"{place}: tensor {name} holds {counts} of {value.numel()} values: its training diverged or the "
                "file is damaged; give an earlier checkpoint"
            )


def _candidates(prefix: str | None, wanted: dict[str, Tensor], tensors: dict[str, Tensor]) -> list[list[str]]:
    """Prefixes to try, in order of what was meant: those of one list compete."""
    possible = _possible(wanted, tensors)
    if prefix is None:
        return [possible]
    exact = _asked(prefix, tensors)
    return [exact, [one for one in possible if one not in exact and one.startswith(tuple(exact))]]


def _asked(prefix: str, tensors: dict[str, Tensor]) -> list[str]:
    """What of the file a given prefix may mean."""
    return [one for wrapper in WRAPPERS if any(name.startswith(one := f"{wrapper}{prefix}") for name in tensors)]


def _possible(wanted: dict[str, Tensor], tensors: dict[str, Tensor]) -> list[str]:
    """Prefixes below which half as many tensors stand as the network has: files name or split some in another way."""
    counts = Counter[str]()
    for name in tensors:
        counts.update({name[: at.end()] for at in re.finditer(r"\.", name)} | {""})
    enough = sum(not name.endswith(COUNTER) for name in wanted) / 2
    return sorted(prefix for prefix, count in counts.items() if count >= enough)


def _best(prefix: str, backbone: nn.Module, name: str, wanted: dict[str, Tensor], tensors: dict[str, Tensor]) -> Fit:
    """Below a prefix: by the network's own names, or by those of a layout that is known."""
    below = {one[len(prefix) :]: value for one, value in tensors.items() if one.startswith(prefix)}
    best = _match(prefix, wanted, below)
    if best.fits:
        return best
    for other in renamed(backbone, name, below):
        found = _match(prefix, wanted, other)
        if found.fits:
            return found
        best = min(best, found, key=_distance)
    return best


def _distance(fit: Fit) -> int:
    return len(fit.missing) + len(fit.wrong)


def _fragments(wanted: dict[str, Tensor], tensors: dict[str, Tensor]) -> set[str]:
    """For an error, of a file that has too little: what stands before the network's first name."""
    first = next(iter(wanted), "")
    return {""} | {one[: -len(first)] for one in tensors if one.endswith(f".{first}")}


def _match(prefix: str, wanted: dict[str, Tensor], tensors: dict[str, Tensor]) -> Fit:
    found: dict[str, Tensor] = {}
    missing: list[str] = []
    wrong: list[str] = []
    for name, value in wanted.items():
        given = tensors.get(name)
        if given is None:
            if not name.endswith(COUNTER):
                missing.append(name)
            found[name] = value
        # Whole numbers in place of real ones are quantised weights, whose scale stands elsewhere.
        elif given.shape != value.shape or (value.is_floating_point() and not given.is_floating_point()):
            wrong.append(name)
        else:
            found[name] = given.to(value.dtype)
    return Fit(prefix, found, missing, wrong)


def _equal(one: Fit, other: Fit) -> bool:
    # NaN equals nothing, and a file of two names for one broken network would be called two networks.
    return all(
        torch.equal(value.nan_to_num() if value.is_floating_point() else value, same)
        for value, same in (
            (value, other.tensors[name].nan_to_num() if value.is_floating_point() else other.tensors[name])
            for name, value in one.tensors.items()
            if not name.endswith(COUNTER)
        )
    )


def _refuse_averages(fits: list[Fit], wanted: dict[str, Tensor], tensors: dict[str, Tensor], place: str | None) -> None:
    """Raise ValueError where the file has a moving average beside the networks that fit (which are equal).

    Some scripts keep it as a list, or only of what was trained: whoever says nothing may not know that it is there.
    """
    known = {_average_of(fit.prefix) for fit in fits}
    if _average_of(fits[0].prefix) is not None:
        return
    counts = Counter(part for name in tensors if (part := _average_of(name.rpartition(".")[0])) is not None)
    large = sorted(part for part, count in counts.items() if count >= len(wanted) / 2 and part not in known)
    if large:
        raise ValueError(
            f"{place} holds a moving average of the weights in {large[0]!r}, under names that do not fit, beside "
            f"the raw weights: to take the raw ones say {_choices([fits[0].prefix])}; for the average save it "
            "as a state dict of the network"
        )


def _average_of(name: str) -> str | None:
    """Of a dotted name, what leads to and includes the first part that says moving average."""
    parts = name.rstrip(".").split(".")
    for place, part in enumerate(parts):
        if AVERAGES.search(part.lower()):
            return ".".join(parts[: place + 1])
    return None


def _choices(prefixes: list[str]) -> str:
    """As a user writes them: a part where a prefix ends at a dot, else the prefix."""
    return ", ".join(f'part="{prefix[:-1]}"' if prefix else 'prefix=""' for prefix in prefixes)
