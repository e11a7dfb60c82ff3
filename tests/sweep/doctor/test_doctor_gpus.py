"""Does doctor know which cards a build of torch has code for? Cards and builds are as their makers list them."""

import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from packaging.specifiers import SpecifierSet

from sweep.doctor.check import FAIL, OK
from sweep.doctor.machine import check_devices
from trainables.training.devices import own_device, runs_on
from trainables.training.precision import resolve

ROOT = Path(__file__).resolve().parents[3]
# torch.cuda.get_arch_list() of builds for these versions of CUDA.
CUDA_12_6 = ["sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90"]
CUDA_13_0 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
V100, T4, A100, A10G, H100, B200, RTX_5090, LATER = (
    (7, 0), (7, 5), (8, 0), (8, 6), (9, 0), (10, 0), (12, 0), (13, 1),
)  # fmt: skip


@pytest.mark.parametrize(
    ("build", "cards", "others"),
    [
        (CUDA_12_6, (V100, T4, A100, A10G, (8, 9), H100), (B200, RTX_5090, LATER)),
        (CUDA_13_0, (T4, A100, A10G, (8, 9), H100, B200, RTX_5090, LATER), (V100, (6, 1))),
        (["sm_90a"], (H100,), (A100, B200)),
        ([], (), (V100, H100)),
        (["gfx90a", "gfx942", "gfx1100"], ((9, 0), (11, 0)), ()),
    ],
    ids=["CUDA 12.6", "CUDA 13.0", "one form", "none", "of AMD"],
)
def test_a_card_runs_code_of_its_major_number_and_what_the_driver_compiles(build, cards, others):
    assert all(runs_on(card, build) for card in cards) and not any(runs_on(card, build) for card in others)


@pytest.fixture
def cards(monkeypatch):
    """Have torch see these cards, by their names and compute capabilities, built for these architectures."""

    def see(build, **capabilities):
        found = [
            SimpleNamespace(name=name, major=major, minor=minor, total_memory=32 << 30)
            for name, (major, minor) in capabilities.items()
        ]
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: found[number])
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: build)

    return see


def test_a_card_without_code_is_a_failure_that_names_the_build_to_take(cards):
    cards(CUDA_13_0, A100=A100, V100=V100)
    good, bad = check_devices()
    assert good.status == OK and good.found.startswith("GPU 0: A100, ")
    assert bad.status == FAIL and "GPU 1: V100" in bad.found and "7.0" in bad.found and "sm_75" in bad.found
    assert "not supported" in bad.found and "CUDA 12.6, if there is one in range" in bad.mend
    cards(CUDA_12_6, B200=B200)
    (newer,) = check_devices()
    assert newer.status == FAIL and "a newer CUDA" in newer.mend


def wheel(folder: Path, name: str, version: str, *needs: str) -> None:
    """A file that pip takes for a release of this name: it has no code."""
    metadata = "".join(f"Requires-Dist: {need}\n" for need in needs)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{metadata}")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


def test_pip_takes_a_build_for_another_cuda_for_one_in_our_range(tmp_path):
    """What doctor advises for a V100, were it published: by the ranges of pyproject.toml, and by the pinned version."""
    ranges = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = [text for text in ranges if text.startswith(("torch>", "torchvision>"))]
    for torch_version, vision in (("2.10.0", "0.25.0"), ("2.11.0", "0.26.0")):
        wheel(tmp_path, "torch", f"{torch_version}+cu126")
        wheel(tmp_path, "torchvision", f"{vision}+cu126", f"torch=={torch_version}")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--ignore-installed", "--quiet"]
    command += ["--disable-pip-version-check", "--find-links", str(tmp_path), "--report", "-", *wanted]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    chosen = {one["metadata"]["name"]: one["metadata"]["version"] for one in json.loads(done.stdout)["install"]}
    assert chosen == {"torch": "2.11.0+cu126", "torchvision": "0.26.0+cu126"}
    (pin,) = re.findall(r"^torch==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert SpecifierSet(f"=={pin}").contains(f"{pin}+cu126")


def test_a_cell_that_was_given_no_gpu_takes_none(cards):
    cards(CUDA_13_0, A100=A100)
    assert [own_device(gpus).type for gpus in (0, 0.0, 0.25, 1, None)] == ["cpu", "cpu", "cuda", "cuda", "cuda"]


def test_float32_on_a_gpu_is_not_rounded_to_tf32(cards):
    cards(CUDA_13_0, A100=A100)
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = True
        assert resolve("float32", torch.device("cpu")).half is None
        assert all(flag.allow_tf32 for flag in flags), "on a CPU nothing is set"
        assert resolve("float32", torch.device("cuda")).half is None
        assert not any(flag.allow_tf32 for flag in flags)
        torch.backends.cudnn.allow_tf32 = True
        assert own_device().type == "cuda" and not torch.backends.cudnn.allow_tf32, "as numbers without training"
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


def test_one_order_is_asked_of_torch_on_a_gpu_alone_and_taken_back(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")  # so that it is as it was afterwards
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    flags = [(torch.backends.cudnn, "allow_tf32"), (torch.backends.cuda.matmul, "allow_tf32")]
    flags += [(torch.backends.cudnn, "benchmark"), (torch.backends.cudnn, "deterministic")]
    before = [getattr(owner, name) for owner, name in flags]
    try:
        torch.backends.cudnn.benchmark = True
        assert not resolve("auto", torch.device("cpu")).deterministic
        assert resolve("auto", torch.device("cpu"), True).half is None
        assert not torch.are_deterministic_algorithms_enabled(), "a CPU adds in one order whatever is asked"
        assert resolve("float32", torch.device("cuda"), True).deterministic
        assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert not resolve("float32", torch.device("cuda")).deterministic
        assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.deterministic
    finally:
        torch.use_deterministic_algorithms(False)
        for (owner, name), value in zip(flags, before, strict=True):
            setattr(owner, name, value)


def test_a_driver_that_does_not_answer_is_a_failure_and_no_traceback(monkeypatch):
    def waits(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(subprocess, "run", waits)
    (found,) = check_devices()
    assert found.status == FAIL and found.found.startswith("NVIDIA driver that does not answer is there, but torch")
