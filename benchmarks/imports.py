"""How long until Python, a notebook or a shell has what it asked for: `import sweep`, --version, --help, a proposal?

python -m benchmarks.imports [--quick]. One JSON line for each figure on stdout, a table on stderr. Each is a whole
process, from its start to its end; an empty Python is the limit. What is imported was read from the disk before.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.shared.common import in_turn, report, row

ROUNDS = 9
ROOT = str(Path(__file__).resolve().parents[1])
RADSWEEP, RAY = ["-m", "sweep.radsweep"], ["-m", "ray.scripts.scripts"]
# What is timed -> its arguments, the peer, and that one's arguments.
SIDES = {
    "import_sweep": (["-c", "import sweep"], "import torch", ["-c", "import torch"]),
    "import_sweep_beside_timm": (["-c", "import sweep"], "import timm", ["-c", "import timm"]),
    "radsweep_version": ([*RADSWEEP, "--version"], "ray --version", [*RAY, "--version"]),
    "radsweep_help": ([*RADSWEEP, "--help"], "ray --help", [*RAY, "--help"]),
    "radsweep_run_help": ([*RADSWEEP, "run", "--help"], "ray start --help", [*RAY, "start", "--help"]),
}
SUBCOMMANDS = ("run", "report", "status", "doctor", "tune", "export", "list", "build", "training-free")


def run(arguments: list[str], **more: str) -> None:
    """Raises subprocess.CalledProcessError where it fails."""
    environment = {**os.environ, "PYTHONPATH": ROOT, **more}
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=environment)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.imports", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round: checks that it works")
    rounds = 1 if parser.parse_args(arguments).quick else ROUNDS
    rows = []
    for figure, (ours, peer_name, peer) in SIDES.items():
        sides = {
            "ours": lambda ours=ours: run(ours),
            "peer": lambda peer=peer: run(peer),
            "limit": lambda: run(["-c", ""]),
        }
        ms = {name: 1e3 * seconds for name, seconds in in_turn(sides, rounds).items()}
        limit = {"limit": ms["limit"], "limit_name": "an empty Python"}
        rows.append(row("imports", figure, "ms", ms["ours"], peer=ms["peer"], peer_name=peer_name, **limit))
    helps = in_turn({name: lambda name=name: run([*RADSWEEP, name, "--help"]) for name in SUBCOMMANDS}, min(rounds, 3))
    rows.append(row("imports", "slowest_help_of_a_subcommand", "ms", 1e3 * max(helps.values())))
    asked = {"_TYPER_COMPLETE_ARGS": "radsweep tune --method clip+", "_RADSWEEP_COMPLETE": "complete_zsh"}
    code = "import sys; sys.argv = ['radsweep']; from sweep.radsweep.__main__ import main; main()"
    seconds = in_turn({"ours": lambda: run(["-c", code], **asked)}, rounds)["ours"]
    rows.append(row("imports", "methods_proposed_to_a_shell", "ms", 1e3 * seconds))
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
