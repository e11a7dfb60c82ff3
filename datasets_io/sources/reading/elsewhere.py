"""Where does an archive's file lie, if not where it was looked for: a folder below, the one above, or still packed?

For errors that say what to do. Names are listed, nothing is opened, and few folders are: an archive has 300,000.
"""

import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path, PurePosixPath

from datasets_io.schema import ArchiveError

Starts = Callable[[Path], bool]  # whether a build would find in a folder all that it begins with

MOST_FOLDERS = 500
MOST_DEPTH = 4  # wget -r of PhysioNet makes physionet.org/files/mimic-cxr-jpg/2.1.0
MOST_ABOVE = 4  # from the images of a patient's study, say
PACKED_TABLE = (".gz", ".xz", ".bz2", ".zip")  # as which tables are read as they are
PACKED = (*PACKED_TABLE, ".tar", ".tgz", ".tbz2", ".txz", ".zst", ".7z", ".rar")
# Tables that are read as they are, or would be under their name: no images are in them.
_TABLES = re.compile(r".*\.(csv|tsv|txt|json)(\.gz|\.xz|\.bz2|\.zip)", re.IGNORECASE)
PICTURES = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp", "")
_KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".dcm": "DICOM file", ".dicom": "DICOM file"}
_KINDS |= {".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"}
# They hold thousands of folders, and no csv. PhysioNet's own archives lie in a folder files/, as MIMIC's patients do.
IMAGE_FOLDERS = re.compile(r"train|valid|test|images.*|p\d+|patient\d+|dicom-images-.*")

FEW_FOLDERS = 100
_NONE = re.compile(r"(?!)")


def _any_folder(folder: Path) -> bool:
    return True


def folders_with(raw: Path, names: Iterable[str], starts: Starts = _any_folder) -> list[Path]:
    """The folders below `raw`, else the next one above it, that have one of some files or folders and `starts` takes.

    A name may be a path, such as `annotations/labels.csv`: then the folder is the one that has annotations/. Below a
    folder that is found none is looked for.
    """
    wanted = tuple(names)
    found: list[Path] = []
    for folder, seen in folders_below(raw, IMAGE_FOLDERS):
        if folder != raw and _has_one(folder, seen, wanted) and _starts(folder, starts):
            found.append(folder)
            seen.clear()
    above = raw.resolve().parents[:MOST_ABOVE]
    return found or [one for one in above for name in wanted if _exists(one / name) and _starts(one, starts)][:1]


def folders_below(raw: Path, closed: re.Pattern[str]) -> Iterator[tuple[Path, dict[str, bool]]]:
    """(folder, what is in it), of `raw` and of folders below it, the nearest first; MOST_FOLDERS at most.

    What is in it: name -> whether it is a folder, and no link to one. None is looked into whose name is `closed`, or
    which the caller takes out of the dictionary.
    """
    waiting, looked = deque([(raw, 0)]), 0
    while waiting and looked < MOST_FOLDERS:
        folder, depth = waiting.popleft()
        looked += 1
        try:
            with os.scandir(folder) as entries:
                seen = dict(sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries))
        except OSError:  # it may not be listed: it is not the one that is meant
            continue
        yield folder, seen
        if depth < MOST_DEPTH:
            inner = (name for name, is_folder in seen.items() if is_folder and not closed.fullmatch(name))
            waiting += [(folder / name, depth + 1) for name in inner]


def folder_of_files(raw: Path, form: re.Pattern[str]) -> str | None:
    """The nearest folder below `raw`, relative to it, with a file whose name is of a form; None where few looks find
    none. The folder of one whose name is a number, as archives number the folders of their images."""
    for folder, seen in islice(folders_below(raw, _NONE), FEW_FOLDERS):
        if any(form.fullmatch(name) and not is_folder for name, is_folder in seen.items()):
            place = folder.relative_to(raw)
            return (place.parent if place.name.isdecimal() else place).as_posix()
    return None


def moved_text(raw: Path, names: Iterable[str], starts: Starts = _any_folder) -> str:
    """`CXR_png/ lies in a/b/: move it from there to the archive's top`; "" where no folder of these names is below."""
    wanted = tuple(names)
    for folder in folders_with(raw, wanted, starts):
        if raw in folder.parents:
            name = next(name for name in wanted if _exists(folder / name))
            return f"{name}/ lies in {folder.relative_to(raw).as_posix()}/: move it from there to the archive's top"
    return ""


def _has_one(folder: Path, seen: Mapping[str, bool], wanted: Iterable[str]) -> bool:
    for name in wanted:
        first, _, rest = name.partition("/")
        if first in seen and (not rest or (seen[first] and _exists(folder / name))):
            return True
    return False


def _exists(path: Path) -> bool:
    """As Path.exists, and False below a folder that may not be looked into: somebody else's beside the one given."""
    try:
        return path.exists()
    except OSError:
        return False


def _starts(folder: Path, starts: Starts) -> bool:
    try:
        return starts(folder)
    except (ArchiveError, OSError):  # it has the files, and they cannot be read
        return False


def packed_in(raw: Path, path: str = "") -> list[str]:
    """The packed files in the nearest folder on the way to a file `path` below `raw`, else at the top of `raw`.

    Relative to `raw`; none where no such folder has one or may be listed. Packed tables, which need no unpacking, are
    passed over.
    """
    for place in dict.fromkeys((*PurePosixPath(path).parents, PurePosixPath())):
        try:
            with os.scandir(raw / place) as entries:
                names = sorted(entry.name for entry in entries if entry.name.lower().endswith(PACKED))
                names = [name for name in names if not _TABLES.fullmatch(name)]
        except OSError:  # it is not there, or may not be listed
            continue
        if names:
            return [(place / name).as_posix() for name in names]
    return []


def packed_text(names: list[str]) -> str:
    """`images_001.tar.gz and 11 more packed files are there: unpack them`; "" where there are none."""
    if not names:
        return ""
    if len(names) == 1:
        return f"{names[0]} is there: unpack it"
    return f"{names[0]} and {len(names) - 1} more packed files are there: unpack them"


def other_spelling(raw: Path, path: str) -> str | None:
    """The path of a picture that is there in the place of one that is not: in other capitals, or with another ending.

    Windows and macOS find a file whatever its capitals, so that whoever wrote the list may not have noticed.
    """
    found, *names = ".", *path.split("/")
    for name in names:
        last = name is names[-1]
        try:
            with os.scandir(raw / found) as entries:
                here = sorted(entry.name for entry in entries if entry.is_file() == last)
        except OSError:
            return None
        stem = os.path.splitext(name.casefold())[0]
        exact = [there for there in here if there == name]
        capitals = [there for there in here if there.casefold() == name.casefold()]
        endings = [there for there in here if last and os.path.splitext(there.casefold()) in _pictures(stem)]
        if not (alike := [*exact, *capitals, *endings]):
            return None
        found = os.path.join(found, alike[0])
    return os.path.normpath(found)


def other_kind(listed: str, found: str) -> str:
    """`a PNG` where the name of a file that was found in the place of a listed one is of another kind; else ""."""
    wanted, kind = (_KINDS.get(os.path.splitext(path.lower())[1]) for path in (listed, found))
    return f"a {kind}" if wanted and kind and wanted != kind else ""


def other_depth(raw: Path, path: str) -> str | None:
    """The path of a file that is there with one folder more or less between than it was listed with; None without."""
    try:
        return next((other for other in _other_depths(raw, path.split("/")) if (raw / other).is_file()), None)
    except OSError:  # a folder is not there, or a name is longer than any file's
        return None


def _other_depths(raw: Path, parts: list[str]) -> Iterator[str]:
    yield from ("/".join((*parts[:place], *parts[place + 1 :])) for place in range(len(parts) - 1))
    for place in range(len(parts)):
        before, rest = parts[:place], parts[place:]
        with os.scandir(raw.joinpath(*before)) as entries:
            inner = (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            yield from ("/".join((*before, name, *rest)) for name in islice(inner, FEW_FOLDERS))


def _pictures(stem: str) -> set[tuple[str, str]]:
    return {(stem, ending) for ending in PICTURES}


def hint(raw: Path, names: Iterable[str], else_: str, starts: Starts = _any_folder) -> str:
    """What to do where `raw` has none of some files: give the folder that has, unpack what is there, or else_.

    starts: as folders_with. No folder is named from which the next error would send the user back.
    """
    if meant := meant_folder(raw, names, starts):
        return meant
    packed = packed_text(packed_in(raw))
    return f": {packed}, and give the folder that it makes" if packed else f": {else_}"


def meant_folder(raw: Path, names: Iterable[str], starts: Starts = _any_folder) -> str:
    """`; did you mean --raw DIR?`, the end of a sentence; "" where no folder has any of the files."""
    below = folders_with(raw, names, starts)
    # One of the four folders of CheXpert v1.0: the folder above has them all.
    roots = sorted({folder.parent if "batch " in folder.name else folder for folder in below} - {raw})
    return f"; did you mean --raw {' or --raw '.join(map(str, roots[:3]))}?" if roots else ""
