"""How bytes reach a storage URI (local path, NFS, s3://, gs://) so that a reader never sees half a file."""

import hashlib
import os
import socket
import time
import uuid
from pathlib import Path

import pyarrow.fs as pafs

TEMPORARY = ".tmp-"
LEFTOVER_SECONDS = 3600  # no write takes that long


class Files:
    """Six calls on one root: read, write, write_once, exists, list, remove. Paths are relative to it.

    A write is whole or absent: local files go through a uniquely named temporary file,
    fsync and rename; object stores show an object only when its upload is complete.
    """

    def __init__(self, uri: str):
        self.uri = uri
        if "://" in uri:
            self.fs, self.root = pafs.FileSystem.from_uri(uri)
        else:
            self.fs, self.root = pafs.LocalFileSystem(), str(Path(uri).expanduser().resolve())
        self.root = self.root.rstrip("/")
        self.is_local = isinstance(self.fs, pafs.LocalFileSystem)

    def full(self, path: str) -> str:
        return f"{self.root}/{path}" if path else self.root

    def read(self, path: str) -> bytes:
        with self.fs.open_input_file(self.full(path)) as stream:
            return stream.read()

    def write(self, path: str, data: bytes) -> None:
        """Write a whole file, replacing an older one."""
        target = self.full(path)
        if not self.is_local:
            with self.fs.open_output_stream(target) as stream:
                stream.write(data)
            return
        temporary = self._temporary(target, data)
        try:
            os.replace(temporary, target)
        finally:
            Path(temporary).unlink(missing_ok=True)
        _sync_folder(os.path.dirname(target))

    def write_once(self, path: str, data: bytes) -> bool:
        """Write a file that nothing may replace. False where it was already there: the first write wins."""
        target = self.full(path)
        if not self.is_local:
            if self.exists(path):
                return False
            self.write(path, data)
            return True
        temporary = self._temporary(target, data)
        try:
            os.link(temporary, target)
        except FileExistsError:
            return False
        finally:
            os.unlink(temporary)
        _sync_folder(os.path.dirname(target))
        return True

    def exists(self, path: str) -> bool:
        return self.fs.get_file_info(self.full(path)).type != pafs.FileType.NotFound

    def list(self, prefix: str = "") -> list[str]:
        """Every file below a folder, relative to the root, sorted; temporary files left out."""
        selector = pafs.FileSelector(self.full(prefix), recursive=True, allow_not_found=True)
        start = len(self.root) + 1
        found = [info.path[start:] for info in self.fs.get_file_info(selector) if info.type == pafs.FileType.File]
        return sorted(path for path in found if TEMPORARY not in path)

    def remove(self, path: str) -> None:
        """Remove one file or folder if it is there."""
        kind = self.fs.get_file_info(self.full(path)).type
        if kind == pafs.FileType.Directory:
            self.fs.delete_dir(self.full(path))
        elif kind == pafs.FileType.File:
            self.fs.delete_file(self.full(path))

    def remove_leftovers(self, prefix: str = "") -> int:
        """Remove the temporary files of writers that were killed, and only those; how many there were.

        A writer is dead when its process on this machine is, and in any case when its file is an hour old.
        """
        if not self.is_local:
            return 0  # an object store shows no unfinished upload
        removed = 0
        for folder, _, names in os.walk(self.full(prefix)):
            for path in (f"{folder}/{name}" for name in names if TEMPORARY in name):
                if _is_leftover(path):
                    Path(path).unlink(missing_ok=True)
                    removed += 1
        return removed

    def _temporary(self, target: str, data: bytes) -> str:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        temporary = f"{target}{TEMPORARY}{_machine()}-{os.getpid()}-{uuid.uuid4().hex}"
        try:
            with open(temporary, "xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return temporary


def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _is_leftover(path: str) -> bool:
    machine, _, rest = path.rpartition(TEMPORARY)[2].partition("-")
    process = rest.partition("-")[0]
    if machine == _machine() and process.isdecimal() and not _runs(int(process)):
        return True
    try:
        return time.time() - os.stat(path).st_mtime > LEFTOVER_SECONDS
    except FileNotFoundError:  # its writer has just finished
        return False


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
