"""Is this machine able to run a study: versions, known holes in them, devices, shared memory, open files."""

import platform
import resource
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch
from packaging.requirements import Requirement

from datasets_io.granted import core_grant, gpus, memory_grant
from sweep.doctor.advisories import check_advisories
from sweep.doctor.check import FAIL, OK, WARN, Check, gigabytes
from trainables.training.devices import runs_on

PROJECT, OLDEST_PYTHON = "radsweep", (3, 11)
SHARED_MEMORY_BYTES = 2 << 30  # the image batches that Ray's processes hand each other, and some room
OLDEST_OF_CUDA_13 = 7, 5  # compute capability: CUDA 13 has no compiler for what is older, a V100 (7.0) among it
NOT_SUPPORTED = "no wheel of torch on PyPI that is in radsweep's range has code for it: it is not supported"
OTHER_BUILD = "install a build of torch and torchvision for {}: PyTorch's page Get Started has the command for each"
OPEN_FILES = 4096  # Ray holds about a dozen sockets for each of its processes


def install_command() -> str:
    """What installs the project with the pinned versions into the Python that runs here."""
    return f"{shlex.quote(sys.executable)} -m pip install --constraint constraints.txt --editable ."


def check_python(found: tuple[int, int] = sys.version_info[:2]) -> Check:
    """found: (major, minor) of the Python that runs here."""
    text = ".".join(map(str, found))
    if found < OLDEST_PYTHON:
        return Check("python", FAIL, f"{text}; 3.11 or newer is needed", "rm -rf .venv && make PYTHON=python3.11 setup")
    return Check("python", OK, f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def requirements() -> list[str]:
    """What the installed project asks for, without its extras."""
    return [text for text in requires(PROJECT) or () if "extra ==" not in text]


def check_packages(wanted: Iterable[str]) -> list[Check]:
    """One check for all packages in range, first, and one for each that is not. wanted: `torch>=2.10`, ..."""
    bad, good = [], []
    for requirement in map(Requirement, wanted):
        try:
            have = version(requirement.name)
        except PackageNotFoundError:
            bad.append(Check("package", FAIL, f"{requirement.name} is not installed", install_command()))
            continue
        if requirement.specifier.contains(have, prereleases=True):
            good.append(f"{requirement.name} {have}")
        else:
            text = f"{requirement.name} is {have}; needed: {requirement.specifier}"
            bad.append(Check("package", FAIL, text, install_command()))
    main = [text for text in good if text.split()[0] in ("torch", "ray", "timm", "transformers", "pydicom")]
    return [Check("packages", OK, f"{len(good)} in range ({', '.join(main)})"), *bad]


def check_cores() -> Check:
    """How many of the machine's cores and how much of its memory are granted to this process, and by what."""
    parts = []
    for grant, amount, what in ((core_grant(), str, "CPU cores"), (memory_grant(), gigabytes, "of memory")):
        of_all = f" of {amount(grant.there)}" if grant.by else ""
        limit = f" (by {grant.by})" if grant.by else ""
        parts.append(f"{amount(grant.granted)}{of_all} {what}{limit}")
    if (count := gpus()) is not None:
        parts.append(f"{count} GPUs by CUDA_VISIBLE_DEVICES or SLURM")
    return Check("granted", OK, ", ".join(parts))


def check_devices() -> list[Check]:
    """Each GPU that torch sees. A failure: one that it has no code for, and a driver where it sees none."""
    if torch.cuda.is_available():
        return [_check_gpu(number) for number in range(torch.cuda.device_count())]
    driver = _driver_version()
    if driver is None:
        return [Check("device", OK, "no GPU: enough for the demo")]
    built = torch.version.cuda or "no CUDA"
    text = f"NVIDIA driver {driver} is there, but torch {torch.__version__} (built for {built}) sees no GPU"
    return [Check("device", FAIL, text, OTHER_BUILD.format("a CUDA no newer than `nvidia-smi` shows"))]


def _check_gpu(number: int) -> Check:
    card, has = torch.cuda.get_device_properties(number), torch.cuda.get_arch_list()
    name = f"GPU {number}: {card.name}, {gigabytes(card.total_memory)}"
    if runs_on((card.major, card.minor), has):
        return Check("device", OK, name)
    text = (
        f"{name}, of compute capability {card.major}.{card.minor}: torch {torch.__version__} (built for "
        f"{torch.version.cuda}) has code for {', '.join(has)} alone"
    )
    if (card.major, card.minor) >= OLDEST_OF_CUDA_13:
        return Check("device", FAIL, text, OTHER_BUILD.format("a newer CUDA"))
    return Check("device", FAIL, f"{text}; {NOT_SUPPORTED}", OTHER_BUILD.format("CUDA 12.6, if there is one in range"))


def _driver_version() -> str | None:
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):  # a card that has failed keeps it waiting
        return "that does not answer"
    return done.stdout.split("\n")[0].strip() or "of unknown version" if done.returncode == 0 else None


def check_shared_memory(folder: str = "/dev/shm", needed: int = SHARED_MEMORY_BYTES) -> Check:
    """Ray's object store lies in /dev/shm; where that is small it goes to the disk and is slow. needed: bytes."""
    name = "shared memory"
    if not Path(folder).is_dir():
        return Check(name, OK, f"{folder} does not exist on {platform.system()}: Ray keeps objects elsewhere")
    free = shutil.disk_usage(folder).free
    if free >= needed:
        return Check(name, OK, f"{folder} has {gigabytes(free)} free")
    mend = f"sudo mount -o remount,size=8G {folder}  (in a container: docker run --shm-size=8g ...)"
    return Check(name, WARN, f"{folder} has {gigabytes(free)} free; {gigabytes(needed)} or more is good", mend)


def check_open_files(limit: int | None = None, needed: int = OPEN_FILES) -> Check:
    """The limit of open files against what Ray needs. limit: that of this process, where None."""
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY or limit >= needed:
        return Check("open files", OK, "no limit" if limit == resource.RLIM_INFINITY else f"{limit:,} allowed")
    return Check("open files", WARN, f"{limit:,} allowed; Ray with many processes needs {needed:,}", "ulimit -n 65536")


def machine_checks() -> list[Check]:
    """Everything about this machine that needs neither a storage nor a study."""
    return [
        check_python(),
        *check_packages(requirements()),
        *check_advisories(),
        check_cores(),
        *check_devices(),
        check_shared_memory(),
        check_open_files(),
    ]
