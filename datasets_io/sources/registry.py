"""Which sources there are: an explicit dict. A new source is one file in datasets_io/sources and one entry here."""

from collections.abc import Callable, Iterable
from dataclasses import Field, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from datasets_io.nearest import did_you_mean
from datasets_io.schema import SPLITS, Record
from datasets_io.sources import (
    chexlocalize,
    chexpert,
    csv_images,
    mimic_cxr,
    montgomery,
    nih_boxes,
    nih_cxr14,
    rsna_pneumonia,
    shenzhen,
    siim_pneumothorax,
    vindr_cxr,
)
from datasets_io.sources.regions import Region


class SourceOptions(Protocol):
    """The options of a source: any frozen dataclass whose fields all have defaults."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def _no_notes(raw: Path, options: SourceOptions) -> list[str]:
    return []


@dataclass(frozen=True)
class Source:
    """How one dataset's official archive is read.

    findings: snake_case, in the order of the archive's csv; empty where `findings_in(raw, options)` tells them.
    options: a frozen dataclass with defaults; a field with metadata {"hashed": False} (a path) is no identity.
    index_files: the csv and list files whose sha256 identify the archive, or a folder of texts. read_records: one
    Record for each image that they list, always in the same order; both raise ArchiveError.
    notes: sentences about fallbacks taken. modalities: DICOM modalities accepted, empty for all.
    order: of the records in shards, where a BuildSpec names none: "hash" for a source that encoders are pretrained on.
    read_regions: the boxes and masks that the archive has, in the same order each time; raises ArchiveError.
    shares_ids_with: sources of which some pictures lie in this archive too, under the same image and patient ids;
    shares_pictures_with: those whose pictures do under other ids, so that nothing can tell which. splits: those that
    the archive can have.
    Raise `version` when the records of the same archive change.

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
    read_regions: Callable[[Path, Any], Iterable[Region]] | None = None
    shares_ids_with: tuple[str, ...] = ()
    shares_pictures_with: tuple[str, ...] = ()
    splits: tuple[str, ...] = SPLITS


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
        read_regions=nih_boxes.read_regions,
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
    ),
    "vindr_cxr": Source(
        "vindr_cxr",
        vindr_cxr.VERSION,
        vindr_cxr.FINDINGS,
        False,
        vindr_cxr.VindrOptions,
        vindr_cxr.index_files,
        vindr_cxr.read_records,
        notes=vindr_cxr.notes,
        read_regions=vindr_cxr.read_regions,
    ),
    "rsna_pneumonia": Source(
        "rsna_pneumonia",
        rsna_pneumonia.VERSION,
        rsna_pneumonia.FINDINGS,
        False,
        rsna_pneumonia.RsnaOptions,
        rsna_pneumonia.index_files,
        rsna_pneumonia.read_records,
        notes=rsna_pneumonia.notes,
        read_regions=rsna_pneumonia.read_regions,
        shares_ids_with=("nih_cxr14",),
    ),
    "siim_pneumothorax": Source(
        "siim_pneumothorax",
        siim_pneumothorax.VERSION,
        siim_pneumothorax.FINDINGS,
        False,
        siim_pneumothorax.SiimOptions,
        siim_pneumothorax.index_files,
        siim_pneumothorax.read_records,
        notes=siim_pneumothorax.notes,
        read_regions=siim_pneumothorax.read_regions,
        shares_pictures_with=("nih_cxr14", "rsna_pneumonia"),
    ),
    "shenzhen": Source(
        "shenzhen",
        shenzhen.VERSION,
        shenzhen.FINDINGS,
        False,
        shenzhen.ShenzhenOptions,
        shenzhen.index_files,
        shenzhen.read_records,
        notes=shenzhen.notes,
        read_regions=shenzhen.read_regions,
    ),
    "montgomery": Source(
        "montgomery",
        montgomery.VERSION,
        montgomery.FINDINGS,
        False,
        montgomery.MontgomeryOptions,
        montgomery.index_files,
        montgomery.read_records,
        notes=montgomery.notes,
        read_regions=montgomery.read_regions,
    ),
    "chexlocalize": Source(
        "chexlocalize",
        chexlocalize.VERSION,
        chexlocalize.FINDINGS,
        False,
        chexlocalize.ChexlocalizeOptions,
        chexlocalize.index_files,
        chexlocalize.read_records,
        notes=chexlocalize.notes,
        read_regions=chexlocalize.read_regions,
        shares_ids_with=("chexpert",),
        splits=("val", "test"),
    ),
}


def get_source(name: str) -> Source:
    """The source of this name. Raises ValueError that lists the known names."""
    if name not in SOURCES:
        raise ValueError(
            f"there is no source {name!r}; known: {', '.join(sorted(SOURCES))}{did_you_mean(name, SOURCES)}"
        )
    return SOURCES[name]
