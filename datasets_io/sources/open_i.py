"""Open-I, the chest radiographs of Indiana University: which images are there, with which labels and reports?

(Demner-Fushman et al., 2016.) The folder holds the reports in ecgen-radiology/<n>.xml, and the images as PNG
(CXR7_IM-0000-1001.png, flat) or as DICOM (7/7_IM-0000-1001.dcm), at its top or in NLMCXR_png/ or NLMCXR_dcm/. Or it is
the copy on Kaggle: indiana_reports.csv, indiana_projections.csv and images/images_normalized/.
An image is one that a report names as parentImage, its findings those headings of the report's MeSH terms which
`HEADINGS` lists. Neither patients nor a split are told of: a report is taken for a patient, and these are cut
70-10-20 by a hash.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets_io.nearest import did_you_mean
from datasets_io.schema import NEGATIVE, POSITIVE, Record
from datasets_io.sources.parts.open_i_images import image_places
from datasets_io.sources.parts.open_i_reports import (
    PROJECTIONS,
    corrections_of,
    read_reports,
    report_files,
    views_in,
    without_report,
)
from datasets_io.sources.reading.cells import NAN, NAN_NOTE
from datasets_io.sources.splits import hash_split

VERSION = 1
# Counted over all XML files: 3,955 reports, of which 104 name no image.
PUBLISHED = {"images": 7_470, "studies": 3_851}
REPORTS = 3_955
# Finding -> headings of MeSH terms, as a whole and without regard to case: "Cystic Fibrosis" is no fibrosis,
# "Subcutaneous Emphysema" no emphysema, "Pericardial Effusion" no pleural effusion.
HEADINGS: dict[str, tuple[str, ...]] = {
    "atelectasis": ("Pulmonary Atelectasis",),
    "cardiomegaly": ("Cardiomegaly",),
    "consolidation": ("Consolidation",),
    "edema": ("Pulmonary Edema",),
    "emphysema": ("Emphysema", "Pulmonary Emphysema", "Bullous Emphysema"),
    "fibrosis": ("Pulmonary Fibrosis",),
    "fracture": ("Fractures, Bone",),
    "granuloma": ("Granuloma", "Calcified Granuloma"),
    "hernia": ("Hernia, Hiatal", "Hernia, Diaphragmatic"),
    "infiltration": ("Infiltrate",),
    "lung_opacity": ("Opacity",),
    "mass": ("Mass",),
    "nodule": ("Nodule",),
    "pleural_effusion": ("Pleural Effusion", "Hemothorax", "Hydropneumothorax", "Hemopneumothorax"),
    "pleural_thickening": ("Thickening/pleura",),  # the one heading that a qualifier makes a finding
    "pneumonia": ("Pneumonia",),
    "pneumothorax": ("Pneumothorax", "Hydropneumothorax", "Hemopneumothorax"),
}
FINDINGS = tuple(HEADINGS)
# An opacity, a nodule or a mass is named by one heading wherever it is; these places are not in the lung.
OUTSIDE = frozenset(("breast", "ribs", "adipose tissue", "thoracic vertebrae"))
LUNG_HEADINGS = frozenset(("opacity", "nodule", "mass"))
# Reports that nobody indexed, and those of a picture with too little to see: what they do not name is not known.
SILENT = frozenset(("no indexing", "technical quality of image unsatisfactory"))


@dataclass(frozen=True)
class OpenIOptions:
    """images: "png", "dcm", or "auto" for what is there. absent: "zeros", or "blank": what a finding is that the MeSH
    terms of a report do not name."""

    images: str = "auto"
    absent: str = "zeros"

    def __post_init__(self) -> None:
        for name, allowed in (("images", ("auto", "png", "dcm")), ("absent", ("zeros", "blank"))):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}{did_you_mean(value, allowed)}")


def index_files(raw: Path, options: OpenIOptions) -> list[Path]:
    """The folder of the XML files, or the csv of the copy on Kaggle; and the csv of projections, where it is there.

    Raises ArchiveError where neither is.
    """
    return report_files(raw)


def notes(raw: Path, options: OpenIOptions) -> list[str]:
    """How reports were cut, which have no image, what an absent finding is, and whether views are known."""
    reports, views, unreported = list(read_reports(raw)), views_in(raw), without_report(raw)
    bare = sum(not report.images for report in reports)
    absent = "0" if options.absent == "zeros" else "blank"
    texts = [
        "Open-I tells of no patients and no split: each report is taken for a patient, and these were cut 70-10-20 by "
        "a hash",
        f"{len(reports) - len(unreported):,} of {REPORTS:,} reports are there, {bare:,} of them without an image; a "
        f"finding that the MeSH terms of a report do not name is {absent}",
    ]
    images = {(report.number, image) for report in reports for image in report.images}
    if views and (unknown := len(images - views.keys())):
        texts.append(
            f"{PROJECTIONS} says of {unknown:,} of {len(images):,} images neither Frontal nor Lateral: they count as "
            "frontal, but for what DICOM headers say"
        )
    if not views:
        texts.append(
            f"{PROJECTIONS} is missing: views are those of DICOM headers, many of them blank or wrong, and unknown for "
            "PNGs, so laterals count as frontal; put it beside the reports"
        )
    if unreported:
        texts.append(
            f"{sum(map(len, unreported.values())):,} images of {PROJECTIONS} have no report: they have neither labels "
            "nor a text"
        )
    if NAN in corrections(raw, options):
        texts.append(NAN_NOTE)
    return texts


def corrections(raw: Path, options: OpenIOptions) -> tuple[str, ...]:
    """What is read otherwise than before in this archive: names that enter its key, see registry.Source."""
    return corrections_of(raw)


def read_records(raw: Path, options: OpenIOptions) -> Iterator[Record]:
    """One Record an image, by the number of the report and in its order.

    Raises ArchiveError for a report that is no whole XML, has a document type, or names an image of another report.
    """
    report_files(raw)  # raises: of another folder, that it has no images would say too little
    views, reports = views_in(raw), list(read_reports(raw))
    place_of = image_places(raw, options.images)
    for report in reports:
        labels = _labels(report.terms, options)
        for image in report.images:
            yield Record(
                image_id=f"CXR{report.number}_{image}",
                study_id=report.number,
                patient_id=report.number,
                split=hash_split(report.number, "open_i 70-10-20", (("train", 7), ("val", 1), ("test", 2))),
                path=place_of(report.number, image),
                labels=labels,
                view_position=views.get((report.number, image)),
                report_findings=report.findings,
                report_impression=report.impression,
            )


def _labels(terms: tuple[str, ...], options: OpenIOptions) -> tuple[int | None, ...]:
    headings: set[str] = set()
    for term in terms:
        heading, *rest = [part.strip().lower() for part in term.split("/")]
        if not (heading in LUNG_HEADINGS and OUTSIDE.intersection(rest)):
            # With its first qualifier too, for a heading that says something with it alone.
            headings |= {heading, "/".join((heading, *rest[:1]))}
    known = headings - {""}
    absent = NEGATIVE if options.absent == "zeros" and known and not known & SILENT else None
    return tuple(POSITIVE if any(heading.lower() in known for heading in of) else absent for of in HEADINGS.values())
