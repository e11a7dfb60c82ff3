"""What identifies a frozen specification: canonical JSON and its SHA-256."""

import dataclasses
import hashlib
import json
import math
from typing import Any


def plain(value: Any) -> Any:
    """Turn a frozen dataclass, tuple, dict or scalar into what JSON can hold.

    A dataclass carries its class name, so two classes with equal fields differ. A field with metadata
    {"hashed": False} says where something lies, not what it is, and is left out.
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
        hashed = [f.name for f in dataclasses.fields(value) if f.metadata.get("hashed", True)]
        fields = {name: plain(getattr(value, name)) for name in hashed}
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
