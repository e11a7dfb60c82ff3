"""What do the bytes of a built corpus depend on, besides the files that are there?"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_io.build.shards import FORMAT, ORDERS
from datasets_io.fingerprint import added, fingerprint, hashed_fields
from datasets_io.pixels.grey import VERSION as PIXELS_VERSION
from datasets_io.pixels.grey import PixelSpec
from datasets_io.sources.reading.archive import is_stray
from datasets_io.sources.registry import SourceOptions, get_source
from datasets_io.untrusted import open_regular, printable


@dataclass(frozen=True)
class BuildSpec:
    """What the bytes of a corpus depend on, besides the archive. options: the source's; None for its defaults.

    image_size: side of the square pictures in pixels. shape: `square`, or `aspect` for pictures that keep their own
    ratio, of which image_size is the shorter side; smaller ones are not enlarged. order: `hash` of the image ids, for
    what encoders are pretrained on, or that of the `archive`; None for the source's own. Raises ValueError for an
    unknown source, a size, intensity, order or shape that is not allowed, or the options of another source.
    """

    source: str
    image_size: int = 224
    intensity: str = "minmax"
    options: SourceOptions | None = None
    order: str | None = added(None)
    shape: str = added("square")

    def __post_init__(self) -> None:
        kind = get_source(self.source).options
        if self.options is not None and type(self.options) is not kind:
            raise ValueError(f"options of {self.source} are {self.options!r}; they must be a {kind.__name__}")
        if self.order is not None and self.order not in ORDERS:
            raise ValueError(f"order is {self.order!r}; allowed: {', '.join(ORDERS)}, or None for the source's own")
        PixelSpec(self.image_size, self.intensity, shape=self.shape)  # made for its checks


def options_of(spec: BuildSpec) -> SourceOptions:
    """The options of the spec's source: those given, else its defaults."""
    if spec.options is not None:
        return spec.options
    defaults: SourceOptions = get_source(spec.source).options()
    return defaults


def order_of(spec: BuildSpec) -> str:
    """One of ORDERS: the one that was given, else the source's."""
    return spec.order or get_source(spec.source).order


def identity_of(spec: BuildSpec, limit: int | None = None) -> dict[str, Any]:
    """The spec as plain JSON, without paths."""
    # Options with metadata {"hashed": False} are paths: their content is in the digests of the index files.
    options = options_of(spec)
    own = {name: getattr(spec, name) for name in hashed_fields(spec) if name != "order"}
    # The order that it comes to, whoever chose it. Builds from before there was a choice have the archive's, unnamed.
    if order_of(spec) != "archive":
        own["order"] = order_of(spec)
    return {**own, "options": {name: getattr(options, name) for name in hashed_fields(options)}, "limit": limit}


def corrections_of(spec: BuildSpec, raw: Path) -> tuple[str, ...]:
    """Names of the corrections of the source that change a record of this archive. Raises ArchiveError."""
    return get_source(spec.source).corrections(Path(raw).resolve(), options_of(spec))


def _key(
    spec: BuildSpec, digests: dict[str, str], limit: int | None, absent: str = "", corrections: tuple[str, ...] = ()
) -> str:
    versions = [get_source(spec.source).version, PIXELS_VERSION, FORMAT]
    content = {"spec": identity_of(spec, limit), "versions": versions, "index": digests}
    # Of a whole archive nothing is absent, and an archive that no correction touches has the records that it had: their
    # keys are what they were before either was asked.
    said = {"absent": absent, "corrections": sorted(corrections)}
    return fingerprint({**content, **{name: value for name, value in said.items() if value}})


def _index_digests(spec: BuildSpec, raw: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files that identify the archive. Raises ArchiveError where one is missing."""
    raw = Path(raw).resolve()
    digests = {}
    for path in get_source(spec.source).index_files(raw, options_of(spec)):
        # A list outside of the archive goes by its name alone: a key must not depend on where somebody keeps it.
        inside = path.resolve().is_relative_to(raw)
        name = printable(path.resolve().relative_to(raw).as_posix() if inside else f"lists/{path.name}")
        digests[name] = _sha256(path)
    return digests


def _sha256(path: Path) -> str:
    """Of a file; of a folder, whose files are an archive's list together, over their names and digests.

    What a file manager leaves in a folder that somebody looks at (.DS_Store, ._names, Thumbs.db) is no part of it.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and not is_stray(file.name))
        lines = "".join(f"{file.name}\n{_sha256(file)}\n" for file in files)
        return hashlib.sha256(lines.encode(errors="surrogateescape")).hexdigest()
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
