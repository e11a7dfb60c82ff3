"""How bytes reach a storage URI (local path, NFS, s3://, gs://) so that a reader never sees a partial file."""

import errno
import os
import stat
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyarrow.fs as pafs

from datasets_io.storage.create_once import Listed, s3_objects
from datasets_io.storage.disk import DISK, Data, WrongKind, _pieces
from datasets_io.storage.local_listing import TEMPORARY, Entry, entries_below, names_below
from datasets_io.storage.orphans import orphans_below, orphans_of
from datasets_io.storage.patience import patiently
from datasets_io.storage.processes import started, this_machine
from datasets_io.storage.secrets import remember_secrets, without_secrets
from datasets_io.storage.stored_sizes import DiskSizes, ListedSizes, StoredSizes
from datasets_io.storage.take_name import take_name

LENT = 60  # characters that a file's name lends to its temporary one, which has at most 255 bytes
IN_THE_WAY = "a folder stands where a file belongs"
ATTEMPTS = 3  # of a write whose unfinished file is removed by somebody else


def below(uri: str, path: str) -> str:
    """The URI of a path below a storage URI; options after `?` stay at the end."""
    base, mark, options = uri.partition("?")
    return f"{base.rstrip('/')}/{path}{mark}{options}"


class ReadFiles:
    """The calls that read one storage root: read, exists, is_file, is_blocked, folders, list, sizes, entries.

    None could change anything.

    Paths are relative to the root, with forward slashes. Calls are repeated while the storage is unreachable (see
    `patiently`), then raise its OSError.
    """

    def __init__(self, uri: str):
        remember_secrets(uri)
        self.uri = uri  # for other processes: it may hold a password, and is never shown
        self.shown = without_secrets(uri)
        if "://" in uri:
            self.fs, self.root = _file_system(uri)
        else:
            self.fs, self.root = pafs.LocalFileSystem(), str(Path(uri).expanduser().resolve())
        self.root = self.root.rstrip("/")
        self.given = self.root if "://" in uri else uri  # where links are not followed yet
        self.is_local = isinstance(self.fs, pafs.LocalFileSystem)

    def full(self, path: str) -> str:
        """The path as `self.fs` and error messages name it. Raises ValueError for one that is not below the root."""
        if path.startswith("/") or (".." in path and ".." in path.split("/")):
            raise ValueError(f"{path!r} is not below the storage {self.shown}: nothing is kept outside of it")
        return f"{self.root}/{path}" if path else self.root

    def read(self, path: str) -> bytes:
        """All bytes of a file. Raises FileNotFoundError."""
        return patiently(lambda: self._read(self.full(path)))

    def exists(self, path: str) -> bool:
        """Whether a file or folder is there; on an object store, also whether any object lies below the path."""
        return self._kind(path) != pafs.FileType.NotFound

    def is_file(self, path: str) -> bool:
        """Whether a file is there, and no folder, pipe or broken link."""
        if self.is_local:
            return self._kind(path) == pafs.FileType.File
        try:
            # One request. To ask for the kind takes a second one where there is no object: for a folder of that name.
            patiently(lambda: self.fs.open_input_file(self.full(path)).close())
            return True
        except FileNotFoundError:
            return False

    def is_blocked(self, path: str, by_no_folder: bool = False) -> bool:
        """Whether something else than a file, or a folder, stands under its name; an object store has no such thing."""
        full, belongs = self.full(path), os.path.isdir if by_no_folder else os.path.isfile
        return self.is_local and os.path.lexists(full) and not belongs(full)

    def folders(self, prefix: str) -> list[str]:
        """Folders directly in a folder, relative to the root, sorted, whatever lies below them."""
        selector = pafs.FileSelector(self.full(prefix), allow_not_found=True)
        start = len(self.root) + 1
        found = patiently(lambda: self.fs.get_file_info(selector))
        return sorted(info.path[start:] for info in found if info.type == pafs.FileType.Directory)

    def list(self, prefix: str = "", ending: str | tuple[str, ...] = "") -> list[str]:
        """Every file below a folder whose path ends so, relative to the root, sorted; temporary files left out."""
        if not self.is_local:
            return sorted(path for path in self.sizes(prefix) if path.endswith(ending))
        # Chosen as they are read: of a study's files most callers want one in four.
        return patiently(
            lambda: [path for path in names_below(self.root, prefix) if path.endswith(ending) and TEMPORARY not in path]
        )

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Path -> bytes of every file below a folder, as `list`: an object store answers a thousand at a time."""
        return {found.path: found.bytes for found in self.entries(prefix)}

    def entries(self, prefix: str = "") -> tuple[Entry, ...]:
        """Every file below a folder with its size and time; temporary files left out, links to folders not followed."""
        if self.is_local:
            return patiently(lambda: tuple(entries_below(self.root, prefix)))
        selector = pafs.FileSelector(self.full(prefix), recursive=True, allow_not_found=True)
        start = len(self.root) + 1
        found = patiently(lambda: self.fs.get_file_info(selector))
        files = (info for info in found if info.type == pafs.FileType.File and TEMPORARY not in info.path)
        return tuple(
            Entry(info.path[start:], info.size, info.mtime_ns and info.mtime_ns / 1e9)  # not every one tells a time
            for info in files
        )

    def sizes_of_folders(self, kinds: Iterable[str]) -> StoredSizes:
        """What the folders that lie directly in these have in them: by one listing of each, on a disk when asked."""
        if self.is_local:
            return DiskSizes(self.root, kinds)
        sizes: dict[str, int] = {}
        etags: dict[str, str] = {}
        for kind in kinds:
            found = self._listed_with_etags(kind)
            if found is None:
                sizes |= self.sizes(kind)
            else:
                sizes |= {path: one.size for path, one in found.items()}
                etags |= {path: one.etag for path, one in found.items()}
        return ListedSizes(sizes, etags)

    def _listed_with_etags(self, prefix: str) -> dict[str, Listed] | None:
        """Every file below a folder; None where there is no client that tells ETags."""
        objects = s3_objects(self.uri)
        if objects is None:
            return None
        folder, start = f"{self.full(prefix).removeprefix(f'{objects.bucket}/')}/", len(self.root) - len(objects.bucket)
        found = patiently(lambda: objects.listed(folder))
        return found and {key[start:]: one for key, one in found.items() if key[-1] != "/" and TEMPORARY not in key}

    # -- one attempt ---------------------------------------------------------------------------------

    def _kind(self, path: str) -> pafs.FileType:
        return patiently(lambda: self.fs.get_file_info(self.full(path)).type)

    def _read(self, full: str) -> bytes:
        if self.is_local:
            return DISK.read(full)
        if (objects := s3_objects(self.uri)) is not None:
            data = objects.read(full.removeprefix(f"{objects.bucket}/"))
            if data is not None:
                return data
        with self.fs.open_input_file(full) as stream:
            return stream.read()


class Files(ReadFiles):
    """The same root to be read and written: write, write_once, move, remove and remove_orphans besides.

    A write is whole or absent: local files go through a uniquely named temporary file,
    fsync and rename; object stores show an object only when its upload is complete.
    """

    def write(self, path: str, data: Data) -> None:
        """Write a whole file, replacing an older one."""
        patiently(lambda: self._write(self.full(path), data))

    def write_once(self, path: str, data: bytes) -> bool:
        """Write a file that nothing may replace. False where it was already there: the first write wins.

        On S3 it needs boto3. Without it, on other object stores, and on disks with neither links nor a rename that
        replaces nothing (see `take_name`), of two writers in the same moment the later stands, whole.
        """
        if self.is_local:
            return patiently(lambda: self._link(self.full(path), data))
        made = self._create_once(path, data)
        if made is None:
            if self.is_file(path):
                return False
            self.write(path, data)
        return made is not False

    def make_folder(self) -> None:
        """Make the root and what is missing above it, for its owner alone or for a group; not on an object store."""
        if self.is_local:
            patiently(lambda: _make_folders(self.root))

    def remove_orphans(self, prefix: str = "") -> int:
        """Remove the temporary files of writers that were killed, and only those; how many there were.

        A writer is dead when its process on this machine is, and in any case when its file is an hour old by the
        storage's own clock.
        """
        found = self.orphans(prefix)
        self.discard(found)
        return len(found)

    def orphans(self, prefix: str = "") -> list[str]:
        """What `remove_orphans` removes; an object store shows no unfinished file."""
        return [self._below_root(path) for path in orphans_below(self.full(prefix))] if self.is_local else []

    def orphans_of(self, paths: Iterable[str]) -> list[str]:
        """As `orphans`, of these files alone: other files of their folders may be anybody's."""
        return [self._below_root(path) for path in orphans_of(map(self.full, paths))] if self.is_local else []

    def stage(self, path: str, data: Data) -> str:
        """Write a file beside its place, safe on the disk, on a local storage; the path of what is to take its place.

        Raises OSError, as `write` does, and where a folder is in the way. `put_in_place` or `discard` comes next.
        """
        if os.path.isdir(self.full(path)):
            raise WrongKind(errno.EISDIR, IN_THE_WAY, self.full(path))
        return self._below_root(patiently(lambda: _temporary(self.full(path), data)))

    def put_in_place(self, staged: Mapping[str, str]) -> None:
        """Give what was staged its names, in an order; one that has its name already is passed over.

        So is one whose folder somebody has removed. Raises WrongKind where a folder has come in the way.
        """
        for path, temporary in staged.items():
            with suppress(FileNotFoundError, NotADirectoryError):
                try:
                    patiently(partial(DISK.rename, self.full(temporary), self.full(path)))
                except IsADirectoryError as error:
                    raise WrongKind(error.errno, IN_THE_WAY, self.full(path)) from error
        self.sync(path for path in staged if os.path.isdir(os.path.dirname(self.full(path))))

    def sync(self, paths: Iterable[str]) -> None:
        """Bring the names of local files to the disk."""
        for folder in sorted({os.path.dirname(self.full(path)) for path in paths}):
            patiently(partial(DISK.sync_folder, folder))

    def discard(self, staged: Iterable[str]) -> None:
        """Remove what was staged, or orphans; that one cannot be removed is no error."""
        for path in staged:
            _discard(self.full(path))

    def _below_root(self, full: str) -> str:
        return full.removeprefix(f"{self.root}/")

    def move(self, path: str, target: str) -> None:
        """Move a file or a folder; nothing where it is gone. On an object store file by file, copies first."""
        if self.is_local:
            patiently(lambda: self._move(self.full(path), self.full(target)))
            return
        sources = [path] if self._kind(path) == pafs.FileType.File else self.list(path)
        for source in sources:
            self.write(target + source.removeprefix(path), self.read(source))
        self.remove(path)

    def remove(self, path: str) -> None:
        """Remove one file or folder if it is there; of a link, to whatever, the link alone."""
        kind = self._kind_to_remove(self.full(path)) if self.is_local else self._kind(path)
        if kind == pafs.FileType.Directory:
            patiently(lambda: self._remove_folder(path))
        elif kind == pafs.FileType.File:
            patiently(lambda: self._remove_file(path))

    def _create_once(self, path: str, data: bytes) -> bool | None:
        objects = s3_objects(self.uri)
        if objects is None:
            return None
        key, attempts = self.full(path).removeprefix(f"{objects.bucket}/"), 0

        def attempt() -> bool | None:
            nonlocal attempts
            attempts += 1
            return objects.create(key, data)

        made = patiently(attempt)
        # Where the first attempt's answer was lost on its way, the second one meets what the first has made.
        return True if made is False and attempts > 1 and self.read(path) == data else made

    @staticmethod
    def _kind_to_remove(full: str) -> pafs.FileType:
        try:
            mode = patiently(lambda: os.lstat(full)).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return pafs.FileType.NotFound
        return pafs.FileType.Directory if stat.S_ISDIR(mode) else pafs.FileType.File

    # -- one attempt: whatever `patiently` repeats must be safe to repeat ----------------------------

    def _write(self, target: str, data: Data) -> None:
        if not self.is_local:
            # Read whole before the upload begins: pyarrow completes an upload, and shows its half, also where an
            # exception has ended it.
            whole = data if isinstance(data, (bytes, memoryview)) else b"".join(_pieces(data))
            with self.fs.open_output_stream(target) as stream:
                stream.write(whole)
            return
        for left in reversed(range(ATTEMPTS)):
            temporary = _temporary(target, data)
            try:
                DISK.rename(temporary, target)
                break
            except BaseException as error:
                _discard(temporary)
                if isinstance(error, IsADirectoryError):
                    raise WrongKind(error.errno, IN_THE_WAY, target) from error
                if not (left and _was_removed(error, temporary)):
                    raise
        DISK.sync_folder(os.path.dirname(target))

    def _link(self, target: str, data: bytes) -> bool:
        for left in reversed(range(ATTEMPTS)):
            temporary = _temporary(target, data)
            try:
                made = take_name(DISK, temporary, target)
                break
            except FileNotFoundError as error:
                if not (left and _was_removed(error, temporary)):
                    raise
            finally:
                _discard(temporary)
        if made:
            DISK.sync_folder(os.path.dirname(target))
        return made

    def _move(self, path: str, target: str) -> None:
        if not os.path.lexists(path):
            return
        _make_folders(os.path.dirname(target))
        try:
            DISK.rename(path, target)
        except FileNotFoundError:
            return  # another process moved it in between
        DISK.sync_folder(os.path.dirname(target))
        DISK.sync_folder(os.path.dirname(path))

    def _remove_file(self, path: str) -> None:
        with suppress(FileNotFoundError):
            if self.is_local:
                DISK.unlink(self.full(path))
            else:
                self.fs.delete_file(self.full(path))

    def _remove_folder(self, path: str) -> None:
        with suppress(FileNotFoundError):
            if self.is_local:
                DISK.remove_tree(self.full(path))
            else:
                self.fs.delete_dir(self.full(path))


def _file_system(uri: str) -> tuple[pafs.FileSystem, str]:
    """Of a URI, and the path in it. On S3 objects of up to 10 MB go up with one request and not with three."""
    if (path := parse_qs(urlsplit(uri).query).get("tls_ca_file_path", [""])[0]) and not os.path.isfile(path):
        raise ValueError(f"{without_secrets(uri)}: its tls_ca_file_path is {path!r}, and there is no such file here")
    if uri.startswith("s3://") and "allow_delayed_open=" not in uri:
        with suppress(ValueError):  # of a pyarrow without that option, or of a URI that it refuses: said below
            return pafs.FileSystem.from_uri(f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true")
    try:
        return pafs.FileSystem.from_uri(uri)
    except ValueError as error:  # which quotes the whole URI
        raise ValueError(without_secrets(str(error))) from None


def _temporary(target: str, data: Data) -> str:
    """A uniquely named file with these bytes, beside the target and safe on the disk."""
    folder, name = os.path.split(target)
    _make_folders(folder)
    writer = f"{this_machine()}-{os.getpid()}.{started(os.getpid())}"
    temporary = f"{folder}/{name[:LENT]}{TEMPORARY}{writer}-{uuid.uuid4().hex}"
    try:
        DISK.create(temporary, data)
    except BaseException:
        _discard(temporary)
        raise
    return temporary


def _was_removed(error: BaseException, temporary: str) -> bool:
    """Whether a command that took this process for dead has removed its file: a stopped one goes on hours late."""
    return isinstance(error, FileNotFoundError) and not os.path.lexists(temporary)


def _discard(path: str) -> None:
    with suppress(OSError):  # a second failure must not hide the first; listings leave such names out
        DISK.unlink(path)


def _make_folders(folder: str) -> None:
    """Make missing folders from the top, each known to its parent on the disk before it is used."""
    missing = []
    while not os.path.isdir(folder):
        missing.append(folder)
        folder = os.path.dirname(folder)
    for path in reversed(missing):
        try:
            DISK.make_folder(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise WrongKind(errno.ENOTDIR, "a file or a broken link stands where a folder belongs", path) from None
            continue  # another process was faster
        DISK.sync_folder(os.path.dirname(path))
