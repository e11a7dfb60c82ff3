"""Where do reports of MIMIC-CXR lie that were unpacked to where they are not read, or with other endings?

A few are looked for in a few folders: most of those who have no reports have the JPG tree, and chose so.
"""

import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath

from datasets_io.sources.reading.elsewhere import folders_below

FEW_REPORTS, FEW_FOLDERS = 5, 100
# Folders of patients and studies: an archive has 300,000 of them, and the lists say what they are called.
TREE = re.compile(r"p\d+|s\d+")


def misplaced_text(top: Path, names: Sequence[str]) -> str:
    """Where a report is and what to do, for a sentence; "" where none is found.

    top: where reports were looked for. names: the paths that reports have below it, files/p10/p10000032/s50414267.txt.
    """
    few = names[:: max(1, len(names) // FEW_REPORTS)][:FEW_REPORTS]
    for name, folder, path in _beside_their_studies(top, few):
        return f"{folder}{path} is there, which is not read: {_must_lie(name)}"
    for name, folder, path in _in_other_folders(top, few):
        if path == name:
            return f"reports lie in {folder}/files, deeper than is looked: move {folder} up, or name it reports_dir"
        return f"{(PurePosixPath(folder) / path).as_posix()} is there, which is not read: {_must_lie(name)}"
    return ""


def _must_lie(name: str) -> str:
    return f"reports must lie beside the folders of their studies, as {name}; move or rename them"


def _beside_their_studies(top: Path, names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(name, folder, file) of reports in the folder of the patient or the study, whatever their capitals."""
    for name in names:
        patient, _, report = name.rpartition("/")
        for folder in (patient, f"{patient}/{report.removesuffix('.txt')}"):
            try:
                with os.scandir(top / folder) as entries:
                    here = sorted(entry.name for entry in entries if entry.is_file())
            except OSError:
                continue
            yield from ((name, f"{folder}/", there) for there in here if there.lower() == report)


def _in_other_folders(top: Path, names: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(name, folder, path below it) of reports in a tree of their own, with files/ or without, or all in one folder."""
    for folder, seen in islice(folders_below(top, TREE), FEW_FOLDERS):
        for name in names:
            _, _, below = name.partition("/")
            _, _, report = name.rpartition("/")
            trees = [path for path in (name, below) if path.partition("/")[0] in seen]
            inside = [f"{path.removesuffix('.txt')}/{report}" for path in trees]
            for path in (*trees, *inside, report):
                for spelt in (path, f"{path[:-4]}.TXT"):
                    if (folder / spelt).is_file():
                        yield name, folder.relative_to(top).as_posix(), spelt
