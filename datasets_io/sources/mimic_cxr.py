"""MIMIC-CXR: which images are there, with which labels and reports (Johnson et al., 2019)?

Two trees are read. MIMIC-CXR (DICOM): files/p10/p10000032/s50414267/<dicom_id>.dcm, the report beside the study's
folder as s50414267.txt, and cxr-record-list.csv.gz. MIMIC-CXR-JPG: the same with .jpg and without reports, and
mimic-cxr-2.0.0-{split,metadata,chexpert}.csv.gz, which are used with either tree where they are there.
Raw codes 1, 0, -1 and blank are kept, and all views.
"""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datasets_io.fingerprint import added
from datasets_io.nearest import did_you_mean
from datasets_io.schema import ArchiveError, NoImages, Record, known_view
from datasets_io.sources.parts.mimic_images import Ids, found_suffix, image_path, some_there, what_to_do
from datasets_io.sources.parts.mimic_reports import read_reports, reports_note, reports_root, study_folder
from datasets_io.sources.parts.mimic_test_labels import (
    TEST_LABELS,
    check_studies,
    read_test_labels,
    test_label_notes,
    test_labels_file,
)
from datasets_io.sources.reading.archive import (
    LABEL_CODES,
    find_file,
    label_code,
    read_header,
    read_table,
    require_folder,
    snake_case,
)
from datasets_io.sources.reading.cells import keep_one, once, text_of
from datasets_io.sources.reading.elsewhere import hint
from datasets_io.sources.splits import hash_split

VERSION = 1
DOUBLE = "two rows for one image or study that differ are refused"  # a correction, see registry.Source
COLUMNS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
)
FINDINGS = tuple(snake_case(column) for column in COLUMNS)
LISTS = ("cxr-record-list", "mimic-cxr-2.0.0-split", "mimic-cxr-2.0.0-metadata")  # tables that name the images
IMAGES = ("auto", "dcm", "jpg")
SPLITS = {"train": "train", "validate": "val", "test": "test"}
FALLBACK_SPLIT = (("train", 98), ("val", 1), ("test", 1))  # about the official shares
# Of 2.0.0 and 2.1.0: the images of the PhysioNet page, and rows of mimic-cxr-2.0.0-split.csv.gz. Studies are 227,835
# there and 227,827 with MIMIC-CXR-JPG, so they are not compared.
PUBLISHED = {"images": 377_110, "train": 368_960, "val": 2_991, "test": 5_159}


@dataclass(frozen=True)
class MimicOptions:
    """images: "dcm", "jpg", or "auto" for that of which more is there. reports_dir: the folder that holds files/ with
    the .txt reports, where it is not the archive itself (the JPG tree has none). test_labels: of the test split,
    "chexpert" for those of the labeller, or "radiologists" for those that came with 2.1.0 for 687 studies; the others
    are blank."""

    images: str = "auto"
    reports_dir: str | None = field(default=None, metadata={"hashed": False})
    test_labels: str = added("chexpert")

    def __post_init__(self) -> None:
        if self.test_labels not in TEST_LABELS:
            meant = did_you_mean(self.test_labels, TEST_LABELS)
            raise ValueError(f"test_labels is {self.test_labels!r}; allowed: {', '.join(TEST_LABELS)}{meant}")
        if self.images not in IMAGES:
            meant = did_you_mean(self.images, IMAGES)
            raise ValueError(f"images is {self.images!r}; allowed: {', '.join(IMAGES)}{meant}")


def _table(raw: Path, kind: str) -> Path | None:
    stem = "cxr-record-list" if kind == "records" else f"mimic-cxr-2.0.0-{kind}"
    return find_file(raw, (f"{stem}.csv.gz", f"{stem}.csv"))


def index_files(raw: Path, options: MimicOptions) -> list[Path]:
    """Those of the four csv files that are there. Raises ArchiveError where none of them lists the images."""
    require_folder(raw, "MIMIC-CXR")
    found = [path for kind in ("records", "split", "metadata", "chexpert") if (path := _table(raw, kind))]
    _image_list(raw)  # raises; chexpert alone has studies, no images
    return found + ([test_labels_file(raw)] if options.test_labels == "radiologists" else [])


def official_split(raw: Path, options: MimicOptions) -> bool:
    """Whether the split csv is there."""
    return _table(raw, "split") is not None


def notes(raw: Path, options: MimicOptions) -> list[str]:
    """Which of the csv files that ship with MIMIC-CXR-JPG are missing, and what was done instead."""
    instead = {
        "split": "patients were cut 98-1-1 into train, val and test by a hash; these are not the official splits",
        "metadata": "view positions are those of the DICOM headers, and blank for JPG files",
        "chexpert": "all labels are blank",
    }
    missing = [
        f"mimic-cxr-2.0.0-{kind}.csv.gz is missing: {text}" for kind, text in instead.items() if not _table(raw, kind)
    ]
    rows = _listed_images(_image_list(raw))
    studies = _studies(rows)
    gaps = _gap_notes(raw, {dicom for _, _, dicom in rows}, {study for _, study in studies})
    if options.test_labels == "radiologists":
        gaps += test_label_notes(raw, COLUMNS, {study for _, study in studies})
    return missing + gaps + reports_note(raw, options.reports_dir, studies)


def _gap_notes(raw: Path, images: set[str], studies: set[str]) -> list[str]:
    """How many images or studies have no row in a csv that is there: what it would say of them is blank."""
    found = []
    for kind, key, wanted, what in (
        ("metadata", "dicom_id", images, "images have no row, so no view position but a DICOM header's"),
        ("chexpert", "study_id", studies, "studies have no row, so no labels"),
    ):
        if path := _table(raw, kind):
            listed = {row[key].strip() for _, row in read_table(path, (key,))}
            if absent := len(wanted - listed):
                found.append(f"{path.name}: {absent:,} of {len(wanted):,} {what}")
    views = _column(raw, "metadata", "ViewPosition")
    if unknown := sum(name in images and known_view(word) is None for name, word in views.items()):
        found.append(
            f"{unknown:,} of {len(images):,} images have a ViewPosition that is blank or not known: theirs is that of a"
            " DICOM header, and JPG files count as frontal"
        )
    return found


def looked_for(raw: Path, options: MimicOptions) -> dict[str, tuple[Path, list[str]]]:
    """The images and reports that read_records names, without a look into any of them."""
    rows = _listed_images(_image_list(raw))
    # Where no image is there, either tree is as absent as the other; read_records says it.
    suffix = (found_suffix(raw, rows) if options.images == "auto" else options.images) or "dcm"
    studies = _studies(rows)
    return {
        "images": (raw, [image_path(ids, suffix) for ids in rows]),
        "reports": (
            reports_root(raw, options.reports_dir, studies),
            [f"{study_folder(study)}.txt" for study in studies],
        ),
    }


def corrections(raw: Path, options: MimicOptions) -> tuple[str, ...]:
    """DOUBLE where a csv has two rows that differ for an image or study: what was computed of the last is not used."""
    tables = [path for kind in ("split", "metadata", "chexpert") if (path := _table(raw, kind))]
    return (DOUBLE,) if any(once(_has_double, table) for table in tables) else ()


def _has_double(table: Path) -> bool:
    """Whether two rows of one image, or of one study in the csv of labels, say different things."""
    key = "study_id" if "chexpert" in table.name else "dicom_id"
    columns = [name for name in ("split", "ViewPosition", *COLUMNS) if name in read_header(table)]
    found: dict[str, tuple[int | str | None, ...]] = {}
    for _, row in read_table(table, (key,)):
        cells = tuple(LABEL_CODES.get(cell, cell) for cell in (row[name].strip() for name in columns))
        if found.setdefault(row[key].strip(), cells) != cells:
            return True
    return False


def read_records(raw: Path, options: MimicOptions) -> Iterator[Record]:
    """One Record an image, in the order of the record list (else of the split or metadata csv).

    Raises ArchiveError where ids are not MIMIC-CXR's, csv files do not fit each other or have two rows for an
    image or study that differ, no image is there, or some
    reports are missing and some not.
    """
    rows = _listed_images(_image_list(raw))
    splits = _column(raw, "split", "split")
    views = _column(raw, "metadata", "ViewPosition")
    labels = _labels(raw)
    of_test = labels if options.test_labels == "chexpert" else read_test_labels(raw, COLUMNS)
    studies = _studies(rows)
    if options.test_labels == "radiologists":
        check_studies(raw, of_test, {study for _, study in studies})
    _check_ids("metadata", "dicom_id", raw, views, {dicom for _, _, dicom in rows})
    _check_ids("chexpert", "study_id", raw, labels, {study for _, study in studies})
    reports = read_reports(reports_root(raw, options.reports_dir, studies), studies)
    suffix = _suffix(raw, options, rows)
    for subject, study, dicom in rows:
        findings, impression = reports[subject, study]
        split = _split(raw, splits, dicom, subject)
        yield Record(
            image_id=dicom,
            study_id=study,
            patient_id=subject,
            split=split,
            path=image_path((subject, study, dicom), suffix),
            labels=(of_test if split == "test" else labels).get(study, (None,) * len(FINDINGS)),
            view_position=known_view(views.get(dicom)) if views else None,
            report_findings=findings,
            report_impression=impression,
        )


def _image_list(raw: Path) -> Path:
    for kind in ("records", "split", "metadata"):
        if path := _table(raw, kind):
            return path
    # A common slip: the folder above, as wget -r or unzip made it, is given as --raw.
    names = [f"{stem}.csv{end}" for stem in LISTS for end in (".gz", "")]
    meant = hint(raw, names, "they are at the top of the archive")
    raise ArchiveError(f"{raw} has neither cxr-record-list.csv.gz nor mimic-cxr-2.0.0-split.csv.gz{meant}")


def _listed_images(path: Path) -> list[Ids]:
    """(subject, study, dicom) ids of every row; they become paths, so nothing but ids may stand there."""
    rows = []
    for line, row in read_table(path, ("subject_id", "study_id", "dicom_id")):
        ids = (row["subject_id"].strip(), row["study_id"].strip(), text_of(row, "dicom_id"))
        if not (ids[0].isdecimal() and ids[1].isdecimal() and re.fullmatch(r"[A-Za-z0-9_-]+", ids[2])):
            raise ArchiveError(f"{path} line {line} has ids {', '.join(map(repr, ids))}: not those of MIMIC-CXR")
        rows.append(ids)
    if not rows:
        raise ArchiveError(f"{path} lists no image: copy it again")
    return rows


def _studies(rows: Sequence[Ids]) -> list[tuple[str, str]]:
    """(subject, study) of every study once, in the order of the images, of which it may have several."""
    return list(dict.fromkeys((subject, study) for subject, study, _ in rows))


def _column(raw: Path, kind: str, column: str) -> dict[str, str]:
    """dicom_id -> one column of a csv; empty where the csv is missing."""
    path, found = _table(raw, kind), dict[str, str]()
    if path is not None:
        for line, row in read_table(path, ("dicom_id", column)):
            keep_one(found, row["dicom_id"].strip(), row[column].strip(), f"{path} line {line}")
    return found


def _check_ids(kind: str, key: str, raw: Path, found: Collection[str], wanted: set[str]) -> None:
    """Raises ArchiveError where a csv that is there has a row of none of the images or studies: all would be blank."""
    if (path := _table(raw, kind)) is not None and wanted.isdisjoint(found):
        raise ArchiveError(
            f"{path} has no row of any of the {len(wanted):,} that {_image_list(raw).name} lists (e.g. {key}"
            f" {min(wanted)}): was it cut, or were its ids changed? Copy it again, or take it away to build without it"
        )


def _labels(raw: Path) -> dict[str, tuple[int | None, ...]]:
    path, found = _table(raw, "chexpert"), dict[str, tuple[int | None, ...]]()
    if path is not None:
        for line, row in read_table(path, ("study_id", *COLUMNS)):
            codes = tuple(label_code(row[column], path, line, column) for column in COLUMNS)
            keep_one(found, row["study_id"].strip(), codes, f"{path} line {line}")
    return found


def _split(raw: Path, splits: dict[str, str], dicom: str, subject: str) -> str:
    if not splits:
        return hash_split(subject, "mimic_cxr 98-1-1", FALLBACK_SPLIT)
    if splits.get(dicom) not in SPLITS:
        raise ArchiveError(
            f"image {dicom} has split {splits.get(dicom)!r} in {_table(raw, 'split')}; allowed: {', '.join(SPLITS)};"
            " are the csv files of one version?"
        )
    return SPLITS[splits[dicom]]


def _suffix(raw: Path, options: MimicOptions, rows: list[Ids]) -> str:
    """As found_suffix. Raises NoImages where no image is there, or none of the kind that was named."""
    suffix = found_suffix(raw, rows) if options.images == "auto" else options.images
    if suffix is None:
        listed = f"none of the {len(rows)} images that {_image_list(raw).name} lists is below {raw}"
        raise NoImages(f"{listed} (e.g. {image_path(rows[0], 'dcm')} or .jpg): {what_to_do(raw, rows)}")
    there = some_there(raw, rows)
    if not there[suffix] and (other := next((kind for kind, count in there.items() if count), None)):
        raise NoImages(
            f"none of the images that were looked for below {raw} is {suffix} (e.g. {image_path(rows[0], suffix)}), and"
            f" {there[other]} are {other}: build with --option images={other}, or copy the {suffix} files there"
        )
    return suffix
