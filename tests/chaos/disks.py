"""Disks that fail at the n-th call, or that remember every call so that all states after a power cut can be made."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datasets_io.storage.disk import Disk

CALLS = ("make_folder", "create", "rename", "link", "unlink", "remove_tree", "sync_folder", "read")


class FailingDisk(Disk):
    """Raises OSError at its n-th call, counted from 1; `failed` is that call's name then."""

    def __init__(self, number: int, error: int):
        self.number, self.error, self.count, self.failed = number, error, 0, ""

    def __getattribute__(self, name: str):
        if name not in CALLS:
            return super().__getattribute__(name)
        self.count += 1
        if self.count == self.number:
            self.failed = name
            raise OSError(self.error, os.strerror(self.error))
        return super().__getattribute__(name)


@dataclass
class Inode:
    """A file's bytes; `synced` once they are safe on the disk."""

    data: bytes
    synced: bool = False


@dataclass
class Operation:
    """A change of names: `kind` is make_folder, create, rename, link, unlink or remove_tree."""

    kind: str
    path: str
    target: str = ""
    inode: Inode | None = None

    @property
    def folder(self) -> str:
        return os.path.dirname(self.target or self.path)


@dataclass
class RecordingDisk(Disk):
    """Does everything and keeps a list of it."""

    operations: list[Operation] = field(default_factory=list)

    def make_folder(self, path: str) -> None:
        super().make_folder(path)
        self.operations.append(Operation("make_folder", path))

    def create(self, path: str, data: bytes, sync: bool = True) -> None:
        super().create(path, data)
        self.operations.append(Operation("create", path, inode=Inode(bytes(data), sync)))

    def rename(self, path: str, target: str) -> None:
        super().rename(path, target)
        self.operations.append(Operation("rename", path, target))

    def link(self, path: str, target: str) -> None:
        super().link(path, target)
        self.operations.append(Operation("link", path, target))

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self.operations.append(Operation("unlink", path))

    def remove_tree(self, path: str) -> None:
        super().remove_tree(path)
        self.operations.append(Operation("remove_tree", path))

    def sync_folder(self, path: str) -> None:
        super().sync_folder(path)
        self.operations.append(Operation("sync_folder", path))


def crash_states(operations: list[Operation], count: int) -> Iterator[dict[str, bytes]]:
    """Every set of files that a power cut after the first `count` operations may leave: path -> bytes.

    Names whose folder was not synced since may be there or not, each by itself and in any order; bytes that
    were not synced may be all there, half, or none.
    """
    done = operations[:count]
    open_names = [i for i, op in enumerate(done) if op.kind != "sync_folder" and not _is_synced(done, i)]
    unsynced = [op.inode for op in done if op.inode is not None and not op.inode.synced]
    for dropped in itertools.chain.from_iterable(
        itertools.combinations(open_names, size) for size in range(len(open_names) + 1)
    ):
        lost = [done[i].path for i in dropped if done[i].kind == "make_folder"]
        names = _names([op for i, op in enumerate(done) if i not in dropped], lost)
        for shares in itertools.product((1.0, 0.5, 0.0), repeat=len(unsynced)):
            kept = {id(inode): share for inode, share in zip(unsynced, shares, strict=True)}
            yield {path: i.data[: int(len(i.data) * kept.get(id(i), 1.0))] for path, i in names.items()}


def _is_synced(done: list[Operation], place: int) -> bool:
    later = done[place + 1 :]
    return any(op.kind == "sync_folder" and op.path == done[place].folder for op in later)


def _names(operations: list[Operation], lost: list[str]) -> dict[str, Inode]:
    """The files that can be reached after these operations; none below a folder that was lost."""
    files: dict[str, Inode] = {}
    for op in operations:
        if op.kind == "create":
            files[op.path] = op.inode
        elif op.kind == "rename" and op.path in files:
            files[op.target] = files.pop(op.path)
        elif op.kind == "link" and op.path in files:
            files.setdefault(op.target, files[op.path])
        elif op.kind == "unlink":
            files.pop(op.path, None)
        elif op.kind == "remove_tree":
            files = {path: inode for path, inode in files.items() if not path.startswith(op.path + "/")}
    return {path: inode for path, inode in files.items() if not any(path.startswith(f"{place}/") for place in lost)}


def lay_out(state: dict[str, bytes], root: Path, where: Path) -> None:
    """The state as files below `where`, as they lay below `root`."""
    for path, data in state.items():
        target = where / Path(path).relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
