"""Which files of an archive does a build look for, which of them are there, and which key does that give?

Sizes are looked up, no image and no report is opened: of 100,000 files that takes a second on a local disk.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from datasets_io.build.shards import leaves
from datasets_io.build.spec import BuildSpec, _index_digests, _key, corrections_of, options_of
from datasets_io.schema import NoImages, Record
from datasets_io.sources.registry import get_source
from datasets_io.threads import reading_threads

ABSENT = -1
IMAGES = "images"
BESIDE = frozenset(("boxes",))  # kinds that no shard depends on: where they are absent no key moves
FILES = "files"  # the counts of a manifest have what `Inventory.record` gives under this name
READERS = 16  # threads: a look at a file takes a microsecond on a local disk, a millisecond over a network
CHUNK = 512  # files that a thread looks for at a time
T = TypeVar("T")


@dataclass(frozen=True)
class FilesOfKind:
    """The files of one kind that a build looks for. paths: relative to `root`; sizes: bytes of each, or ABSENT.

    A file counts as absent, too, where it is no regular file, or where a link leads out of `root`.
    """

    kind: str
    root: str
    paths: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def absent(self) -> list[str]:
        """Those that are not there."""
        return [path for path, size in zip(self.paths, self.sizes, strict=True) if size == ABSENT]

    @property
    def there(self) -> list[str]:
        """Those that are."""
        return [path for path, size in zip(self.paths, self.sizes, strict=True) if size != ABSENT]

    def record(self) -> dict[str, Any]:
        """What a manifest keeps: numbers of files, bytes, and a digest over every path and size; no name of a file."""
        sizes = [size for size in self.sizes if size != ABSENT]
        lines = (f"{path}\n{size}\n" for path, size in zip(self.paths, self.sizes, strict=True))
        return {
            "there": len(sizes),
            "absent": len(self.sizes) - len(sizes),
            "bytes": sum(sizes),
            "digest": _digest(lines),
        }


@dataclass(frozen=True)
class Inventory:
    """What was looked for in an archive. index: name -> SHA-256 of the csv files and lists, kinds: all other files.

    records: of the archive, where they had to be read to know the images; else None. corrections: of the source, which
    change a record of it. no_images: why no image can even be named, where none is there; there is no such kind then.
    """

    index: dict[str, str]
    kinds: tuple[FilesOfKind, ...]
    records: list[Record] | None
    corrections: tuple[str, ...] = ()
    no_images: NoImages | None = None

    @property
    def has_images(self) -> bool:
        """Whether any image is there."""
        images = self.of_kind(IMAGES)
        return images is not None and bool(images.there)

    @property
    def absent(self) -> str:
        """A digest over all files that are not there, but for those beside the shards; "" where all are."""
        lines = [f"{of.kind}\n{path}\n" for of in self.kinds if of.kind not in BESIDE for path in of.absent]
        return _digest(lines) if lines else ""

    def record(self) -> dict[str, Any]:
        """What a manifest keeps of it, as counts["files"]."""
        return {"absent": self.absent, "kinds": {of.kind: of.record() for of in self.kinds}}

    def of_kind(self, kind: str) -> FilesOfKind | None:
        """The files of a kind; None where the source has none."""
        return next((of for of in self.kinds if of.kind == kind), None)


def take_inventory(spec: BuildSpec, raw: Path, limit: int | None = None) -> Inventory:
    """Look for all files that a build of the archive would read. limit: as of `build`.

    Without images there may still be a complete corpus, so that this is no error yet. Raises ArchiveError where a csv
    file or list is missing or cannot be read.
    """
    raw = Path(raw).resolve()
    source, options = get_source(spec.source), options_of(spec)
    index = _index_digests(spec, raw)
    looked_for = dict(source.looked_for(raw, options)) if source.looked_for else {}
    records, no_images = None, None
    if IMAGES not in looked_for:
        try:
            records = list(source.read_records(raw, options))
            looked_for = {IMAGES: (raw, [record.path for record in records]), **looked_for}
        except NoImages as error:
            no_images = error
    if IMAGES in looked_for:
        root, images = looked_for[IMAGES]
        looked_for[IMAGES] = (root, [path for path in thinned(images, limit) if not leaves(path)])
    kinds = tuple(_look(kind, place, paths) for kind, (place, paths) in looked_for.items())
    return Inventory(index, kinds, records, corrections_of(spec, raw), no_images)


def thinned(values: Sequence[T], limit: int | None) -> Sequence[T]:
    """At most `limit` values, evenly spaced: 3 of 10 are those at 0, 3 and 6."""
    if limit is None or limit >= len(values):
        return values
    return [values[place * len(values) // limit] for place in range(limit)]


def key_of(spec: BuildSpec, inventory: Inventory, limit: int | None = None) -> str:
    """12 hex digits: the spec, the source's version and corrections, the csv files and lists, and what is absent.

    Raises NoImages where no image can be named.
    """
    if inventory.no_images is not None:
        raise inventory.no_images
    return _key(spec, inventory.index, limit, inventory.absent, inventory.corrections)


def data_key(spec: BuildSpec, raw: Path, *, limit: int | None = None) -> str:
    """As key_of, of an archive. Raises ArchiveError as take_inventory."""
    return key_of(spec, take_inventory(spec, raw, limit), limit)


def data_folder(spec: BuildSpec, raw: Path, *, limit: int | None = None) -> str:
    """Where the corpus lies, relative to the storage's root. Raises ArchiveError as take_inventory."""
    return folder_of(spec, data_key(spec, raw, limit=limit))


def folder_of(spec: BuildSpec, key: str) -> str:
    """The folder of a key, relative to the storage's root."""
    return f"data/{spec.source}-{key}"


def _look(kind: str, root: Path, paths: Sequence[str]) -> FilesOfKind:
    """Look for files below a root, by several threads: over a network each look is a wait."""
    place = os.path.realpath(root)
    folders = _Folders(place)
    chunks = [paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)]
    with reading_threads(READERS) as pool:
        sizes = chain.from_iterable(pool.map(folders.sizes, chunks))
        return FilesOfKind(kind, place, tuple(paths), tuple(sizes))


class _Folders:
    """Sizes of files below a folder that no link may leave. Each folder between is looked at once."""

    def __init__(self, root: str):
        self._root = root
        # Several threads may ask for one folder at once: they find the same, so a lock would save nothing.
        self._inside: dict[str, bool] = {"": True}

    def sizes(self, paths: Iterable[str]) -> list[int]:
        return [self._size(path) for path in paths]

    def _size(self, path: str) -> int:
        try:
            state = os.lstat(f"{self._root}/{path}")
            if not self._is_inside(path.rpartition("/")[0]) or stat.S_ISLNK(state.st_mode):
                # Links are rare: they alone are followed part by part.
                if not self._leads_inside(path):
                    return ABSENT
                state = os.stat(f"{self._root}/{path}")
        except (OSError, ValueError):  # not there, or a name that no file can have
            return ABSENT
        return state.st_size if stat.S_ISREG(state.st_mode) else ABSENT

    def _is_inside(self, folder: str) -> bool:
        """Whether no part of a folder's path is a link."""
        known = self._inside.get(folder)
        if known is None:
            known = self._is_inside(folder.rpartition("/")[0])
            known = known and not stat.S_ISLNK(os.lstat(f"{self._root}/{folder}").st_mode)
            self._inside[folder] = known
        return known

    def _leads_inside(self, path: str) -> bool:
        return os.path.realpath(f"{self._root}/{path}").startswith(os.path.join(self._root, ""))


def _digest(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        # A csv of another encoding may give file names that are no UTF-8; they are looked for all the same.
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
