"""A finished folder: files named by their content, and a sealed result.json that is written last and only once."""

import errno
import hashlib
import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from types import ModuleType
from typing import Any

from datasets_io.storage.disk import WrongKind
from datasets_io.storage.files import Files, ReadFiles
from datasets_io.storage.folder_key import is_of_another
from datasets_io.storage.made_by import software
from datasets_io.storage.schema_version import SCHEMA_VERSION, check_schema
from datasets_io.storage.secrets import without_secrets

RESULT_SCHEMA = 1  # of result.json; raise it when a reader of today would misread what is written
RESULT, FAILED, QUARANTINE, WHY = "result.json", "failed.json", "quarantine", "why.json"
UNIQUE = "01234567"  # as many digits tell two of one name apart in quarantine
UNSURE = "moved.json"  # lies there in place of why.json until what was moved is known to be what was found damaged
MOST_NAMES, MOST_BYTES = 8, 255  # of a path of ours, and of a name on a disk
TURNS = 3  # of a result where a damaged one stands, in whose place another process may be first
SEAL = "sha256"
NO_SEAL = "has no seal (results had none before version 0.1.0) and cannot be checked"
_SEAL_START = b'\n "sha256": "'  # of the outermost object
_SEAL_LINE = re.compile(re.escape(_SEAL_START) + rb'([0-9a-f]{64})",(?=\n)')


class CorruptArtefact(RuntimeError):
    """Bytes are not those that their result names. `path`: what is to be put into quarantine, where that is known.

    what: which file is damaged and how; advice: what to do, for whoever sees the error itself and cannot say better.
    """

    def __init__(self, what: str, path: str | None = None, advice: str = ""):
        super().__init__(f"{what}; {advice}" if advice else what)
        self.what, self.path, self.advice = what, path, advice

    # Exceptions are pickled by their args alone, and this one crosses processes of Ray: the path would be lost.
    def __reduce__(self) -> tuple[type["CorruptArtefact"], tuple[str, str | None, str]]:
        return type(self), (self.what, self.path, self.advice)


class ConflictingResult(RuntimeError):
    """The same recipe gave other content than the result that is already there, which stands."""


# (first result, files of the second, its result) -> what is more than rounding, as the end of a sentence, or None.
Difference = Callable[["Artefacts", Mapping[str, bytes], Mapping[str, Any]], str | None]


@dataclass(slots=True)
class Artefacts:
    """A finished folder as it was read: `result` is what its maker said, files are verified when read."""

    files: ReadFiles
    folder: str
    result: dict[str, Any]

    def read(self, name: str) -> bytes:
        """The bytes of one artefact. Raises CorruptArtefact where they are missing or changed."""
        if (entry := self.result["files"].get(name)) is None:
            what = f"{self.folder}/{RESULT} names no {name} among its files"  # no path: by its hashes it is whole
            raise CorruptArtefact(what, advice=f"remove the folder {self.folder} to compute it again")
        path = f"{self.folder}/{entry['path']}"
        try:
            data = self.files.read(path)
        except FileNotFoundError as error:
            advice = f"remove the folder {self.folder} to compute it again"
            raise CorruptArtefact(f"{path} is missing", self.folder, advice) from error
        except WrongKind as error:
            raise CorruptArtefact(f"{path} is no file", self.folder, f"remove the folder {self.folder}") from error
        if hashlib.sha256(data).hexdigest() != entry["sha256"]:
            advice = f"remove the folder {self.folder}"
            raise CorruptArtefact(f"{path} is damaged (its sha256 differs)", self.folder, advice)
        return data

    @property
    def content_sha256(self) -> str:
        """Over the names and hashes of all files: the same for the same content, whoever made it and when."""
        return _content_sha256(self.result["files"])


def seal(content: dict[str, Any]) -> bytes:
    """JSON that carries the SHA-256 of the rest of itself."""
    content = json.loads(json.dumps(content, allow_nan=False))  # as a reader will see it: keys are strings
    return _json({**content, SEAL: hashlib.sha256(_json(content)).hexdigest()})


def unseal(data: bytes, path: str) -> dict[str, Any]:
    """The content of a sealed JSON. Raises CorruptArtefact where any byte of it was changed."""
    try:
        # The quick way: no second rendering as JSON. Any doubt is settled by the slow way below.
        if _seal_holds(data):
            content = json.loads(data)
            content.pop(SEAL)
            return content
        content = json.loads(data)
        digest = content.pop(SEAL)
        whole = _json({**content, SEAL: digest}) == data and digest == hashlib.sha256(_json(content)).hexdigest()
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        whole = False
    if not whole:
        folder = path.rpartition("/")[0]
        raise CorruptArtefact(f"{path} {_unlike(data)}", folder, f"remove the folder {folder}")
    return content


def _seal_holds(data: bytes) -> bool:
    """Whether what is left without the line of the seal is what was sealed, byte for byte; False for other layouts."""
    # The start is looked for as it is, and from the end, near which it lies: a search for the pattern takes long.
    if (start := data.rfind(_SEAL_START)) < 0 or (line := _SEAL_LINE.match(data, start)) is None:
        return False
    digest = hashlib.sha256(data[: line.start()])
    digest.update(data[line.end() :])
    return digest.hexdigest().encode() == line[1]


def _unlike(data: bytes) -> str:
    """What is wrong with what is no sealed JSON."""
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        content = None
    unsealed = isinstance(content, dict) and "files" in content and SEAL not in content
    return NO_SEAL if unsealed else "is damaged (its seal differs)"


def publish(
    files: Files,
    folder: str,
    contents: dict[str, bytes],
    result: dict[str, Any],
    *,
    recipe: str | None = None,
    parents: Mapping[str, str] | None = None,
    difference: Difference | None = None,
) -> bool:
    """Write artefacts, then result.json. False where another writer was first with the same content.

    recipe: hash of what was asked for; parents: folder -> content hash of what it was made from. difference: says
    whether other content is more than rounding; None: all of it is.
    Two writers never touch one file with different content, since names carry the content's hash.
    Raises ConflictingResult where another result stands already, with other content.
    """
    entries = {}
    for name, data in sorted(contents.items()):
        digest = hashlib.sha256(data).hexdigest()
        path = PurePosixPath(name)
        stored = f"{path.stem}.{digest[:8]}{path.suffix}"
        entries[name] = {"path": stored, "sha256": digest, "bytes": len(data)}
        # On an object store a look takes a request as well, and to write the same bytes once more changes nothing.
        if not (files.is_local and _is_there(files, f"{folder}/{stored}", digest)):
            _clear_way(files, folder, [stored])
            files.write(f"{folder}/{stored}", data)
    _clear_way(files, folder, [RESULT])
    about = {SCHEMA_VERSION: RESULT_SCHEMA, "files": entries, "recipe": recipe, "parents": dict(parents or {})}
    about["software"] = software()
    whole = {**result, **about}
    text = seal(whole)
    written = False
    for _ in range(TURNS):
        written = files.write_once(f"{folder}/{RESULT}", text)
        if written or _stands(files, folder, entries, lambda first: _beyond(difference, first, contents, whole)):
            break
    else:
        files.write(f"{folder}/{RESULT}", text)
        written = True
    # On an object store it stays until a driver lists it: what has both is finished, and a look takes two requests.
    if files.is_local:
        files.remove(f"{folder}/{FAILED}")
    return written


def _is_there(files: Files, path: str, digest: str) -> bool:
    """Whether a file is there in full: what a power cut or a bad disk left is written again."""
    try:
        return hashlib.sha256(files.read(path)).hexdigest() == digest
    except (FileNotFoundError, WrongKind):
        return False


def _clear_way(files: Files, folder: str, names: Iterable[str]) -> None:
    """Move to quarantine what is no folder, and in it what is no file, where these are to be written."""
    if files.is_blocked(folder, by_no_folder=True):
        move_to_quarantine(files, folder, "it is no folder")
    for path in (f"{folder}/{name}" for name in names):
        if files.is_blocked(path):
            move_to_quarantine(files, path, "it is no file")


def _beyond(
    difference: Difference | None, first: Artefacts, contents: Mapping[str, bytes], result: Mapping[str, Any]
) -> str | None:
    """What of this result's difference from the first one is more than rounding; None where nothing is."""
    return "" if difference is None else difference(first, contents, result)


def _stands(files: Files, folder: str, entries: dict[str, Any], beyond: Callable[[Artefacts], str | None]) -> bool:
    """Whether the result that is there is valid. A damaged one goes to quarantine: the first valid write wins.

    beyond: asked where its content is another.
    """
    try:
        first = open_artefacts(files, folder)
    except CorruptArtefact as error:
        quarantine_result(files, folder, str(error))
        return False
    except FileNotFoundError:
        return False
    if first.content_sha256 == _content_sha256(entries) or (why := beyond(first)) is None:
        return True
    raise ConflictingResult(
        f"{folder} has a result already, and this one differs from it (content {_content_sha256(entries)[:12]}, there "
        f"{first.content_sha256[:12]}): the first one stands{f'; {why}' if why else ''}"
    )


def is_done(files: ReadFiles, folder: str) -> bool:
    """Whether the folder has a result, damaged or not."""
    return files.is_file(f"{folder}/{RESULT}")


def open_artefacts(files: ReadFiles, folder: str, data: bytes | None = None) -> Artefacts:
    """A finished folder. data: the bytes of its result, where they were read already.

    Raises FileNotFoundError where there is none, CorruptArtefact for a damaged one or another item's, and NewerSchema.
    """
    checks = _checks()
    path = f"{folder}/{RESULT}"
    try:
        data = files.read(path) if data is None else data
    except WrongKind as error:
        raise CorruptArtefact(f"{path} is no file", folder, f"remove the folder {folder}") from error
    # The quick way: sealed, parsed and checked in one go. Any doubt is settled, and named, by the slow way below.
    if _seal_holds(data) and (quick := checks.checked_json(data)) is not None and quick.pop(SEAL, None) is not None:
        check_schema(quick, RESULT_SCHEMA, path)
        result = quick
    else:
        result = unseal(data, path)
        check_schema(result, RESULT_SCHEMA, path)
        try:
            result = checks.checked_result(result)
        except ValueError as error:
            what = f"{path} has a value that no result has: {error}"
            raise CorruptArtefact(what, folder, f"remove the folder {folder}") from error
    if is_of_another(folder, key := result.get("key")):
        what = f"{path} is of another folder: of {str(result.get('name'))[:99]!r} with the key {str(key)[:20]!r}"
        raise CorruptArtefact(what, folder, f"remove the folder {folder}")
    return Artefacts(files, folder, checks.shown(result, data))


@cache
def _checks() -> ModuleType:
    """What checks values, imported when it is first used: pydantic is not everywhere where something is computed."""
    from datasets_io.storage import stored_result

    return stored_result


def damages(files: ReadFiles, folder: str) -> list[CorruptArtefact]:
    """Read everything a finished folder names. One error for each artefact that is missing or changed.

    Raises FileNotFoundError where there is no result.
    """
    try:
        artefacts = open_artefacts(files, folder)
    except CorruptArtefact as error:
        return [error]
    found = []
    for name in artefacts.result["files"]:
        try:
            artefacts.read(name)
        except CorruptArtefact as error:
            found.append(error)
    return found


def problems(files: ReadFiles, folder: str) -> list[str]:
    """As `damages`, one sentence each."""
    return [str(error) for error in damages(files, folder)]


def quarantine(files: Files, folder: str) -> str | None:
    """Move a damaged folder to quarantine, so that it counts as not done; nothing of it is lost. Where it lies then.

    None where the folder is whole: another process has moved it and computed it again in the meantime.
    """
    try:
        why = problems(files, folder)
    except FileNotFoundError:
        return None
    if not why:
        return None
    return _move_and_look(files, folder, "; ".join(why))


def quarantine_result(files: Files, folder: str, why: str) -> str | None:
    """As `quarantine`, of the result alone, which was found to be damaged: what it names may still be of use."""
    return _move_and_look(files, f"{folder}/{RESULT}", why)


def _move_and_look(files: Files, path: str, why: str) -> str | None:
    # While it was read, another process may have moved it and computed it again: then a whole one is moved here. What
    # says so is written first. Wherever this process is killed, or the disk is full, the next one brings it back.
    target = _target(path)
    files.write(f"{target}/{UNSURE}", json.dumps({"path": path, "why": why}, indent=1).encode())
    files.move(path, f"{target}/{path.rpartition('/')[2]}")
    return target if _is_settled(files, target, path) else None


def bring_back_whole(files: Files, quarantined: Iterable[str]) -> bool:
    """Bring back what killed processes, or one that stands still, moved to quarantine whole; whether anything was.

    quarantined: paths of all files there.
    """
    brought = False
    for unsure in (path for path in quarantined if path.endswith(f"/{UNSURE}")):
        try:
            path = str(json.loads(files.read(unsure))["path"])
        except (FileNotFoundError, WrongKind, ValueError, KeyError, TypeError, RecursionError):
            continue  # settled by now, or nothing of ours
        target = unsure.rpartition("/")[0]
        # Nothing leaves quarantine for a place that is not the one it came from.
        came_from = _is_place(path) and target.startswith(_target(path)[: -len(UNIQUE)])
        if came_from and files.exists(f"{target}/{path.rpartition('/')[2]}"):
            brought |= not _is_settled(files, target, path)
    return brought


def _is_place(path: str) -> bool:
    """Whether something may lie there, below the storage: any text may stand in a file that says where."""
    names = path.split("/")
    is_path = path.isprintable() and not {"", ".", ".."} & set(names) and len(names) <= MOST_NAMES
    return is_path and all(len(name.encode()) <= MOST_BYTES for name in names)


def _is_settled(files: Files, target: str, path: str) -> bool:
    """Whether what was moved there from a path is damaged, and stays; else it is brought back, where nothing is."""
    moved = f"{target}/{path.rpartition('/')[2]}"
    stays = _is_damaged(files, path, moved) or files.exists(path)
    if not stays:
        try:
            files.move(moved, path)
        except FileNotFoundError:  # of an object store, whose files move one by one: another process was first
            pass
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            stays = True  # it was computed again since it was looked for
    if stays:
        files.move(f"{target}/{UNSURE}", f"{target}/{WHY}")  # which takes no room on a full disk
        return True
    files.remove(target)
    return False


def _is_damaged(files: Files, path: str, moved: str) -> bool:
    try:
        if moved.endswith(f"/{RESULT}"):  # alone: what it names still lies where it was
            open_artefacts(files, path.rpartition("/")[0], files.read(moved))
            return False
        return bool(damages(files, moved))
    except (CorruptArtefact, WrongKind):
        return True
    except FileNotFoundError:  # no result yet: another process is about to compute it again
        return False


def move_to_quarantine(files: Files, path: str, why: str) -> str:
    """Move a damaged file or folder to quarantine, with the reason beside it. Where it lies then."""
    target = _target(path)
    files.move(path, f"{target}/{path.rpartition('/')[2]}")
    files.write(f"{target}/{WHY}", json.dumps({"path": path, "why": without_secrets(why)}, indent=1).encode())
    return target


def _target(path: str) -> str:
    # Of a path only 150 characters, so that the name stays below a file system's 255 bytes; why.json has it all.
    return f"{QUARANTINE}/{path.replace('/', '-')[:150]}-{uuid.uuid4().hex[: len(UNIQUE)]}"


def record_failure(files: Files, folder: str, error: str, traceback: str) -> None:
    """Keep why a computation failed, without secrets; a later success, its driver or a retry removes it."""
    text = json.dumps({"error": without_secrets(error), "traceback": without_secrets(traceback)}, indent=1)
    _clear_way(files, folder, [FAILED])
    files.write(f"{folder}/{FAILED}", text.encode())


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False).encode()


def _content_sha256(entries: Mapping[str, Any]) -> str:
    return hashlib.sha256(_json({name: entry["sha256"] for name, entry in entries.items()})).hexdigest()
