"""A finished folder: files named by their content, and a result.json that is written last and only once."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from datasets_io.files import Files

RESULT, FAILED = "result.json", "failed.json"


class CorruptArtefact(RuntimeError):
    """A file's bytes are not those that its result names."""


@dataclass(frozen=True)
class Artefacts:
    """A finished folder as it was read: `result` is what its maker said, files are verified when read."""

    files: Files
    folder: str
    result: dict[str, Any]

    def read(self, name: str) -> bytes:
        """The bytes of one artefact. Raises CorruptArtefact where they are missing or changed."""
        entry = self.result["files"][name]
        path = f"{self.folder}/{entry['path']}"
        try:
            data = self.files.read(path)
        except FileNotFoundError as error:
            raise CorruptArtefact(f"{path} is missing; remove the folder {self.folder} to compute it again") from error
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            raise CorruptArtefact(f"{path} is damaged (its sha256 differs); remove the folder {self.folder}")
        return data


def publish(files: Files, folder: str, contents: dict[str, bytes], result: dict[str, Any]) -> bool:
    """Write artefacts, then result.json. False where another writer was first: then its result stands.

    Two writers never touch one file with different content, since names carry the content's hash.
    """
    entries = {}
    for name, data in sorted(contents.items()):
        digest = hashlib.sha256(data).hexdigest()
        path = PurePosixPath(name)
        stored = f"{path.stem}.{digest[:8]}{path.suffix}"
        if not files.exists(f"{folder}/{stored}"):
            files.write(f"{folder}/{stored}", data)
        entries[name] = {"path": stored, "sha256": digest, "bytes": len(data)}
    text = json.dumps({**result, "files": entries}, indent=1, sort_keys=True, allow_nan=False)
    written = files.write_once(f"{folder}/{RESULT}", text.encode())
    files.remove(f"{folder}/{FAILED}")
    return written


def is_done(files: Files, folder: str) -> bool:
    return files.exists(f"{folder}/{RESULT}")


def open_artefacts(files: Files, folder: str) -> Artefacts:
    return Artefacts(files, folder, json.loads(files.read(f"{folder}/{RESULT}")))


def record_failure(files: Files, folder: str, error: str, traceback: str) -> None:
    """Keep why a computation failed; a later success or a retry removes it."""
    text = json.dumps({"error": error, "traceback": traceback}, indent=1)
    files.write(f"{folder}/{FAILED}", text.encode())
