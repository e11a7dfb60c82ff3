"""Which values may a manifest.json have? Whoever can write to a storage can write anything: kinds are checked.

Only what is there: which counts a command needs, it says itself. Fields that a later version adds are passed over.
"""

import json
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from datasets_io.storage.stored_result import MOST, Count, Digest, first_problem
from datasets_io.untrusted import printable

MOST_BYTES = 255  # of a name on a disk
DEEPEST = 32  # of lists and objects in each other; what is written has seven
STRICT = ConfigDict(strict=True, extra="allow")
PASSED_OVER = ConfigDict(strict=True, extra="ignore")


def _within(path: str) -> str:
    if any(part in ("", ".", "..") or len(part.encode()) > MOST_BYTES for part in path.split("/")):
        raise ValueError("a shard lies below the folder of its corpus")
    return _as_printed(path)


def _as_printed(text: str) -> str:
    if printable(text) != text:
        raise ValueError("a name has characters that cannot be shown")
    return text


Name = Annotated[str, AfterValidator(_as_printed)]
# No separator of another system, and printable.
Below = Annotated[str, Field(pattern=r"^[^\\\x00-\x1f]{1,1000}$"), AfterValidator(_within)]


@with_config(PASSED_OVER)
class ShardValues(TypedDict):
    """As Shard."""

    path: Below
    split: Literal["train", "val", "test"]
    rows: Count
    row_groups: list[Count]
    sha256: Digest


@with_config(STRICT)
class SpecValues(TypedDict, total=False):
    """What is read of a build's specification."""

    source: str
    image_size: int
    shape: str
    options: dict[str, Any]


@with_config(STRICT)
class SplitCounts(TypedDict, total=False):
    """Of a split."""

    images: Count
    studies: Count
    patients: Count
    with_impression: Count
    without_impression: Count


@with_config(STRICT)
class PixelCounts(TypedDict, total=False):
    """Of the pictures."""

    rules: Annotated[int, Field(ge=1, le=MOST)]


@with_config(STRICT)
class Counts(TypedDict, total=False):
    """What commands count with; what else the parts of a build have written is theirs."""

    records: Count
    images: Count
    rejects: Count
    splits: dict[Name, SplitCounts]
    findings: dict[Name, dict[Name, Count]]
    pixels: PixelCounts
    reports: dict[str, Any]
    leaks: dict[str, Any]
    batches: dict[str, Any]
    files: dict[str, Any]
    regions: dict[str, Any]


@with_config(PASSED_OVER)
class ManifestValues(TypedDict):
    """As Manifest."""

    source: Name
    source_version: Count
    key: Name
    spec: SpecValues
    findings: list[Name]
    has_reports: bool
    image_size: Annotated[int, Field(ge=1, le=1 << 16)]
    index_files: dict[str, str]
    counts: Counts
    shards: list[ShardValues]
    reject_reasons: dict[str, Count]
    notes: list[str]
    fingerprint: str


_MANIFEST = TypeAdapter(ManifestValues)


def parsed(text: str | bytes) -> Any:
    """As json.loads. Raises ValueError, too, for numbers that JSON does not have and for what is too deep."""
    try:
        value = json.loads(text, parse_constant=_no_number)
    except RecursionError as error:
        raise ValueError(f"lists within lists, deeper than {DEEPEST}") from error
    level, depth = [value], 0
    while level:
        if depth > DEEPEST:
            raise ValueError(f"lists within lists, deeper than {DEEPEST}")
        inner = (part.values() if isinstance(part, dict) else part for part in level if isinstance(part, (dict, list)))
        level, depth = [one for part in inner for one in part], depth + 1
    return value


def checked_values(value: Any) -> dict[str, Any]:
    """The fields that this version knows, of a manifest and of its shards.

    Raises ValueError that says which value is of another kind or out of range, and how.
    """
    try:
        return dict(_MANIFEST.validate_python(value))
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
