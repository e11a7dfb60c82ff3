"""Is a complete corpus the one of an archive as it is now?

A key says which csv files were read and which other files were absent. Everything else is compared here: sizes of all
files, and contents of some, with what the manifest says of the files that the corpus was made of. Corpora of earlier
versions say nothing of them: they are taken, unless their counts contradict what is there.
"""

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datasets_io.build.inventory import BESIDE, FILES, IMAGES, FilesOfKind, Inventory, folder_of, key_of
from datasets_io.build.shards import is_inside
from datasets_io.build.side_tables import REJECTS, Reject
from datasets_io.build.spec import BuildSpec, _index_digests, _key, corrections_of
from datasets_io.corpus.manifest import MANIFEST, Manifest
from datasets_io.corpus.shard_file import read_stored
from datasets_io.schema import ArchiveError
from datasets_io.sources.registry import get_source
from datasets_io.storage.artefacts import CorruptArtefact
from datasets_io.storage.files import Files, ReadFiles
from datasets_io.untrusted import printable

SIZES = "archive_files.parquet"  # kind and size of each file, in the archive's order; no name
# Stored digests are over so many files and bytes: with other numbers every corpus would seem to be of other files.
SAMPLED = 32  # files of a kind, evenly spaced, of which both ends are read
END_BYTES = 64 << 10
REFUSED = 32  # refused files, evenly spaced, that are read: what was repaired may have the size of what it was
REFUSED_BYTES = 16 << 20  # of each
RECORDED = frozenset(("there", "absent", "bytes", "digest", "sample"))  # of each kind of file
NUMBERS = ("there", "absent", "bytes")
ABSENT_REASON = "read: the file is absent"


@dataclass(frozen=True)
class Opened:
    """Where the corpus of an archive lies, and whether it is complete; else it is still to be built there.

    without_images: whether it was taken although the archive has none of its images any more.
    """

    folder: str
    built: bool
    without_images: bool = False


def open_complete(
    spec: BuildSpec, raw: Path, inventory: Inventory, files: ReadFiles, limit: int | None = None, check: bool = True
) -> Opened:
    """The complete corpus of the archive as it is now. check: False for a reader of results, who takes what is there.

    Raises ArchiveError where it was made of other files than those that are there now, which it then names, NoImages
    where no image is there and no corpus either. A manifest that is damaged counts as there: whoever reads it says so.
    """
    # First: without its files a path of a csv may seem to lead out of the archive, and then nothing seems to be absent.
    if not inventory.has_images and (found := _without_images(spec, inventory, files, limit)):
        return Opened(found, True, without_images=True)
    folder = folder_of(spec, key_of(spec, inventory, limit))
    if files.exists(f"{folder}/{MANIFEST}"):
        manifest = _whole_manifest(files, folder) if check else None
        if manifest is not None and (problem := _problem(files, folder, manifest, raw, inventory)):
            raise ArchiveError(
                f"{folder} was built of other files than {Path(raw).resolve()} has now: {problem}. To read the archive"
                f" anew, remove {files.full(folder)} and run the same command again; where both are wanted, give"
                " another --storage"
            )
        if manifest is not None and (problem := _problem_beside(files, folder, manifest, inventory)):
            raise ArchiveError(
                f"{folder} was built of other files than {Path(raw).resolve()} has now: {problem}. Remove"
                f" {files.full(f'{folder}/{MANIFEST}')} and run the same command again, which keeps the shards"
            )
        return Opened(folder, True)
    # Before what is absent was asked for, all builds had the key of a whole archive.
    whole = folder_of(spec, _key(spec, inventory.index, limit, corrections=inventory.corrections))
    earlier = _whole_manifest(files, whole) if inventory.absent and files.exists(f"{whole}/{MANIFEST}") else None
    if earlier is not None and _is_of(earlier, inventory):
        return Opened(whole, True)
    return Opened(folder, False)


def _without_images(spec: BuildSpec, inventory: Inventory, files: ReadFiles, limit: int | None) -> str | None:
    """The complete corpus of an archive whose images were all removed, to make room; None where none is the one.

    Of several it is that of the whole archive. That of an archive which lacked files is taken where it is the only one,
    and nothing has arrived since.
    """
    told = tuple({*inventory.corrections, *get_source(spec.source).told_by_images})
    for corrections in dict.fromkeys((inventory.corrections, told)):
        found = dict(_of_these_tables(spec, inventory.index, corrections, files, limit))
        whole = folder_of(spec, _key(spec, inventory.index, limit, corrections=corrections))
        if whole in found and _is_of(found[whole], inventory):
            return whole
        fits = [folder for folder, manifest in found.items() if not _arrived(manifest, inventory)]
        if fits:
            return fits[0] if len(fits) == 1 else None
    return None


def complete_of(spec: BuildSpec, raw: Path, files: ReadFiles) -> str | None:
    """The folder of the one complete corpus of the archive's csv files; None where there is none, or several.

    Raises ArchiveError where a csv file is missing.
    """
    found = _of_these_tables(spec, _index_digests(spec, Path(raw)), corrections_of(spec, raw), files, None)
    return found[0][0] if len(found) == 1 else None


def others_of_it(spec: BuildSpec, inventory: Inventory, files: ReadFiles, limit: int | None = None) -> list[str]:
    """A sentence for each complete corpus of the same csv files that was built when other files of them were there, or
    before a correction that concerns the archive."""
    own = folder_of(spec, key_of(spec, inventory, limit))
    found = {
        folder: _then_and_now(other, inventory)
        for folder, other in _of_these_tables(spec, inventory.index, inventory.corrections, files, limit)
    }
    if inventory.corrections:
        before = f"is of a time before this was so: {', '.join(inventory.corrections)}"
        found |= {folder: before for folder, _ in _of_these_tables(spec, inventory.index, (), files, limit)}
    return [
        f"{folder} {why}: it stays as it is, and {own} is built beside it"
        for folder, why in found.items()
        if folder != own
    ]


def _of_these_tables(
    spec: BuildSpec, index: dict[str, str], corrections: tuple[str, ...], files: ReadFiles, limit: int | None
) -> list[tuple[str, Manifest]]:
    """Folder and manifest of each complete corpus of these csv files, whatever other files there were."""
    found = []
    for folder in files.folders("data"):
        manifest = _whole_manifest(files, folder) if folder.startswith(f"data/{spec.source}-") else None
        # The key has what a manifest does not say: versions of how pictures are decoded and stored.
        if manifest is None:
            continue
        absent = (_record_of(manifest) or {}).get("absent", "")
        if manifest.key == _key(spec, index, limit, absent, corrections):
            found.append((folder, manifest))
    return found


def files_record(
    files: Files, folder: str, raw: Path, inventory: Inventory, rejects: Sequence[Reject]
) -> dict[str, Any]:
    """counts["files"] of a manifest, and SIZES beside it: what the corpus is made of."""
    kinds = [of.kind for of in inventory.kinds for _ in of.sizes]
    sizes = [size for of in inventory.kinds for size in of.sizes]
    fields = [pa.field("kind", pa.string(), nullable=False), pa.field("size", pa.int64(), nullable=False)]
    sink = pa.BufferOutputStream()
    table = pa.table({"kind": kinds, "size": sizes}, schema=pa.schema(fields))
    pq.write_table(table, sink, compression="none", store_schema=False)  # no Arrow schema: see shard_file
    files.write(f"{folder}/{SIZES}", sink.getvalue().to_pybytes())
    record = inventory.record()
    for of in inventory.kinds:
        record["kinds"][of.kind]["sample"] = _sample(of)
    return record | {"refused": _refused(raw, rejects)}


def _whole_manifest(files: ReadFiles, folder: str) -> Manifest | None:
    """The manifest of a folder; None where it is damaged, of a newer version or gone by now."""
    try:
        return Manifest.from_json(files.read(f"{folder}/{MANIFEST}"))
    except (ValueError, FileNotFoundError):
        return None


def _record_of(manifest: Manifest) -> dict[str, Any] | None:
    """counts["files"] of a manifest; None where an earlier version wrote none, or where it is damaged."""
    try:
        record: dict[str, Any] = manifest.counts[FILES]
        whole = set(record["refused"]) == {"files", "digest"} and isinstance(record["absent"], str)
        whole = whole and all(isinstance(of, dict) and set(of) >= RECORDED for of in record["kinds"].values())
        numbers = [record["refused"]["files"], *(of[name] for of in record["kinds"].values() for name in NUMBERS)]
        whole = whole and all(type(number) is int for number in numbers)
    except (KeyError, TypeError, AttributeError):
        return None
    return record if whole else None


def _is_of(manifest: Manifest, inventory: Inventory) -> bool:
    """Whether a corpus with the key of a whole archive is that of one of which some files are absent."""
    if _record_of(manifest) is not None:
        # Its files were all there. Who removed the pictures afterwards, to make room, goes on with the corpus.
        return not inventory.has_images
    return not _contradiction(manifest, inventory)


def _arrived(manifest: Manifest, inventory: Inventory) -> bool:
    """Whether files besides the images are there that were others, or absent, when a corpus was built."""
    record = _record_of(manifest)
    if record is None:
        return bool(_contradiction(manifest, inventory))
    others = (of for of in inventory.kinds if of.kind != IMAGES and of.kind not in BESIDE and of.there)
    return any(record["kinds"].get(of.kind, {}).get("digest") != of.record()["digest"] for of in others)


def _contradiction(manifest: Manifest, inventory: Inventory) -> str:
    """Why a corpus that says nothing of its files cannot be made of these, as its counts tell; "" if it may be."""
    images, reports = inventory.of_kind(IMAGES), inventory.of_kind("reports")
    absent = manifest.reject_reasons.get(ABSENT_REASON, 0)
    if images is not None and len(images.absent) < absent:
        return f"{absent:,} images were absent when it was built, {len(images.absent):,} are now"
    with_impression = manifest.counts.get("reports", {}).get("studies_with_impression", 0)
    if reports is not None and reports.there and not with_impression:
        return f"no study had an impression when it was built, and {len(reports.there):,} reports are there now"
    return ""


def _problem(files: ReadFiles, folder: str, manifest: Manifest, raw: Path, inventory: Inventory) -> str:
    """What is another file now than when the corpus was built; "" where nothing is."""
    record = _record_of(manifest)
    if record is None:
        return _contradiction(manifest, inventory)
    for of in inventory.kinds:
        if of.kind not in BESIDE and (problem := _problem_of_kind(files, folder, record, of)):
            return problem
    if refused := record["refused"]["files"]:
        rejects = _rejects_in(files, folder)
        if rejects is not None and _refused(raw, rejects) != record["refused"]:
            return f"of {refused:,} images that it refused some have other contents"
    return ""


def _problem_beside(files: ReadFiles, folder: str, manifest: Manifest, inventory: Inventory) -> str:
    """As _problem, of kinds that no shard depends on."""
    record = _record_of(manifest)
    of_kinds = (of for of in inventory.kinds if record is not None and of.kind in BESIDE)
    return next((problem for of in of_kinds if (problem := _problem_of_kind(files, folder, record or {}, of))), "")


def _problem_of_kind(files: ReadFiles, folder: str, record: dict[str, Any], of: FilesOfKind) -> str:
    then, now = record["kinds"].get(of.kind), of.record()
    if then is None:
        return ""  # a kind that an earlier version did not look for
    if any(then[name] != value for name, value in now.items()):
        return _sizes_problem(files, folder, of, then["there"])
    if then["sample"] != _sample(of):
        return f"the {of.kind} have the same sizes, but some of {min(SAMPLED, len(of.there))} have other contents"
    return ""


def _sizes_problem(files: ReadFiles, folder: str, of: FilesOfKind, there: int) -> str:
    """Which files of a kind have another size than then, and how many. there: how many there were."""
    then = _stored_sizes(files, folder, of.kind)
    if then is None or len(then) != len(of.sizes):
        return f"{len(of.there):,} {of.kind} now, {there:,} then"
    other = [path for path, now, before in zip(of.paths, of.sizes, then, strict=True) if now != before]
    if not other:
        return f"its {of.kind} are others, in an order of their own"
    what = "is another file" if len(other) == 1 else "are other files"
    return f"{len(other):,} of {len(then):,} {of.kind} {what}, by their sizes (e.g. {other[0]})"


def _stored_sizes(files: ReadFiles, folder: str, kind: str) -> list[int] | None:
    rows = _rows(files, f"{folder}/{SIZES}", ["kind", "size"])
    return None if rows is None else [size for of, size in rows if of == kind]


def _then_and_now(other: Manifest, inventory: Inventory) -> str:
    """`was built when 8 of 8 reports were absent, of which 8 are there now`."""
    record = _record_of(other)
    if record is None:
        return f"was built when other files were there ({_contradiction(other, inventory) or 'an earlier version'})"
    parts = [
        f"{then['absent']:,} of {then['there'] + then['absent']:,} {of.kind} were absent ({len(of.absent):,} are now)"
        for of in inventory.kinds
        if (then := record["kinds"].get(of.kind)) and then["absent"] != len(of.absent)
    ]
    return f"was built when {', '.join(parts) or 'other files were absent'}"


def _sample(of: FilesOfKind) -> str:
    """A digest over both ends of some files: two archives may have equal csv files, and equal sizes."""
    return _contents((f"{of.root}/{path}" for path in _spaced(of.there, SAMPLED)), END_BYTES)


def _refused(raw: Path, rejects: Iterable[Reject]) -> dict[str, Any]:
    """Of the images that were read and refused: how many, and a digest over what some of them have inside."""
    root = os.path.realpath(raw)
    # As REJECTS has it, from which the same is asked later.
    paths = [printable(reject.path) for reject in rejects if reject.stage != "index"]
    found = (f"{root}/{path}" for path in _spaced(paths, REFUSED) if is_inside(root, path))
    return {"files": len(paths), "digest": _contents(found, REFUSED_BYTES)}


def _spaced(paths: Sequence[str], most: int) -> Iterator[str]:
    return (paths[place * len(paths) // most] for place in range(most)) if len(paths) > most else iter(paths)


def _contents(paths: Iterable[str], most: int) -> str:
    """16 hex digits over the first and last `most` bytes of regular files."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(b"\n")
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                continue
            with open(path, "rb") as stream:
                digest.update(stream.read(most))
                stream.seek(max(stream.tell(), os.fstat(stream.fileno()).st_size - most))
                digest.update(stream.read(most))
        except OSError:  # gone or unreadable, then as now
            digest.update(b"-")
    return digest.hexdigest()[:16]


def _rejects_in(files: ReadFiles, folder: str) -> list[Reject] | None:
    rows = _rows(files, f"{folder}/{REJECTS}", ["image_id", "path", "stage", "reason"])
    return None if rows is None else [Reject(*row) for row in rows]


def _rows(files: ReadFiles, path: str, columns: list[str]) -> list[tuple[Any, ...]] | None:
    """These columns of a table beside the shards; None where it is damaged, which `--verify` says."""
    try:
        table = read_stored(pa.BufferReader(files.read(path)), path, columns)
        return list(zip(*(table[name].to_pylist() for name in columns), strict=True))
    except (OSError, ValueError, KeyError, CorruptArtefact, pa.ArrowException):
        return None
