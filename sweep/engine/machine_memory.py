"""How much memory has the device that this machine trains on?"""

import os
import shutil
import subprocess
from contextlib import suppress

from datasets_io.granted import memory_of_node


def memory_of_device() -> tuple[str, int]:
    """`its GPU` and the bytes of the largest, or `this machine` and what its processes may use."""
    return found if (found := _of_gpus()) is not None else ("this machine", memory_of_node())


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
