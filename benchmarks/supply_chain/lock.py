"""Which files may be installed for each pin? `make lock` asks the package index and writes locked/*.txt.

uv resolves pyproject.toml below constraints.txt for all platforms at once; what is kept are the names, versions and
digests of wheels for the Pythons and machines of locked.py, and of the source where there is no wheel for one of them.
Not kept: where the files lie. So the files in locked/ serve with any index or mirror.
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from benchmarks.supply_chain.locked import MACHINES, PYTHONS, ROOT, SETS, Locked, needed_in, pins

# For what has no wheel on one of the machines, built there with what is in locked/build.txt: openTSNE on aarch64.
SOURCES = ("numpy", 'cython>=3; platform_machine == "aarch64"')
OLDEST = "3.11.5"  # what a package of the site asks for
HEADER = f"""\
# Made by `make lock` from pyproject.toml and constraints.txt; not edited by hand. For
# `pip install --require-hashes -r`: on Linux ({" and ".join(MACHINES)}, glibc) with Python {", ".join(PYTHONS)}.
"""


def resolved(asked: list[str]) -> list[dict[str, Any]]:
    """All packages that requirements come to, as a pylock.toml (PEP 751) has them."""
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder) / "pylock.toml"
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", OLDEST]
        command += ["--format", "pylock.toml", "--constraint", "constraints.txt", "--output-file", str(lock)]
        subprocess.run([*command, "-"], cwd=ROOT, check=True, input="\n".join(asked), text=True)
        packages: list[dict[str, Any]] = tomllib.loads(lock.read_text(encoding="utf-8"))["packages"]
    return packages


def file_name(entry: dict[str, Any]) -> str:
    """Of a wheel in a pylock.toml."""
    return str(entry.get("name") or entry["url"].rsplit("/", 1)[-1]).replace("%2B", "+")


def tags_of(python: str, machine: str) -> Iterator[tuple[str, str, str]]:
    """(interpreter, abi, platform) of the wheels that this Python takes; "manylinux" stands for each of its kinds."""
    version = tuple(map(int, python.split(".")))
    platforms, interpreter = [f"manylinux_{machine}"], "cp" + python.replace(".", "")
    for tag in (*cpython_tags(version, [interpreter], platforms), *compatible_tags(version, interpreter, platforms)):
        yield tag.interpreter, tag.abi, tag.platform


def fits(tag: Tag, machine: str, wanted: set[tuple[str, str, str]]) -> bool:
    """Whether a wheel's tag is among those of tags_of()."""
    kind = re.sub(rf"^manylinux.*_{machine}$", f"manylinux_{machine}", tag.platform)
    return (tag.interpreter, tag.abi, kind) in wanted


def locked_package(package: dict[str, Any]) -> Locked | None:
    """What is kept of a package; None where none of the supported platforms needs it."""
    marker = str(package.get("marker", ""))
    needed = needed_in(marker)
    places = [(python, machine) for python in PYTHONS for machine in MACHINES]
    hashes, covered = set(), []
    for (python, machine), wanted_here in zip(places, needed, strict=True):
        wanted = set(tags_of(python, machine))
        wheels = [
            wheel["hashes"]["sha256"]
            for wheel in package.get("wheels", ())
            if wanted_here and any(fits(tag, machine, wanted) for tag in parse_wheel_filename(file_name(wheel))[3])
        ]
        hashes.update(wheels)
        covered.append(bool(wheels) or not wanted_here)
    if not any(needed):
        return None
    if not all(covered):
        if "sdist" not in package:
            missing = [" ".join(place) for place, there in zip(places, covered, strict=True) if not there]
            raise ValueError(f"{package['name']} {package['version']} has no file for {', '.join(missing)}")
        hashes.add(package["sdist"]["hashes"]["sha256"])
    name = str(canonicalize_name(package["name"]))
    return Locked(name, package["version"], "" if all(needed) else marker, tuple(sorted(hashes)))


def check_pins(found: dict[str, str], pinned: dict[str, str]) -> None:
    """Raise ValueError where constraints.txt and what is needed differ. Both: name -> version."""
    unpinned = [f"{name}=={version}" for name, version in sorted(found.items()) if pinned.get(name) != version]
    unused = sorted(pinned.keys() - found.keys())
    if unpinned or unused:
        raise ValueError(
            f"constraints.txt: to be pinned: {', '.join(unpinned) or 'none'}; needed by nothing: "
            f"{', '.join(unused) or 'none'}"
        )


def main() -> int:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    asked, above = [*content["build-system"]["requires"], *SOURCES], None
    texts: dict[str, str] = {}
    seen: dict[str, Locked] = {}
    for name, extras in SETS.items():
        asked += content["project"]["dependencies"] if name == "run" else []
        asked += [text for extra in extras for text in content["project"]["optional-dependencies"][extra]]
        packages = [found for package in resolved(asked) if (found := locked_package(package))]
        for package in packages:
            before = seen.get(package.name, package)
            if needed_in(before.marker) != needed_in(package.marker):
                raise ValueError(f"{package.name}: `{name}` needs it where the file before does not: pin it there")
        new = sorted((package for package in packages if package.name not in seen), key=lambda package: package.name)
        seen.update((package.name, package) for package in new)
        first = f"-r {above}.txt\n" if above else ""
        texts[name], above = HEADER + first + "".join(f"{package.text()}\n" for package in new), name
    check_pins({package.name: package.version for package in seen.values()}, pins())
    (ROOT / "locked").mkdir(exist_ok=True)
    for name, text in texts.items():
        (ROOT / f"locked/{name}.txt").write_text(text, encoding="utf-8")
    print(f"{len(seen)} packages, {sum(len(package.hashes) for package in seen.values())} files: locked/")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ValueError as error:
        sys.exit(str(error))
