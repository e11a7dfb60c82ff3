"""Damaged chest DICOMs by the thousand: each one a picture or a reject, none a crash, a hang or a flood of memory.

5,000 of them here; by hand more:
RADSWEEP_MUTANTS=5000:500000 pytest -s --timeout 0 tests/datasets_io/pixels/test_mutants.py.
A mutant is made from its number alone, so one that fails can be made again.
"""

import os
import random
import re
from collections import Counter
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from datasets_io.pixels.grey import INTENSITIES, STAGES, PixelError, PixelSpec
from datasets_io.pixels.worker import MEMORY_LIMIT, DecodeWorker

FIRST, LAST = map(int, os.environ.get("RADSWEEP_MUTANTS", "0:5000").split(":"))
SIZE = 24
PIXELS = b"\xe0\x7f\x10\x00"
SYNTAXES = [
    str(syntax).encode()
    for syntax in (
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.RLELossless,
        uid.JPEGBaseline8Bit,
        uid.JPEGExtended12Bit,
        uid.JPEGLossless,
        uid.JPEGLosslessSV1,
        uid.JPEGLSLossless,
        uid.JPEGLSNearLossless,
        uid.JPEG2000Lossless,
        uid.JPEG2000,
        uid.HTJ2KLossless,
        uid.MPEG2MPML,
    )
]
# Samples, photometric interpretation, frames, rows, columns, bits, signs, VOI, slope: group 0028, elements
HEADER_TAGS = [
    bytes((0x28, 0, low, high))
    for high, low in (
        (0, 0x02),
        (0, 0x04),
        (0, 0x06),
        (0, 0x08),
        (0, 0x10),
        (0, 0x11),
        (1, 0x00),
        (1, 0x01),
        (1, 0x02),
        (1, 0x03),
        (0x10, 0x50),
        (0x10, 0x51),
        (0x10, 0x52),
        (0x10, 0x53),
    )
]
EXTREMES = [b"\0\0", b"\1\0", b"\2\0", b"\3\0", b"\x07\0", b"\x10\0", b"\x20\0", b"\xff\x7f", b"\0\x80", b"\xff\xff"]


@pytest.fixture(scope="module")
def seeds(shared_data, tmp_path_factory) -> list[bytes]:
    """Real chest radiographs: four files as they are, and one radiograph in every transfer syntax and depth."""
    folder = shared_data / "real_cxr" / "MIMIC-CXR"
    mimic = sorted(folder.rglob("*.dcm"), key=lambda path: (path.stat().st_size, path))
    whole = {}
    for path in mimic:
        head = pydicom.dcmread(path, stop_before_pixels=True)
        whole.setdefault((head.file_meta.TransferSyntaxUID, head.PhotometricInterpretation, head.BitsStored), path)
    assert len(whole) >= 4
    small = [shared_data / "dicom_torture" / "real" / "highdicom__data_test_files_dx_image.dcm"]
    folder = tmp_path_factory.mktemp("seeds")
    encoded = [path.read_bytes() for path in encode_all(mimic[0], folder)]
    return [path.read_bytes() for path in (*whole.values(), *small)] + encoded * 3


def encode_all(path: Path, folder: Path) -> list[Path]:
    """The radiograph at 80 x 72 in every encoding."""
    picture = np.asarray(Image.fromarray(pydicom.dcmread(path).pixel_array).resize((72, 80)))
    eight, twelve = np.ascontiguousarray(picture.astype(np.uint8)), picture.astype(np.uint16) << 4
    streams = [
        (uid.JPEGBaseline8Bit, eight, 8, imagecodecs.jpeg8_encode(eight, level=90)),
        (uid.JPEGExtended12Bit, twelve, 12, imagecodecs.jpeg8_encode(twelve, level=90, bitspersample=12)),
        (uid.JPEGLosslessSV1, twelve, 12, imagecodecs.ljpeg_encode(twelve, bitspersample=12)),
        (uid.JPEGLossless, eight, 8, imagecodecs.jpeg8_encode(eight, lossless=True, predictor=4)),
        (uid.JPEGLSLossless, twelve, 12, imagecodecs.jpegls_encode(twelve)),
        (uid.JPEGLSNearLossless, eight, 8, imagecodecs.jpegls_encode(eight, level=2)),
        (uid.JPEG2000Lossless, twelve, 12, imagecodecs.jpeg2k_encode(twelve, level=0, codecformat="j2k")),
        (uid.JPEG2000, eight, 8, imagecodecs.jpeg2k_encode(eight, level=40, codecformat="j2k")),
        (uid.HTJ2KLossless, twelve, 12, imagecodecs.htj2k_encode(twelve)),
    ]
    plain = [uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian]
    plain.append(uid.DeflatedExplicitVRLittleEndian)
    streams += [(syntax, twelve, 12, None) for syntax in plain] + [(uid.RLELossless, twelve, 12, None)]
    return [encode(folder / f"{number}.dcm", *stream) for number, stream in enumerate(streams)]


def encode(path: Path, syntax: uid.UID, picture: np.ndarray, bits: int, stream: bytes | None) -> Path:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian if syntax == uid.RLELossless else syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.Modality, dataset.ViewPosition, dataset.SamplesPerPixel = "DX", "PA", 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if bits == 8 else "MONOCHROME2"
    dataset.Rows, dataset.Columns, dataset.BitsAllocated = *picture.shape, 8 * picture.itemsize
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    dataset.WindowCenter, dataset.WindowWidth = str(2 ** (bits - 1)), str(2**bits)
    dataset.RescaleIntercept, dataset.RescaleSlope = "-5", "1.5"
    dataset.PixelData = encapsulate([stream]) if stream else picture.tobytes()
    if stream:
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    elif not syntax.is_little_endian:
        dataset.PixelData = picture.byteswap().tobytes()
    if syntax == uid.RLELossless:
        dataset.compress(uid.RLELossless)
    dataset.save_as(path, enforce_file_format=True)
    return path


def mutant(seeds: list[bytes], number: int) -> bytes:
    """Damage of one to three kinds."""
    rng = random.Random(number)
    data = bytearray(seeds[rng.randrange(len(seeds))])
    for _ in range(rng.choice((1, 1, 2, 3))):
        data = rng.choice(DAMAGES)(rng, data, seeds)
    return bytes(data)


def bytes_changed(rng: random.Random, data: bytearray, seeds: list[bytes]) -> bytearray:
    """Anywhere, in the header, or where the codestream or the pixels begin."""
    if not data:  # cut to nothing before
        return data
    pixels = max(data.find(PIXELS), 1)
    start, stop = rng.choice(((0, len(data)), (0, pixels), (128, 400), (pixels, pixels + 200)))
    for _ in range(rng.choice((1, 2, 8, 40))):
        data[rng.randrange(start, stop) % len(data)] = rng.choice((0, 0xFF, rng.randrange(256)))
    return data


def value_changed(rng: random.Random, data: bytearray, seeds: list[bytes]) -> bytearray:
    """The value or the length of an element that pictures depend on."""
    place = data.find(rng.choice((*HEADER_TAGS, PIXELS)))
    if place >= 0:
        start = place + rng.choice((4, 6, 8, 10))
        new = rng.choice(EXTREMES) + rng.choice((b"", b"", b"\xff\xff"))
        data[start : start + len(new)] = new
    return data


def syntax_changed(rng: random.Random, data: bytearray, seeds: list[bytes]) -> bytearray:
    """Another transfer syntax than that of the pixels; the length of the element stays right."""
    found = re.search(rb"\x02\0\x10\0UI(..)", bytes(data[:600]), re.DOTALL)
    if found:
        length = int.from_bytes(found[1], "little")
        data[found.end() : found.end() + length] = rng.choice(SYNTAXES)[:length].ljust(length, b"\0")
    return data


def cut(rng: random.Random, data: bytearray, seeds: list[bytes]) -> bytearray:
    return data[: rng.randrange(len(data) + 1)]


def piece_moved(rng: random.Random, data: bytearray, seeds: list[bytes]) -> bytearray:
    """Something left out, doubled, or put in from another file."""
    other, start = rng.choice((b"", data, seeds[rng.randrange(len(seeds))])), rng.randrange(len(data) + 1)
    length, source = rng.choice((1, 2, 7, 64, 1000)), rng.randrange(len(other) + 1)
    data[start : start + rng.choice((0, length))] = other[source : source + length]
    return data


DAMAGES = (bytes_changed, bytes_changed, value_changed, value_changed, syntax_changed, cut, piece_moved)


def test_mutants_of_chest_dicoms_are_pictures_or_rejects(seeds, tmp_path):
    path, outcomes, killed, peak = tmp_path / "mutant.dcm", Counter(), [], 0
    workers = [DecodeWorker(PixelSpec(SIZE, intensity)) for intensity in INTENSITIES]
    try:
        for number in range(FIRST, LAST):
            worker = workers[number % len(workers)]
            path.write_bytes(mutant(seeds, number))
            try:
                decoded = worker.decode(path)
                assert decoded.pixels.shape == (SIZE, SIZE) and decoded.pixels.dtype == np.uint8, number
                outcomes["a picture"] += 1
            except PixelError as error:
                assert error.stage in STAGES and error.reason, number
                outcomes[str(error)] += 1
                if "crashed" in error.reason or "longer than" in error.reason:
                    killed.append((number, error.reason))
                    continue
            if number % 100 < len(workers):
                peak = max(peak, peak_bytes(worker))
            if outcomes.total() % 5000 == 0:
                show(outcomes, killed, peak)
    finally:
        for worker in workers:
            worker.close()
    assert outcomes.total() == LAST - FIRST and outcomes["a picture"] > outcomes.total() / 20
    assert not killed
    assert 0 < peak < MEMORY_LIMIT


def show(outcomes: Counter, killed: list[tuple[int, str]], peak: int) -> None:
    """On the screen with pytest -s."""
    for outcome, count in outcomes.most_common():
        print(f"{count:8d}  {outcome}")
    print(f"{outcomes.total()} mutants; {len(killed)} ended the process: {killed}; {peak >> 20} MiB", flush=True)


def peak_bytes(worker: DecodeWorker) -> int:
    """The most resident memory of the process that decodes now."""
    status = Path(f"/proc/{worker._child.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10


def test_mutants_are_made_from_their_number_alone(seeds):
    assert [mutant(seeds, number) for number in range(50)] == [mutant(seeds, number) for number in range(50)]
    assert len({mutant(seeds, number) for number in range(50)} - set(seeds)) > 40
