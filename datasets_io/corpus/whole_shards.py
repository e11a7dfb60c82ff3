"""Does every shard of a split hold the bytes that its manifest names? On a disk compared before it is used."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

from datasets_io.corpus.manifest import Shard
from datasets_io.corpus.node_array import SETTLED_SECONDS, CacheFull, local_cache, locked, put_note, state_of
from datasets_io.granted import cores
from datasets_io.storage.artefacts import CorruptArtefact
from datasets_io.storage.files import ReadFiles
from datasets_io.storage.patience import patiently
from datasets_io.untrusted import NotRegular, json_file, open_regular

SMALL = 64 << 20  # bytes of a split that are compared by each process, without a note in the node's cache

_COMPARED: set[tuple[str, str]] = set()  # by this process: (path and SHA-256, state)


def check_shards(files: ReadFiles, folder: str, shards: Sequence[Shard]) -> None:
    """Compare shards of a disk with the SHA-256 that their manifest names: all their bytes, before any is used.

    A page of Parquet has a checksum of its own, and so has another whole shard under the same name. SHA-256 takes 0.5 s
    of a core for a gigabyte, so a note in the node's cache says which files had it: each is read once on a node after
    each start of the machine, and again where it was written to. On an object store nothing is compared here: there it
    would mean to fetch all of it once more.

    Raises CorruptArtefact for a shard that has other bytes or is no file, FileNotFoundError for one that is missing.
    """
    if not files.is_local or not shards:
        return
    paths = {f"{folder}/{shard.path}": shard for shard in shards}
    waiting = _not_compared(files, paths)
    if not waiting:
        return
    if sum(Path(files.full(path)).stat().st_size for path in waiting) <= SMALL:
        _compare(files, folder, waiting)
        return
    try:
        note = local_cache() / f"shards-{hashlib.sha256(files.full(folder).encode()).hexdigest()[:16]}.whole"
        with locked(note):  # the workers of a node start together: one compares, the others wait
            _compare_by_note(files, folder, waiting, note)
    except CacheFull:  # no folder for a note
        _compare(files, folder, waiting)


def _not_compared(files: ReadFiles, paths: Mapping[str, Shard]) -> dict[str, Shard]:
    return {
        path: shard
        for path, shard in paths.items()
        if (_name(files, path, shard), _state(files, path)) not in _COMPARED
    }


def _name(files: ReadFiles, path: str, shard: Shard) -> str:
    return f"{files.full(path)} {shard.sha256}"


def _state(files: ReadFiles, path: str) -> str:
    return patiently(partial(state_of, Path(files.full(path))))


def _compare_by_note(files: ReadFiles, folder: str, waiting: Mapping[str, Shard], note: Path) -> None:
    """Those whose state is not noted; then note them. The caller holds the lock."""
    for orphan in note.parent.glob(f".{note.stem}.npy-*"):
        orphan.unlink()  # of a writer that was killed
    noted = _read(note)
    known = {
        path: shard for path, shard in waiting.items() if noted.get(_name(files, path, shard)) == _state(files, path)
    }
    _COMPARED.update((_name(files, path, shard), noted[_name(files, path, shard)]) for path, shard in known.items())
    found = _compare(files, folder, {path: shard for path, shard in waiting.items() if path not in known})
    if found:
        with suppress(OSError):  # a note that saves time: without it the next process compares again
            put_note(note, json.dumps(noted | found))


def _read(note: Path) -> dict[str, str]:
    try:
        found = json_file(note)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _compare(files: ReadFiles, folder: str, shards: Mapping[str, Shard]) -> dict[str, str]:
    """Read them whole; the state of each that may count as unchanged as long as it has it. Raises as check_shards."""
    found = {}
    with ThreadPoolExecutor(cores()) as pool:  # the hash leaves the interpreter to others
        states = pool.map(lambda path: _compared(files, folder, path, shards[path].sha256), shards)
        for (path, shard), (state, settled) in zip(shards.items(), states, strict=True):
            if settled:
                found[_name(files, path, shard)] = state
    _COMPARED.update(found.items())
    return found


def _compared(files: ReadFiles, folder: str, path: str, sha256: str) -> tuple[str, bool]:
    """A file's state, and whether a later write would change it. Raises as check_shards."""
    full = Path(files.full(path))
    before = _state(files, path)
    try:
        same = patiently(partial(_sha256, full)) == sha256
    except NotRegular as error:
        raise CorruptArtefact(f"{path} is no file: remove {folder} and build the corpus again") from error
    if not same:
        raise CorruptArtefact(f"{path} is damaged (its sha256 differs): remove {folder} and build the corpus again")
    settled = time.time() - full.stat().st_ctime > SETTLED_SECONDS
    return before, settled and _state(files, path) == before


def _sha256(full: Path) -> str:
    with open_regular(full) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
