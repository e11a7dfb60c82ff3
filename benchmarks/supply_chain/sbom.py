"""What is in it? `make sbom` writes sbom.cdx.json: a bill of materials in CycloneDX 1.6, made from what is locked.

Packages, versions and SHA-256 of files are those of locked/; licences and what needs what come from the metadata that
is installed. The same inputs give the same bytes: no time, name of a machine, path or address is in it.
"""

import argparse
import json
import sys
import tomllib
import uuid
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.supply_chain.locked import ROOT, SETS, Locked, environments, read_locked

LONGEST_LICENCE = 100  # characters: a longer field is a licence's whole text


def purl(package: Locked) -> str:
    """The package's name for other tools (package-url)."""
    return f"pkg:pypi/{package.name}@{package.version}"


def licences(metadata: Any) -> list[dict[str, Any]]:
    """As CycloneDX has them: an SPDX expression, else the names of the classifiers, else a short field, else none."""
    if expression := metadata.get("License-Expression"):
        return [{"expression": expression}]
    prefix = "License :: "
    classifiers = [text for text in metadata.get_all("Classifier") or () if text.startswith(prefix)]
    names = [text.rsplit(" :: ", 1)[-1] for text in classifiers]
    field = (metadata.get("License") or "").strip()
    if not names and field and field != "UNKNOWN" and len(field) <= LONGEST_LICENCE:
        names = [field]
    return [{"license": {"name": name}} for name in names if "\n" not in name and "://" not in name]


def needs(found: Distribution, extras: tuple[str, ...] = ("",)) -> set[str]:
    """Normalised names of what a package asks for on any of the supported platforms, with these extras."""
    asked = set()
    for requirement in map(Requirement, found.requires or ()):
        marker = requirement.marker
        if marker is None or any(marker.evaluate(place | {"extra": e}) for place in environments() for e in extras):
            asked.add(str(canonicalize_name(requirement.name)))
    return asked


def installed(package: Locked) -> Distribution | None:
    """Its metadata where this very version is installed, else None."""
    try:
        found = distribution(package.name)
    except PackageNotFoundError:
        return None
    return found if found.version == package.version else None


def component(package: Locked, needed_to_run: bool) -> dict[str, Any]:
    """One entry of `components`."""
    found = installed(package)
    entry: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package.name,
        "version": package.version,
        "scope": "required" if needed_to_run else "optional",
        "hashes": [{"alg": "SHA-256", "content": value} for value in package.hashes],
        "purl": purl(package),
    }
    if found is not None and (known := licences(found.metadata)):
        entry["licenses"] = known
    return entry


def bill(root: Path = ROOT) -> dict[str, Any]:
    """The whole document, without its serial number."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages = {name: read_locked(root / f"locked/{name}.txt") for name in SETS}
    refs = {package.name: purl(package) for part in packages.values() for package in part}
    dependencies = []
    for package in (package for part in packages.values() for package in part):
        if (found := installed(package)) is not None:
            below = sorted(refs[name] for name in needs(found) if name in refs)
            dependencies.append({"ref": purl(package), "dependsOn": below})
    asked = {str(canonicalize_name(Requirement(text).name)) for text in project["dependencies"]}
    dependencies.append({"ref": project["name"], "dependsOn": sorted(refs[name] for name in asked)})
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": project["name"],
                "name": project["name"],
                "version": project["version"],
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": sorted(
            (component(package, part in ("build", "run")) for part, found in packages.items() for package in found),
            key=lambda entry: str(entry["bom-ref"]),
        ),
        "dependencies": sorted(dependencies, key=lambda entry: str(entry["ref"])),
    }


def text_of(document: dict[str, Any]) -> str:
    """As JSON, with a serial number that follows from the content."""
    content = json.dumps(document, sort_keys=True)
    serial = uuid.uuid5(uuid.NAMESPACE_OID, content).urn
    return json.dumps({**document, "serialNumber": serial}, indent=1, sort_keys=True) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make sbom", description=__doc__)
    parser.add_argument("--to", type=Path, default=ROOT / "sbom.cdx.json", help="the file that is written")
    to = parser.parse_args(arguments).to
    document = bill()
    to.write_text(text_of(document), encoding="utf-8")
    unknown = [entry["name"] for entry in document["components"] if "licenses" not in entry]
    print(f"{len(document['components'])} packages: {to.name}; no licence known of {', '.join(unknown) or 'none'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
