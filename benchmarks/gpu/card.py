"""Is there a card to measure on, and which is it: name, driver, clocks, memory?"""

import os
import shutil
import subprocess
from collections.abc import Iterator

import torch

from benchmarks.gpu.bench import Bench, check, figure
from trainables.training.devices import runs_on
from trainables.training.precision import resolve

# As nvidia-smi names them: what a rate depends on beside the chip.
ASKED = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit", "temperature.gpu", "memory.total")


def why_no_card() -> str | None:
    """A sentence, where torch sees no NVIDIA GPU in this process; None where it sees one."""
    if torch.cuda.is_available() and torch.version.hip is None:
        return None
    built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    return f"needs an NVIDIA GPU, and torch {torch.__version__} ({built}) sees none here"


def allow_one_order() -> None:
    """Let a process be asked for one order after it has computed in any. Call it before anything is computed.

    torch before 2.14 looks at this variable at the first product, and refuses one order for ever where it is not set.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # as trainables/training/precision.py does


def described(device: torch.device) -> str:
    """Name, driver, clocks, memory, versions: beside every line that is measured on it."""
    if device.type != "cuda":
        return f"no GPU: the frame on the CPU; torch {torch.__version__}"
    card = torch.cuda.get_device_properties(device)
    parts = [
        f"{card.name} ({card.major}.{card.minor}), {card.multi_processor_count} multiprocessors, "
        f"{card.total_memory / 2**30:.0f} GiB",
        f"torch {torch.__version__} for CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
    ]
    return ", ".join([*parts, *_asked(device)])


def _asked(device: torch.device) -> list[str]:
    """What the driver's own command says; nothing where it is not there or does not answer."""
    if shutil.which("nvidia-smi") is None:
        return []
    # By its own number: CUDA_VISIBLE_DEVICES may have hidden others before it.
    number = "GPU-" + str(torch.cuda.get_device_properties(device).uuid).removeprefix("GPU-")
    command = ["nvidia-smi", f"--id={number}", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    values = done.stdout.strip().split(", ")
    if done.returncode or len(values) != len(ASKED):
        return []
    return [f"{name} {value}" for name, value in zip(ASKED, values, strict=True)]


def section(bench: Bench) -> Iterator[dict]:
    """Has this build code for the card, does float32 mean float32, and how fast are a copy and a product?"""
    device = bench.device
    if device.type == "cuda":
        has_code = runs_on(torch.cuda.get_device_capability(device), torch.cuda.get_arch_list())
        yield check("no_code_for_this_card", "1", float(not has_code), 0.0)
    resolve("float32", device)  # as a cell does, before anything is computed
    side, generator = bench.size.exact_product, torch.Generator().manual_seed(0)
    left, right = (torch.randn(side, side, generator=generator) for _ in range(2))
    exact = left.double() @ right.double()
    apart = ((left.to(device) @ right.to(device)).cpu().double() - exact).norm() / exact.norm()
    # float32 sums of 1024 products lose 1e-7 to 1e-6 of their norm, by their order; TF32's 10 bits lose 3e-4.
    yield check("float32_product_from_float64", "relative", float(apart), 1e-5)
    side = bench.size.product
    half = torch.randn(side, side, dtype=torch.bfloat16, device=device)
    seconds = bench.seconds(lambda: half @ half, bench.size.rounds)
    yield figure("bfloat16_product", "TFLOP/s", 2 * side**3 / seconds / 1e12, higher_is_better=True)
    block = torch.empty(bench.size.copied_bytes, dtype=torch.uint8, device=device)
    other = torch.empty_like(block)
    seconds = bench.seconds(lambda: other.copy_(block), bench.size.rounds)
    # Read once and written once.
    yield figure("copy_on_the_device", "GB/s", 2 * block.numel() / seconds / 1e9, higher_is_better=True)
