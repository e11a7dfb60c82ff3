"""Which values may a result.json have? Whoever can write to a storage can seal anything: kinds and ranges are checked.

Fields that a later version adds are passed over; results of earlier versions lack what was added since.
"""

from typing import Annotated, Any, Required, cast

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from datasets_io.untrusted import printable

MOST = 1 << 53  # of a count: the largest whole number that every reader of JSON has exactly
Count = Annotated[int, Field(ge=0, le=MOST)]
Share = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Of a folder's own file: no separator, no way out of the folder, and in UTF-8 no more than the 255 bytes of a disk: of
# any characters 63, of ASCII's 255.
FileName = Annotated[
    str, Field(pattern=r"^([^./\\\x00-\x1f][^/\\\x00-\x1f]{0,62}|[!-\-0-\[\]-~][!-.0-\[\]-~]{0,254})$")
]
STRICT = ConfigDict(strict=True, extra="ignore")


@with_config(STRICT)
class Entry(TypedDict):
    """A file of the folder."""

    path: FileName
    sha256: Digest
    bytes: Count


@with_config(STRICT)
class Finding(TypedDict):
    """As FindingAuroc."""

    finding: str
    auroc: Share | None
    n_pos: Count
    n_neg: Count


@with_config(ConfigDict(strict=True, extra="allow"))
class Result(TypedDict, total=False):
    """Of an encoder, a cell or a number without training."""

    files: Required[dict[str, Entry]]
    recipe: str | None
    parents: dict[str, str]
    software: dict[str, str]
    findings: list[Finding]
    macro_auroc: Share | None
    studies: dict[str, list[Finding]]
    also_test: dict[str, list[Finding]]
    image_to_text: list[Share]
    text_to_image: list[Share]
    num_texts: Count
    num_images: Count
    history: list[dict[str, Number | None]]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    core_seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    best_epoch: Count | None
    num_train_images: Count | None
    workers: Count
    device: str | None
    precision: str | None
    stopped_early: bool | None
    subset_sha256: str | None
    findings_without_positives_in_training: list[str]


_RESULT = TypeAdapter(Result)


def checked_result(content: Any) -> dict[str, Any]:
    """The content, without what its findings and files have beyond their fields.

    Raises ValueError that says which value is wrong, and how.
    """
    try:
        return dict(_RESULT.validate_python(content))
    except ValidationError as error:
        raise ValueError(first_problem(error)) from error


def checked_json(data: bytes) -> dict[str, Any] | None:
    """As `checked_result` of what `json.loads` gives, in a third of its time; None where either would refuse it.

    None too where it is not sure that both would give the same, as of text that is no UTF-8.
    """
    try:
        return cast(dict[str, Any], _RESULT.validate_json(data))
    except ValidationError:
        return None


def shown(result: dict[str, Any], data: bytes) -> dict[str, Any]:
    """A checked result whose text is `printable`: it reaches terminals, tables and files. data: its bytes.

    What its files are called stays, as they are looked for under these names.
    """
    # Of JSON in ASCII every character that is not printable is written with a backslash: 100,000 results are searched
    # for one, and hardly any is gone through.
    if data.isascii() and b"\\" not in data and b"\x7f" not in data:
        return result
    # Fields of later versions may be deep, and nothing prints them.
    known = Result.__annotations__.keys() - {"files"}
    return {name: _shown(value) if name in known or isinstance(value, str) else value for name, value in result.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {printable(name): _shown(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_shown(one) for one in value]
    return printable(value) if isinstance(value, str) else value


def first_problem(error: ValidationError) -> str:
    """Which value is wrong, and how; the first of them."""
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"])) or "it"
    value = repr(first.get("input"))
    shown = f" ({value[:40]}{'...' if len(value) > 40 else ''})" if first["type"] != "missing" else ""
    return f"{repr(place[:200])[1:-1]}{shown}: {first['msg']}"  # repr: a name in it may have control characters
