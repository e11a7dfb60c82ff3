"""Which software makes the results of this process: packages whose version may change a number, and the commit."""

import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SOFTWARE = ("radsweep", "torch", "torchvision", "timm", "transformers", "ray", "numpy", "scikit-learn", "pydicom")
COMMIT = "commit"  # of the checkout that runs, with -dirty where it was changed; an installed package has none
_CHECKOUT = Path(__file__).resolve().parents[2]


@cache
def software() -> dict[str, str]:
    """Package -> its installed version, of those that are installed; and COMMIT."""
    found = {}
    for name in SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if commit := _commit(_CHECKOUT):
        found[COMMIT] = commit
    return found


def _commit(checkout: Path) -> str | None:
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # no git here, or a checkout of another user's
        return None
    return done.stdout.strip() or None
