"""Is everything right on this card, and how fast is it? JSON lines, in eight minutes, from any copy of the tree.

python -m benchmarks.gpu [--device cpu] [--quick] [--only SECTION,...] [--seconds N]. It needs torch, torchvision, timm,
transformers, numpy, scipy, scikit-learn, pyarrow, numba, OpenCV and safetensors, and neither Ray nor an installed
project. One JSON line for each figure and each check on stdout, and one for each section that says how it ended.

Exit status: 0 all sections done and all checks passed; 1 a section failed or was ended, or a check did not pass; 2 bad
flags; 3 no GPU here.
"""

import argparse
import json
import signal
import sys
from collections.abc import Iterable

from benchmarks.gpu.card import why_no_card
from benchmarks.gpu.frame import ENDED, measure, worker_command
from benchmarks.gpu.sections import SECTIONS

EXIT_FAILED, EXIT_NO_CARD = 1, 3
SECONDS = 480.0


def printed(lines: Iterable[dict]) -> int:
    """Print every line as it comes, then what was not right on stderr; the exit status."""
    wrong, machine = [], None
    for line in lines:
        machine = line.get("machine", machine)
        if "figure" in line:
            line = {**line, "card": machine}
        print(json.dumps(line), flush=True)
        if line.get("passed") is False:
            wrong.append(f"{line['section']}: {line['figure']} is {line['ours']}; allowed: {line['allowed']}")
        elif line.get("status", ENDED) != ENDED:
            wrong.append(f"{line['section']}: {line['status']} ({line.get('error')})")
    for text in wrong:
        print(text, file=sys.stderr)
    return EXIT_FAILED if wrong else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: only that the frame works")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: checks that it works")
    parser.add_argument("--only", default=",".join(SECTIONS), metavar="SECTION,...", help="sections to run")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that all sections may take together")
    chosen = parser.parse_args(arguments)
    names = chosen.only.split(",")
    if unknown := sorted(set(names) - set(SECTIONS)):
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if chosen.device == "cuda" and (reason := why_no_card()):
        print(f"benchmarks.gpu {reason}; --device cpu --quick runs its frame without one", file=sys.stderr)
        return EXIT_NO_CARD
    command = worker_command(chosen.device, "quick" if chosen.quick else "full")
    return printed(measure({name: SECTIONS[name].seconds for name in names}, chosen.seconds, command))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that the worker is ended as well
    sys.exit(main())
