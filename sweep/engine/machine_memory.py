"""How much memory has the device that this machine trains on?"""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path


def memory_of_device() -> tuple[str, int]:
    """`its GPU` and the bytes of the largest, or `this machine` and what its processes may use."""
    return found if (found := _of_gpus()) is not None else ("this machine", _of_host())


def _of_gpus() -> tuple[str, int] | None:
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return None
    cards = memory_of_cards()
    return ("its GPU", max(cards)) if cards else None


def memory_of_cards() -> list[int]:
    """Bytes of each of this machine's GPUs, whichever of them this process may use; empty where none answers."""
    # Not asked of torch: it would open a context on each GPU, which this process does not use.
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    with suppress(OSError, subprocess.TimeoutExpired, ValueError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode == 0:
            return [int(line) * 2**20 for line in done.stdout.split()]
    return []


def _of_host() -> int:
    """Bytes of memory, or of the control group's limit where that is less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # the first says `max` where there is no limit
            total = min(total, int(Path(name).read_text()))
    return total
