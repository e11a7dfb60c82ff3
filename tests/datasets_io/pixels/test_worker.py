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
from datasets_io.pixels.worker import DecodeWorker

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
