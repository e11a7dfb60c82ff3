"""CheXpert Plus: which images are there, with which reports and labels (Chambon et al., 2024)?

The folder holds df_chexpert_plus_240401.csv, the labels of CheXbert in {impression,report,findings}_fixed.json (at the
top or in chexbert_labels/), and the images as PNG or DICOM, in any of the places where unpacking leaves them.
They are the images of CheXpert's train and valid under the same ids, so the two archives share patients.
The csv repeats a report for each image of its study, and the copies of some studies differ, since each was anonymised
by itself: one of them is taken for the whole study, the first that has an impression, and the labels are its own.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from datasets_io.nearest import did_you_mean
from datasets_io.schema import NEGATIVE, POSITIVE, UNCERTAIN, ArchiveError, Record
from datasets_io.sources.chexpert import COLUMNS as LABELS
from datasets_io.sources.chexpert import FINDINGS
from datasets_io.sources.parts.chexpert_plus_images import KINDS, image_places
from datasets_io.sources.reading.archive import find_file, or_packed, read_table, require_file, sex_code, whole_number
from datasets_io.sources.reading.cells import NAN, NAN_NOTE, has_nan, keep_one, once, text_of
from datasets_io.sources.reading.reports import one_line
from datasets_io.sources.reading.table_text import open_unpacked

__all__ = ["FINDINGS", "PUBLISHED", "VERSION", "ChexpertPlusOptions", "index_files", "notes", "read_records"]

VERSION = 1
# Rows of the csv, by its column split, and the counts of the archive's page.
PUBLISHED = {"images": 223_462, "studies": 187_711, "patients": 64_725, "train": 223_228, "val": 234}
TABLE = "df_chexpert_plus_240401.csv"
COLUMNS = ("path_to_image", "frontal_lateral", "ap_pa", "section_findings", "section_impression", "age", "sex", "split")
SECTIONS = ("section_findings", "section_impression")
SPLITS = {"train": "train", "valid": "val", "val": "val", "test": "test"}
LABELLED = ("impression", "report", "findings")
MAX_LINE = 1 << 20  # bytes of a line of the labels, which have some 400
EXAMPLE = "train/patient00001/study1/view1_frontal.jpg"
CODES = {1: POSITIVE, 0: NEGATIVE, -1: UNCERTAIN}


@dataclass(frozen=True)
class ChexpertPlusOptions:
    """images: "png", "dcm", "jpg" (those of CheXpert itself), or "auto" for what is there. labels: the part of a
    report that CheXbert read: "impression", "report" or "findings"."""

    images: str = "auto"
    labels: str = "impression"

    def __post_init__(self) -> None:
        for name, allowed in (("images", ("auto", *KINDS)), ("labels", LABELLED)):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}{did_you_mean(value, allowed)}")


class _Chosen(NamedTuple):
    """Of a study: the image whose text and labels stand for all its images, the text, and whether another differs."""

    image: str
    findings: str | None
    impression: str | None
    differs: bool


def index_files(raw: Path, options: ChexpertPlusOptions) -> list[Path]:
    """The csv, and the labels that the options name, where they are there. Raises ArchiveError without the csv."""
    table = require_file(raw, (TABLE,), "CheXpert Plus")
    labels = _labels_file(raw, options)
    return [table, *([labels] if labels else [])]


def _labels_file(raw: Path, options: ChexpertPlusOptions) -> Path | None:
    name = f"{options.labels}_fixed.json"
    return find_file(raw, or_packed((name, f"chexbert_labels/{name}", f"chexbert_labels/chexbert_labels/{name}")))


def notes(raw: Path, options: ChexpertPlusOptions) -> list[str]:
    """Of how many studies the texts differ, that there is no test split, and whether labels are there."""
    chosen = _chosen(require_file(raw, (TABLE,), "CheXpert Plus"))
    differing = sum(study.differs for study in chosen.values())
    texts = [
        f"{differing:,} of {len(chosen):,} studies have images with differing texts: of each, the text and the labels "
        "of the first image that has an impression stand for all its images",
        "CheXpert Plus has no test split; its images are those of CheXpert, under the same ids",
    ]
    if path := _labels_file(raw, options):
        if absent := len(chosen) - len(_labels(path, {study.image for study in chosen.values()})):
            texts.append(f"{path.name}: {absent:,} of {len(chosen):,} studies have no line, so no labels")
    else:
        name = f"{options.labels}_fixed.json"
        packed = find_file(raw, ("chexbert_labels.zip",))
        mend = f"; unpack {packed.relative_to(raw).as_posix()}" if packed else ""
        texts.append(f"{name} is missing: all labels are blank{mend}")
    rows = read_table(require_file(raw, (TABLE,), "CheXpert Plus"), COLUMNS)
    if unclear := [line for line, row in rows if _view(row) == "FRONTAL" and "frontal" not in _word(row)]:
        texts.append(
            f"{len(unclear):,} rows say neither Frontal nor Lateral nor AP nor PA (first in line {unclear[0]}): they "
            "count as frontal"
        )
    if NAN in corrections(raw, options):
        texts.append(NAN_NOTE)
    return texts


def corrections(raw: Path, options: ChexpertPlusOptions) -> tuple[str, ...]:
    """NAN where it touches a text of this csv: it enters the key, see registry.Source."""
    return (NAN,) if once(_has_nan, require_file(raw, (TABLE,), "CheXpert Plus")) else ()


def _has_nan(table: Path) -> bool:
    return any(has_nan(row, SECTIONS) for _, row in read_table(table, SECTIONS))


def read_records(raw: Path, options: ChexpertPlusOptions) -> Iterator[Record]:
    """One Record a row of the csv, in its order.

    Raises ArchiveError for a path that is not of CheXpert's form, an unknown split, a line that is no label, or
    two of an image that differ.
    """
    table, *labels_file = index_files(raw, options)
    chosen = _chosen(table)
    labels = _labels(labels_file[0], {study.image for study in chosen.values()}) if labels_file else {}
    place_of = image_places(raw, options.images)
    for line, row in read_table(table, COLUMNS):
        image = _image_id(row, table, line)
        _, patient, study, _ = image.split("/")
        split = row["split"].strip().lower()
        if split not in SPLITS:
            raise ArchiveError(f"{table} line {line}: split is {row['split']!r}; allowed: train, valid")
        text = chosen[f"{patient}/{study}"]
        yield Record(
            image_id=image,
            study_id=f"{patient}/{study}",  # studies are numbered anew for each patient
            patient_id=patient,
            split=SPLITS[split],
            path=place_of(image),
            labels=labels.get(text.image, (None,) * len(FINDINGS)),
            view_position=_view(row),
            sex=sex_code(row["sex"]),
            age=whole_number(row["age"]),
            report_findings=text.findings,
            report_impression=text.impression,
        )


def _image_id(row: dict[str, str], table: Path, line: int) -> str:
    """train/patient00001/study1/view1_frontal, as CheXpert's own reader names the image."""
    path = PurePosixPath(row["path_to_image"].strip())
    form = len(path.parts) == 4 and path.parts[1].startswith("patient") and path.parts[2].startswith("study")
    if not form or ".." in path.parts:
        raise ArchiveError(f"{table} line {line}: {str(path)!r} is not like {EXAMPLE}{_slashes(str(path))}")
    return str(path.with_suffix(""))


def _slashes(path: str) -> str:
    """What to do about a path as Windows writes it; "" for others."""
    return ", with slashes: write / for each \\ of path_to_image" if "\\" in path else ""


def _view(row: dict[str, str]) -> str:
    """As CheXpert's: AP or PA where the csv says so, else FRONTAL or LATERAL. 17 frontal rows are LL or RL."""
    if "lateral" in _word(row):
        return "LATERAL"
    side = row["ap_pa"].strip().upper()
    return side if side in ("AP", "PA") else "FRONTAL"


def _word(row: dict[str, str]) -> str:
    return row["frontal_lateral"].lower()


def _chosen(table: Path) -> dict[str, _Chosen]:
    """Study -> what is taken of it: of the first image with an impression, else of the first one."""
    chosen: dict[str, _Chosen] = {}
    for line, row in read_table(table, COLUMNS):
        image = _image_id(row, table, line)
        study = "/".join(image.split("/")[1:3])
        findings, impression = (one_line(text_of(row, name)) for name in SECTIONS)
        here = _Chosen(image, findings, impression, False)
        first = chosen.setdefault(study, here)
        differs = first.differs or first[1:3] != here[1:3]
        chosen[study] = (here if here.impression and not first.impression else first)._replace(differs=differs)
    return chosen


def _labels(path: Path, wanted: set[str]) -> dict[str, tuple[int | None, ...]]:
    """Image -> codes, of the images that are wanted, from a JSON object a line."""
    labels: dict[str, tuple[int | None, ...]] = {}
    with open_unpacked(path) as stream:
        number = 0
        while line := stream.readline(MAX_LINE):
            number += 1
            if line.strip():
                image, codes = _labels_of(line, path, number)
                if advice := _slashes(image):
                    raise ArchiveError(f"{path} line {number}: {image!r} is not like {EXAMPLE}{advice}")
                if image in wanted:
                    keep_one(labels, image, codes, f"{path} line {number}")
    if not labels:
        raise ArchiveError(
            f"{path} has a line of none of the {len(wanted):,} images that stand for a study (e.g. {min(wanted)}): was"
            " it cut, or were its paths changed? Unpack chexbert_labels.zip again, or take it away to build without it"
        )
    return labels


def _labels_of(line: bytes, path: Path, number: int) -> tuple[str, tuple[int | None, ...]]:
    try:
        row = json.loads(line)
        values = [row[name] for name in LABELS]
        # pandas writes NaN for a blank where the authors' files have null.
        blank = [value is None or (isinstance(value, float) and math.isnan(value)) for value in values]
        codes = tuple(None if is_blank else CODES[value] for value, is_blank in zip(values, blank, strict=True))
        return str(PurePosixPath(row["path_to_image"]).with_suffix("")), codes
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArchiveError(
            f"{path} line {number} has not path_to_image and 14 labels of 1, 0, -1 or null ({type(error).__name__}):"
            " unpack chexbert_labels.zip again"
        ) from error
