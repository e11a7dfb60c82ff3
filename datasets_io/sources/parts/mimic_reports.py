"""Where do the reports of MIMIC-CXR lie, and what is said where they do not?"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from datasets_io.schema import ArchiveError
from datasets_io.sources.parts.mimic_misplaced import misplaced_text
from datasets_io.sources.reading.elsewhere import packed_in, packed_text
from datasets_io.sources.reading.reports import STUDIES_WITHOUT_SECTIONS, sections_of
from datasets_io.threads import reading_threads
from datasets_io.untrusted import open_regular, printable

Study = tuple[str, str]  # subject and study id
READERS = 16  # reports are small files, often on a network disk
MAX_MISSING_REPORTS = 0.01
MAX_REPORT_BYTES = 1 << 20
LOOKED_FOR = 50  # studies, evenly spaced: where none of them has a report below a folder, that has no reports
NO_REPORT = "no report is there"  # how the note begins
TABLE_ENDINGS = (".csv", ".csv.gz", ".json", ".jsonl", ".txt.gz")


def study_folder(study: Study) -> str:
    """`files/p10/p10000032/s50414267`; the report lies beside it, with .txt at its end."""
    subject, number = study
    return f"files/p{subject[:2]}/p{subject}/s{number}"


def reports_root(raw: Path, reports_dir: str | None, studies: Sequence[Study]) -> Path:
    """The folder that holds files/ with the reports: the one that was named, the archive, or one folder below it.

    The archive where no report is found. Raises ArchiveError where a folder that was named has none, or several have.
    """
    names = _some_reports(studies)
    top = Path(reports_dir) if reports_dir else raw
    if (top / "files").is_dir() and (reports_dir or _has_any(top, names)):
        return top
    if reports_dir and top.name == "files" and top.is_dir() and _has_any(top.parent, names):
        return top.parent
    found = [folder for folder in _folders_below(top) if _has_any(folder, names)]
    if len(found) > 1:
        raise ArchiveError(
            f"reports lie in {' and in '.join(folder.name for folder in found)} below {top}: say which are meant with"
            f" --option reports_dir={found[0]}, or take the others away"
        )
    if found:
        return found[0]
    if reports_dir:
        todo = misplaced_text(top, names) or packed_text(packed_in(top)) or "unpack mimic-cxr-reports.zip there"
        raise ArchiveError(f"reports_dir {top} has no folder files/: {todo}")
    return raw


def _folders_below(top: Path) -> list[Path]:
    """Folders that may hold files/. Links are left out: nothing outside of the archive is read."""
    try:
        with os.scandir(top) as entries:
            return [top / name for name in sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))]
    except OSError:
        return []


def _has_any(folder: Path, names: Sequence[str]) -> bool:
    return (folder / "files").is_dir() and any((folder / name).is_file() for name in names)


def _some_reports(studies: Sequence[Study]) -> list[str]:
    """Where the reports of some studies would lie, evenly spaced: all of up to LOOKED_FOR."""
    step = max(1, len(studies) // LOOKED_FOR)
    return [f"{study_folder(study)}.txt" for study in studies[::step]]


def reports_note(raw: Path, reports_dir: str | None, studies: Sequence[Study]) -> list[str]:
    """A sentence where no report was found, with what lies there instead, or where they lie in a folder below."""
    root, names = reports_root(raw, reports_dir, studies), _some_reports(studies)
    if _has_any(root, names):
        return [f"reports are those of {root.name}/files"] if not reports_dir and root != raw else []
    sentence = f"{NO_REPORT} (files/p10/p10000032/s50414267.txt): every impression is blank"
    return [printable(f"{sentence}; {_instead(raw, root, names)}")]


def _instead(raw: Path, root: Path, names: Sequence[str]) -> str:
    """What lies there in the place of reports, and what to do."""
    if text := misplaced_text(root, names):
        return text
    if packed := [name for name in packed_in(raw) if "report" in name.lower()]:
        return f"{packed_text(packed)}, then build again"
    if tables := [name for name in _names(raw) if _is_report_table(name)]:
        return f"{tables[0]} is there, which is not read: unpack mimic-cxr-reports.zip and build again"
    return "they come with MIMIC-CXR, as mimic-cxr-reports.zip: unpack it, or name its folder reports_dir"


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def _is_report_table(name: str) -> bool:
    """mimic_cxr_sectioned.csv of the archive's section parser, or reports that somebody gathered in one file."""
    lower = name.lower()
    return lower.endswith(TABLE_ENDINGS) and ("report" in lower or "section" in lower)


def read_reports(root: Path, studies: Sequence[Study]) -> dict[Study, tuple[str | None, str | None]]:
    """Study -> (findings, impression). All reports may be absent (the JPG tree), or next to none.

    Raises ArchiveError where some are missing and some not, many have no text, or one cannot be read or is a link out
    of the folder.
    """
    inside = f"{os.path.realpath(root)}{os.sep}"
    with reading_threads(READERS) as pool:
        texts = list(pool.map(lambda study: _read_report(root / f"{study_folder(study)}.txt", inside), studies))
    missing = [study for study, text in zip(studies, texts, strict=True) if text is None]
    # More than 1% but not all: a copy that was interrupted. None at all is the JPG tree, a choice.
    if MAX_MISSING_REPORTS * len(studies) < len(missing) < len(studies):
        raise ArchiveError(
            f"{len(missing)} of {len(studies)} reports are missing below {root} (e.g. {study_folder(missing[0])}.txt):"
            " finish unpacking mimic-cxr-reports.zip, or take all reports away to build without them"
        )
    _check_text(root, {study: text for study, text in zip(studies, texts, strict=True) if text is not None})
    return {
        study: (None, None) if text is None or study[1] in STUDIES_WITHOUT_SECTIONS else sections_of(text)
        for study, text in zip(studies, texts, strict=True)
    }


def _check_text(root: Path, texts: Mapping[Study, str]) -> None:
    """Raises ArchiveError where more reports are there without a text than may be missing.

    Zero bytes are what a copy that stopped leaves, or UTF-16, in which no heading would be found.
    """
    bad = [study for study, text in texts.items() if not text.strip() or "\0" in text]
    if len(bad) > MAX_MISSING_REPORTS * len(texts):
        raise ArchiveError(
            f"{len(bad)} of {len(texts)} reports below {root} are empty or have zero bytes (e.g."
            f" {study_folder(bad[0])}.txt), so they are no text as it is in mimic-cxr-reports.zip: unpack it again"
        )


def _read_report(path: Path, inside: str) -> str | None:
    """The text, or None where there is no report. `inside`: the real folder that no link may leave."""
    if not os.path.realpath(path).startswith(inside):
        raise ArchiveError(f"report {path} is a link out of {inside}: nothing outside of the archive is read")
    try:
        with open_regular(path) as stream:
            return stream.read(MAX_REPORT_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArchiveError(f"report {path} cannot be read ({error.strerror}): copy it again") from error
