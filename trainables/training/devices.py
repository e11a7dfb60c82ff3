"""What is computed on: the device of this process, its name, as results keep it, and its random generators."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch

VISIBLE = "CUDA_VISIBLE_DEVICES"


def own_device(gpus: float | None = None, granted: Sequence[int | str] = ()) -> torch.device:
    """The GPU of this process, which is then the one that torch takes by itself, else the CPU.

    gpus: what it was given of them; None: whatever it sees. granted: the cards themselves, as ray.get_gpu_ids names
    them; the first of all that it sees where none is named.
    """
    # Ray leaves CUDA_VISIBLE_DEVICES as it is for a task that was given no GPU: what is seen may be others'.
    if gpus == 0 or not torch.cuda.is_available():
        return torch.device("cpu")
    keep_float32()
    place = _place(granted)
    if place == 0:
        return torch.device("cuda")
    torch.cuda.set_device(place)
    return torch.device("cuda", place)


def keep_float32() -> None:
    """Have GPUs compute float32 in float32, from now on in this process.

    Else float32 convolutions are rounded to TF32, of 10 bits, on every card that has it: by torch's default.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def _place(granted: Sequence[int | str]) -> int:
    """Of the first granted card among those that this process sees.

    Mostly the first: Ray hides the others, unless it is told not to (RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES).
    """
    if not granted:
        return 0
    first, seen = str(granted[0]), os.environ.get(VISIBLE)
    if seen:
        names = [name.strip() for name in seen.split(",")]
        return names.index(first) if first in names else 0
    return int(first) if first.isdecimal() and int(first) < torch.cuda.device_count() else 0


# Of each process that uses a card: CUDA's own context and its kernels, which are beside what torch allocates.
CONTEXT_BYTES = 640 << 20


def limit_memory(device: torch.device, gpus: float) -> None:
    """Give this process no more of its card's memory than its part of the card: gpus, as Ray grants them.

    Its neighbours on the card have the rest. From then on an allocation beyond it is out of memory, also where the
    card has room. Nothing for a CPU; a whole card, or several, is no limit.
    """
    if device.type != "cuda":
        return
    share = 1.0
    if gpus < 1:
        share = max(0.0, gpus - CONTEXT_BYTES / torch.cuda.get_device_properties(device).total_memory)
    torch.cuda.set_per_process_memory_fraction(share, device.index)  # None: the current one; it takes no bare `cuda`


def runs_on(capability: tuple[int, int], architectures: Iterable[str]) -> bool:
    """Whether a build of torch runs on a GPU of this compute capability.

    architectures: as torch.cuda.get_arch_list() names them. `sm_75` is code for 7.5 that every later GPU of the same
    major number runs; `compute_90` is compiled by the driver for any later GPU. Of AMD's (`gfx90a`) nothing is known:
    they are taken to run.
    """
    major, minor = capability
    for name in architectures:
        if name.startswith("gfx"):
            return True
        kind, _, number = name.rstrip("af").partition("_")  # sm_90a and sm_100f are further forms of one
        code = int(number[:-1]), int(number[-1])
        if kind == "sm" and code[0] == major and code[1] <= minor:
            return True
        if kind == "compute" and code <= capability:
            return True
    return False


def device_name(device: torch.device) -> str:
    """`cpu`, or `cuda: NVIDIA A100-SXM4-80GB`."""
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def seed_step(seed: int, device: torch.device) -> None:
    """Seeds what a step draws from, on the CPU and on `device`: the generators that `torch.manual_seed` would seed.

    Without a GPU, that function keeps the call and the stack it came from for the day a GPU appears, once for each
    kind of device: 0.2 to 0.8 ms, every step.
    """
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What is drawn on the CPU meanwhile comes from `seed`; what is drawn afterwards is as if nothing had been."""
    # No device: forking the generators of all GPUs would start CUDA on each.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
