"""The command as pip installs it: a file `radsweep` that calls the entry point of pyproject.toml."""

import os
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def install(folder: Path) -> dict[str, str]:
    """Write the command into a folder. Returns the environment in which a shell finds it, and it this project."""
    entry = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]["radsweep"]
    module, _, function = entry.partition(":")
    script = folder / "radsweep"
    script.write_text(f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
