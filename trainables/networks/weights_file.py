"""Tensors of a file of weights: what kind of file it is, and what it holds. No code that comes with a file is run.

A torch file is a pickle, which names classes and functions to call. torch's own reader (weights_only) refuses all but
a few. People save more than tensors: arguments, paths, numpy numbers, a configuration. Refusing the file for them
would help nobody, and loading the real classes is not needed: their names are mapped to stand-ins of this file, which
keep nothing and call nothing. So what a file asks for is never imported, whether it is installed or not.
"""

import hashlib
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# What training scripts save beside the tensors. As names only: see above.
DROPPED = (
    "argparse.Namespace",
    "builtins.bool",
    "builtins.dict",
    "builtins.float",
    "builtins.int",
    "builtins.list",
    "builtins.object",
    "builtins.str",
    "builtins.tuple",
    "types.SimpleNamespace",
    "typing.Any",
)
DROPPED_MODULES = (
    "datetime.",
    "lightning.pytorch.callbacks.",
    "mmengine.logging.",
    "numpy.",
    "omegaconf.",
    "pathlib.",
    "pytorch_lightning.callbacks.",
)
# Kinds of dict, which may hold tensors: read as one that torch's reader fills by itself.
DICTS = (
    "addict.addict.Dict",
    "easydict.EasyDict",
    "fvcore.common.config.CfgNode",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "yacs.config.CfgNode",
)
# Of what a refused file asks for: names with which no advice to load it elsewhere is given.
ABLE_TO_HARM = (
    *("builtins.__", "builtins.compile", "builtins.eval", "builtins.exec", "builtins.getattr", "builtins.open"),
    *("ctypes.", "importlib.", "io.", "nt.", "os.", "posix.", "runpy.", "shutil.", "socket.", "subprocess.", "sys."),
)
TRUSTED = "Where you trust it, write its tensors once, on a machine of no importance"
MOST_ITEMS = 100_000  # tensors and what holds them: a pickle of a kilobyte can name one dict more often than that
DEEPEST = 32
PEEKED = 512  # bytes of a file's beginning, by which its kind is known


class Dropped:
    """Stands for a class of the file: takes any arguments and any state, keeps nothing and calls nothing."""

    def __new__(cls, *_: Any, **__: Any) -> "Dropped":
        """Without what object.__new__ would say of arguments."""
        return object.__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


def _empty_dict(*_: Any) -> dict[Any, Any]:
    """For collections.defaultdict, whose argument would be called for what is missing."""
    return {}


def _empty_list(*_: Any) -> list[Any]:
    """For collections.deque."""
    return []


def read_tensors(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """All tensors of a file, on the CPU; those of nested dicts have dotted names, as in `teacher.backbone.norm.bias`.

    safetensors or torch's format, as the file's first bytes tell, whatever its ending. Raises ValueError where it is
    none of them, holds no tensors, asks for code, or its sha256 is another than the one given.
    """
    return flattened(_content(path, sha256), path)


def read_weights(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """As `read_tensors`, of what stands in the file's `state_dict` or `model` where it has one, in the file's order."""
    content = _content(path, sha256)
    # Training scripts wrap the weights: {"state_dict": {...}, "epoch": ...}, or {"model": {...}}.
    for inner in ("state_dict", "model"):
        if isinstance(content, dict):
            content = content.get(inner, content)
    return flattened(content, path)


def flattened(content: Any, path: Path) -> dict[str, Tensor]:
    """Tensors of nested dicts and lists by dotted names, in order. Raises ValueError where there are none."""
    found: dict[str, Tensor] = {}
    for seen, (name, value) in enumerate(_items("", content, 0)):
        if seen > MOST_ITEMS:
            raise ValueError(f"weights file {path} names more than {MOST_ITEMS:,} parts: no network is meant")
        if isinstance(value, Tensor):
            if name in found:
                raise ValueError(f"weights file {path} holds two tensors called {name!r}: save one of them")
            found[name] = value.detach()
    if not found or "" in found:
        holds = sorted(map(str, content))[:5] if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"weights file {path} holds no tensors (it has {holds}): save a network's state_dict(), as in "
            "torch.save(network.state_dict(), file)"
        )
    return found


def _items(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, (Tensor, dict, list, tuple)):
        return  # a log of a million losses is no reason to refuse a file
    yield name, value
    if depth > DEEPEST:
        return  # a dict that holds itself
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, item in inner:
        yield from _items(f"{name}.{key}" if name else str(key), item, depth + 1)


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in pieces. Raises ValueError where there is none, or a folder."""
    path = path.expanduser()
    _check_is_file(path)
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def unchanged(paths: Iterable[Path]) -> Iterator[None]:
    """Files that are named by their content, and read within the block: what was hashed is what is read.

    Raises ValueError at its end where one was written to, replaced or removed meanwhile.
    """
    files = [path.expanduser() for path in paths]
    before = [_state(path) for path in files]
    yield
    other = next((path for path, was in zip(files, before, strict=True) if _state(path) != was), None)
    if other is not None:
        raise ValueError(f"weights file {other} was changed while it was read: run again when nothing writes to it")


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        about = path.stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_size, about.st_mtime_ns


def _check_is_file(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"weights file {path} is a folder: give a file in it, or from_folder where it has config.json")
    if not path.is_file():
        raise ValueError(f"weights file {path} does not exist")


def _content(path: Path, sha256: str | None) -> Any:
    _check_is_file(path)
    with unchanged([path]):
        if sha256 is not None and file_sha256(path) != sha256:
            raise ValueError(f"weights file {path} is not the one the recipe names: its sha256 differs from {sha256}")
        return _read(path)


def _read(path: Path) -> Any:
    kind = kind_of(path)
    if kind == "safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(_broken(path, error)) from error
    return _torch_content(path, is_zip=kind == "zip")


def kind_of(path: Path) -> str:
    """`safetensors`, `zip` or `pickle` (torch's newer and older format), by the file's first bytes.

    Raises ValueError for any other, with what it seems to be.
    """
    with open(path, "rb") as stream:
        head = stream.read(PEEKED)
    size = path.stat().st_size
    # safetensors: eight bytes that hold the length of a JSON text, then that text.
    if head[8:9] == b"{":
        if int.from_bytes(head[:8], "little") + 8 > size:
            raise ValueError(_broken(path, "its header is longer than the file"))
        return "safetensors"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(b"\x80"):
        return "pickle"
    raise ValueError(f"weights file {path} ({size:,} bytes) {_other_kind(head)}")


def _other_kind(head: bytes) -> str:
    text = head.lstrip().lower()
    if not head:
        return "is empty: copy it again"
    if text.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the weights: run `git lfs pull` in its folder"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page, not the weights (a login or an error page was saved): download it again"
    if head.startswith(b"\x89HDF"):
        return "is HDF5, as Keras writes it: convert it to a PyTorch state dict"
    if head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar":
        return "is an archive: unpack it and give the file of weights in it"
    return "is neither safetensors nor a file of torch.save: give a state dict in one of these formats"


def _broken(path: Path, error: object) -> str:
    reason = next(iter(str(error).splitlines()), "")[:120]
    return (
        f"weights file {path} is damaged or cut short at {path.stat().st_size:,} bytes ({reason}): copy or download it "
        "again"
    )


def _torch_content(path: Path, is_zip: bool) -> Any:
    """What torch's restricted reader makes of a file. Raises ValueError with what it asks for that is not allowed."""
    asked = _globals_of(path) if is_zip else set()
    allowed: list[Any] = [(_empty_dict, "collections.defaultdict"), (_empty_list, "collections.deque")]
    allowed += [(OrderedDict, name) for name in DICTS]
    allowed += [(Dropped, name) for name in {*DROPPED, *filter(_is_dropped, asked)}]
    while True:
        # For torch, a tuple is a stand-in and the name that it stands for.
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols and TorchScript: what does not load says so
            try:
                # As a stream: given a path, torch would go by its ending.
                with open(path, "rb") as stream:
                    return torch.load(stream, map_location="cpu", weights_only=True)
            except Exception as error:  # the reader's own, and whatever a crafted file makes of it
                # By its name: the module that it comes from is imported nowhere here.
                if type(error).__name__ != "UnpicklingError":
                    raise ValueError(_unreadable(path, error)) from error
                refused = re.search(r"Unsupported global: GLOBAL (\S+) was not", str(error))
                name = refused.group(1) if refused else ""
                if _is_dropped(name) and (Dropped, name) not in allowed:
                    # The older format: its pickle is read before any tensor, so a second reading costs nothing.
                    allowed.append((Dropped, name))
                    continue
                raise ValueError(_refusal(path, name, asked, error)) from error


def _is_dropped(name: str) -> bool:
    return name.startswith(DROPPED_MODULES) or name in DROPPED


def _globals_of(path: Path) -> set[str]:
    """Names that a file of the newer format asks for and torch does not know as harmless. Nothing is loaded."""
    try:
        with open(path, "rb") as stream:
            return set(torch.serialization.get_unsafe_globals_in_checkpoint(stream))
    except Exception:  # not a file of torch.save, or damaged: loading says so better
        return set()


def _refusal(path: Path, name: str, asked: set[str], error: Exception) -> str:
    known = {*DROPPED, *DICTS, "collections.defaultdict", "collections.deque"}
    # torch's message leaves the module of a builtin away, and calls a blocked module's function by another text.
    blocked = re.search(r"unsupported GLOBAL (\S+) whose module", str(error))
    name = blocked.group(1) if blocked else f"builtins.{name}" if name and "." not in name else name
    names = sorted(one for one in {*asked, name} if one and one not in known and not _is_dropped(one))
    if any(one.startswith(ABLE_TO_HARM) for one in names):
        return (
            f"weights file {path} asks to call {_some(names)}, which can run commands and which no weights need; "
            "nothing of it was run: do not load this file with anything"
        )
    load = f"torch.load({str(path)!r}, map_location='cpu', weights_only=False)"
    if any(one.startswith("torch.nn.modules.") for one in names):
        return (
            f"weights file {path} is a whole pickled network ({_some(names)}), and reading it would run its code. "
            f"{TRUSTED}:\n    import torch\n    torch.save({load}.state_dict(), 'weights.pth')"
        )
    reason = next(iter(str(error).partition("WeightsUnpickler error: ")[2].splitlines()), "")[:120]
    why = (
        f"asks for {_some(names)}" if names else f"is no pickle that torch reads safely ({reason or 'unknown format'})"
    )
    return (
        f"weights file {path} {why}, and no code that comes with weights is run. {TRUSTED}, "
        f"by the key that holds them:\n    import torch\n    torch.save({load}['state_dict'], 'weights.pth')"
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _unreadable(path: Path, error: Exception) -> str:
    if "torchscript" in str(error).lower():
        return (
            f"weights file {path} is a TorchScript program, and reading it would run it. {TRUSTED}:\n"
            f"    import torch\n    torch.save(torch.jit.load({str(path)!r}).state_dict(), 'weights.pth')"
        )
    return _broken(path, f"{type(error).__name__}: {error}")
