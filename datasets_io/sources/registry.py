"""Which sources there are: an explicit dict. A new source is one file in datasets_io/sources and one entry here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from datasets_io.nearest import did_you_mean
from datasets_io.schema import SPLITS, Record
from datasets_io.sources import (
    chexlocalize,
    chexpert,
    chexpert_plus,
    csv_images,
    mimic_cxr,
    montgomery,
    nih_cxr14,
    open_i,
    padchest,
    rsna_pneumonia,
    shenzhen,
    siim_pneumothorax,
    vindr_cxr,
)
from datasets_io.sources.parts import nih_boxes
from datasets_io.sources.reading import renamed_pictures
from datasets_io.sources.regions import Region


class SourceOptions(Protocol):
    """The options of a source: any frozen dataclass whose fields all have defaults."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def _no_notes(raw: Path, options: SourceOptions) -> list[str]:
    return []


def _always(raw: Path, options: SourceOptions) -> bool:
    return True


def _no_corrections(raw: Path, options: SourceOptions) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True)
class Source:
    """How one dataset's official archive is read.

    findings: snake_case, in the order of the archive's csv; empty where `findings_in(raw, options)` tells them.
    options: a frozen dataclass with defaults; a field with metadata {"hashed": False} (a path) is no identity.
    index_files: the csv and list files whose sha256 identify the archive, or a folder of texts. read_records: one
    Record for each image that they list, always in the same order; both raise ArchiveError. Where no image is
    there, and records could not be named without, read_records alone raises NoImages: a complete corpus is used then.
    notes: sentences about fallbacks taken. modalities: DICOM modalities accepted, empty for all.
    order: of the records in shards, where a BuildSpec names none: "hash" for a source that encoders are pretrained on.
    published: what was published of the archive, as plain counts (sources/published.py has the keys), which a manifest
    and the doctor compare with. official_split(raw, options): whether the splits are those whose counts these are.
    read_regions: the boxes and masks that the archive has, in the same order each time; raises ArchiveError.
    shares_ids_with: sources of which some pictures lie in this archive too, under the same image and patient ids;
    shares_pictures_with: those whose pictures do under other ids, so that nothing can tell which. splits: those that
    the archive can have.
    how_to_get: where the archive comes from and what becomes of it, for the doctor; "" for one's own images.
    looked_for: kind of file -> (folder, paths below it) of all that is read or looked for besides the index files, such
    as reports; images are the records' own where it does not name them. What is absent enters the key of a build, and
    the manifest has sizes and numbers, so that files which arrive or change later are seen. `boxes` move no key.
    Raise `version` when the records of the same archive change. Where that touches few archives, corrections(raw,
    options) names what is read otherwise than `version` says in this one: the names enter its key, and archives that
    no correction touches keep theirs. A name never means something else later. told_by_images: those of them that the
    source knows by where images lie, and no longer when these were removed. dicom_only: PNG and JPEG are refused,
    whatever their names, since boxes or masks are in pixels of the archive's DICOM files.

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
    published: Mapping[str, int] = field(default_factory=dict)
    official_split: Callable[[Path, Any], bool] = _always
    read_regions: Callable[[Path, Any], Iterable[Region]] | None = None
    shares_ids_with: tuple[str, ...] = ()
    shares_pictures_with: tuple[str, ...] = ()
    splits: tuple[str, ...] = SPLITS
    how_to_get: str = ""
    looked_for: Callable[[Path, Any], Mapping[str, tuple[Path, Sequence[str]]]] | None = None
    corrections: Callable[[Path, Any], tuple[str, ...]] = _no_corrections
    told_by_images: tuple[str, ...] = ()
    dicom_only: bool = False


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
        published=mimic_cxr.PUBLISHED,
        official_split=mimic_cxr.official_split,
        looked_for=mimic_cxr.looked_for,
        corrections=mimic_cxr.corrections,
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
        published=chexpert.PUBLISHED,
        how_to_get="sign its agreement at https://stanfordmlgroup.github.io/competitions/chexpert",
        corrections=chexpert.corrections,
        told_by_images=(chexpert.TEST_IN_BATCHES,),
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
        published=nih_cxr14.PUBLISHED,
        official_split=nih_cxr14.official_split,
        how_to_get="it is open: https://nihcc.app.box.com/v/ChestXray-NIHCC",
        read_regions=nih_boxes.read_regions,
        looked_for=nih_boxes.looked_for,
    ),
    "padchest": Source(
        "padchest",
        padchest.VERSION,
        padchest.FINDINGS,
        True,
        padchest.PadchestOptions,
        padchest.index_files,
        padchest.read_records,
        notes=padchest.notes,
        corrections=padchest.corrections,
        published=padchest.PUBLISHED,
        how_to_get="ask for it at https://bimcv.cipf.es/bimcv-projects/padchest (about 1 TB) and unpack 0.zip to "
        "50.zip and 54.zip beside the csv: for z in *.zip; do unzip -d images/${z%.zip} $z; done",
    ),
    "open_i": Source(
        "open_i",
        open_i.VERSION,
        open_i.FINDINGS,
        True,
        open_i.OpenIOptions,
        open_i.index_files,
        open_i.read_records,
        notes=open_i.notes,
        corrections=open_i.corrections,
        published=open_i.PUBLISHED,
        how_to_get="download NLMCXR_reports.tgz and NLMCXR_png.tgz from https://openi.nlm.nih.gov/faq and unpack both "
        "in one folder, the images in NLMCXR_png/",
    ),
    "chexpert_plus": Source(
        "chexpert_plus",
        chexpert_plus.VERSION,
        chexpert_plus.FINDINGS,
        True,
        chexpert_plus.ChexpertPlusOptions,
        chexpert_plus.index_files,
        chexpert_plus.read_records,
        notes=chexpert_plus.notes,
        corrections=chexpert_plus.corrections,
        order="hash",
        published=chexpert_plus.PUBLISHED,
        shares_ids_with=("chexpert",),
        splits=("train", "val"),
        how_to_get="sign its agreement at https://aimi.stanford.edu/datasets/chexpert-plus, then unpack "
        "PNG/png_chexpert_plus_chunk_*.zip and chexbert_labels.zip beside df_chexpert_plus_240401.csv",
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
    "vindr_cxr": Source(
        "vindr_cxr",
        vindr_cxr.VERSION,
        vindr_cxr.FINDINGS,
        False,
        vindr_cxr.VindrOptions,
        vindr_cxr.index_files,
        vindr_cxr.read_records,
        notes=vindr_cxr.notes,
        published=vindr_cxr.PUBLISHED,
        official_split=vindr_cxr.official_split,
        read_regions=vindr_cxr.read_regions,
        corrections=vindr_cxr.corrections,
        told_by_images=(renamed_pictures.REFUSED,),
        dicom_only=True,
        how_to_get=(
            "physionet.org/content/vindr-cxr/1.0.0 (credentialed): wget -r -N -c -np "
            "https://physionet.org/files/vindr-cxr/1.0.0/"
        ),
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
        published=rsna_pneumonia.PUBLISHED,
        read_regions=rsna_pneumonia.read_regions,
        corrections=rsna_pneumonia.corrections,
        told_by_images=(renamed_pictures.REFUSED,),
        dicom_only=True,
        how_to_get=(
            "kaggle competitions download -c rsna-pneumonia-detection-challenge, unpacked; and the mapping "
            "to NIH's images from the page of the RSNA Pneumonia Detection Challenge 2018 at rsna.org"
        ),
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
        published=siim_pneumothorax.PUBLISHED,
        read_regions=siim_pneumothorax.read_regions,
        corrections=siim_pneumothorax.corrections,
        told_by_images=(renamed_pictures.REFUSED,),
        dicom_only=True,
        how_to_get=(
            "the first download of Kaggle's siim-acr-pneumothorax-segmentation is withdrawn: a copy of "
            "train-rle.csv and of dicom-images-train/ and dicom-images-test/ with the DICOM files"
        ),
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
        published=shenzhen.PUBLISHED,
        read_regions=shenzhen.read_regions,
        corrections=shenzhen.corrections,
        how_to_get=(
            "data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/Shenzhen-Hospital-CXR-Set "
            "(open): wget -r -np of CXR_png/ and ClinicalReadings/"
        ),
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
        published=montgomery.PUBLISHED,
        read_regions=montgomery.read_regions,
        corrections=montgomery.corrections,
        how_to_get=(
            "data.lhncbc.nlm.nih.gov/public/Tuberculosis-Chest-X-ray-Datasets/Montgomery-County-CXR-Set "
            "(open): MontgomerySet"
        ),
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
        published=chexlocalize.PUBLISHED,
        read_regions=chexlocalize.read_regions,
        how_to_get=(
            "the Stanford AIMI page of CheXlocalize, linked from github.com/rajpurkarlab/cheXlocalize "
            "(registration): the folders CheXpert and CheXlocalize beside each other"
        ),
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
