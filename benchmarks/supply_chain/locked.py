"""What do the files in locked/ say? Each pinned package with the SHA-256 of the files that may be installed for it."""

import re
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PYTHONS, MACHINES = ("3.11", "3.12", "3.13"), ("x86_64", "aarch64")  # of Linux with glibc
# File -> extras of pyproject.toml whose packages it adds to those of the file before it; `build` is what builds.
SETS = {"build": (), "run": ("mlflow", "s3"), "test": ("test",), "docs": ("docs",)}
LINE = re.compile(r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\]+?))? \\")


@dataclass(frozen=True)
class Locked:
    """marker: where it is needed; "" where on all of PYTHONS and MACHINES. hashes: SHA-256, in hexadecimal."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    def text(self) -> str:
        """As pip reads it."""
        marker = f" ; {self.marker}" if self.marker else ""
        return " \\\n".join(
            [f"{self.name}=={self.version}{marker}", *(f"    --hash=sha256:{value}" for value in self.hashes)]
        )


def environments() -> list[dict[str, str]]:
    """What markers are evaluated in: each Python on each machine."""
    return [
        {
            "implementation_name": "cpython",
            "os_name": "posix",
            "platform_machine": machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": f"{python}.99",
            "python_version": python,
            "sys_platform": "linux",
        }
        for python in PYTHONS
        for machine in MACHINES
    ]


def needed_in(marker: str) -> list[bool]:
    """For each of environments(), whether the marker holds there."""
    return [not marker or Marker(marker).evaluate(environment) for environment in environments()]


def read_locked(path: Path) -> list[Locked]:
    """The packages of one file, without those of files that it names. Raises ValueError for any other line."""
    found = []
    text = re.sub(r"(?m)^(#.*|-r .*|)\n", "", path.read_text(encoding="utf-8"))
    for block in re.split(r"\n(?! )", text.rstrip("\n")):
        first, *rest = block.split("\n")
        line = LINE.fullmatch(first)
        hashes = [re.fullmatch(r"    --hash=sha256:([0-9a-f]{64})(?: \\)?", text) for text in rest]
        if line is None or not hashes or not all(hashes):
            raise ValueError(f"{path.name}: {block[:200]!r} is no NAME==VERSION with hashes; run make lock")
        found.append(Locked(line["name"], line["version"], line["marker"] or "", tuple(h[1] for h in hashes if h)))
    return found


def all_locked(root: Path = ROOT) -> list[Locked]:
    """The packages of all files."""
    return [package for name in SETS for package in read_locked(root / f"locked/{name}.txt")]


def pins(root: Path = ROOT) -> dict[str, str]:
    """Of constraints.txt: normalised name -> version."""
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {str(canonicalize_name(name)): version for name, version in pairs}
