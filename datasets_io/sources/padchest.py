"""PadChest: which images are there, with which labels and Spanish reports (Bustos et al., 2020)?

The folder holds PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv (or .csv.gz) and the PNGs in images/0/ to
images/54/, in 0/ to 54/, or all in one folder, as resized copies have them. Labels are those of padchest_labels.py.
There is no official split: patients are cut 70-10-20 by a hash. A report is Spanish, in lower case, stemmed and
without headings: the whole of it is kept as impression, so that methods which read reports have something to read.
"""

import ast
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_io.nearest import did_you_mean
from datasets_io.schema import ArchiveError, NoImages, Record
from datasets_io.sources.parts.padchest_labels import FINDINGS, codes_of
from datasets_io.sources.reading.archive import read_table, require_file, sex_code
from datasets_io.sources.reading.cells import NAN, NAN_NOTE, has_nan, once, text_of
from datasets_io.sources.reading.elsewhere import folder_of_files
from datasets_io.sources.reading.reports import one_line
from datasets_io.sources.reading.views import view_code
from datasets_io.sources.splits import hash_split

__all__ = ["FINDINGS", "PUBLISHED", "VERSION", "PadchestOptions", "index_files", "notes", "read_records"]

VERSION = 1
TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
# Rows of the csv, and its studies. 21 of the files are missing or broken in the archive itself (mlmed/torchxrayvision,
# issue 137): 11 are not there, 10 are PNGs that no decoder reads to the end.
PUBLISHED = {"images": 160_861, "studies": 109_931, "broken": 21}
COLUMNS = (
    "ImageID",
    "ImageDir",
    "StudyDate_DICOM",
    "StudyID",
    "PatientID",
    "PatientBirth",
    "PatientSex_DICOM",
    "Projection",
    "PhotometricInterpretation_DICOM",
    "Report",
    "MethodLabel",
    "Labels",
)
IDS = ("ImageID", "PatientID", "StudyID")
# The archive's own words of Projection, which people set, and not of ViewPosition_DICOM, which mixes two languages.
VIEWS = {"PA": "PA", "AP": "AP", "AP_horizontal": "AP", "L": "LATERAL"}
RIBS = "COSTAL"  # a projection, of no view that recipes know
MORE_VIEWS = "projections in more words are read"  # a correction, see registry.Source
EXCLUDED = "EXCLUDE"  # a projection: other parts of the body, or no image to look at
FLAT = ("images-224", "images", ".")  # folders of copies that have all images in one
MAX_LABEL_TEXT = 10_000  # characters; the longest list has under a thousand
PICTURE = re.compile(r"[^.].*\.png")
PHYSICIAN = "Physician"


@dataclass(frozen=True)
class PadchestOptions:
    """labels: "all", or "physician": labels that a network gave (73%) are blank. absent: "zeros", or "blank": what a
    label is that the list of an image does not name."""

    labels: str = "all"
    absent: str = "zeros"

    def __post_init__(self) -> None:
        for name, allowed in (("labels", ("all", "physician")), ("absent", ("zeros", "blank"))):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name} is {value!r}; allowed: {', '.join(allowed)}{did_you_mean(value, allowed)}")


def index_files(raw: Path, options: PadchestOptions) -> list[Path]:
    """The csv. Raises ArchiveError where it is missing."""
    return [require_file(raw, (f"{TABLE}.gz", TABLE), "PadChest")]


def notes(raw: Path, options: PadchestOptions) -> list[str]:
    """How patients were cut, what a report is, who gave the labels, and which images have no labels or view."""
    (table,) = index_files(raw, options)
    found: Counter[str] = Counter()
    for line, row in read_table(table, COLUMNS):
        found["images"] += 1
        if view_code(row["Projection"]) is None and row["Projection"].strip() != EXCLUDED:
            found["viewless"] += 1
            found["ribs"] += row["Projection"].strip() == RIBS
            found["first"] = found["first"] or line
        found["physician"] += row["MethodLabel"].strip() == PHYSICIAN
        found["excluded"] += row["Projection"].strip() == EXCLUDED
        found["inverted"] += row["PhotometricInterpretation_DICOM"].strip() == "MONOCHROME1"
        found["unlabelled"] += not text_of(row, "Labels")
    images, others = f"{found['images']:,}", "blank" if options.labels == "physician" else "a network's"
    absent = "0" if options.absent == "zeros" else "blank"
    texts = [
        "PadChest has no official split: patients were cut 70-10-20 into train, val and test by a hash",
        "reports are Spanish, stemmed and without headings: the whole report stands as report_impression",
        f"physicians gave the labels of {found['physician']:,} of {images} images, the others are {others}; a finding "
        f"that a list does not name is {absent}, though a report only names what is there",
    ]
    if found["excluded"] or found["unlabelled"]:
        texts.append(
            f"{found['excluded']:,} images have Projection {EXCLUDED} and so neither labels nor a report; "
            f"{found['unlabelled']:,} have no labels"
        )
    if found["viewless"]:
        texts.append(
            f"{found['viewless']:,} of {images} images have a Projection that names no view (first in line "
            f"{found['first']}; {found['ribs']:,} of them {RIBS}, which shows ribs): they count as frontal where "
            "frontal views are asked for"
        )
    if found["inverted"]:
        texts.append(
            f"{found['inverted']:,} images were MONOCHROME1 as DICOM: whether their PNGs were inverted is not "
            "documented, so compare some with the others"
        )
    if NAN in corrections(raw, options):
        texts.append(NAN_NOTE)
    return texts


def corrections(raw: Path, options: PadchestOptions) -> tuple[str, ...]:
    """What is read otherwise than before in this csv: names that enter its key, see registry.Source."""
    (table,) = index_files(raw, options)
    return once(_corrections, table)


def _corrections(table: Path) -> tuple[str, ...]:
    columns, found = ("Report", *IDS), set[str]()
    for _, row in read_table(table, (*columns, "Projection")):
        if has_nan(row, columns):
            found.add(NAN)
        if view_code(row["Projection"]) != VIEWS.get(row["Projection"].strip()):
            found.add(MORE_VIEWS)
    return tuple(sorted(found))


def read_records(raw: Path, options: PadchestOptions) -> Iterator[Record]:
    """One Record a row of the csv, in its order. Raises ArchiveError for labels that are no list, or for odd ids."""
    (table,) = index_files(raw, options)
    place_of = _places(raw)
    for line, row in read_table(table, COLUMNS):
        image, patient, study = (text_of(row, name) for name in IDS)
        if not (image and patient and study):
            raise ArchiveError(
                f"{table} line {line} has an empty ImageID, PatientID or StudyID, or one that is nan or None: copy the"
                " csv again"
            )
        folder = re.fullmatch(r"(\d{1,4})(?:\.0)?", row["ImageDir"].strip())
        if folder is None:
            raise ArchiveError(f"{table} line {line}: ImageDir is {row['ImageDir']!r}; it must be a number of a folder")
        labels = _label_list(text_of(row, "Labels"), table, line)
        excluded = row["Projection"].strip() == EXCLUDED
        if excluded or (options.labels == "physician" and row["MethodLabel"].strip() != PHYSICIAN):
            labels = None
        yield Record(
            image_id=image,
            study_id=study,
            patient_id=patient,
            split=hash_split(patient, "padchest 70-10-20", (("train", 7), ("val", 1), ("test", 2))),
            path=place_of(folder[1], image),
            labels=codes_of(labels, absent_is_zero=options.absent == "zeros"),
            view_position=view_code(row["Projection"]),
            sex=sex_code(row["PatientSex_DICOM"]),
            age=_age(row["StudyDate_DICOM"], row["PatientBirth"]),
            report_impression=None if excluded else one_line(text_of(row, "Report")),
        )


def _label_list(text: str, table: Path, line: int) -> frozenset[str] | None:
    """The labels of a cell like "['nodule', ' pleural effusion', '']"; None for a blank one."""
    if not text.strip():
        return None
    try:
        found = _literal(text.strip()) if len(text) <= MAX_LABEL_TEXT else None
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(label, str) for label in found):
        shown = text if len(text) <= 60 else f"{text[:60]}..."
        raise ArchiveError(f"{table} line {line}: Labels is {shown!r}, which is no list of texts: copy the csv again")
    return frozenset(name for label in found if (name := " ".join(label.split()).lower()))


def _literal(text: str) -> Any:
    """The value of a text in Python's notation. Raises as ast.literal_eval, which runs nothing that it reads."""
    if "\\" not in text:
        return ast.literal_eval(text)
    with warnings.catch_warnings():  # Python warns of '\d', which is a label here
        warnings.simplefilter("ignore")
        return ast.literal_eval(text)


def _age(study_date: str, birth: str) -> int | None:
    """Whole years from the csv's 20140101 and 1950.0, by the years alone; None where either is no year."""
    years = [re.match(r"\s*((?:19|20)\d\d)", text) for text in (study_date, birth)]
    if years[0] is None or years[1] is None:
        return None
    age = int(years[0][1]) - int(years[1][1])
    return age if 0 <= age <= 120 else None


def _places(raw: Path) -> Callable[[str, str], str]:
    """(ImageDir, ImageID) -> path relative to `raw`. Raises NoImages where no folder of images is unpacked."""
    numbered = {
        path.name: path.relative_to(raw).as_posix()
        for parent in (raw, raw / "images")
        if parent.is_dir()
        for path in parent.iterdir()
        if path.name.isdecimal() and path.is_dir()
    }
    # Folders of numbers may be there empty, beside a copy with all images in one: then that one is meant.
    flat = None
    if not any(_has_pictures(raw / place) for place in numbered.values()):
        flat = next((name for name in FLAT if _has_pictures(raw / name)), None)
    if numbered and flat is None:
        return lambda folder, image: f"{numbered.get(folder, f'images/{folder}')}/{image}"
    if flat is None:
        deeper = folder_of_files(raw, PICTURE)
        packed = sorted(path.name for path in (*raw.glob("*.zip"), *raw.glob("images/*.zip")))
        hint = f"{packed[0]} is still packed: unpack each N.zip into images/N" if packed else "unpack 0.zip to 54.zip"
        if deeper is not None:
            hint = f"PNGs lie in {deeper}/: move what is in that folder to images/"
        raise NoImages(f"{raw} has no folder of PNGs such as images/0: {hint}")
    return lambda folder, image: image if flat == "." else f"{flat}/{image}"


def _has_pictures(folder: Path) -> bool:
    """Whether there is a PNG; folders have thousands, so that no more than the first is asked for."""
    try:
        with os.scandir(folder) as entries:
            return any(PICTURE.fullmatch(entry.name) for entry in entries)
    except OSError:  # it is not there, or may not be listed
        return False
