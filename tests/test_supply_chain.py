"""Is what may be installed pinned by digest, file by file, and does the bill of materials say the same?"""

import json
import os
import re
import tempfile
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.supply_chain import sbom
from benchmarks.supply_chain.lock import check_pins, locked_package
from benchmarks.supply_chain.locked import (
    MACHINES,
    PYTHONS,
    ROOT,
    SETS,
    Locked,
    all_locked,
    environments,
    pins,
    read_locked,
)
from benchmarks.supply_chain.locked import needed_in as where

LOCKED = {package.name: package for package in all_locked()}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_locked_files_and_constraints_name_the_same_versions():
    """Where this fails after a change of a pin: make lock."""
    assert {name: package.version for name, package in LOCKED.items()} == pins()
    assert len(LOCKED) == len(all_locked()) > 200, "a package is in two files"


def test_every_package_has_the_digests_of_its_files_and_nothing_says_where_they_lie():
    for package in LOCKED.values():
        assert package.hashes == tuple(sorted(set(package.hashes))) and package.hashes
    digests = [value for package in LOCKED.values() for value in package.hashes]
    assert len(set(digests)) == len(digests) > len(LOCKED)
    for path in [*(ROOT / "locked").iterdir(), ROOT / "constraints.txt"]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"://|--(extra-)?index|--find-links|--trusted-host|\b\w+\.(org|com|io|net|dev)\b", text), (
            path
        )
    assert {path.stem for path in (ROOT / "locked").iterdir()} == set(SETS)


def test_each_file_begins_with_the_one_before():
    names = list(SETS)
    for before, name in zip([None, *names], names, strict=False):
        text = (ROOT / f"locked/{name}.txt").read_text(encoding="utf-8")
        assert re.findall(r"(?m)^-r (.*)$", text) == ([f"{before}.txt"] if before else [])


def part_of(name: str) -> str:
    return next(part for part in SETS if name in {package.name for package in read_locked(ROOT / f"locked/{part}.txt")})


@pytest.mark.parametrize("part", SETS)
def test_all_that_the_project_asks_for_is_locked_in_its_range(part):
    asked = [text for extra in SETS[part] for text in PROJECT["project"]["optional-dependencies"][extra]]
    asked += {"build": PROJECT["build-system"]["requires"], "run": PROJECT["project"]["dependencies"]}.get(part, [])
    assert asked
    for requirement in map(Requirement, asked):
        package = LOCKED[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(package.version), f"{requirement}: {package.version} is locked"
        assert list(SETS).index(part_of(package.name)) <= list(SETS).index(part) and all(where(package.marker))


def test_every_extra_of_the_project_is_in_a_file():
    assert {extra for extras in SETS.values() for extra in extras} == set(PROJECT["project"]["optional-dependencies"])


def test_all_that_installed_packages_ask_for_is_locked_in_their_range():
    """So that nothing comes unpinned: on each platform, what a locked package that is installed here asks for."""
    found = {canonicalize_name(each.metadata["Name"]): each for each in distributions() if each.metadata["Name"]}
    installed = [each for name, each in found.items() if name in LOCKED and each.version == LOCKED[name].version]
    assert len(installed) > 150
    for each in installed:
        for requirement in map(Requirement, each.requires or ()):
            marker, name = requirement.marker, canonicalize_name(requirement.name)
            needed = [marker is None or marker.evaluate({**place, "extra": ""}) for place in environments()]
            if any(needed):
                assert name in LOCKED, f"{each.metadata['Name']} asks for {requirement}, which is not locked"
                assert requirement.specifier.contains(LOCKED[name].version, prereleases=True), f"{requirement}"


def test_only_supported_pythons_and_machines_are_named_to_users():
    header = (ROOT / "locked/run.txt").read_text(encoding="utf-8").split("\n", 2)[1]
    assert all(word in header for word in (*PYTHONS, *MACHINES))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert all(f'"{machine}"' in makefile for machine in MACHINES)
    assert (
        f"(3, {PYTHONS[0].split('.')[1]}, 5) <= sys.version_info[:3] < (3, {int(PYTHONS[-1].split('.')[1]) + 1})"
        in (makefile)
    )


# -- how a lock is made ----------------------------------------------------------------------------


def wheel(tag: str, digest: str) -> dict:
    return {"url": f"anywhere/a-1-{tag}.whl", "hashes": {"sha256": digest * 64}}


EVERYWHERE = {"name": "A_b", "version": "1", "wheels": [wheel("py3-none-any", "a")]}


def test_a_wheel_is_kept_where_one_of_the_platforms_takes_it():
    tags = {
        "cp311-cp311-manylinux_2_28_x86_64": "1",
        "cp312-cp312-manylinux2014_x86_64.manylinux_2_17_x86_64": "2",
        "cp38-abi3-manylinux_2_17_aarch64": "3",
        "cp313-cp313t-manylinux_2_28_x86_64": "4",  # without the lock: another Python
        "cp310-cp310-manylinux_2_28_x86_64": "5",
        "cp311-cp311-musllinux_1_2_x86_64": "6",
        "cp311-cp311-macosx_11_0_arm64": "7",
        "cp311-cp311-win_amd64": "8",
        "cp314-cp314-manylinux_2_28_x86_64": "9",
        "cp313-none-manylinux_2_40_x86_64": "b",
    }
    found = locked_package({"name": "A_b", "version": "1", "wheels": [wheel(*item) for item in tags.items()]})
    assert found == Locked("a-b", "1", "", tuple(digit * 64 for digit in "123b"))


def test_a_source_is_kept_where_a_platform_has_no_wheel():
    sdist = {"url": "anywhere/a-1.tar.gz", "hashes": {"sha256": "f" * 64}}
    one = wheel("cp311-cp311-manylinux_2_28_x86_64", "1")
    found = locked_package({"name": "a", "version": "1", "wheels": [one], "sdist": sdist})
    assert found is not None and found.hashes == ("1" * 64, "f" * 64)
    whole = locked_package({**EVERYWHERE, "sdist": sdist})
    assert whole is not None and whole.hashes == ("a" * 64,)
    with pytest.raises(ValueError, match=r"a 1 has no file for 3\.11 aarch64, 3\.12 x86_64"):
        locked_package({"name": "a", "version": "1", "wheels": [one]})


def test_a_marker_is_kept_where_it_tells_the_platforms_apart():
    assert locked_package({**EVERYWHERE, "marker": "sys_platform == 'win32'"}) is None
    assert locked_package({**EVERYWHERE, "marker": "sys_platform == 'linux'"}) == locked_package(EVERYWHERE)
    found = locked_package({**EVERYWHERE, "marker": "python_full_version < '3.12'"})
    assert found is not None and found.marker == "python_full_version < '3.12'"
    assert found.text().startswith("a-b==1 ; python_full_version < '3.12' \\\n    --hash=sha256:aaaa")


def test_what_is_written_is_read_back(tmp_path):
    packages = [
        Locked("a", "1.0.post1", "", ("1" * 64, "2" * 64)),
        Locked("b-c", "2", "os_name == 'posix'", ("3" * 64,)),
    ]
    path = tmp_path / "x.txt"
    path.write_text("# said\n-r y.txt\n" + "".join(f"{package.text()}\n" for package in packages))
    assert read_locked(path) == packages
    path.write_text("a==1\n")
    with pytest.raises(ValueError, match="'a==1' is no NAME==VERSION with hashes; run make lock"):
        read_locked(path)


def test_a_pin_too_few_or_too_many_is_named():
    check_pins({"a": "1"}, {"a": "1"})
    with pytest.raises(ValueError, match="to be pinned: b==2, c==3; needed by nothing: d"):
        check_pins({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "1", "d": "4"})


# -- the bill of materials -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sbom") / "sbom.cdx.json"
    assert sbom.main(["--to", str(path)]) == 0
    return path


def test_the_bill_names_every_pin_with_its_digests(written):
    document = json.loads(written.read_text(encoding="utf-8"))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", document["serialNumber"])
    entries = {entry["name"]: entry for entry in document["components"]}
    assert {name: entry["version"] for name, entry in entries.items()} == pins()
    for name, entry in entries.items():
        assert entry["purl"] == entry["bom-ref"] == f"pkg:pypi/{name}@{entry['version']}"
        assert [one["content"] for one in entry["hashes"]] == list(LOCKED[name].hashes)
        assert {one["alg"] for one in entry["hashes"]} == {"SHA-256"}
    assert entries["torch"]["scope"] == "required" and entries["pytest"]["scope"] == "optional"
    application = document["metadata"]["component"]
    assert (application["name"], application["version"]) == ("radsweep", PROJECT["project"]["version"])


def test_the_bill_knows_licences_and_what_needs_what(written):
    document = json.loads(written.read_text(encoding="utf-8"))
    entries = {entry["name"]: entry for entry in document["components"]}
    known = [entry for entry in entries.values() if "licenses" in entry]
    assert len(known) > 150 and "BSD-3-Clause" in entries["numpy"]["licenses"][0]["expression"]
    for entry in known:
        for licence in entry["licenses"]:
            assert licence.get("expression") or len(licence["license"]["name"]) <= sbom.LONGEST_LICENCE
    below = {entry["ref"]: entry["dependsOn"] for entry in document["dependencies"]}
    refs = {entry["bom-ref"] for entry in document["components"]}
    assert {ref for needed in below.values() for ref in needed} <= refs and set(below) <= {*refs, "radsweep"}
    assert entries["numpy"]["bom-ref"] in below[entries["scipy"]["bom-ref"]]
    asked = {canonicalize_name(Requirement(text).name) for text in PROJECT["project"]["dependencies"]}
    assert below["radsweep"] == sorted(entries[name]["bom-ref"] for name in asked)


def test_the_bill_says_nothing_of_this_machine_and_is_the_same_each_time(written):
    text = written.read_text(encoding="utf-8")
    mine = {os.uname().nodename, str(Path.home()), str(ROOT), tempfile.gettempdir(), os.environ.get("USER", "")}
    assert not [word for word in mine if len(word) > 2 and word in text]
    assert not re.search(r"://|file:|/(home|root|usr|opt|tmp|var|work)/", text.replace("urn:uuid:", ""))
    assert sbom.text_of(sbom.bill()) == text
