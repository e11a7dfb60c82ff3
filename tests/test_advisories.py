"""Is a release that is known to be vulnerable or malicious pinned, or allowed by a range? By the doctor's table."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from sweep.doctor.advisories import ADVISORIES, AS_OF, Advisory, check_advisories, known_for
from sweep.doctor.check import OK, WARN

ROOT = Path(__file__).resolve().parents[1]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def ranges() -> list[Requirement]:
    """Of everything that pyproject.toml asks for, extras and build included."""
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = [text for group in content["project"]["optional-dependencies"].values() for text in group]
    return [
        Requirement(t) for t in (*content["project"]["dependencies"], *extras, *content["build-system"]["requires"])
    ]


def allows(allowed: SpecifierSet, affected: SpecifierSet) -> bool:
    """Whether two ranges share a release: one of the bounds of either lies in both, or there is none above zero."""
    bounds = {part.version for part in (*allowed, *affected)} | {"0"}
    return any(allowed.contains(v, prereleases=True) and affected.contains(v, prereleases=True) for v in bounds)


@pytest.mark.parametrize(("package", "release"), sorted(pins().items()))
def test_no_pin_is_known_to_be_bad(package, release):
    assert known_for(package, release) == []


@pytest.mark.parametrize("requirement", ranges(), ids=lambda requirement: requirement.name)
def test_no_range_allows_a_release_that_is_known_to_be_bad(requirement):
    rows = [row for row in ADVISORIES if row.package == canonicalize_name(requirement.name)]
    bad = [row for row in rows if allows(requirement.specifier, SpecifierSet(row.affected))]
    assert not bad, f"{requirement} allows {bad[0].affected} ({bad[0].ids}): raise it to {bad[0].fixed}"


@pytest.mark.parametrize(
    ("allowed", "affected", "both"),
    [
        (">=2.10", "<=2.10.0", True),
        (">=2.11", "<=2.10.0", False),
        (">=1", ">=2.6.2,<=2.6.3", True),
        (">=1,!=2.6.2,!=2.6.3", ">=2.6.2,<=2.6.3", False),
        ("", "<1", True),
        (">=1.2,<2", ">=1,<1.2", False),
        ("==1.1", ">=1,<1.2", True),
    ],
)
def test_ranges_that_share_a_release_are_told_from_others(allowed, affected, both):
    assert allows(SpecifierSet(allowed), SpecifierSet(affected)) is both


@pytest.mark.parametrize("row", ADVISORIES, ids=lambda row: f"{row.package} {row.ids}")
def test_a_row_says_what_is_affected_from_when_it_is_good_and_by_which_advisory(row: Advisory):
    assert row.package == canonicalize_name(row.package) and row.what and not row.what.endswith(".")
    assert all(re.fullmatch(r"CVE-\d{4}-\d{4,}|GHSA(-[0-9a-z]{4}){3}", name) for name in row.ids.split(", "))
    assert not row.fixed or not row.names(row.fixed)
    parts = {part.operator: part.version for part in SpecifierSet(row.affected)}
    assert len(parts.keys() & {"<", "<="}) == 1, "a row without an end would name each later release"
    assert row.names(parts.get(">=", "0")) and parts.keys() <= {">=", "<", "<="}


def test_rows_of_a_package_stand_together_in_the_order_of_their_fixes():
    names = [row.package for row in ADVISORIES]
    assert [name for name, before in zip(names, ["", *names], strict=False) if name != before] == list(
        dict.fromkeys(names)
    )
    for package in set(names):
        fixes = [Version(row.fixed or "0") for row in ADVISORIES if row.package == package]
        assert fixes == sorted(fixes)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", AS_OF)


def test_the_doctor_warns_of_each_installed_package_in_one_line():
    found = {"pillow": "12.2.0", "lightning": "2.6.3", "torch": "2.10.0+cpu", "ray": "2.60.0"}
    checks = {check.found.split()[0]: check for check in check_advisories(found.get)}
    assert set(checks) == {"pillow", "lightning", "torch"} and {check.status for check in checks.values()} == {WARN}
    assert "CVE-2026-54059" in checks["pillow"].found and "CVE-2026-25990" not in checks["pillow"].found
    assert checks["pillow"].mend == "pip install 'pillow>=12.3.0'"
    assert checks["torch"].mend == "pip install 'torch>=2.11.0'" and "\n" not in checks["torch"].found
    assert "uninstall -y lightning" in checks["lightning"].mend and "key" in checks["lightning"].mend


def test_the_doctor_says_how_old_its_table_is_where_nothing_is_wrong():
    (check,) = check_advisories({"ray": "2.60.0"}.get)
    assert check.status == OK and AS_OF in check.found


def test_what_was_pinned_before_is_named():
    """pytorch-lightning came with a test dependency; opencv's and pyarrow's floors were below a fix."""
    assert known_for("pytorch-lightning", "2.6.2") and not known_for("pytorch-lightning", "2.6.1")
    assert known_for("opencv-python-headless", "4.11.0.86") and known_for("pyarrow", "17.0.0")
