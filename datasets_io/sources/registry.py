"""Which sources there are: an explicit dict. A new source is one file in datasets_io/sources and one entry here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from datasets_io.nearest import did_you_mean
from datasets_io.schema import Record
from datasets_io.sources import chexpert, csv_images, mimic_cxr, nih_boxes, nih_cxr14


class SourceOptions(Protocol):
    """The options of a source: any frozen dataclass whose fields all have defaults."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def _no_notes(raw: Path, options: SourceOptions) -> list[str]:
    return []


def _no_corrections(raw: Path, options: SourceOptions) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Source:
    """How one dataset's official archive is read.

    findings: snake_case, in the order of the archive's csv; empty where `findings_in(raw, options)` tells them.
    options: a frozen dataclass with defaults; a field with metadata {"hashed": False} (a path) is no identity.
    index_files: the csv and list files whose sha256 identify the archive. read_records: one Record for each
    image that the archive's csv lists, always in the same order; both raise ArchiveError.
    notes: sentences about fallbacks taken. modalities: DICOM modalities accepted, empty for all.
    order: of the records in shards, where a BuildSpec names none: "hash" for a source that encoders are pretrained on.
    looked_for: kind of file -> (folder, paths below it) of all that is read or looked for besides the index files, such
    as reports; images are the records' own where it does not name them. What is absent enters the key of a build, and
    the manifest has sizes and numbers, so that files which arrive or change later are seen. `boxes` move no key.
    Raise `version` when the records of the same archive change. Where that touches few archives, corrections(raw,
    options) names what is read otherwise than `version` says in this one: the names enter its key, and archives that
    no correction touches keep theirs. A name never means something else later.

    The second parameter of each function is Any to the type checker: it is an instance of this source's `options`,
    which differs from source to source, and BuildSpec has checked it before any of them is called.
    """

    name: str
    version: int
    findings: tuple[str, ...]
    has_reports: bool
    options: type
    index_files: Callable[[Path, Any], list[Path]]
    read_records: Callable[[Path, Any], Iterable[Record]]
    findings_in: Callable[[Path, Any], tuple[str, ...]] | None = None
    notes: Callable[[Path, Any], list[str]] = _no_notes
    modalities: tuple[str, ...] = ()
    order: str = "archive"
    looked_for: Callable[[Path, Any], Mapping[str, tuple[Path, Sequence[str]]]] | None = None
    corrections: Callable[[Path, Any], tuple[str, ...]] = _no_corrections


SOURCES: dict[str, Source] = {
    "mimic_cxr": Source(
        "mimic_cxr",
        mimic_cxr.VERSION,
        mimic_cxr.FINDINGS,
        True,
        mimic_cxr.MimicOptions,
        mimic_cxr.index_files,
        mimic_cxr.read_records,
        notes=mimic_cxr.notes,
        modalities=("CR", "DX"),
        order="hash",
        looked_for=mimic_cxr.looked_for,
    ),
    "chexpert": Source(
        "chexpert",
        chexpert.VERSION,
        chexpert.FINDINGS,
        False,
        chexpert.ChexpertOptions,
        chexpert.index_files,
        chexpert.read_records,
        notes=chexpert.notes,
        corrections=chexpert.corrections,
    ),
    "nih_cxr14": Source(
        "nih_cxr14",
        nih_cxr14.VERSION,
        nih_cxr14.FINDINGS,
        False,
        nih_cxr14.NihOptions,
        nih_cxr14.index_files,
        nih_cxr14.read_records,
        notes=nih_cxr14.notes,
        looked_for=nih_boxes.looked_for,
    ),
    "csv_images": Source(
        "csv_images",
        csv_images.VERSION,
        (),
        True,
        csv_images.CsvOptions,
        csv_images.index_files,
        csv_images.read_records,
        findings_in=csv_images.findings_in,
        notes=csv_images.notes,
        corrections=csv_images.corrections,
    ),
}


def get_source(name: str) -> Source:
    """The source of this name. Raises ValueError that lists the known names."""
    if name not in SOURCES:
        raise ValueError(
            f"there is no source {name!r}; known: {', '.join(sorted(SOURCES))}{did_you_mean(name, SOURCES)}"
        )
    return SOURCES[name]
