"""How does somebody's csv write the paths of its images, if not relative to the archive's folder with slashes?

Absolute paths, URLs, paths that begin with the archive's own folder, names in another Unicode form or encoded as in a
URL: where no path that was looked at is there as it is written, the one way is taken in which most of them are. All
lead below the archive's folder, whatever they are.
"""

import os
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

LOOKED_AT = 32  # paths, evenly spaced, so that no disk is asked for each of a million
_WAYS: dict[str, Callable[[str], str]] = {
    "": str,
    "URL-encoded": unquote,
    "in a Unicode form whose composed one the files have": lambda text: unicodedata.normalize("NFC", text),
    "in a Unicode form whose decomposed one the files have": lambda text: unicodedata.normalize("NFD", text),
}


@dataclass(frozen=True)
class PathForm:
    """How a csv writes its paths. prefix: what stands before the part below the archive's folder; way: one of _WAYS."""

    prefix: str = ""
    way: str = ""

    def below(self, path: str) -> str:
        """The path below the archive's folder; one without the prefix stays as it is, for the build to refuse."""
        return _WAYS[self.way](path).removeprefix(self.prefix)

    def notes(self) -> list[str]:
        """What was taken for what; the prefix itself may be private."""
        said = []
        if self.prefix:
            folders = self.prefix.count("/")
            said.append(f"paths begin with {folders} folders that are none below --raw: what follows them is taken")
        if self.way:
            said.append(f"paths are {self.way}: what they mean is taken")
        return said


def with_slashes(path: str) -> str:
    """A path as it is written on Windows -> with slashes. No archive has a backslash in a file's name."""
    return path.replace("\\", "/")


def path_form(raw: Path, paths: Sequence[str]) -> PathForm:
    """The form in which most of some paths, given with slashes, are files of the archive; as written where any is."""
    if not paths or _there(raw, paths):
        return PathForm()
    best, most = PathForm(), 0
    for way, read in _WAYS.items():
        texts = [read(path) for path in paths]
        for prefix in _prefixes(texts[0]):
            found = _there(raw, [text.removeprefix(prefix) for text in texts if text.startswith(prefix)])
            if found > most:
                best, most = PathForm(prefix, way), found
    return best


def _prefixes(path: str) -> list[str]:
    """'', 'a/' and 'a/b/' of 'a/b/c.png'."""
    return [""] + [path[: place + 1] for place, letter in enumerate(path) if letter == "/"]


def _there(raw: Path, paths: Sequence[str]) -> int:
    """How many of some paths a build could take: they stay below the folder, and a file is there."""
    root = os.path.realpath(raw)
    inside = os.path.join(root, "")
    safe = (path for path in paths if not path.startswith("/") and ".." not in path.split("/") and "\0" not in path)
    places = [os.path.join(root, path) for path in safe]
    return sum(os.path.isfile(place) and os.path.realpath(place).startswith(inside) for place in places)


def unnamed_among(raw: Path, named: Collection[str], most_folders: int) -> tuple[int, int]:
    """(files that are not among the named ones, but end as one of those does; folders that were looked into).

    Looked into are the folders of the named files, and where these are several what else lies below the folder that
    has them all, as that of another patient. named: paths below `raw`. Nothing outside of it is looked into.
    """
    root = os.path.realpath(raw)
    # By real paths: a folder may be reached by a link, and its files are then there under two names. Of those beyond
    # the bound no disk is asked.
    names = sorted({os.path.dirname(path) for path in named})[:most_folders]
    places = {name: os.path.realpath(os.path.join(root, name)) for name in names}
    inside = sorted({place for place in places.values() if place == root or place.startswith(os.path.join(root, ""))})
    split = (os.path.split(path) for path in named)
    real = {os.path.join(places[folder], name) for folder, name in split if folder in places}
    endings = {os.path.splitext(path)[1].lower() for path in named}
    looked = count = 0
    for place in islice(_folders(inside), most_folders):
        looked += 1
        with suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                hidden = entry.name.startswith(".")  # as macOS and Windows leave them
                if not hidden and entry.path not in real and os.path.splitext(entry.name)[1].lower() in endings:
                    count += entry.is_file()
    return count, looked


def _folders(places: Sequence[str]) -> Iterator[str]:
    """Some folders; then all others below the one that has them all, if they are several, but for hidden ones."""
    yield from places
    if len(given := set(places)) > 1:
        for place, folders, _ in os.walk(os.path.commonpath(places)):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if place not in given:
                yield place
