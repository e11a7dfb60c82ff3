"""Which preflight checks has a storage the verdicts of, so that none is made twice?"""

from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from datasets_io.fingerprint import fingerprint
from datasets_io.storage.disk import WrongKind
from datasets_io.storage.files import Files, ReadFiles
from trainables.preflight.verdict import VERSION, EncoderCheck, PreflightCheck, Verdict

FOLDER = "preflight"
# What builds networks and reads weights: another version may take what this one refuses, and the reverse.
PACKAGES = ("radsweep", "torch", "timm", "transformers", "safetensors")


def verdict_path(check: PreflightCheck) -> str:
    """Where the verdict on a check lies, below the storage: a name over all that decides it."""
    return f"{FOLDER}/{_name(check)}.json"


def read_verdict(files: ReadFiles, check: PreflightCheck) -> Verdict | None:
    """None where it was not made yet, or what lies there is damaged."""
    try:
        return Verdict.from_json(files.read(verdict_path(check)), _name(check))
    except (FileNotFoundError, WrongKind):
        return None


def write_verdict(files: Files, check: PreflightCheck, verdict: Verdict) -> None:
    """Keep it, where the same content would be judged so again."""
    if verdict.lasting:
        files.write(verdict_path(check), verdict.to_json(_name(check)))


def _name(check: PreflightCheck) -> str:
    return fingerprint([VERSION, check, _versions(), _files_of(check)])


@cache
def _versions() -> tuple[str, ...]:
    def of(name: str) -> str:
        try:
            return version(name)
        except PackageNotFoundError:
            return ""

    return tuple(of(name) for name in PACKAGES)


def _files_of(check: PreflightCheck) -> list[list[Any]]:
    """Size and time of the files that are read, relative to their folder.

    A recipe has the sha256 of its weights, which says nothing of the file that lies there now.
    """
    if isinstance(check, EncoderCheck):
        place = getattr(check.recipe, "path", None) or getattr(check.recipe, "weights_file", None)
    else:
        text = check.recipe.text
        place = getattr(text, "path", None) or getattr(text, "name_or_path", None)
    return [] if place is None else _stats(Path(place).expanduser())


def _stats(place: Path) -> list[list[Any]]:
    found: Iterable[Path] = sorted(place.rglob("*")) if place.is_dir() else [place]
    stats = []
    for path in found:
        if path.is_file():
            about = path.stat()
            stats.append([str(path.relative_to(place)), about.st_size, about.st_mtime_ns])
    return stats
