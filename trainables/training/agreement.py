"""May two results of one job differ by the order in which a GPU adds, and do their networks have one form?"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from trainables.recipe import Resources
from trainables.training.checkpoint import weights_from_bytes
from trainables.training.devices import device_name
from trainables.training.precision import Compute


class Side(Protocol):
    """One of two results of a job: what its result.json says, and its files by their names."""

    @property
    def result(self) -> Mapping[str, Any]:
        """As it is published: with `files`, `parents` and `recipe`."""

    def read(self, name: str) -> bytes:
        """The bytes of a file."""


@dataclass(frozen=True)
class Computed:
    """A result that is not published: its files are in memory."""

    result: Mapping[str, Any]
    contents: Mapping[str, bytes]

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        return self.contents[name]


def computed_by(compute: Compute, resources: Resources) -> dict[str, Any]:
    """Of a cell's result: on what it was computed, in which number format, and what decides the order of its sums."""
    return {
        "device": device_name(compute.device),
        "precision": compute.precision,
        **({"deterministic": True} if compute.deterministic else {}),
        **({"compiled": True} if compute.device.type == "cuda" and resources.compile else {}),
    }


def exact_difference(one: Side, other: Side, exact: Iterable[str]) -> str | None:
    """What must be equal to the bit and is not, as the end of a sentence; None where nothing is.

    exact: further fields of the result that do not depend on rounding.
    """
    for field in ("recipe", "parents", "precision", *exact):
        if one.result.get(field) != other.result.get(field):
            return f"{field} is {_shown(other.result.get(field))}, there {_shown(one.result.get(field))}"
    names = set(one.result["files"]) ^ set(other.result["files"])
    if names:
        return f"only one of the two has {', '.join(sorted(names))}"
    return _same_bits_are_due(one.result, other.result)


def _same_bits_are_due(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Why two results whose files are not the same should be; None where the order of sums may be another."""
    if workers_of(one) != workers_of(other) or _compiled(one) != _compiled(other):
        return None
    devices = [str(side.get("device")) for side in (one, other)]
    if not any(device.startswith("cuda") for device in devices):
        return "both were computed on a CPU, which gives the same bits: this is a fault of the machine or of the code"
    if devices[0] == devices[1] and all(side.get("deterministic") for side in (one, other)):
        return (
            "both were computed in one order (Resources.deterministic), which gives the same bits on one kind of card"
        )
    return None


def workers_of(result: Mapping[str, Any]) -> Any:
    """Processes that computed it, 1 for a cell: each adds its part of a batch, and then their sums are added."""
    return result.get("workers", 1)


def _compiled(result: Mapping[str, Any]) -> bool:
    """Whether torch.compile made its kernels, which add in an order of their own. A cell says so itself."""
    resources = result.get("resources")
    return bool(result.get("compiled") or (isinstance(resources, Mapping) and resources.get("compile")))


def tensors_difference(name: str, one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str | None:
    """Whether two files of weights have other names or shapes, or numbers that are none."""
    if {key: value.shape for key, value in one.items()} != {key: value.shape for key, value in other.items()}:
        return f"{name} has other tensors"
    if not all(torch.isfinite(value).all() for side in (one, other) for value in side.values()):
        return f"{name} is not finite"
    return None


def weights_of(side: Side, name: str) -> dict[str, Tensor]:
    """Named tensors of one of its files."""
    return weights_from_bytes(bytes(side.read(name)))


def correlation(one: Tensor, other: Tensor) -> float:
    """Of two vectors, between -1 and 1; 1 where they are equal, 0 where one of them is constant."""
    if torch.equal(one, other):
        return 1.0
    first, second = (side.double() - side.double().mean() for side in (one, other))
    size = first.norm() * second.norm()
    return float(first @ second / size) if size > 0 else 0.0


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
