"""How are the boxes and masks of an archive kept: regions.parquet beside the shards, for the images that are in them.

Boxes are shares of the image's sides, whatever size the shards have; masks have the size that they were drawn at.

Where a picture was turned upright, as its EXIF orientation says, its boxes and masks are left out, but for a mask whose
own file has an orientation, which was applied as the picture's was. They could be turned with it if they were drawn on
the picture as it lies in its file. No archive says so: whoever drew in a viewer saw it upright, and a table made by a
library may have either. The size of a mask tells it for quarter turns alone. A wrong place cannot be seen in a score.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from datasets_io.build.side_tables import FLAGS, TURNED
from datasets_io.corpus.manifest import MANIFEST, Manifest, Shard
from datasets_io.corpus.shard_file import open_shard, read_stored
from datasets_io.sources.regions import BOX, KINDS, Region
from datasets_io.sources.registry import Source, SourceOptions
from datasets_io.storage.files import Files, ReadFiles

REGIONS = "regions.parquet"
NOT_HERE, OUTSIDE = "its image is not in the corpus", "it lies outside of its image"
NO_AREA = "its width or height is not above 0"
UNTOLD = "its image was turned upright (EXIF), and nothing says whether it was drawn before or after that"
SIZES = ("image_id", "original_rows", "original_columns")
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("image_id", "finding", "kind", "reader")),
        *(pa.field(name, pa.float64()) for name in ("left", "top", "width", "height")),
        *(pa.field(name, pa.int32()) for name in ("rows", "columns")),
        pa.field("counts", pa.string()),
    ]
)


def regions_in(source: Source, raw: Path, options: SourceOptions) -> list[Region]:
    """All regions that the archive lists, in its order. Raises ArchiveError, before any image is read."""
    return list(source.read_regions(raw, options)) if source.read_regions else []


def write_regions(
    files: Files, folder: str, regions: list[Region], shards: Iterable[Shard], findings: tuple[str, ...]
) -> dict[str, Any]:
    """Writes regions.parquet for the images of the shards. Returns {"regions": counts} for a manifest.

    Where the archive has no region nothing is written and the result is empty. listed = kept + left_out, by reason;
    resized_masks: those of another size than their image's file. such_as: where the archive's file of a region had a
    problem, the first region that has it. turned: where images of regions were turned, how many regions of these are
    kept. The shards and flags.parquet are read.
    """
    if not regions:
        return {}
    sizes, turned = _sizes(files, folder, shards, findings), _turned(files, folder)
    kept: list[Region] = []
    left_out: Counter[str] = Counter()
    such_as: dict[str, str] = {}  # problem -> the first region that has it
    resized = 0
    for region in regions:
        if region.image_id not in sizes:
            left_out[NOT_HERE] += 1
            continue
        untold = UNTOLD if region.image_id in turned and not region.upright else ""
        if problem := region.problem or untold:
            left_out[problem] += 1
            such_as.setdefault(problem, f"{region.finding} of {region.image_id}")
            continue
        size = sizes[region.image_id]
        resized += region.kind != BOX and (region.rows, region.columns) != size
        within = _within(region, size)
        if within is None:
            left_out[NO_AREA if _has_no_area(region) else OUTSIDE] += 1
        else:
            kept.append(within)
    data = _parquet(kept)
    files.write(f"{folder}/{REGIONS}", data)
    found = {name: {kind: 0 for kind in KINDS} for name in dict.fromkeys(region.finding for region in kept)}
    for region in kept:
        found[region.finding][region.kind] += 1
    return {
        "regions": {
            "listed": len(regions),
            "kept": len(kept),
            "left_out": dict(left_out),
            "images": len({region.image_id for region in kept}),
            "findings": found,
            "resized_masks": resized,
            "sha256": hashlib.sha256(data).hexdigest(),
            **({"such_as": such_as} if such_as else {}),
            **({"turned": sum(region.image_id in turned for region in kept)} if _any_of(regions, turned) else {}),
        }
    }


def region_notes(counts: Mapping[str, Any]) -> list[str]:
    """What the manifest says of regions, where there are any. counts: those of the manifest."""
    if not (found := counts.get("regions")):
        return []
    such_as = {reason: f" (such as {region})" for reason, region in found.get("such_as", {}).items()}
    reasons = "".join(
        f"; {count:,} left out: {reason}{such_as.get(reason, '')}" for reason, count in found["left_out"].items()
    )
    if found["resized_masks"]:
        reasons += f"; {found['resized_masks']:,} masks have another size than their image's file"
    return [f"{found['kept']:,} boxes and masks of {found['images']:,} images are in {REGIONS}{reasons}"]


def read_regions(files: ReadFiles, folder: str) -> list[Region]:
    """The regions of a built corpus, boxes as shares of the image; empty where it has none.

    Without those of turned images in a corpus from before they were left out, which its manifest shows: the key of such
    a corpus is what it was, since no key depends on what is in pictures. Raises ValueError where the file is not one of
    this project, CorruptArtefact where it is damaged.
    """
    if not files.exists(f"{folder}/{REGIONS}"):
        return []
    source = pa.BufferReader(files.read(f"{folder}/{REGIONS}"))
    regions = [Region(**row) for row in read_stored(source, f"{folder}/{REGIONS}", SCHEMA.names).to_pylist()]
    turned = _turned(files, folder)
    if not _any_of(regions, turned) or "turned" in _manifest_counts(files, folder):
        return regions
    return [region for region in regions if region.image_id not in turned]


def region_problems(files: ReadFiles, folder: str, counts: Mapping[str, Any]) -> list[str]:
    """A sentence where regions.parquet is not as the manifest's counts say."""
    if not (found := counts.get("regions")):
        return []
    try:
        data = files.read(f"{folder}/{REGIONS}")
    except OSError as error:
        return [f"{REGIONS} cannot be read ({error.strerror or type(error).__name__})"]
    if hashlib.sha256(data).hexdigest() != found.get("sha256"):
        return [f"{REGIONS} is damaged (another sha256): remove {folder} and build again"]
    return []


def _manifest_counts(files: ReadFiles, folder: str) -> Mapping[str, Any]:
    counts = Manifest.from_json(files.read(f"{folder}/{MANIFEST}")).counts
    return counts.get("regions") or {}


def _turned(files: ReadFiles, folder: str) -> set[str]:
    """Ids of the images that were turned upright, of flags.parquet, which builds before there was one lack."""
    if not files.exists(path := f"{folder}/{FLAGS}"):
        return set()
    flags = read_stored(pa.BufferReader(files.read(path)), path, ["image_id", "flag"])
    return {row["image_id"] for row in flags.to_pylist() if row["flag"] == TURNED}


def _any_of(regions: Iterable[Region], images: set[str]) -> bool:
    return any(region.image_id in images for region in regions)


def _sizes(files: Files, folder: str, shards: Iterable[Shard], findings: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """image_id -> rows and columns of the archive's file, of every image in the shards."""
    return {name: (rows, columns) for name, rows, columns in _size_rows(files, folder, shards, findings)}


def _size_rows(
    files: Files, folder: str, shards: Iterable[Shard], findings: tuple[str, ...]
) -> Iterator[tuple[str, int, int]]:
    for shard in shards:
        path = f"{folder}/{shard.path}"
        with files.fs.open_input_file(files.full(path)) as source, open_shard(source, findings, path) as parquet:
            table = parquet.read(columns=list(SIZES))
        yield from zip(*(table[name].to_pylist() for name in SIZES), strict=True)


def _within(region: Region, size: tuple[int, int]) -> Region | None:
    """The region with its box in shares and cut off at the border; None where nothing of it is in the image."""
    if region.kind != BOX:
        return region
    sides = (region.left, region.top, region.width, region.height)
    left, top, width, height = (value if value is not None else 0.0 for value in sides)
    if region.in_pixels:
        rows, columns = size
        left, top, width, height = left / columns, top / rows, width / columns, height / rows
    right, bottom = min(left + width, 1.0), min(top + height, 1.0)
    left, top = max(left, 0.0), max(top, 0.0)
    if not (left < right and top < bottom):
        return None
    return Region(region.image_id, region.finding, BOX, region.reader, left, top, right - left, bottom - top)


def _has_no_area(region: Region) -> bool:
    return min(region.width or 0.0, region.height or 0.0) <= 0


def _parquet(regions: list[Region]) -> bytes:
    sink = pa.BufferOutputStream()
    columns = {name: [getattr(region, name) for region in regions] for name in SCHEMA.names}
    # No Arrow schema in the footer: readers refuse a file that has one (shard_file).
    pq.write_table(pa.table(columns, schema=SCHEMA), sink, compression="none", store_schema=False)
    return sink.getvalue().to_pybytes()
