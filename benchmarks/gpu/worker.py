"""The process that computes: one section after the other, each line as it is found. Started by benchmarks.gpu alone.

python -m benchmarks.gpu.worker DEVICE SIZE SECTION ...: ends with 1 after a section that failed, since an error of CUDA
leaves nothing of its process to be trusted; whoever started it begins another with the sections that are left.
"""

import gc
import json
import sys
import time
import traceback

import torch

from benchmarks.gpu.bench import FULL, QUICK, Bench
from benchmarks.gpu.card import allow_one_order, described
from benchmarks.gpu.frame import BEGUN, ENDED, FAILED
from benchmarks.gpu.sections import SECTIONS


def say(**line: object) -> None:
    print(json.dumps(line), flush=True)


def compute(bench: Bench, name: str) -> bool:
    """All lines of a section, between the one that says it has begun and the one that says how it ended."""
    say(section=name, status=BEGUN)
    started = time.perf_counter()
    try:
        for line in SECTIONS[name].measure(bench):
            say(section=name, **line)
    except Exception as error:
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}"[:500]
        say(section=name, status=FAILED, seconds=round(time.perf_counter() - started, 2), error=text)
        return False
    say(section=name, status=ENDED, seconds=round(time.perf_counter() - started, 2))
    gc.collect()
    if bench.device.type == "cuda":
        torch.cuda.empty_cache()
    return True


def main(arguments: list[str]) -> int:
    device, size, *names = arguments
    bench = Bench(torch.device(device), {"full": FULL, "quick": QUICK}[size])
    allow_one_order()
    if device == "cpu":
        torch.set_num_threads(1)
    say(machine=described(bench.device))
    return 0 if all(compute(bench, name) for name in names) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
