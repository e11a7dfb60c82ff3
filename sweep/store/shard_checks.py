"""What does a storage hold of a study's data: whole manifests and shards, and which of them are damaged? Only reads."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from datasets_io.corpus.manifest import MANIFEST, Manifest, Shard
from datasets_io.corpus.read import read_manifest
from datasets_io.corpus.shard_file import check_footer
from datasets_io.schema import SPLITS
from datasets_io.storage.artefacts import CorruptArtefact
from datasets_io.storage.files import ReadFiles
from datasets_io.storage.patience import patiently
from datasets_io.threads import reading_threads
from sweep.store.damage import Damage, data_damage
from sweep.store.store import ReadStore

HELD_OUT = ("val", "test")  # the splits that a report reads: training shards may be ten thousand times as large
READERS = 8


@dataclass(frozen=True)
class Sources:
    """folders: label of a build -> folder of its shards; manifests: of those whose manifest is whole.

    damage: what is not whole.
    """

    folders: Mapping[str, str]
    manifests: Mapping[str, Manifest]
    damage: tuple[Damage, ...] = ()


def open_sources(store: ReadStore, folders: Mapping[str, str], whole: set[str] | None = None) -> Sources:
    """Read every manifest and the footer of every shard; with a thorough store all bytes of held-out shards too.

    folders: label of a build -> folder of its shards. whole: paths of shards that were found whole before; they are
    not checked again, and new ones are added. A build whose folder is gone by now is in neither folders, manifests nor
    damage. Raises NewerSchema for a manifest that a newer version wrote.
    """
    whole = set() if whole is None else whole
    manifests: dict[str, Manifest] = {}
    damage: list[Damage] = []
    for label, folder in folders.items():
        try:
            manifest = whole_manifest(store.files, folder)
        except FileNotFoundError:  # removed since it was listed, as one is told to do with damaged data: not built
            continue
        except ValueError as error:
            damage.append(data_damage(label, folder, [str(error)]))
            continue
        store.findings[manifest.fingerprint] = manifest.findings
        manifests[label] = manifest  # also with damaged shards: what was computed on them before stays known
        faults = damaged_shards(store.files, folder, manifest.shards, store.thorough, whole)
        if faults:
            damage.append(data_damage(label, folder, faults))
    return Sources({label: folder for label, folder in folders.items() if label in manifests}, manifests, tuple(damage))


def whole_manifest(files: ReadFiles, folder: str) -> Manifest:
    """The manifest of a built data folder, with the counts that commands print.

    Raises FileNotFoundError, NewerSchema, and ValueError with its path, without advice, where it is damaged.
    """
    try:
        manifest = read_manifest(files, folder)
        _check_counts(manifest)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder}/{MANIFEST} is damaged ({_reason(error, folder)})") from error
    return manifest


def _reason(error: Exception, folder: str) -> str:
    """The error of read_manifest without its path and its advice, which the damage says itself."""
    text = str(error).removeprefix(f"{folder}/{MANIFEST}: ").partition(": build the corpus again")[0]
    return text if isinstance(error, ValueError) else f"its counts lack {text}"


def _check_counts(manifest: Manifest) -> None:
    """Raises KeyError or TypeError where the numbers that commands print are not there."""
    int(manifest.counts["rejects"])
    for split in SPLITS:
        for what in ("images", "patients", "with_impression"):
            int(manifest.counts["splits"][split][what])


def damaged_shards(
    files: ReadFiles, folder: str, shards: Iterable[Shard], thorough: bool, whole: set[str]
) -> list[str]:
    """What is wrong with each shard that is cut short, missing or changed; the last where all bytes are read.

    thorough: read all bytes of shards of HELD_OUT. whole: as of `open_sources`.
    """
    # Footers only: a status that is asked for every few seconds must not read terabytes.
    waiting = [shard for shard in shards if f"{folder}/{shard.path}" not in whole]
    with reading_threads(READERS) as pool:
        found = list(pool.map(lambda shard: _fault(files, f"{folder}/{shard.path}", shard, thorough), waiting))
    whole |= {f"{folder}/{shard.path}" for shard, fault in zip(waiting, found, strict=True) if fault is None}
    return [fault for fault in found if fault is not None]


def _fault(files: ReadFiles, path: str, shard: Shard, thorough: bool) -> str | None:
    """What is wrong with one shard, in a sentence without advice; None where nothing is."""
    try:
        if thorough and shard.split in HELD_OUT:
            same = hashlib.sha256(files.read(path)).hexdigest() == shard.sha256
            return None if same else f"{path} is damaged (its sha256 differs)"
        # A footer stands at the end of a Parquet file: where it can be read, the file was not cut short.
        patiently(partial(_check_footer, files, path))
    except FileNotFoundError:
        return f"{path} is missing"
    except (CorruptArtefact, ValueError, pa.ArrowException):
        return f"{path} is damaged (it is no whole Parquet file of this project)"
    return None


def _check_footer(files: ReadFiles, path: str) -> None:
    if files.is_blocked(path):  # a pipe would be waited for
        raise ValueError(f"{path} is no file")
    with files.fs.open_input_file(files.full(path)) as source:
        check_footer(source, path)
