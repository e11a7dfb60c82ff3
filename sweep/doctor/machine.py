"""Is this machine able to run a study: versions, known holes in them, devices, shared memory, open files."""

import os
import platform
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch
from packaging.requirements import Requirement

from sweep.doctor.advisories import check_advisories
from sweep.doctor.check import FAIL, OK, WARN, Check, gigabytes

PROJECT, OLDEST_PYTHON = "radsweep", (3, 11)
SHARED_MEMORY_BYTES = 2 << 30  # the image batches that Ray's processes hand each other, and some room
OPEN_FILES = 4096  # Ray holds about a dozen sockets for each of its processes


def install_command() -> str:
    """What installs the project with the pinned versions into the Python that runs here."""
    return f"{sys.executable} -m pip install --constraint constraints.txt --editable ."


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


def check_devices() -> list[Check]:
    """Each GPU that torch sees; a driver that torch cannot use is a failure, no GPU at all is none."""
    if torch.cuda.is_available():
        gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
        return [Check("device", OK, f"GPU {n}: {g.name}, {gigabytes(g.total_memory)}") for n, g in enumerate(gpus)]
    driver = _driver_version()
    if driver is None:
        return [Check("device", OK, f"no GPU, {os.cpu_count()} CPU cores: enough for the demo")]
    built = torch.version.cuda or "no CUDA"
    text = f"NVIDIA driver {driver} is there, but torch {torch.__version__} (built for {built}) sees no GPU"
    mend = (
        f"{sys.executable} -m pip install --force-reinstall torch torchvision --index-url "
        "https://download.pytorch.org/whl/cu126  (a CUDA no newer than `nvidia-smi` shows)"
    )
    return [Check("device", FAIL, text, mend)]


def _driver_version() -> str | None:
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
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
        *check_devices(),
        check_shared_memory(),
        check_open_files(),
    ]
