"""Can results be stored there: a storage that writes, renames and lists, and disks with room for the plan."""

import shlex
import shutil
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

import pyarrow.fs as pafs

from datasets_io.corpus.node_array import CacheFull, local_cache
from datasets_io.storage.disk import DISK, in_the_way
from datasets_io.storage.files import Files
from datasets_io.storage.take_name import NOT_KNOWN
from sweep.doctor.check import FAIL, OK, WARN, Check, gigabytes
from sweep.doctor.needs import Needs

CLOCK_SECONDS = 5.0
RAY_FULL = 0.95  # Ray refuses new work where the disk of its temporary files is as full as this (its default)


def check_storage(uri: str) -> list[Check]:
    """Everything that the project asks of a storage, done once in a folder of its own that is removed again.

    Folders above it that did not exist are removed too: the check leaves a storage as it found it.
    """
    try:
        files = Files(uri)
        if files.is_local and (trouble := in_the_way(files.given)) is not None:
            raise ValueError(trouble)
        made = _first_missing(Path(files.root)) if files.is_local else None
    except (OSError, ValueError) as error:
        return [Check("storage", FAIL, f"{uri}: {error}", _how_to_reach(uri))]
    folder = f"doctor-{uuid.uuid4().hex[:8]}"
    try:
        return [_operations(files, folder), *_hard_links(files, folder), _clock(files, folder)]
    except OSError as error:
        return [Check("storage", FAIL, f"{uri} cannot be used: {error}", _how_to_reach(uri))]
    finally:
        _remove(files, folder, made)


def _operations(files: Files, folder: str) -> Check:
    """Write, replace, write once, list, read back: each result is compared with what it must be."""
    started = time.monotonic()
    files.write(f"{folder}/a.txt", b"first")
    files.write(f"{folder}/a.txt", b"second")  # on a disk: a temporary file, renamed
    once = files.write_once(f"{folder}/b.txt", b"first"), files.write_once(f"{folder}/b.txt", b"second")
    problems = []
    if files.read(f"{folder}/a.txt") != b"second":
        problems.append("a file that was replaced still has its old content")
    if once != (True, False) or files.read(f"{folder}/b.txt") != b"first":
        problems.append("a second write replaced a first one that must stand (are hard links allowed here?)")
    if files.list(folder) != [f"{folder}/a.txt", f"{folder}/b.txt"]:
        problems.append("a listing does not show what was just written")
    seconds = time.monotonic() - started
    if problems:
        return Check("storage", FAIL, f"{files.shown}: {'; '.join(problems)}", "take another --storage")
    return Check("storage", OK, f"{files.shown}: write, rename, list and read back in {1000 * seconds:,.0f} ms")


def _hard_links(files: Files, folder: str) -> list[Check]:
    """A warning where the file system has none, of what stands in their place. Otherwise nothing is worth a line."""
    if not files.is_local:
        return []
    names = [files.full(f"{folder}/{name}") for name in ("a.txt", "link", "renamed")]
    try:
        DISK.link(names[0], names[1])
        return []
    except OSError as error:
        if error.errno not in NOT_KNOWN:
            raise
    text = f"{files.shown} is on a file system without them; "
    with suppress(OSError):
        DISK.rename_new(names[0], names[2])
        return [Check("hard links", OK, f"{text}it refuses to rename over a file: the first write stands all the same")]
    text += "nor does it refuse to rename over a file: of two drivers that write one result at once the later stands"
    return [Check("hard links", WARN, text, "take another --storage, or run one driver at a time")]


def _clock(files: Files, folder: str) -> Check:
    """Leases and the rate in `sweep.status` compare this machine's clock with the times of files."""
    # Of a file that was just written: the storage's time now, as near as its round trip takes.
    files.write(f"{folder}/now.txt", b"now")
    written = files.fs.get_file_info(files.full(f"{folder}/now.txt")).mtime
    apart = abs(written.timestamp() - time.time()) if written else 0.0
    if apart > CLOCK_SECONDS:
        text = f"the storage's clock and this machine's are {apart:,.0f} s apart"
        return Check("clock", WARN, text, "sudo timedatectl set-ntp true")
    return Check("clock", OK, "the storage's clock and this machine's agree")


def _first_missing(path: Path) -> Path | None:
    """The topmost folder that would have to be made for `path`."""
    missing = [place for place in (path, *path.parents) if not place.exists()]
    return missing[-1] if missing else None


def _remove(files: Files, folder: str, made: Path | None) -> None:
    try:
        files.remove(folder)
    except OSError:
        return  # what could not be written needs no removing
    # A sweep may have begun to write there meanwhile.
    if made is not None and made.is_dir() and not any(path.is_file() for path in made.rglob("*")):
        shutil.rmtree(made)


def _how_to_reach(uri: str) -> str:
    """The command that shows why a storage cannot be used."""
    scheme = uri.partition("://")[0] if "://" in uri else ""
    if scheme == "s3":
        # Up to the last @ it is a user with a password, which may have slashes.
        bucket = uri.partition("?")[0].removeprefix("s3://").rpartition("@")[2].partition("/")[0]
        place = shlex.quote(f"s3://{bucket}")
        return f"aws sts get-caller-identity && aws s3 ls {place}  (who am I, and may I use the bucket)"
    if scheme in ("gs", "gcs"):
        return "gcloud auth application-default login"
    if scheme:
        return "allowed are a folder, an NFS path, s3://... and gs://..."
    home = "~/" if uri.startswith("~/") else ""  # which a shell reads outside of quotes alone
    folder, probe = (home + shlex.quote(place.removeprefix(home)) for place in (uri, f"{uri}/probe"))
    return f"mkdir -p {folder} && touch {probe} && rm {probe}  (or take another --storage)"


def free_bytes(path: Path) -> int:
    """Free space of the disk on which a path lies or would lie."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def check_disk(uri: str, needs: Needs) -> list[Check]:
    """Room for what is still to be written: in the storage, in this node's cache, and for Ray's own files."""
    files = Files(uri)
    checks = []
    if isinstance(files.fs, pafs.LocalFileSystem):
        free = free_bytes(Path(files.root))
        checks.append(_room("disk of the storage", free, needs.storage, needs.purpose, files.root))
    else:
        text = f"about {gigabytes(needs.storage)} will be written to {uri} ({needs.purpose})"
        checks.append(Check("disk of the storage", OK, text))
    return [*checks, _cache_disk(needs.cache), _ray_disk(Path(tempfile.gettempdir()))]


def _cache_disk(needed: int) -> Check:
    try:
        cache = local_cache()
    except CacheFull as error:
        return Check("disk of the cache", FAIL, str(error), "export RADSWEEP_CACHE=/a/folder/on/a/local/disk")
    purpose = "the datasets' images, once a node (RADSWEEP_CACHE)"
    return _room("disk of the cache", free_bytes(cache), needed, purpose, cache)


def _room(name: str, free: int, needed: int, purpose: str, place: object) -> Check:
    """free, needed: in bytes."""
    text = f"{gigabytes(free)} free at {place}; about {gigabytes(needed)} needed for {purpose}"
    if free >= needed:
        return Check(name, OK, text)
    look = f"df -h {shlex.quote(str(place))}"
    return Check(name, FAIL, text, f"free {gigabytes(needed - free)} there, or take another place: {look}")


def _ray_disk(folder: Path) -> Check:
    usage = shutil.disk_usage(folder)
    used = 1 - usage.free / usage.total
    text = f"{folder} is {used:.0%} full, {gigabytes(usage.free)} free, for Ray's logs and spilled objects"
    if used < RAY_FULL:
        return Check("disk of Ray", OK, text)
    mend = f"rm -r {shlex.quote(str(folder))}/ray/session_2*  (when no Ray runs), or export RAY_TMPDIR=/another/disk"
    return Check("disk of Ray", FAIL, f"{text}; at {RAY_FULL:.0%} Ray takes no more work", mend)
