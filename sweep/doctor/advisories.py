"""Is a release installed that is known to be vulnerable or malicious? A table, looked up without a network.

A row is a package that the project needs, or once needed, with the releases that an advisory names. Kept by hand: it is
as complete as its date says. To update it: read the advisories of what `constraints.txt` pins (`pip-audit` asks a
server for them), add a row for each, set AS_OF; a pin or a range of pyproject.toml that a new row names fails
tests/test_advisories.py until it is raised.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from packaging.specifiers import SpecifierSet

from sweep.doctor.check import OK, WARN, Check

AS_OF = "2026-11-28"


@dataclass(frozen=True)
class Advisory:
    """affected: the releases, as pip writes ranges. fixed: the first good release; "" where the files were malicious.

    ids: as CVE or GHSA number them. what: what an attacker gets, in a few words.
    """

    package: str
    affected: str
    fixed: str
    ids: str
    what: str

    def names(self, release: str) -> bool:
        """Whether this release is affected; a local part such as +cpu changes nothing."""
        return SpecifierSet(self.affected).contains(release, prereleases=True)


ADVISORIES = (
    # Malicious files: whoever imported them has lost the keys of the machine.
    Advisory("lightning", ">=2.6.2,<=2.6.3", "", "GHSA-w37p-236h-pfx3", "steals credentials when imported"),
    Advisory("pytorch-lightning", ">=2.6.2,<=2.6.3", "", "GHSA-w37p-236h-pfx3", "steals credentials when imported"),
    # What reads files of others.
    Advisory("torch", "<2.10.0", "2.10.0", "CVE-2026-24747", "a checkpoint read with weights_only runs code"),
    Advisory("torch", "<=2.10.0", "2.11.0", "CVE-2026-4538", "a pt2 archive runs code"),
    Advisory("transformers", "<5.3.0", "5.3.0", "CVE-2026-4372", "a model's configuration runs code of its author"),
    Advisory("transformers", "<5.5.0", "5.5.0", "CVE-2026-5241", "a LightGlue configuration runs code of its author"),
    Advisory("transformers", "<5.10.0", "5.10.0", "CVE-2026-9856", "a saved tokenizer writes outside of its folder"),
    Advisory("pydicom", "<3.0.2", "3.0.2", "CVE-2026-32711", "a DICOMDIR moves files outside of its folder"),
    Advisory("pillow", ">=10.3.0,<12.1.1", "12.1.1", "CVE-2026-25990", "a PSD image writes out of bounds"),
    Advisory("pillow", ">=10.3.0,<12.2.0", "12.2.0", "CVE-2026-40192", "a FITS image unpacks without a limit"),
    Advisory("pillow", "<12.3.0", "12.3.0", "CVE-2026-54059, CVE-2026-54060, CVE-2026-55379", "crafted images"),
    Advisory(
        "opencv-python-headless", ">=4.10,<4.12", "4.12.0.88", "CVE-2025-53644", "a JPEG 2000 image writes to the heap"
    ),
    Advisory("pyarrow", ">=15,<23.0.1", "23.0.1", "CVE-2026-25087", "an IPC file is read after it was freed (C++)"),
    Advisory("fonttools", ">=4.33.0,<4.60.2", "4.60.2", "CVE-2025-66034", "a designspace file writes anywhere"),
    # What answers or asks over a network.
    Advisory("ray", "<2.52.0", "2.52.0", "CVE-2025-62593", "a web page in a browser starts jobs"),
    Advisory("ray", "<2.54.0", "2.54.0", "CVE-2026-27482", "a web page in a browser deletes jobs"),
    Advisory("ray", "<2.55.0", "2.55.0", "CVE-2026-32981", "the dashboard shows files of the machine"),
    Advisory("aiohttp", "<3.14.3", "3.14.3", "GHSA-cq5v-8q36-5273", "an answer is read out of bounds"),
    Advisory("cryptography", "<50.0.0", "50.0.0", "CVE-2026-69247", "errors of PKCS 7 tell the text"),
    Advisory("flask", "<3.1.3", "3.1.3", "CVE-2026-27205", "a cached answer shows another's session"),
    Advisory("flask-cors", "<6.0.0", "6.0.0", "CVE-2024-6839, CVE-2024-6844, CVE-2024-6866", "wrong origins pass"),
    Advisory("h11", "<0.16.0", "0.16.0", "CVE-2025-43859", "requests are smuggled"),
    Advisory("idna", "<3.7", "3.7", "CVE-2024-3651", "a host's name takes all time"),
    Advisory("protobuf", "<5.29.6", "5.29.6", "CVE-2026-0994", "nested JSON ends the process"),
    Advisory("protobuf", ">=6,<6.33.5", "6.33.5", "CVE-2026-0994", "nested JSON ends the process"),
    Advisory("requests", "<2.32.4", "2.32.4", "CVE-2024-47081", "a crafted address gets credentials of .netrc"),
    Advisory("requests", "<2.33.0", "2.33.0", "CVE-2026-25645", "unpacks to a name that others can guess"),
    Advisory("starlette", "<1.3.1", "1.3.1", "CVE-2026-54283", "crafted requests"),
    Advisory("urllib3", "<2.6.3", "2.6.3", "CVE-2025-66471, CVE-2026-21441", "an answer unpacks without a limit"),
    Advisory("urllib3", "<2.7.0", "2.7.0", "CVE-2026-44431, CVE-2026-44432", "crafted answers"),
    Advisory("werkzeug", "<3.1.6", "3.1.6", "CVE-2026-21860, CVE-2026-27199", "names of devices stop it (Windows)"),
    # What runs beside them.
    Advisory("certifi", "<2024.7.4", "2024.7.4", "CVE-2024-39689", "trusts a certificate authority that is not"),
    Advisory("filelock", "<3.20.3", "3.20.3", "CVE-2025-68146, CVE-2026-22701", "a link cuts another's file"),
    Advisory("gitpython", "<3.1.59", "3.1.59", "CVE-2026-78676", "a value for a repository's settings runs code"),
    Advisory("jinja2", "<3.1.6", "3.1.6", "CVE-2025-27516", "a template leaves its sandbox"),
    Advisory("pytest", "<9.0.3", "9.0.3", "CVE-2025-71176", "another user of the machine takes its folder"),
    Advisory("setuptools", "<78.1.1", "78.1.1", "CVE-2025-47273", "a package's name writes anywhere"),
    Advisory("sqlparse", "<0.5.0", "0.5.0", "CVE-2024-4340", "nested lists end the process"),
    Advisory("tqdm", "<4.66.3", "4.66.3", "CVE-2024-34062", "options of the command line run code"),
    Advisory("virtualenv", "<20.36.1", "20.36.1", "CVE-2026-22702", "a link in a shared folder is followed"),
    Advisory("zipp", "<3.19.1", "3.19.1", "CVE-2024-5569", "a crafted archive takes all time"),
)


def known_for(package: str, release: str, table: Iterable[Advisory] = ADVISORIES) -> list[Advisory]:
    """The rows that name this release of a package. package: in small letters, with hyphens."""
    return [advisory for advisory in table if advisory.package == package and advisory.names(release)]


def installed(package: str) -> str | None:
    """The release that is installed here; None where none is."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def check_advisories(find: Callable[[str], str | None] = installed) -> list[Check]:
    """A warning for each installed package that the table names; where none is, one line. find: package -> release."""
    packages = list(dict.fromkeys(advisory.package for advisory in ADVISORIES))
    releases = {package: found for package in packages if (found := find(package)) is not None}
    bad = [_warning(name, release, known) for name, release in releases.items() if (known := known_for(name, release))]
    text = f"none installed, of those known on {AS_OF} for {len(packages)} packages"
    return bad or [Check("advisories", OK, text)]


def _warning(package: str, release: str, known: list[Advisory]) -> Check:
    text = f"{package} {release}: {'; '.join(f'{advisory.what} ({advisory.ids})' for advisory in known)}"
    if any(not advisory.fixed for advisory in known):
        mend = f"pip uninstall -y {package}  (then change every password, token and key that was on this machine)"
    else:  # rows of one package are in the order of their fixes
        mend = f"pip install '{package}>={known[-1].fixed}'"
    return Check("advisories", WARN, text, mend)
