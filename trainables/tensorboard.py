"""How do histories become TensorBoard logs: a folder for each run, a scalar for each metric, a point for each epoch."""

import os
import shutil
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

from tensorboardX import SummaryWriter


def write_history(folder: Path, history: Iterable[Mapping[str, float | None]]) -> bool:
    """Write a finished run's history once; False where its folder is there. An epoch without a number is left out.

    history: entries with `epoch` and metrics, None where a metric was not finite.
    """
    if folder.exists():
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Under a hidden name until it is whole: TensorBoard reads a folder as soon as it sees one.
    temporary = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        with SummaryWriter(str(temporary)) as writer:
            for entry in history:
                add_epoch(writer, entry)
        os.rename(temporary, folder)
    except FileExistsError:  # another command was first
        return False
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def add_epoch(writer: SummaryWriter, entry: Mapping[str, float | None]) -> None:
    """One entry of a history. `val_loss` becomes loss/val, so that train and val share a group of charts."""
    epoch = entry.get("epoch")
    if epoch is None:
        return  # no place on the axis
    for name, value in entry.items():
        if name != "epoch" and value is not None:
            writer.add_scalar(tag_of(name), value, int(epoch))


def tag_of(name: str) -> str:
    """`val_loss` -> `loss/val`; what belongs to no split stays as it is."""
    split, _, rest = name.partition("_")
    return f"{rest}/{split}" if split in ("train", "val") and rest else name
