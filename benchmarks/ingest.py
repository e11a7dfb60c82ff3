"""How many radiographs a second does one core turn into pictures, against the plain script and the least work?

python -m benchmarks.ingest [--quick]. Files are made on the spot: 3056 x 2544 pixels of 12 bits, uncompressed and in
every lossless encoding, and PNG and JPEG of 8 bits. They lie in the page cache: what is measured is work, not the disk.
The memory of a whole build is that of its process and of its decoding processes together. One JSON line for each figure
on stdout, a table on stderr.
"""

import argparse
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import imagecodecs
import numba
import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels import get_decoder

from benchmarks.shared.common import in_turn, report, row
from datasets_io.build import BuildSpec, build
from datasets_io.pixels.codecs import NAME as OUR_CODEC
from datasets_io.pixels.decode import decode_file
from datasets_io.pixels.grey import PixelSpec
from datasets_io.pixels.worker import DecodeWorker
from datasets_io.storage.files import Files

BITS, SIZE = 12, 224  # of the pictures, of what they are shrunk to
FILES = 8  # uncompressed ones: 124 MB in all, more than a core's caches hold
MAX_GREY_LEVELS = 1.0


@dataclass(frozen=True)
class Scale:
    """rows, columns: of the pictures. rounds: of the uncompressed and the compressed ones. builds: images in each."""

    rows: int
    columns: int
    rounds: int
    compressed_rounds: int
    builds: tuple[int, int]


FULL = Scale(3056, 2544, 15, 3, (200, 2000))
QUICK = Scale(382, 318, 3, 1, (5, 20))


def radiograph(rows: int, columns: int) -> np.ndarray:
    """uint16 (rows, columns) of 12 bits: soft shapes with grain, as hard for a codec as a real one."""
    y, x = np.mgrid[0:rows, 0:columns] / np.float32(rows)
    wave = 2048 + 1700 * np.sin(9 * x) * np.cos(7 * y) + 12 * np.random.default_rng(0).standard_normal(y.shape)
    return np.clip(wave, 0, 2**BITS - 1).astype(np.uint16)


def write(path: Path, picture: np.ndarray, syntax: uid.UID, stream: bytes | None = None) -> Path:
    """A DICOM file of the picture; `stream` is it, encoded."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    dataset.Modality, dataset.SamplesPerPixel, dataset.PhotometricInterpretation = "DX", 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = picture.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, BITS, BITS - 1, 0
    dataset.PixelData = encapsulate([stream]) if stream else picture.tobytes()
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB" if stream else "OW", bool(stream)
    dataset.save_as(path, enforce_file_format=True)
    return path


def plain_script(path: Path, codec: str = "") -> np.ndarray:
    """What the scripts of this field do."""
    dataset = pydicom.dcmread(path)
    if codec:
        dataset.pixel_array_options(decoding_plugin=codec)
    values = dataset.pixel_array.astype(np.float64)
    values = (values - values.min()) / (values.max() - values.min()) * 255
    return np.asarray(Image.fromarray(values.astype(np.uint8)).resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def least_work(path: Path, rows: int, columns: int) -> Callable[[], np.ndarray]:
    """The pixels of the file mapped, and their sums over boxes that do not overlap; no header is read."""
    start = path.stat().st_size - rows * columns * 2
    row_edges, column_edges = np.arange(SIZE + 1) * rows // SIZE, np.arange(SIZE + 1) * columns // SIZE

    def run() -> np.ndarray:
        return box_sums(np.memmap(path, np.uint16, "r", start, (rows, columns)), row_edges, column_edges)

    return run


@numba.njit
def box_sums(picture, row_edges, column_edges):
    size = len(row_edges) - 1
    sums, line = np.zeros((size, size), np.uint32), np.empty(picture.shape[1], np.uint32)
    for top in range(size):
        line[:] = 0
        for i in range(row_edges[top], row_edges[top + 1]):
            source = picture[i]
            for j in range(len(line)):
                line[j] += source[j]
        for left in range(size):
            total = np.uint32(0)
            for j in range(column_edges[left], column_edges[left + 1]):
                total += line[j]
            sums[top, left] = total
    return sums


def uncompressed(scale: Scale, folder: Path) -> list[dict]:
    """One side after the other does all files, as a build does: code that is warm, pixels that are in no cache."""
    picture, spec = radiograph(scale.rows, scale.columns), PixelSpec(SIZE)
    paths = [write(folder / f"plain{i}.dcm", picture, uid.ExplicitVRLittleEndian) for i in range(FILES)]
    least = [least_work(path, scale.rows, scale.columns) for path in paths]
    with DecodeWorker(spec) as worker:
        seconds = in_turn(
            {
                "ours": lambda: [decode_file(path, spec) for path in paths],
                "in a process": lambda: [worker.decode(path) for path in paths],
                "plain": lambda: [plain_script(path) for path in paths],
                "least": lambda: [run() for run in least],
            },
            scale.rounds,
        )
    rate = {name: FILES / duration for name, duration in seconds.items()}
    peer = {"peer": rate["plain"], "peer_name": "pydicom, float64 min-max, Pillow", "higher_is_better": True}
    limit = {"limit": rate["least"], "limit_name": "file mapped, sums over boxes"}
    figure = f"uncompressed_{scale.rows}x{scale.columns}"
    return [
        row("ingest", figure, "images/s/core", rate["ours"], **peer, **limit),
        row("ingest", f"{figure}_in_its_own_process", "images/s/core", rate["in a process"], **peer, **limit),
        row("ingest", f"{figure}_from_reference", "grey levels", apart(picture, decode_file(paths[0], spec).pixels)),
    ]


def apart(picture: np.ndarray, pixels: np.ndarray) -> float:
    """Largest difference to the antialiased resize in float. Raises ArithmeticError above one grey level."""
    low, high = float(picture.min()), float(picture.max())
    scaled = ((picture - low) / (high - low) * 255).astype(np.float32)
    reference = np.rint(np.asarray(Image.fromarray(scaled).resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
    difference = float(np.abs(reference - pixels).max())
    if difference > MAX_GREY_LEVELS:
        raise ArithmeticError(f"{difference} grey levels from the reference; at most {MAX_GREY_LEVELS} are allowed")
    return difference


def compressed(scale: Scale, folder: Path) -> list[dict]:
    """Every encoding, against the plain script with a codec that pydicom knows, and against our codec alone."""
    picture, spec, rows = radiograph(scale.rows, scale.columns), PixelSpec(SIZE), []
    turbo, openjpeg, charls = imagecodecs.jpeg8_decode, imagecodecs.jpeg2k_decode, imagecodecs.jpegls_decode
    twelve = {"bitspersample": BITS}
    streams = {
        "jpeg_lossless": (uid.JPEGLosslessSV1, imagecodecs.ljpeg_encode(picture, **twelve), turbo),
        "jpeg_12_bit_lossy": (uid.JPEGExtended12Bit, imagecodecs.jpeg8_encode(picture, level=95, **twelve), turbo),
        "jpeg_ls": (uid.JPEGLSLossless, imagecodecs.jpegls_encode(picture), charls),
        "jpeg_2000": (
            uid.JPEG2000Lossless,
            imagecodecs.jpeg2k_encode(picture, level=0, codecformat="j2k", **twelve),
            openjpeg,
        ),
        "htj2k": (uid.HTJ2KLossless, imagecodecs.htj2k_encode(picture), openjpeg),
        "rle": (uid.RLELossless, packed_bits(picture), lambda data: imagecodecs.dicomrle_decode(data, "<u2")),
    }
    for name, (syntax, stream, decode) in streams.items():
        path = write(folder / f"{name}.dcm", picture, syntax, stream)
        sides = {"ours": partial(decode_file, path, spec), "least": partial(decode, stream)}
        if codec := codec_of_pydicom(path, syntax):
            sides["plain"] = partial(plain_script, path, codec)
        seconds = in_turn(sides, scale.compressed_rounds, clock=time.process_time)  # gdcm uses two cores for JPEG 2000
        rate = {side: 1 / value for side, value in seconds.items()}
        rows.append(
            row(
                "ingest",
                f"{name}_{scale.rows}x{scale.columns}",
                "images/s/core",
                rate["ours"],
                peer=rate.get("plain"),
                peer_name=f"pydicom with {codec}, float64 min-max, Pillow" if codec else None,
                limit=rate["least"],
                limit_name="the codec alone",
                higher_is_better=True,
            )
        )
    return rows


def pictures(scale: Scale, folder: Path) -> list[dict]:
    """8-bit PNG and JPEG of one channel, against what reads them as grey and checks less."""
    grey, rows = (radiograph(scale.rows, scale.columns) >> BITS - 8).astype(np.uint8), []
    spec, image = PixelSpec(SIZE), Image.fromarray(grey)
    image.resize((scale.rows // 3, scale.rows // 3)).save(folder / "grey.png")  # as large as NIH's
    image.save(folder / "grey.jpg", quality=95)  # as MIMIC-CXR-JPG's
    for path in (folder / "grey.png", folder / "grey.jpg"):
        with Image.open(path) as stored:
            figure = f"{path.suffix[1:]}_{stored.height}x{stored.width}"
        peers = one_channel_peers(path)
        sides = {"ours": partial(decode_file, path, spec), **peers}
        seconds = in_turn(sides, scale.rounds, clock=time.process_time)
        unit = "images/s/core"
        for name in peers:
            peer = {"peer": 1 / seconds[name], "peer_name": f"{name}, grey", "higher_is_better": True}
            rows.append(row("ingest", f"{figure}_by_{name.lower()}", unit, 1 / seconds["ours"], **peer))
    return rows


def one_channel_peers(path: Path) -> dict[str, Callable[[], object]]:
    """Each reads one channel and shrinks it, antialiased, on one thread."""
    import cv2  # with torch two seconds, which the other figures need not wait for
    import torch
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms.v2.functional import resize

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    name, square = str(path), (SIZE, SIZE)
    return {
        "Pillow": lambda: np.asarray(Image.open(path).convert("L").resize(square, Image.Resampling.BILINEAR)),
        "OpenCV": lambda: cv2.resize(cv2.imread(name, cv2.IMREAD_GRAYSCALE), square, interpolation=cv2.INTER_AREA),
        "torchvision": lambda: resize(decode_image(name, ImageReadMode.GRAY), list(square), antialias=True),
    }


def packed_bits(picture: np.ndarray) -> bytes:
    dataset = pydicom.Dataset()
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.BitsAllocated = 1, "MONOCHROME2", 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = BITS, BITS - 1, 0
    dataset.Rows, dataset.Columns = picture.shape
    dataset.SOPClassUID, dataset.SOPInstanceUID = uid.DigitalXRayImageStorageForPresentation, uid.generate_uid()
    dataset.compress(uid.RLELossless, picture)
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


def codec_of_pydicom(path: Path, syntax: uid.UID) -> str | None:
    """The first codec of pydicom's own that is installed and reads the file."""
    for codec in get_decoder(syntax).available_plugins:
        if codec != OUR_CODEC:
            try:
                plain_script(path, codec)
                return codec
            except RuntimeError:  # how pydicom says that a codec cannot read it; NotImplementedError is one too
                continue
    return None


def memory(scale: Scale, folder: Path) -> list[dict]:
    """The most memory of a whole build of few and of many images, each in a new process."""
    few, many = scale.builds
    plain = write(folder / "one.dcm", radiograph(scale.rows, scale.columns), uid.ExplicitVRLittleEndian)
    peaks = {}
    for count in (few, many):
        raw = folder / f"raw{count}"
        raw.mkdir()
        lines = ["path,patient_id,split,finding"]
        for number in range(count):
            os.link(plain, raw / f"{number}.dcm")
            lines.append(f"{number}.dcm,p{number},train,{number % 2}")
        (raw / "images.csv").write_text("\n".join(lines) + "\n")
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peaks[count] = pool.apply(peak_of_build, (str(raw), str(folder / f"out{count}")))
    return [
        row("ingest", f"peak_memory_of_{many}_images", "MiB", peaks[many], peer=peaks[few], peer_name=f"{few} images")
    ]


def peak_of_build(raw: str, storage: str) -> float:
    """MiB, of this process and of the decoding processes that it has started."""
    peak = 0

    def progress(done: int, total: int, what: str) -> None:
        nonlocal peak
        children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split()
        peak = max(peak, sum(most_resident(process) for process in ("self", *children)))

    build(BuildSpec("csv_images", SIZE), Path(raw), Files(storage), progress=progress)
    return peak / 1024


def most_resident(process: str) -> int:
    """KiB; 0 for a process that has ended."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small pictures, few rounds: checks that it works")
    scale = QUICK if parser.parse_args(arguments).quick else FULL
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [*uncompressed(scale, folder), *compressed(scale, folder), *pictures(scale, folder)]
        rows += memory(scale, folder)
    report(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
