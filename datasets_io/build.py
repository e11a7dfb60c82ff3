"""Raw archive -> Parquet shards and a manifest: `python -m datasets_io.build SOURCE --raw DIR --storage URI`. [ray]

A build is deterministic: the same archive gives the same bytes, however many processes made them. It resumes by
itself: finished shards are kept, and the manifest is written last. Small archives are built in this process, with
decoding processes beside it; larger ones on Ray where it is running, or in the command where it then is started.
"""

import hashlib
import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from datasets_io.files import Files
from datasets_io.fingerprint import fingerprint, hashed_fields
from datasets_io.manifest import MANIFEST, Manifest, Shard, corpus_fingerprint, count_records
from datasets_io.pixels import VERSION as PIXELS_VERSION
from datasets_io.pixels import PixelSpec
from datasets_io.ray_token import ensure_token
from datasets_io.registry import SourceOptions, get_source
from datasets_io.schema import ArchiveError, Record
from datasets_io.shards import (
    FORMAT,
    LEAVES,
    Decoders,
    ShardJob,
    ShardResult,
    ShardTask,
    finished_shard,
    is_inside,
    make_shard,
    make_shard_row,
    plan_shards,
    shard_row,
)
from datasets_io.side_tables import (
    REJECTS,
    Reject,
    count_reports,
    leak_notes,
    outcome_of,
    write_leaks,
    write_rejects,
)
from datasets_io.splits import check_splits

Progress = Callable[[int, int, str], None]
CHECKED_FILES = 4096  # of a larger archive, so many evenly spaced files are looked for before any work
RAY_PAYS_BYTES = 256 << 20  # below this much raw data Ray's start (5 s or more) costs more than it gains
MAX_LOCAL_DECODERS = 8
STATE_READERS = 16
IMAGES_PER_DECODER = 100  # a decoding process takes 0.3 s to start


class TooManyRejects(ArchiveError):
    """The shards and rejects.parquet are there, the manifest is not."""


@dataclass(frozen=True)
class BuildSpec:
    """What the bytes of a corpus depend on, besides the archive. options: the source's; None for its defaults.

    image_size: side of the square pictures in pixels. Raises ValueError for an unknown source, a size or intensity
    that is not allowed, or the options of another source.
    """

    source: str
    image_size: int = 224
    intensity: str = "minmax"
    options: SourceOptions | None = None

    def __post_init__(self) -> None:
        kind = get_source(self.source).options
        if self.options is not None and type(self.options) is not kind:
            raise ValueError(f"options of {self.source} are {self.options!r}; they must be a {kind.__name__}")
        PixelSpec(self.image_size, self.intensity)  # made for its checks


@dataclass(frozen=True)
class _HowRun:
    """How a build is run: nothing here changes a byte of the corpus. start_ray: whether Ray may be started for it."""

    files: Files
    progress: Progress | None
    start_ray: bool


def data_key(spec: BuildSpec, raw: Path, *, limit: int | None = None) -> str:
    """12 hex digits: the spec, the source's version and the SHA-256 of the archive's csv files and lists.

    Raises ArchiveError where one of these files is missing.
    """
    return _key(spec, _index_digests(spec, raw), limit)


def data_folder(spec: BuildSpec, raw: Path, *, limit: int | None = None) -> str:
    """Where the corpus lies, relative to the storage's root. Raises ArchiveError as data_key."""
    return f"data/{spec.source}-{data_key(spec, raw, limit=limit)}"


def build(
    spec: BuildSpec,
    raw: Path,
    files: Files,
    *,
    limit: int | None = None,
    max_rejects: float = 0.01,
    progress: Progress | None = None,
    start_ray: bool = False,
) -> Manifest:
    """Build a corpus or go on with one; at once where it is complete. `limit`: only so many images, evenly spaced.

    Raises ArchiveError for an archive that is not as it should be (before any image is read, if it can be seen),
    TooManyRejects where more than the share `max_rejects` gave no picture, ValueError for a wrong argument.
    """
    _check_arguments(limit, max_rejects)
    raw = Path(raw).resolve()
    digests = _index_digests(spec, raw)
    key = _key(spec, digests, limit)
    folder = f"data/{spec.source}-{key}"
    if files.exists(f"{folder}/{MANIFEST}"):
        return Manifest.from_json(files.read(f"{folder}/{MANIFEST}"))
    source, options = get_source(spec.source), options_of(spec)
    findings = source.findings_in(raw, options) if source.findings_in else source.findings
    # All that csv files, reports and a look at the disk can tell comes first: before any image is read.
    records = _thinned(list(source.read_records(raw, options)), limit)
    check_splits(records)
    kept, index_rejects = _index_rejects(records)
    raw_bytes = _check_present(kept, raw, max_rejects)
    pixels = PixelSpec(spec.image_size, spec.intensity, source.modalities)
    job = ShardJob(str(raw), files.uri, folder, findings, pixels)
    files.remove_leftovers(folder)
    tasks = plan_shards(kept)
    results = _make_shards(job, tasks, raw_bytes, _HowRun(files, progress, start_ray))
    # From here to the manifest, which is written last, every step gives the same bytes when it is done again.
    outcome = outcome_of(tasks, results, index_rejects)
    reasons = write_rejects(files, folder, outcome)
    _check_rejects(files, folder, reasons, len(records), max_rejects)
    counts = count_records(findings, outcome.accepted, len(records), len(outcome.rejects))
    counts |= {"burned_in": len(outcome.burned_in), "leaks": write_leaks(files, folder, outcome)}
    counts |= {"reports": count_reports(outcome.accepted)} if source.has_reports else {}
    shards = tuple(Shard(r.path, r.split, r.rows, r.row_groups, r.sha256) for r in results if r.rows)
    manifest = Manifest(
        source=spec.source, source_version=source.version, key=key, spec=identity_of(spec, limit), findings=findings,
        has_reports=source.has_reports, image_size=spec.image_size, index_files=digests, counts=counts, shards=shards,
        reject_reasons=reasons, notes=tuple([*source.notes(raw, options), *_notes(counts, limit)]),
        fingerprint=corpus_fingerprint(key, shards),
    )
    return _publish(manifest, files, folder)


def _check_arguments(limit: int | None, max_rejects: float) -> None:
    if not 0 <= max_rejects <= 1:
        raise ValueError(f"max_rejects is {max_rejects}; allowed: a share from 0 to 1")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; allowed: 1 or more images")


def _check_rejects(files: Files, folder: str, reasons: dict[str, int], records: int, max_rejects: float) -> None:
    rejects = sum(reasons.values())
    if rejects > max_rejects * records:
        commonest = "; ".join(f"{count} x {reason}" for reason, count in list(reasons.items())[:3])
        raise TooManyRejects(
            f"{rejects} of {records} images gave no picture ({commonest}), and at most {max_rejects:.2%} may:"
            f" repair the files that {files.full(f'{folder}/{REJECTS}')} names, or raise --max-rejects; finished shards"
            " are kept"
        )


def check_archive(spec: BuildSpec, raw: Path, *, max_rejects: float = 0.01) -> list[Record]:
    """All that can be seen of an archive without reading an image. Raises ArchiveError; writes nothing."""
    raw = Path(raw).resolve()
    records = list(get_source(spec.source).read_records(raw, options_of(spec)))
    check_splits(records)
    _check_present(_index_rejects(records)[0], raw, max_rejects)
    return records


def _publish(manifest: Manifest, files: Files, folder: str) -> Manifest:
    if files.write_once(f"{folder}/{MANIFEST}", manifest.to_json().encode()):
        return manifest
    other = Manifest.from_json(files.read(f"{folder}/{MANIFEST}"))
    if other.fingerprint != manifest.fingerprint:
        raise ArchiveError(
            f"another build of {folder} ended with other shards ({other.fingerprint}, here {manifest.fingerprint}):"
            " was the archive changed in between? Remove the folder and build again"
        )
    return other


def options_of(spec: BuildSpec) -> SourceOptions:
    """The options of the spec's source: those given, else its defaults."""
    if spec.options is not None:
        return spec.options
    defaults: SourceOptions = get_source(spec.source).options()
    return defaults


def identity_of(spec: BuildSpec, limit: int | None = None) -> dict[str, Any]:
    """The spec as plain JSON, without paths."""
    # Options with metadata {"hashed": False} are paths: their content is in the digests of the index files.
    options = options_of(spec)
    own = {name: getattr(spec, name) for name in hashed_fields(spec)}
    return {**own, "options": {name: getattr(options, name) for name in hashed_fields(options)}, "limit": limit}


def _key(spec: BuildSpec, digests: dict[str, str], limit: int | None) -> str:
    versions = [get_source(spec.source).version, PIXELS_VERSION, FORMAT]
    return fingerprint({"spec": identity_of(spec, limit), "versions": versions, "index": digests})


def _index_digests(spec: BuildSpec, raw: Path) -> dict[str, str]:
    """Name -> SHA-256 of the files that identify the archive. Raises ArchiveError where one is missing."""
    raw = Path(raw).resolve()
    digests = {}
    for path in get_source(spec.source).index_files(raw, options_of(spec)):
        # A list outside of the archive goes by its name alone: a key must not depend on where somebody keeps it.
        inside = path.resolve().is_relative_to(raw)
        name = path.resolve().relative_to(raw).as_posix() if inside else f"lists/{path.name}"
        with open(path, "rb") as stream:
            digests[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return digests


def _thinned(records: list[Record], limit: int | None) -> list[Record]:
    """At most `limit` records, evenly spaced: 3 of 10 are those at 0, 3 and 6."""
    if limit is None or limit >= len(records):
        return records
    return [records[place * len(records) // limit] for place in range(limit)]


def _index_rejects(records: list[Record]) -> tuple[list[Record], list[Reject]]:
    """Records whose image_id is new and whose path stays in the raw folder; the others as rejects."""
    kept: list[Record] = []
    rejects: list[Reject] = []
    seen: set[str] = set()
    for record in records:
        path = PurePosixPath(record.path)
        if path.is_absolute() or ".." in path.parts or "\\" in record.path or "\0" in record.path:
            rejects.append(Reject(record.image_id, record.path, "index", LEAVES))
        elif record.image_id in seen:
            rejects.append(Reject(record.image_id, record.path, "index", "the image is listed twice"))
        else:
            seen.add(record.image_id)
            kept.append(record)
    return kept, rejects


def _check_present(records: list[Record], raw: Path, max_rejects: float) -> int:
    """About how many bytes the listed images have. Raises ArchiveError where too many of them are not there."""
    # All of up to 8,191 images, else one in `step`, evenly spaced: looking for 377,110 on a network disk takes long.
    step = max(1, len(records) // CHECKED_FILES)
    checked = records[::step]
    sizes = {record.path: _size(raw, record.path) for record in checked}
    missing = [path for path, size in sizes.items() if size is None]
    if not records:
        raise ArchiveError(f"{raw} lists no image: are its csv files complete?")
    if len(missing) > max_rejects * len(checked):
        # The folder, to a depth of two, that lacks most: a copy that stopped half way lacks whole folders.
        folders = Counter("/".join(PurePosixPath(path).parts[:-1][:2]) for path in missing)
        (folder, count), *_ = folders.most_common(1)
        looked = "listed images" if step == 1 else f"images looked for (1 in {step} of those listed)"
        if (raw / missing[0]).is_file():
            raise ArchiveError(
                f"a link leads from {missing[0]} out of {raw}, as for {len(missing)} of {len(checked)} {looked}:"
                " nothing outside of --raw is read; give the folder that has the files themselves, or mount them there"
            )
        raise ArchiveError(
            f"{len(missing)} of {len(checked)} {looked} are not below {raw}, {count} of them in {folder or '.'}"
            f" (e.g. {missing[0]}): finish copying or unpacking the archive, or allow a share with --max-rejects"
        )
    return sum(size or 0 for size in sizes.values()) * len(records) // len(checked)


def _size(raw: Path, path: str) -> int | None:
    """Bytes of a file of the archive; None where it is absent or a link leads out of the archive."""
    place = raw / path
    return place.stat().st_size if place.is_file() and is_inside(str(raw), path) else None


def _make_shards(job: ShardJob, tasks: list[ShardTask], raw_bytes: int, how: _HowRun) -> list[ShardResult]:
    """The results of all tasks, in their order. raw_bytes: of the archive's images, about."""
    with ThreadPoolExecutor(STATE_READERS) as pool:  # a look at every file of finished shards, often over a network
        found = pool.map(lambda task: finished_shard(job, task, how.files), tasks)
        results = {task.path: result for task, result in zip(tasks, found, strict=True) if result}
    waiting = [task for task in tasks if task.path not in results]
    total = sum(len(task.records) for task in tasks)
    done = total - sum(len(task.records) for task in waiting)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if how.progress:
            how.progress(done, total, job.folder)

    advance(0)  # shows at once what an earlier build has done
    if waiting:
        small = raw_bytes * (total - done) // total < RAY_PAYS_BYTES
        run = _run_here if small or not _ray_ready(how.start_ray) else _run_on_ray
        for result in run(job, waiting, advance):
            results[result.path] = result
    return [results[task.path] for task in tasks]


def _run_here(job: ShardJob, tasks: list[ShardTask], advance: Callable[[int], None]) -> Iterator[ShardResult]:
    """Shard after shard in this process, whose images several processes decode at once."""
    images = sum(len(task.records) for task in tasks)
    workers = min(len(os.sched_getaffinity(0)), MAX_LOCAL_DECODERS, 1 + images // IMAGES_PER_DECODER)
    with Decoders(job.pixels, workers) as decoders:
        for task in tasks:
            yield make_shard(job, task, decoders, advance)


def _ray_ready(start: bool) -> bool:
    """Whether this process is connected to Ray; in the command, it is by now."""
    loaded = sys.modules.get("ray")
    if loaded is not None and loaded.is_initialized():
        return True
    if start:
        import ray  # it takes a second to import, which a small archive need not pay

        # "local" is a Ray of this command's own; None joins the one that RAY_ADDRESS names.
        address = None if os.environ.get("RAY_ADDRESS") else "local"
        if address:
            ensure_token()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    return start


def _run_on_ray(job: ShardJob, tasks: list[ShardTask], advance: Callable[[int], None]) -> Iterator[ShardResult]:
    """One Ray Data task a shard, results as they come."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # the command has a progress bar of its own
    ray.data.DataContext.get_current().enable_progress_bars = False
    sizes = {task.path: len(task.records) for task in tasks}
    rows = [shard_row(job, task) for task in tasks]
    # One block a shard, so that a lost machine costs its shards alone; texts, since Arrow has no type for a job.
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(make_shard_row, num_cpus=1)
    for row in dataset.iter_rows():
        result = ShardResult.from_json(row["result"])
        advance(sizes[result.path])
        yield result


def _notes(counts: dict[str, Any], limit: int | None) -> list[str]:
    """What a reader of the manifest should know besides the counts."""
    notes = [] if limit is None else [f"--limit {limit}: a part of the archive, for trying things out"]
    notes += leak_notes(counts["leaks"], counts["burned_in"])
    if reports := counts.get("reports"):
        notes.append(
            "{studies_with_impression} of {studies} studies have an impression, {distinct_impressions} of them distinct"
            " texts; {repeated_impressions} have one that another study has too".format_map(reports)
        )
    return notes


if __name__ == "__main__":
    from datasets_io.command import main

    sys.exit(main(sys.argv[1:]))
