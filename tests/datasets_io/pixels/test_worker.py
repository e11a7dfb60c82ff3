"""The decoding process: what happens to it, and to the file after."""

import os
import signal
import threading
import time

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate

from datasets_io.pixels.decode import decode_file
from datasets_io.pixels.grey import PixelError, PixelSpec
from datasets_io.pixels.worker import BrokenInstallation, DecodeWorker

SPEC = PixelSpec(16)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)).save(path)
    return path


def test_the_child_gives_what_this_process_gives(picture, tmp_path):
    with DecodeWorker(SPEC) as worker:
        assert np.array_equal(worker.decode(picture).pixels, decode_file(picture, SPEC).pixels)
        with pytest.raises(PixelError, match="absent"):
            worker.decode(tmp_path / "nowhere.png")
        first = worker._child.pid
        worker.decode(picture)
        assert worker._child.pid == first, "a reject must not cost a new process"


def test_a_file_that_never_comes_costs_one_reject(picture, tmp_path):
    pipe = tmp_path / "hang.png"
    os.mkfifo(pipe)  # opening it blocks for ever, as a dead network drive would
    with DecodeWorker(SPEC, time_limit=0.1) as worker:
        start = time.monotonic()
        with pytest.raises(PixelError, match=r"longer than 1 s"):
            worker.decode(pipe)
        assert 1 <= time.monotonic() - start < 10


def test_a_codec_that_does_not_end_in_time_costs_one_reject(picture, tmp_path, write_dicom):
    """What counts is the time of the processor: however busy the machine, the same files are rejected."""
    noise = np.random.default_rng(0).integers(0, 65536, (1400, 1400), dtype=np.uint16)
    slow = write_dicom(tmp_path / "slow.dcm", noise)
    dataset = pydicom.dcmread(slow)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    dataset.PixelData = encapsulate([imagecodecs.jpeg2k_encode(noise, level=0, codecformat="j2k")])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.save_as(slow)
    with DecodeWorker(SPEC, time_limit=0.4) as worker:
        worker.decode(picture)
        with pytest.raises(PixelError, match=r"longer than 0\.4 s"):
            worker.decode(slow)
        assert worker.decode(picture).pixels.shape == (16, 16)


def test_a_crash_costs_one_reject(picture, tmp_path):
    pipe = tmp_path / "crash.png"
    os.mkfifo(pipe)
    with DecodeWorker(SPEC) as worker:
        worker.decode(picture)
        threading.Timer(0.3, os.kill, (worker._child.pid, signal.SIGSEGV)).start()
        with pytest.raises(PixelError, match="crashed"):
            worker.decode(pipe)
        assert worker.decode(picture).pixels.shape == (16, 16)


def test_too_much_memory_costs_one_reject(picture, tmp_path, write_dicom):
    large = write_dicom(tmp_path / "large.dcm", np.zeros((5000, 5000), np.uint16))
    with DecodeWorker(SPEC, memory_limit=400 << 20) as worker:
        with pytest.raises(PixelError, match="memory"):
            worker.decode(large)
        assert worker.decode(picture).pixels.shape == (16, 16)


def test_the_child_ends_with_its_parent(picture):
    worker = DecodeWorker(SPEC)
    worker.decode(picture)
    child = worker._child
    child.stdin.close()  # what the kernel does when the parent is killed
    assert child.wait(timeout=10) == 0
    child.stdout.close()


DICOM_FAILS = (
    "pydicom/__init__.py",
    "import sys\nsys.setdlopenflags(sys.nothing)\n",
    "has no attribute 'nothing', in .*init",
)
PNG_FAILS = (
    "imagecodecs.py",
    "raise ImportError('libx.so.1: no such file')\n",
    r"libx\.so\.1: no such file, in .*imagecodecs",
)
NUMBA_FAILS = ("numba.py", "raise OSError('no llvm')\n", r"OSError: no llvm, in .*numba\.py, line 1")


@pytest.mark.parametrize(
    ("kind", "failing"), [("dcm", DICOM_FAILS), ("png", PNG_FAILS), ("jpg", NUMBA_FAILS), ("jp2.dcm", PNG_FAILS)]
)
def test_a_decoder_that_cannot_be_imported_is_no_files_fault(kind, failing, tmp_path, write_dicom, monkeypatch):
    name, text, said = failing
    grey = np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8)
    path = tmp_path / f"a.{kind}"
    if kind.endswith("dcm"):
        write_dicom(path, grey)
    else:
        Image.fromarray(grey).save(path, progressive=True)  # JPEG; what PNG does not know it passes over
    if kind == "jp2.dcm":
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
        dataset.PixelData = encapsulate([imagecodecs.jpeg2k_encode(grey, level=0, codecformat="j2k")])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.save_as(path)
    (tmp_path / "modules" / name).parent.mkdir(parents=True)
    (tmp_path / "modules" / name).write_text(text)
    with DecodeWorker(SPEC) as worker:
        assert worker.decode(path).pixels.shape == (16, 16)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    with DecodeWorker(SPEC) as worker, pytest.raises(BrokenInstallation, match=f"whatever the archive: .*{said}"):
        worker.decode(path)


def test_a_process_that_does_not_start_says_why(picture, tmp_path, monkeypatch):
    (tmp_path / "PIL.py").write_text("raise ImportError('no pictures')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with (
        DecodeWorker(SPEC) as worker,
        pytest.raises(BrokenInstallation, match=r"not start \(ImportError: no pictures\)"),
    ):
        worker.decode(picture)


@pytest.mark.parametrize("path", [None, "", "/nowhere:"])
def test_the_working_directory_is_no_place_of_modules(path, picture, tmp_path, monkeypatch):
    """python-gdcm looks for a module `dl`: a folder of that name made it, and pydicom, fail at import."""
    (tmp_path / "imagecodecs.py").write_text("raise ImportError\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    if path is not None:
        monkeypatch.setenv("PYTHONPATH", path)
    with DecodeWorker(SPEC) as worker:
        assert worker.decode(picture).pixels.shape == (16, 16)


def test_a_module_that_has_no_room_is_one_reject_and_no_broken_installation(tmp_path, monkeypatch):
    """As where numba does not find its library under the limit of memory: in a child without one it is imported."""
    (tmp_path / "numba.py").write_text(
        "import resource\n"
        "if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:\n"
        "    raise OSError('no such file')\n"
    )
    monkeypatch.setattr("datasets_io.pixels.worker.IMPORTS", ("numba",))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30), dtype=np.uint8))
    picture.save(tmp_path / "a.jpg", progressive=True)
    picture.save(tmp_path / "b.png")
    with DecodeWorker(SPEC) as worker:
        with pytest.raises(PixelError, match="cannot be decoded"):
            worker.decode(tmp_path / "a.jpg")
        assert worker.decode(tmp_path / "b.png").pixels.shape == (16, 16)
