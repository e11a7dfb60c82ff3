"""Are a corpus's shards still what its manifest says?"""

import hashlib
import math
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from datasets_io.build.regions import region_problems
from datasets_io.build.side_tables import REJECTS
from datasets_io.corpus.manifest import Manifest, Shard
from datasets_io.corpus.shard_file import open_shard, read_stored
from datasets_io.schema import stored_shape
from datasets_io.storage.artefacts import CorruptArtefact
from datasets_io.storage.files import ReadFiles


def verify(files: ReadFiles, folder: str, manifest: Manifest) -> list[str]:
    """Read every shard again. One sentence for each problem: hash, columns, rows, picture sizes, ids, counts.

    Raises nothing for a damaged or missing file: that is a problem too. Empty where all is as the manifest says.
    """
    problems: list[str] = []
    seen: set[str] = set()  # image ids of all shards so far: an id may be in one shard only
    for shard in manifest.shards:
        try:
            data = files.read(f"{folder}/{shard.path}")
        except OSError as error:
            problems.append(f"{shard.path} cannot be read ({error.strerror or type(error).__name__})")
            continue
        if hashlib.sha256(data).hexdigest() != shard.sha256:
            problems.append(f"{shard.path} is damaged (another sha256): remove {folder} and build again")
            continue
        problems += _content_problems(data, shard, manifest, seen)
    images = manifest.counts["images"]
    # A shard that could not be read lacks its ids too; to say so twice helps nobody.
    if not problems and len(seen) != images:
        problems.append(f"the shards have {len(seen)} images, the manifest says {images}")
    return problems + _reject_problems(files, folder, manifest) + region_problems(files, folder, manifest.counts)


def absent_shards(files: ReadFiles, folder: str, manifest: Manifest) -> list[str]:
    """One sentence for each shard that is missing or shorter than its pictures, by names and sizes alone.

    Raises OSError where the storage cannot be listed.
    """
    sizes = files.sizes(folder)
    problems = []
    for shard in manifest.shards:
        path = f"{folder}/{shard.path}"
        size = sizes.get(path)
        # Neither packed nor in a dictionary; of pictures in their own ratio a manifest does not tell the sizes.
        least = shard.rows * (manifest.image_size**2 if manifest.shape == "square" else 1)
        if size is None and not files.is_file(path):  # a listing does not follow links, by which a disk is extended
            problems.append(f"{path} is missing")
        elif size is not None and size < least:
            problems.append(f"{path} is damaged (it is no whole Parquet file of this project)")
    return problems


def _reject_problems(files: ReadFiles, folder: str, manifest: Manifest) -> list[str]:
    try:
        source = pa.BufferReader(files.read(f"{folder}/{REJECTS}"))
        table = read_stored(source, REJECTS, ["stage", "reason"])
        reasons = Counter(f"{row['stage']}: {row['reason']}" for row in table.to_pylist())
    except (OSError, ValueError, CorruptArtefact, pa.ArrowException) as error:
        return [f"{REJECTS} cannot be read ({type(error).__name__})"]
    if dict(reasons) != manifest.reject_reasons:
        expected = manifest.counts["rejects"]
        return [f"{REJECTS} has {reasons.total()} rejects, the manifest {expected}, or their reasons differ"]
    return []


def _content_problems(data: bytes, shard: Shard, manifest: Manifest, seen: set[str]) -> list[str]:
    try:
        with open_shard(pa.BufferReader(data), manifest.findings, shard.path) as parquet:
            return _row_problems(parquet, shard, manifest, seen)
    except (ValueError, CorruptArtefact) as error:
        return [str(error)]


def _row_problems(parquet: pq.ParquetFile, shard: Shard, manifest: Manifest, seen: set[str]) -> list[str]:
    groups = tuple(parquet.metadata.row_group(number).num_rows for number in range(parquet.num_row_groups))
    if groups != shard.row_groups or sum(groups) != shard.rows:
        return [f"{shard.path} has row groups {groups}, the manifest says {shard.row_groups}"]
    table = parquet.read(columns=["image_id", "pixels", "original_rows", "original_columns"])
    lengths = pc.binary_length(table["pixels"]).to_pylist()
    originals = (table[name].to_pylist() for name in ("original_rows", "original_columns"))
    wanted = [
        math.prod(stored_shape(rows, columns, manifest.image_size, manifest.shape))
        for rows, columns in zip(*originals, strict=True)
    ]
    wrong = sorted({(is_, wants) for is_, wants in zip(lengths, wanted, strict=True) if is_ != wants})
    if wrong:
        return [f"{shard.path} has pictures of {wrong[0][0]} bytes, not {wrong[0][1]}"]
    for image_id in table["image_id"].to_pylist():
        if image_id in seen:
            return [f"{shard.path} has image {image_id} a second time"]
        seen.add(image_id)
    return []
