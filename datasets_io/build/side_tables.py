"""What is written beside the shards: rejects.parquet, flags.parquet, near_duplicates.parquet, and their counts.

Only rejects.parquet names files of the archive (as its csv does), so that a user can repair them.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets_io.build.near_duplicates import count_near_pairs, hashes_from_text, near_pairs
from datasets_io.build.shards import ShardResult, ShardTask
from datasets_io.corpus.batch_pairs import describe
from datasets_io.schema import PIXEL_RULES, SPLITS, Record
from datasets_io.storage.files import Files
from datasets_io.untrusted import printable

REJECTS, FLAGS, NEAR_DUPLICATES = "rejects.parquet", "flags.parquet", "near_duplicates.parquet"
BURNED_IN, TURNED, PADDED, UNCOPIED = "burned_in_annotation", "exif_orientation", "pixel_padding", "zeros_follow"
UNKNOWN_VIEW = "unknown_view_position"


@dataclass(frozen=True)
class Reject:
    """A record without a picture: a row of rejects.parquet. `path` as the archive lists it."""

    image_id: str
    path: str
    stage: str
    reason: str


@dataclass(frozen=True)
class BuildOutcome:
    """What became of the records. accepted: the N in the shards, in the shards' order; hashes: (N, WORDS) uint64.

    digests: N texts, equal where pictures are equal byte by byte. burned_in: image ids whose DICOM header says that
    text is burned into the picture; turned: whose picture was turned as EXIF says; padded: scaled without its padding;
    uncopied: which may lack a part; unknown_view: whose view position only the header says, in unknown words.
    """

    accepted: list[Record]
    rejects: list[Reject]
    burned_in: list[str]
    turned: list[str]
    padded: list[str]
    uncopied: list[str]
    unknown_view: list[str]
    hashes: np.ndarray
    digests: list[str]


def outcome_of(tasks: list[ShardTask], results: list[ShardResult], index_rejects: Iterable[Reject]) -> BuildOutcome:
    """What all shards together came to; `results` are in the order of `tasks`."""
    accepted: list[Record] = []
    rejects = list(index_rejects)
    burned_in: list[str] = []
    turned: list[str] = []
    padded: list[str] = []
    uncopied: list[str] = []
    unknown_view: list[str] = []
    hashes: list[str] = []
    digests: list[str] = []
    for task, result in zip(tasks, results, strict=True):
        # What is not refused was accepted: a shard's rows keep the order of its task's records.
        refused = {refusal.place for refusal in result.refusals}
        accepted += [record for place, record in enumerate(task.records) if place not in refused]
        for refusal in result.refusals:
            record = task.records[refusal.place]
            rejects.append(Reject(record.image_id, record.path, refusal.stage, refusal.reason))
        burned_in += [task.records[place].image_id for place in result.burned_in]
        turned += [task.records[place].image_id for place in result.turned]
        padded += [task.records[place].image_id for place in result.padded]
        uncopied += [task.records[place].image_id for place in result.uncopied]
        unknown_view += [task.records[place].image_id for place in result.unknown_view]
        hashes += result.hashes
        digests += result.digests
    flags = (burned_in, turned, padded, uncopied, unknown_view)
    return BuildOutcome(accepted, rejects, *flags, hashes_from_text(hashes), digests)


def write_rejects(files: Files, folder: str, outcome: BuildOutcome) -> dict[str, int]:
    """Writes rejects.parquet and flags.parquet. Returns reason -> number, the commonest first."""
    columns = ("image_id", "path", "stage", "reason")
    # A path may hold anything, and somebody will print it.
    values = {name: [printable(getattr(reject, name)) for reject in outcome.rejects] for name in columns}
    files.write(f"{folder}/{REJECTS}", _parquet(values, {}))
    flagged = (
        (BURNED_IN, outcome.burned_in),
        (TURNED, outcome.turned),
        (PADDED, outcome.padded),
        (UNCOPIED, outcome.uncopied),
        (UNKNOWN_VIEW, outcome.unknown_view),
    )
    flags = {
        "image_id": [image_id for _, ids in flagged for image_id in ids],
        "flag": [flag for flag, ids in flagged for _ in ids],
    }
    files.write(f"{folder}/{FLAGS}", _parquet(flags, {}))
    return dict(Counter(f"{reject.stage}: {reject.reason}" for reject in outcome.rejects).most_common())


def write_leaks(files: Files, folder: str, outcome: BuildOutcome) -> dict[str, Any]:
    """Writes near_duplicates.parquet. Returns counts["leaks"] of a manifest: pictures that two splits share.

    equal_pictures: distinct pictures, equal byte by byte after the resize. near_duplicates: as count_near_pairs.
    """
    records = outcome.accepted
    splits = np.array([SPLITS.index(record.split) for record in records], np.int64)
    near = near_pairs(outcome.hashes, splits)
    first, second = ([records[row] for row in rows] for rows in near.rows.T)
    # Ids of the shards alone: their rows name no file and no patient.
    columns = {
        "image_id": [record.image_id for record in first],
        "split": [record.split for record in first],
        "other_image_id": [record.image_id for record in second],
        "other_split": [record.split for record in second],
    }
    files.write(f"{folder}/{NEAR_DUPLICATES}", _parquet(columns, {"distance": near.distance.tolist()}))
    splits_of: dict[str, set[str]] = {}
    for record, digest in zip(records, outcome.digests, strict=True):
        splits_of.setdefault(digest, set()).add(record.split)
    equal = sum(len(found) > 1 for found in splits_of.values())
    return {"equal_pictures": equal, "near_duplicates": count_near_pairs(near, splits)}


def count_reports(accepted: list[Record]) -> dict[str, int]:
    """counts["reports"] of a manifest. A contrastive batch takes equal texts of two studies for a false negative.

    repeated_impressions: studies whose impression another study has too, word by word.
    """
    # A study's images share its report, so each study counts once.
    impressions = {record.study_id: record.report_impression for record in accepted}
    texts = Counter(text for text in impressions.values() if text)
    with_impression = texts.total()
    return {
        "studies": len(impressions),
        "studies_with_impression": with_impression,
        "studies_without_impression": len(impressions) - with_impression,
        "distinct_impressions": len(texts),
        "repeated_impressions": sum(count for count in texts.values() if count > 1),
    }


def count_batches(accepted: list[Record], results: list[ShardResult]) -> dict[str, Any]:
    """counts["batches"] of a manifest: pairs of one study and patient in a batch of the training split.

    Images without an impression do not take part, where any has one. results: of all shards, in their order.
    """
    train = [record for record in accepted if record.split == "train"]
    groups = [rows for result in results if result.split == "train" for rows in result.row_groups]
    kept = np.array([bool(record.report_impression) for record in train], dtype=bool)
    studies = np.array([record.study_id for record in train], dtype=object)
    patients = np.array([record.patient_id for record in train], dtype=object)
    return describe(groups, kept if kept.any() else np.ones_like(kept), studies, patients)


def count_flags(outcome: BuildOutcome) -> dict[str, Any]:
    """counts["burned_in"] and counts["pixels"] of a manifest: the rules of pictures, how many needed a seldom one."""
    pixels = {"rules": PIXEL_RULES, "turned": len(outcome.turned), "padded": len(outcome.padded)}
    pixels["uncopied"] = len(outcome.uncopied)
    if outcome.unknown_view:
        pixels["unknown_views"] = len(outcome.unknown_view)
    return {"burned_in": len(outcome.burned_in), "pixels": pixels}


def pixel_notes(pixels: dict[str, int]) -> list[str]:
    """Sentences for a manifest where pictures are not as they lie in their files."""
    notes = []
    if turned := pixels["turned"]:
        notes.append(f"{turned:,} pictures were turned upright, as their EXIF orientation says: see {FLAGS}")
    if padded := pixels["padded"]:
        notes.append(f"{padded:,} pictures were scaled without the padding that their DICOM header names: see {FLAGS}")
    if uncopied := pixels["uncopied"]:
        stop = f"{uncopied:,} plain DICOM pictures stop in the middle of a row, and zeros follow"
        notes.append(f"{stop}: was a part of the file not copied? See {FLAGS}")
    if unknown := pixels.get("unknown_views"):
        notes.append(
            f"{unknown:,} DICOM headers have a ViewPosition that is not understood, which counts as frontal where "
            f"frontal views are asked for: see {FLAGS}"
        )
    return notes


def leak_notes(leaks: dict[str, Any], burned_in: int) -> list[str]:
    """Sentences for a manifest where there is something to know."""
    notes = []
    if burned_in:
        notes.append(f"{burned_in} images say in their header that text is burned in: see {FLAGS}")
    if leaks["equal_pictures"]:
        notes.append(f"{leaks['equal_pictures']} pictures are in more than one split, equal byte by byte")
    near = leaks["near_duplicates"]
    if pairs := sum(near["pairs"].values()):
        number = f"{pairs:,}" if near["complete"] else f"{pairs:,} or more"
        sides = ", ".join(f"{count:,} {name}" for name, count in near["pairs"].items() if count)
        notes.append(f"{number} pairs of nearly equal pictures are in two splits ({sides}): see {NEAR_DUPLICATES}")
    return notes


def _parquet(columns: dict[str, list[str]], numbers: dict[str, list[int]]) -> bytes:
    """Text columns and int32 columns; the same bytes for the same rows."""
    fields = [pa.field(name, pa.string(), nullable=False) for name in columns]
    fields += [pa.field(name, pa.int32(), nullable=False) for name in numbers]
    sink = pa.BufferOutputStream()
    table = pa.table({**columns, **numbers}, schema=pa.schema(fields))
    # No Arrow schema in the footer: readers refuse a file that has one (shard_file).
    pq.write_table(table, sink, compression="none", store_schema=False)
    return sink.getvalue().to_pybytes()
