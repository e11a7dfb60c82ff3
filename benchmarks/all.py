"""How are all figures measured again, and docs/performance.md made of them?

python -m benchmarks.all --to FILE [--only NAME,...] [--quick] [--no-run] [--page docs/performance.md]. Runs the
benchmarks one after the other, keeps their JSON lines in FILE (those of a benchmark that runs again are replaced), and
writes the page from FILE. --no-run only writes the page. Exit status: 1 where a benchmark failed, whose earlier lines
stay, or was not all right: what it measured stands then in their place.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from benchmarks.shared.page import page, this_machine

NAMES = (
    "probe",
    "cell",
    "pretrain",
    "views",
    "stream",
    "objectives",
    "step",
    "scripts",
    "demo",
    "scale",
    "metrics",
    "statistics",
    "ingest",
    "schedule",
    "preflight",
    "imports",
    "gpu",
)
NOTHING_TO_RUN_ON = 3  # the exit status of benchmarks.gpu without a card
NOT_ALL_RIGHT = 1  # its status where a section failed or was ended, or a check did not pass


class NotAllRight(RuntimeError):
    """Of a benchmark's sections some failed, or a check did not pass. figures: that it measured, which stand."""

    def __init__(self, name: str, figures: list[dict]):
        wrong = [line["figure"] for line in figures if line.get("passed") is False]
        checks = f"checks that did not pass: {', '.join(wrong)}" if wrong else "all checks that were made passed"
        super().__init__(
            f"{name} was not all right: its {len(figures)} figures take the place of the earlier ones, and what failed "
            f"before it was measured has none; {checks}"
        )
        self.figures = figures


def run(name: str, quick: bool) -> list[dict]:
    """The figures of one benchmark; none where what it needs is not here.

    Raises NotAllRight where some of it failed, subprocess.CalledProcessError where all of it did.
    """
    command = [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if quick else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if name == "gpu" and done.returncode == NOTHING_TO_RUN_ON:
        return []
    if name == "gpu" and done.returncode == NOT_ALL_RIGHT and (figures := _figures(done.stdout)):
        raise NotAllRight(name, figures)
    done.check_returncode()
    return _figures(done.stdout)


def _figures(printed: str) -> list[dict]:
    lines = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return [line for line in lines if "figure" in line]


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.all", description=__doc__)
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="JSON lines of all figures")
    parser.add_argument("--only", default=",".join(NAMES), metavar="NAME,...", help="benchmarks to run")
    parser.add_argument("--quick", action="store_true", help="check that they work; the figures mean nothing")
    parser.add_argument("--no-run", action="store_true", help="write the page from what FILE has")
    parser.add_argument("--page", type=Path, default=Path("docs/performance.md"), help="where the page is written")
    chosen = parser.parse_args(arguments)
    names = chosen.only.split(",")
    if unknown := sorted(set(names) - set(NAMES)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}")
    failed = []
    for name in [] if chosen.no_run else names:
        print(f"-- {name}", file=sys.stderr)
        try:
            figures = run(name, chosen.quick)
        except subprocess.CalledProcessError as error:
            print(f"{name} ended with {error.returncode}: its earlier figures stay", file=sys.stderr)
            failed.append(name)
            continue
        except NotAllRight as error:
            print(error, file=sys.stderr)
            failed.append(name)
            figures = error.figures
        if not figures:
            print(f"{name} has nothing to run on here: its earlier figures stay", file=sys.stderr)
            continue
        machine = this_machine()
        kept = [line for line in read_lines(chosen.to) if line["benchmark"] != name]
        lines = [*kept, *({**figure, "machine": figure.get("card", machine)} for figure in figures)]
        chosen.to.write_text("".join(json.dumps(line) + "\n" for line in lines))
    chosen.page.write_text(page(read_lines(chosen.to)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
