"""What do the reports of Open-I say, from the XML files or from the csv files of the copy on Kaggle?"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets_io.schema import ArchiveError
from datasets_io.sources.parts.safe_xml import read_xml
from datasets_io.sources.reading.archive import find_file, or_packed, read_table, require_folder
from datasets_io.sources.reading.cells import NAN, has_nan, keep_one, once, text_of
from datasets_io.sources.reading.elsewhere import meant_folder
from datasets_io.sources.reading.reports import one_line

REPORT_FOLDERS = ("ecgen-radiology", "NLMCXR_reports/ecgen-radiology")
KAGGLE_REPORTS, PROJECTIONS = "indiana_reports.csv", "indiana_projections.csv"
UNREPORTED = "images without a report are kept"  # a correction, see registry.Source
MAX_WITHOUT_REPORT = 0.01  # of the images; more of them are a csv that was cut
KAGGLE_TEXTS = ("MeSH", "findings", "impression")


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
        what_to_do = meant_folder(raw, (*REPORT_FOLDERS, *or_packed((KAGGLE_REPORTS,))), has_reports)
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
    """All reports, by their number; then one without any text for those of whose images the csv says nothing.

    Raises ArchiveError for one that is no whole XML, or of which a name is odd, and where many images have none.
    """
    source, *_ = report_files(raw)
    if source.is_dir():
        paths = [path for path in source.iterdir() if re.fullmatch(r"\d{1,6}\.xml", path.name)]
        if not paths:
            raise ArchiveError(f"{source} has no report such as 1.xml: unpack NLMCXR_reports.tgz again")
        for path in sorted(paths, key=lambda path: int(path.stem)):
            yield _xml_report(path, raw)
        return
    images = _images_of_reports(raw)
    unreported = without_report(raw)
    lost, listed = sum(map(len, unreported.values())), sum(map(len, images.values()))
    if lost > MAX_WITHOUT_REPORT * listed:
        raise ArchiveError(
            f"{lost:,} of {listed:,} images of {PROJECTIONS} have no report in {source} (e.g. of uid"
            f" {next(iter(unreported))}): was it cut? Copy it again, or take their rows out of {PROJECTIONS}"
        )
    for line, row in read_table(source, ("uid", *KAGGLE_TEXTS)):
        number = _number(row, source, line)
        terms, *sections = (text_of(row, name) for name in KAGGLE_TEXTS)
        yield Report(number, tuple(images.get(number, ())), tuple(terms.split(";")), *map(one_line, sections))
    for number, parts in unreported.items():
        yield Report(number, tuple(parts), (), None, None)


def without_report(raw: Path) -> dict[str, list[str]]:
    """Number -> its images, of those that the copy on Kaggle has no report of; XML files name their own images."""
    source, *_ = report_files(raw)
    if source.is_dir():
        return {}
    known = {_number(row, source, line) for line, row in read_table(source, ("uid",))}
    return {number: parts for number, parts in _images_of_reports(raw).items() if number not in known}


def _images_of_reports(raw: Path) -> dict[str, list[str]]:
    images: dict[str, list[str]] = {}
    for _, (number, image), _ in _projection_rows(raw):
        images.setdefault(number, []).append(image)
    return images


def _number(row: dict[str, str], table: Path, line: int) -> str:
    number = row["uid"].strip()
    if not number.isdecimal():
        raise ArchiveError(f"{table} line {line}: uid is {row['uid']!r}; it must be the number of a report")
    return number


def corrections_of(raw: Path) -> tuple[str, ...]:
    """What is read otherwise than before of the copy on Kaggle: names that enter its key, see registry.Source."""
    source, *_ = report_files(raw)
    found = [NAN] if not source.is_dir() and once(_has_nan, source) else []
    return (*found, *([UNREPORTED] if without_report(raw) else []))


def _has_nan(table: Path) -> bool:
    return any(has_nan(row, KAGGLE_TEXTS) for _, row in read_table(table, KAGGLE_TEXTS))


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


def views_in(raw: Path) -> dict[tuple[str, str], str]:
    """(report, image) -> FRONTAL or LATERAL; empty where the csv of projections is not there.

    Raises ArchiveError where two rows of an image say different things.
    """
    words, found = {"frontal": "FRONTAL", "lateral": "LATERAL"}, dict[tuple[str, str], str]()
    for where, key, word in _projection_rows(raw):
        if word in words:
            keep_one(found, key, words[word], where)
    return found


def _projection_rows(raw: Path) -> Iterator[tuple[str, tuple[str, str], str]]:
    """(csv and line, (report, image), projection in small letters) of each row."""
    if (table := find_file(raw, (PROJECTIONS,))) is not None:
        for line, row in read_table(table, ("uid", "filename", "projection")):
            number = _number(row, table, line)
            where = f"{table} line {line}"
            yield where, (number, _image_part(row["filename"], number, where)), row["projection"].strip().lower()
