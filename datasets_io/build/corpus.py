"""Raw archive -> Parquet shards and a manifest: `python -m datasets_io.build SOURCE --raw DIR --storage URI`. [ray]

A build is deterministic: the same archive gives the same bytes, however many processes made them. It resumes by
itself: finished shards are kept, and the manifest is written last. Small archives are built in this process, with
decoding processes beside it; larger ones on Ray where it is running, or in the command where it then is started.
"""

import logging
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_io.build.checks import _check_arguments, _check_present, _check_rejects, _index_rejects
from datasets_io.build.complete import files_record, open_complete, others_of_it
from datasets_io.build.inventory import FILES, Inventory, key_of, take_inventory, thinned
from datasets_io.build.published import published_notes
from datasets_io.build.regions import region_notes, regions_in, write_regions
from datasets_io.build.shards import (
    Decoders,
    ShardJob,
    ShardResult,
    ShardTask,
    finished_shard,
    make_shard,
    make_shard_row,
    plan_shards,
    rows_of,
    shard_row,
)
from datasets_io.build.side_tables import (
    count_batches,
    count_flags,
    count_reports,
    leak_notes,
    outcome_of,
    pixel_notes,
    write_leaks,
    write_rejects,
)
from datasets_io.build.spec import BuildSpec, identity_of, options_of, order_of
from datasets_io.corpus.manifest import MANIFEST, Manifest, Shard, corpus_fingerprint, count_records
from datasets_io.corpus.read import read_manifest
from datasets_io.granted import cores
from datasets_io.local_ray import ensure_token, granted_to_ray, named_cluster, obstacle, overlooked, unanswered
from datasets_io.pixels.grey import PixelSpec
from datasets_io.pixels.worker import BrokenInstallation
from datasets_io.schema import ArchiveError, Record
from datasets_io.sources.registry import get_source
from datasets_io.sources.splits import case_notes, check_splits
from datasets_io.storage.files import Files
from datasets_io.threads import reading_threads
from datasets_io.untrusted import printable

Progress = Callable[[int, int, str], None]
RAY_PAYS_BYTES = 256 << 20  # below this much raw data Ray's start (5 s or more) costs more than it gains
MAX_LOCAL_DECODERS = 8
STATE_READERS = 16
IMAGES_PER_DECODER = 100  # a decoding process takes 0.3 s to start


@dataclass(frozen=True)
class _HowRun:
    """How a build is run: nothing here changes a byte of the corpus. start_ray: whether Ray may be started for it."""

    files: Files
    progress: Progress | None
    start_ray: bool


@dataclass(frozen=True)
class _Archive:
    """What is built: an archive with the files that it has now, and how many of its images may give no picture."""

    spec: BuildSpec
    raw: Path
    inventory: Inventory
    limit: int | None
    max_rejects: float


def build(
    spec: BuildSpec,
    raw: Path,
    files: Files,
    *,
    limit: int | None = None,
    max_rejects: float = 0.01,
    progress: Progress | None = None,
    start_ray: bool = False,
    say: Callable[[str], None] | None = None,
) -> Manifest:
    """Build a corpus or go on with one; at once where it is complete. `limit`: only so many images, evenly spaced.

    say: is told of complete corpora of the same archive that were built when other files of it were there, and where
    one is used although its images were removed.

    Raises ArchiveError for an archive that is not as it should be (before any image is read, if it can be seen), or
    not what a complete corpus of it was built of, TooManyRejects where more than the share `max_rejects` gave no
    picture, ValueError for a wrong argument.
    """
    _check_arguments(limit, max_rejects)
    raw = Path(raw).resolve()
    inventory = take_inventory(spec, raw, limit)
    opened = open_complete(spec, raw, inventory, files, limit)
    if opened.built:
        if opened.without_images and say is not None:
            say(f"{raw} has no images now: {opened.folder}, which was built of them, is used")
        return read_manifest(files, opened.folder)
    if say is not None:
        for sentence in others_of_it(spec, inventory, files, limit):
            say(sentence)
    return _build(
        _Archive(spec, raw, inventory, limit, max_rejects), opened.folder, _HowRun(files, progress, start_ray)
    )


def _build(archive: _Archive, folder: str, how: _HowRun) -> Manifest:
    """Make what the folder still lacks of the archive's corpus, the manifest last."""
    spec, raw, limit, files = archive.spec, archive.raw, archive.limit, how.files
    key = key_of(spec, archive.inventory, limit)
    source, options, order = get_source(spec.source), options_of(spec), order_of(spec)
    findings = source.findings_in(raw, options) if source.findings_in else source.findings
    # All that csv files, reports and a look at the disk can tell comes first: before any image is read.
    listed = list(source.read_records(raw, options)) if archive.inventory.records is None else archive.inventory.records
    records = list(thinned(listed, limit))
    check_splits(records)
    kept, index_rejects = _index_rejects(records)
    raw_bytes = _check_present(kept, raw, archive.max_rejects, source.dicom_only)
    regions = regions_in(source, raw, options)
    pixels = PixelSpec(spec.image_size, spec.intensity, source.modalities, spec.shape, source.dicom_only)
    job = ShardJob(str(raw), files.uri, folder, findings, pixels)
    files.remove_orphans(folder)
    tasks = plan_shards(kept, order, rows_of(pixels)[0])
    results = _make_shards(job, tasks, raw_bytes, how)
    # From here to the manifest, which is written last, every step gives the same bytes when it is done again.
    outcome = outcome_of(tasks, results, index_rejects)
    reasons = write_rejects(files, folder, outcome)
    _check_rejects(files, folder, reasons, len(records), archive.max_rejects)
    counts = count_records(findings, outcome.accepted, len(records), len(outcome.rejects))
    counts |= {**count_flags(outcome), "leaks": write_leaks(files, folder, outcome)}
    counts |= _counts_of_some(spec, outcome.accepted, results)
    _check_unchanged(archive.inventory, take_inventory(spec, raw, limit))
    counts |= {FILES: files_record(files, folder, raw, archive.inventory, outcome.rejects)}
    shards = tuple(Shard(r.path, r.split, r.rows, r.row_groups, r.sha256) for r in results if r.rows)
    counts |= write_regions(files, folder, regions, shards, findings)
    manifest = Manifest(
        source=spec.source,
        source_version=source.version,
        key=key,
        spec=identity_of(spec, limit),
        findings=findings,
        has_reports=source.has_reports,
        image_size=spec.image_size,
        index_files=archive.inventory.index,
        counts=counts,
        shards=shards,
        reject_reasons=reasons,
        notes=tuple(
            map(
                printable,
                [
                    *_compared(spec, raw, limit, records, outcome.accepted),
                    *_notes(counts, limit, order),
                    *_label_notes(findings, outcome.accepted),
                    *_id_notes(records),
                ],
            )
        ),
        fingerprint=corpus_fingerprint(key, shards),
    )
    return _publish(manifest, files, folder)


def _publish(manifest: Manifest, files: Files, folder: str) -> Manifest:
    if files.write_once(f"{folder}/{MANIFEST}", manifest.to_json().encode()):
        return manifest
    other = read_manifest(files, folder)
    if other.fingerprint != manifest.fingerprint:
        raise ArchiveError(
            f"another build of {folder} ended with other shards ({other.fingerprint}, here {manifest.fingerprint}):"
            " was the archive changed in between? Remove the folder and build again"
        )
    return other


def _check_unchanged(before: Inventory, after: Inventory) -> None:
    """Raises ArchiveError where files came, went or changed while they were read: shards may have either state."""
    if (before.index, before.record()) != (after.index, after.record()):
        raise ArchiveError(
            "the archive was changed while it was read: run the same command again when it is copied or unpacked in"
            " full; shards of files that did not change are kept"
        )


def _make_shards(job: ShardJob, tasks: list[ShardTask], raw_bytes: int, how: _HowRun) -> list[ShardResult]:
    """The results of all tasks, in their order. raw_bytes: of the archive's images, about."""
    with reading_threads(STATE_READERS) as pool:  # a look at every file of finished shards, often over a network
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
    workers = min(cores(), MAX_LOCAL_DECODERS, 1 + images // IMAGES_PER_DECODER)
    with Decoders(job.pixels, workers) as decoders:
        for task in tasks:
            yield make_shard(job, task, decoders, advance)


def _ray_ready(start: bool) -> bool:
    """Whether this process is connected to Ray; in the command, it is by now.

    Raises ValueError where the cluster that RAY_ADDRESS names does not answer.
    """
    loaded = sys.modules.get("ray")
    if loaded is not None and loaded.is_initialized():
        return True
    if start:
        if (named := named_cluster()) is not None and (why_not := unanswered(named)) is not None:
            raise ValueError(why_not)
        if (others := overlooked()) is not None and others.refuse:
            raise ValueError(others.sentence)
        import ray  # it takes a second to import, which a small archive need not pay

        # "local" is a Ray of this command's own; None joins the one that RAY_ADDRESS names.
        address, told = (None, {}) if named else ("local", granted_to_ray())
        if address:
            if obstacle() is not None:
                return False  # several processes of this one's own make the same corpus
            ensure_token()
        on_sigterm = signal.getsignal(signal.SIGTERM)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **told)
        except SystemExit as error:  # by Ray's handler of SIGTERM, which would end the command without its sentence
            raise KeyboardInterrupt from error
        finally:
            signal.signal(signal.SIGTERM, on_sigterm)
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
    try:
        for row in dataset.iter_rows():
            result = ShardResult.from_json(row["result"])
            advance(sizes[result.path])
            yield result
    except ray.exceptions.RayTaskError as error:
        # Ray hands on the text of what a task raised, each time in another form: its class is a name in it.
        _, raised, sentence = str(error).partition(f"{BrokenInstallation.__module__}.{BrokenInstallation.__name__}: ")
        if not raised:
            raise
        raise BrokenInstallation(sentence.partition("\n")[0]) from error


def _counts_of_some(spec: BuildSpec, accepted: list[Record], results: list[ShardResult]) -> dict[str, Any]:
    """Counts that only some builds have: with reports, ordered by a hash, or of pictures that keep their ratio."""
    counts: dict[str, Any] = {"reports": count_reports(accepted)} if get_source(spec.source).has_reports else {}
    counts |= {"batches": count_batches(accepted, results)} if order_of(spec) == "hash" else {}
    return counts | ({"squeezed": sum(result.squeezed for result in results)} if spec.shape == "aspect" else {})


def _compared(
    spec: BuildSpec, raw: Path, limit: int | None, records: list[Record], accepted: list[Record]
) -> list[str]:
    """Whether the archive is whole, and the source's own notes."""
    source, options = get_source(spec.source), options_of(spec)
    # A build with a limit lacks nothing: it is as small as it was asked to be.
    published = source.published if limit is None else {}
    compared = published_notes(published, records, accepted, source.official_split(raw, options))
    return [*compared, *source.notes(raw, options)]


def _notes(counts: dict[str, Any], limit: int | None, order: str) -> list[str]:
    """What a reader of the manifest should know besides the counts."""
    notes = [] if limit is None else [f"--limit {limit}: a part of the archive, for trying things out"]
    if order == "hash":
        notes.append("records are ordered by a hash of their image ids: images of a patient lie anywhere in a split")
    notes += pixel_notes(counts["pixels"])
    notes += leak_notes(counts["leaks"], counts["burned_in"]) + region_notes(counts)
    if reports := counts.get("reports"):
        notes.append(
            "{studies_with_impression} of {studies} studies have an impression, {distinct_impressions} of them distinct"
            " texts; {repeated_impressions} have one that another study has too".format_map(reports)
        )
    return notes


def _label_notes(findings: tuple[str, ...], accepted: list[Record]) -> list[str]:
    """Splits that nothing can be learnt or told from, whatever a csv seemed to say of them."""
    images = Counter(record.split for record in accepted)
    labelled = {record.split for record in accepted if any(code is not None for code in record.labels)}
    return [
        f"none of the {count:,} images of {split} has a label"
        for split, count in images.items()
        if findings and split not in labelled
    ]


def _id_notes(records: list[Record]) -> list[str]:
    return case_notes({record.patient_id: record.split for record in records})
