"""Does the demo's benchmark see the whole process tree, its memory, and where the time went?"""

import os
import subprocess
import sys

from benchmark_lines import figures_of

from benchmarks.demo import main, proportional_bytes
from benchmarks.shared.process_tree import processes_below


def test_quick(capsys):
    found = figures_of(main, "demo", capsys)
    assert found["wall"]["ours"] > 0 and found["peak_memory"]["ours"] > 0.1
    assert {"encoder_random", "cells_LP100", "wall_reports_and_end", "time_left_lines_judged"} <= set(found)


def test_memory_of_descendants_counts():
    code = "import time; block = bytearray(1 << 26); block[::4096] = b'x' * len(block[::4096]); print(1, flush=True)"
    child = subprocess.Popen([sys.executable, "-c", f"{code}; time.sleep(60)"], stdout=subprocess.PIPE)
    try:
        child.stdout.readline()
        tree = processes_below(os.getpid())
        assert child.pid in tree
        assert proportional_bytes(tree) - proportional_bytes(tree - {child.pid}) > 60 << 20
    finally:
        child.kill()
        child.wait()
