"""Files that the tests of the ingest make for themselves."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from datasets_io.build import corpus as corpus_module
from datasets_io.build.shards import Decoders
from datasets_io.pixels.grey import PixelSpec


@pytest.fixture(scope="module")
def kept_decoders() -> Iterator[None]:
    """One decoding process for all builds of a file: to start some takes longer than a build of eight images."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        kept: dict[PixelSpec, Decoders] = {}

        def decoders(pixels: PixelSpec, workers: int) -> AbstractContextManager[Decoders]:
            if pixels not in kept:
                kept[pixels] = stack.enter_context(Decoders(pixels, 1))
            return nullcontext(kept[pixels])

        patch.setattr(corpus_module, "Decoders", decoders)
        yield


@pytest.fixture
def write_dicom() -> Callable[..., Path]:
    """A function that writes an uncompressed DICOM radiograph; None as a value leaves an element out."""

    def write(path: Path, array: np.ndarray, elements: dict | None = None, syntax=ExplicitVRLittleEndian) -> Path:
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
        dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        if not syntax.is_little_endian:
            array = array.byteswap()
        bits = array.dtype.itemsize * 8
        values = {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1",
            "SOPInstanceUID": generate_uid(),
            "Modality": "DX",
            "PatientName": "Canary^Token",
            "PatientID": "canary-token",
            "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2",
            "Rows": array.shape[0],
            "Columns": array.shape[1],
            "BitsAllocated": bits,
            "BitsStored": bits,
            "HighBit": bits - 1,
            "PixelRepresentation": int(array.dtype.kind == "i"),
            "PixelData": array.tobytes(),
        }
        for name, value in {**values, **(elements or {})}.items():
            if value is not None:
                setattr(dataset, name, value)
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(
            path, enforce_file_format=True, little_endian=syntax.is_little_endian, implicit_vr=syntax.is_implicit_VR
        )
        return path

    return write


@pytest.fixture
def make_csv_archive(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a csv_images archive of `count` PNGs, two images a patient, some of them broken."""

    def make(count: int, broken: tuple[int, ...] = (), absent: tuple[int, ...] = (), name: str = "raw") -> Path:
        raw = tmp_path / name
        (raw / "images").mkdir(parents=True)
        generator = np.random.default_rng(0)
        lines = ["path,patient_id,Big Heart,report"]
        for number in range(count):
            path = raw / "images" / f"{number:04d}.png"
            if number not in absent:
                Image.fromarray(generator.integers(0, 256, (20, 24), dtype=np.uint8)).save(path)
            if number in broken:
                path.write_bytes(path.read_bytes()[:100])
            label = ("1", "0", "-1", "")[number % 4]
            lines.append(f'images/{path.name},p{number // 2},{label},"x\n FINDINGS: f.\n IMPRESSION: i{number}."')
        (raw / "images.csv").write_text("\n".join(lines) + "\n")
        return raw

    return make
