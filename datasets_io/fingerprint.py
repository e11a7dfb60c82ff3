"""What identifies a frozen specification: canonical JSON and its SHA-256."""

import dataclasses
import hashlib
import json
import math
from typing import Any

BEFORE = "before"  # in a field's metadata: its value that says what was said before the field existed


def added(default: Any, *, before: Any = dataclasses.MISSING) -> Any:
    """A field that joins a hashed class after results were stored: where it says nothing new, no key moves.

    default: what a recipe has that does not name the field. before: the value at which the code does what it did
    before the field existed, and at which the field is left out of the identity; it never changes again. It is the
    default, unless the default was changed later.

        label_smoothing: float = added(0.0)
    """
    return dataclasses.field(default=default, metadata={BEFORE: default if before is dataclasses.MISSING else before})


def hashed_fields(value: Any) -> tuple[str, ...]:
    """Names of a dataclass's fields that are part of its identity, in order.

    A field with metadata {"hashed": False} says where something lies, not what it is, and is left out; so is an
    `added` one that says nothing new.
    """
    fields = (field for field in dataclasses.fields(value) if field.metadata.get("hashed", True))
    return tuple(field.name for field in fields if not _says_nothing_new(field, getattr(value, field.name)))


def _says_nothing_new(field: "dataclasses.Field[Any]", value: Any) -> bool:
    # As texts, not by ==: True, 1 and 1.0 are equal in Python and have three identities.
    return BEFORE in field.metadata and canonical_json(value) == canonical_json(field.metadata[BEFORE])


def plain(value: Any) -> Any:
    """Turn a frozen dataclass, tuple, dict or scalar into what JSON can hold.

    A dataclass carries its class name, so two classes with equal fields differ, and its `hashed_fields`.
    Raises TypeError for anything whose text form would not be stable (sets, arrays,
    functions, mutable dataclasses) and ValueError for NaN or infinity.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"cannot fingerprint {value!r}: only finite numbers have an identity")
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if not value.__dataclass_params__.frozen:  # type: ignore[attr-defined]  # typeshed does not list it
            raise TypeError(f"cannot fingerprint {type(value).__name__}: make it @dataclass(frozen=True)")
        fields = {name: plain(getattr(value, name)) for name in hashed_fields(value)}
        return {"type": type(value).__name__, **fields}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("cannot fingerprint a dict whose keys are not all strings")
        return {key: plain(item) for key, item in value.items()}
    raise TypeError(f"cannot fingerprint a {type(value).__name__}: use frozen dataclasses, tuples, strings and numbers")


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, plain ASCII."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def fingerprint(value: Any) -> str:
    """First 12 hex digits of the SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:12]


def derive_seed(seed: int, *stream: str | int) -> int:
    """A 63-bit seed for one named stream of randomness, independent of all others."""
    text = canonical_json([seed, *stream])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
