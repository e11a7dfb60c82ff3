"""What do the reports of Open-I say, from the XML files or from the csv files of the copy on Kaggle?"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets_io.schema import ArchiveError
from datasets_io.sources.parts.safe_xml import read_xml
from datasets_io.sources.reading.archive import find_file, read_table, require_folder
from datasets_io.sources.reading.elsewhere import meant_folder
from datasets_io.sources.reading.reports import one_line

REPORT_FOLDERS = ("ecgen-radiology", "NLMCXR_reports/ecgen-radiology")
KAGGLE_REPORTS, PROJECTIONS = "indiana_reports.csv", "indiana_projections.csv"


@dataclass(frozen=True)
class Report:
    """A report's number, the ids of its images, its MeSH terms as they are written, and its sections."""

    number: str
    images: tuple[str, ...]
    terms: tuple[str, ...]
    findings: str | None
    impression: str | None


def report_files(raw: Path) -> list[Path]:
    """The folder of the XML files, or the csv of the copy on Kaggle; and the csv of projections, where it is there.

    Raises ArchiveError where neither is.
    """
    require_folder(raw, "Open-I")
    folder = next((raw / name for name in REPORT_FOLDERS if (raw / name).is_dir()), None)
    reports = folder or find_file(raw, (KAGGLE_REPORTS,))
    if reports is None:
        packed = find_file(raw, ("NLMCXR_reports.tgz",))
        what_to_do = meant_folder(raw, (*REPORT_FOLDERS, KAGGLE_REPORTS), has_reports)
        if packed:
            what_to_do = f": unpack it: tar xzf {shlex.quote(str(packed))} -C {shlex.quote(str(raw))}"
        what_to_do = what_to_do or ": unpack NLMCXR_reports.tgz there"
        raise ArchiveError(f"{raw} has neither ecgen-radiology/ nor {KAGGLE_REPORTS}{what_to_do}")
    projections = find_file(raw, (PROJECTIONS,))
    if projections is None and folder is None:
        raise ArchiveError(f"{raw} has {KAGGLE_REPORTS} and not {PROJECTIONS}, which names the images: copy it there")
    return [reports, *([projections] if projections else [])]


def has_reports(raw: Path) -> bool:
    """Whether report_files finds all that it needs. Raises ArchiveError as find_file."""
    folder = any((raw / name).is_dir() for name in REPORT_FOLDERS)
    return folder or all(find_file(raw, (name,)) for name in (KAGGLE_REPORTS, PROJECTIONS))


def read_reports(raw: Path) -> Iterator[Report]:
    """All reports, by their number. Raises ArchiveError for one that is no whole XML, or of which a name is odd."""
    source, *_ = report_files(raw)
    if source.is_dir():
        paths = [path for path in source.iterdir() if re.fullmatch(r"\d{1,6}\.xml", path.name)]
        if not paths:
            raise ArchiveError(f"{source} has no report such as 1.xml: unpack NLMCXR_reports.tgz again")
        for path in sorted(paths, key=lambda path: int(path.stem)):
            yield _xml_report(path, raw)
        return
    images: dict[str, list[str]] = {}
    for number, image in _projections(raw):
        images.setdefault(number, []).append(image)
    for line, row in read_table(source, ("uid", "MeSH", "findings", "impression")):
        number = row["uid"].strip()
        if not number.isdecimal():
            raise ArchiveError(f"{source} line {line}: uid is {row['uid']!r}; it must be the number of a report")
        terms = tuple(row["MeSH"].split(";"))
        yield Report(number, tuple(images.get(number, ())), terms, *map(one_line, (row["findings"], row["impression"])))


def _xml_report(path: Path, raw: Path) -> Report:
    root = read_xml(path, raw)
    sections = {node.get("Label", ""): one_line("".join(node.itertext())) for node in root.iter("AbstractText")}
    images = [_image_part(node.get("id", ""), path.stem, path) for node in root.iter("parentImage")]
    terms = tuple(one_line(node.text) or "" for node in root.iter("major"))
    return Report(path.stem, tuple(dict.fromkeys(images)), terms, sections.get("FINDINGS"), sections.get("IMPRESSION"))


def _image_part(image: str, number: str, where: object) -> str:
    """IM-0000-1001 of CXR7_IM-0000-1001, of CXR7_7_IM-0000-1001, and of 7_IM-0000-1001.dcm.png, for report 7."""
    match = re.fullmatch(rf"(?:CXR{number}_)?(?:{number}_)?(IM-[0-9-]+)(?:\.dcm)?(?:\.png)?", image.strip())
    if match is None:
        raise ArchiveError(f"{where}: image {image!r} is not like CXR{number}_IM-0000-1001: copy it again")
    return match[1]


def _projections(raw: Path) -> Iterator[tuple[str, str]]:
    for (number, image), _ in _projection_rows(raw):
        yield number, image


def views_in(raw: Path) -> dict[tuple[str, str], str]:
    """(report, image) -> FRONTAL or LATERAL; empty where the csv of projections is not there."""
    words = {"frontal": "FRONTAL", "lateral": "LATERAL"}
    return {key: words[word] for key, word in _projection_rows(raw) if word in words}


def _projection_rows(raw: Path) -> Iterator[tuple[tuple[str, str], str]]:
    if (table := find_file(raw, (PROJECTIONS,))) is not None:
        for line, row in read_table(table, ("uid", "filename", "projection")):
            number = row["uid"].strip()
            if not number.isdecimal():
                raise ArchiveError(f"{table} line {line}: uid is {row['uid']!r}; it must be the number of a report")
            part = _image_part(row["filename"], number, f"{table} line {line}")
            yield (number, part), row["projection"].strip().lower()
