"""How many files of which a part was never copied are taken, with a picture that is not theirs?

python -m benchmarks.counts.damage [--files 1000] [--only NAME]. Of each kind of file, a quarter of the files is cut at
a random place, a quarter is zeros from such a place on, a quarter has zeros between two of them, and a quarter lacks
one page of 4,096 bytes. As many again have 8 to 200 zeros somewhere, which is less than a disk or a network loses. A
file is made from its kind and number alone. One JSON line for each kind of file on stdout, a Markdown table on stderr.
"""

import argparse
import io
import json
import random
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate

from datasets_io.pixels.grey import Decoded, PixelError, PixelSpec
from datasets_io.pixels.worker import DecodeWorker

SPEC = PixelSpec(64)
PAGE = 4096
FEW = (8, 200)
Encode = Callable[[np.ndarray], bytes]  # of a picture of 12 bits


def pictures() -> list[np.ndarray]:
    """uint16 (rows, columns) of 12 bits: tissue to all sides; with a black border; with black corners, as if turned."""
    y, x = np.mgrid[0:400, 0:320] / np.float32(400)
    grain = np.random.default_rng(0).standard_normal(y.shape)
    full = np.clip(2100 + 1500 * np.sin(9 * x) * np.cos(7 * y) + 25 * grain, 1, 4095).astype(np.uint16)
    border, turned = full.copy(), full.copy()
    border[:30], border[-45:], border[:, :25], border[:, -30:] = 0, 0, 0, 0
    turned[np.abs(x - 0.4) + np.abs(y - 0.5) > 0.62] = 0
    return [full, border, turned]


def jpeg(**options: object) -> Encode:
    """An 8-bit JPEG by Pillow."""
    return lambda picture: _saved(Image.fromarray((picture >> 4).astype(np.uint8)), "JPEG", **options)


def png(bits: int) -> Encode:
    """A PNG by Pillow."""
    return lambda picture: _saved(
        Image.fromarray(picture << 4 if bits == 16 else (picture >> 4).astype(np.uint8)), "PNG"
    )


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, kind, **options)
    return sink.getvalue()


def interlaced_png(bits: int) -> Encode:
    """An interlaced PNG (Adam7), without filters: no library at hand writes one."""

    def encode(picture: np.ndarray) -> bytes:
        values = (picture << 4).astype(">u2") if bits == 16 else (picture >> 4).astype(np.uint8)
        passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
        rows = [line for r, c, down, across in passes for line in values[r::down, c::across]]
        packed = zlib.compress(b"".join(b"\0" + line.tobytes() for line in rows))
        head = [*(side.to_bytes(4, "big") for side in picture.shape[::-1]), bytes((bits, 0, 0, 0, 1))]
        chunks = [(b"IHDR", b"".join(head)), (b"IDAT", packed), (b"IEND", b"")]
        parts = [b"\x89PNG\r\n\x1a\n"]
        for name, content in chunks:
            check = zlib.crc32(name + content).to_bytes(4, "big")
            parts += [len(content).to_bytes(4, "big"), name, content, check]
        return b"".join(parts)

    return encode


def dicom(syntax: uid.UID, bits: int = 12, stream: Encode | None = None) -> Encode:
    """A DICOM file. stream: encodes what is encapsulated; None for plain pixels and RLE, which pydicom writes."""

    def encode(picture: np.ndarray) -> bytes:
        values = picture if bits == 12 else (picture >> 4).astype(np.uint8)
        dataset = pydicom.Dataset()
        dataset.file_meta = pydicom.dataset.FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian if syntax == uid.RLELossless else syntax
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset.Modality, dataset.SamplesPerPixel, dataset.PhotometricInterpretation = "DX", 1, "MONOCHROME2"
        dataset.Rows, dataset.Columns, dataset.BitsAllocated = *values.shape, 8 * values.itemsize
        dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
        plain = values if syntax.is_little_endian else values.byteswap()
        dataset.PixelData = encapsulate([stream(values)]) if stream else plain.tobytes()
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB" if stream else "OW", bool(stream)
        if syntax == uid.RLELossless:
            dataset.compress(uid.RLELossless)
        sink = io.BytesIO()
        dataset.save_as(sink, enforce_file_format=True)
        return sink.getvalue()

    return encode


def _jpeg8(**options: object) -> Encode:
    return lambda values: imagecodecs.jpeg8_encode(values, **options)


def _jpeg2k(**options: object) -> Encode:
    return lambda values: imagecodecs.jpeg2k_encode(values, codecformat="j2k", bitspersample=12, **options)


KINDS: dict[str, Encode] = {
    "JPEG, quality 75": jpeg(quality=75),
    "JPEG, quality 90": jpeg(quality=90),
    "JPEG, quality 95": jpeg(quality=95),
    "JPEG, quality 100": jpeg(quality=100),
    "JPEG, own code tables": jpeg(quality=95, optimize=True),
    "JPEG, progressive": jpeg(quality=95, progressive=True),
    "JPEG, restart markers": jpeg(quality=95, restart_marker_rows=1),
    "PNG, 8 bits": png(8),
    "PNG, 16 bits": png(16),
    "PNG, 8 bits, interlaced": interlaced_png(8),
    "PNG, 16 bits, interlaced": interlaced_png(16),
    "DICOM, implicit": dicom(uid.ImplicitVRLittleEndian),
    "DICOM, explicit": dicom(uid.ExplicitVRLittleEndian),
    "DICOM, big endian": dicom(uid.ExplicitVRBigEndian),
    "DICOM, deflated": dicom(uid.DeflatedExplicitVRLittleEndian),
    "DICOM, RLE": dicom(uid.RLELossless),
    "DICOM, JPEG, 8 bits": dicom(uid.JPEGBaseline8Bit, 8, _jpeg8(level=95)),
    "DICOM, JPEG, 12 bits": dicom(uid.JPEGExtended12Bit, 12, _jpeg8(level=95, bitspersample=12)),
    "DICOM, JPEG lossless": dicom(uid.JPEGLossless, 12, _jpeg8(lossless=True, predictor=4, bitspersample=12)),
    "DICOM, JPEG lossless SV1": dicom(uid.JPEGLosslessSV1, 12, lambda v: imagecodecs.ljpeg_encode(v, bitspersample=12)),
    "DICOM, JPEG-LS": dicom(uid.JPEGLSLossless, 12, imagecodecs.jpegls_encode),
    "DICOM, JPEG-LS, near lossless": dicom(uid.JPEGLSNearLossless, 12, lambda v: imagecodecs.jpegls_encode(v, level=3)),
    "DICOM, JPEG 2000, lossless": dicom(uid.JPEG2000Lossless, 12, _jpeg2k(level=0)),
    "DICOM, JPEG 2000": dicom(uid.JPEG2000, 12, _jpeg2k(level=45)),
    "DICOM, HTJ2K, lossless": dicom(uid.HTJ2KLossless, 12, imagecodecs.htj2k_encode),
    "DICOM, HTJ2K, lossless, RPCL": dicom(uid.HTJ2KLosslessRPCL, 12, imagecodecs.htj2k_encode),  # its own order
    "DICOM, HTJ2K": dicom(uid.HTJ2K, 12, lambda v: imagecodecs.htj2k_encode(v, reversible=False)),
}


def cut(rng: random.Random, data: bytes) -> bytes:
    """Nothing from a place on."""
    return data[: rng.randrange(len(data))]


def rest(rng: random.Random, data: bytes) -> bytes:
    """Zeros from a place on: room was made for the whole file, and the copy stopped."""
    return zeroed(data, rng.randrange(len(data)), len(data))


def part(rng: random.Random, data: bytes) -> bytes:
    """Zeros between two places."""
    return zeroed(data, *sorted((rng.randrange(len(data) + 1), rng.randrange(len(data) + 1))))


def page(rng: random.Random, data: bytes) -> bytes:
    """Zeros in the place of a page of a file system."""
    start = rng.randrange(-(-len(data) // PAGE)) * PAGE
    return zeroed(data, start, start + PAGE)


def few(rng: random.Random, data: bytes) -> bytes:
    """Some zeros."""
    start = rng.randrange(len(data))
    return zeroed(data, start, start + rng.randint(*FEW))


def zeroed(data: bytes, start: int, stop: int) -> bytes:
    """The data with zeros from start to before stop, and as long as before."""
    stop = min(stop, len(data))
    return data[:start] + bytes(stop - start) + data[stop:]


DAMAGES = (cut, rest, part, page)


@dataclass
class Outcome:
    """What became of the damaged files of a kind. same: taken, and the picture is that of the sound file.

    wrong: taken with another picture, by damage; wrong_few: of as many with a few zeros.
    flagged: of those taken with another picture, how many a build counts as perhaps incomplete.
    """

    kind: str
    files: int = 0
    refused: int = 0
    same: int = 0
    cut: int = 0
    rest: int = 0
    part: int = 0
    page: int = 0
    few: int = 0
    few_files: int = 0
    flagged: int = 0

    @property
    def wrong(self) -> int:
        return self.cut + self.rest + self.part + self.page


def damaged(kind: str, files: int) -> Iterator[tuple[int, str, bytes]]:
    """(which picture, the damage, the bytes) of so many files, and of as many with a few zeros."""
    seeds = [KINDS[kind](picture) for picture in pictures()]
    for number in range(2 * files):
        rng = random.Random(f"{kind} {number}")
        seed = number // len(DAMAGES) % len(seeds)
        damage = DAMAGES[number % len(DAMAGES)] if number < files else few
        while (data := damage(rng, seeds[seed])) == seeds[seed]:  # zeros where zeros were
            pass
        yield seed, damage.__name__, data


def outcome_of(kind: str, files: int, folder: Path, decode: Callable[[Path, PixelSpec], Decoded]) -> Outcome:
    """Damage so many files of a kind, and decode each."""
    found, path = Outcome(kind), folder / ("a.dcm" if kind.startswith("DICOM") else "a")
    sound = []
    for picture in pictures():
        path.write_bytes(KINDS[kind](picture))
        sound.append(decode(path, SPEC).pixels)
    for seed, damage, data in damaged(kind, files):
        path.write_bytes(data)
        found.files += damage != "few"
        found.few_files += damage == "few"
        try:
            made = decode(path, SPEC)
        except PixelError:
            found.refused += damage != "few"
            continue
        same = np.array_equal(made.pixels, sound[seed])
        found.flagged += made.uncopied and not same and damage != "few"
        found.same += same and damage != "few"
        if not same:
            setattr(found, damage, getattr(found, damage) + 1)
    return found


def table(outcomes: list[Outcome]) -> str:
    """As in docs/ingest-fuzz.md."""
    head = (
        "kind of file",
        "files",
        "refused",
        "same picture",
        "wrong: cut",
        "rest zeros",
        "zeros between",
        "page",
        "few",
    )
    lines = [head, ("---",) * len(head)]
    for o in outcomes:
        counts = (o.files, o.refused, o.same, o.cut, o.rest, o.part, o.page, f"{o.few} of {o.few_files:,}")
        lines.append((o.kind, *(count if isinstance(count, str) else f"{count:,}" for count in counts)))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.counts.damage", description=__doc__)
    parser.add_argument("--files", type=int, default=1000, metavar="N", help="of each kind (1000)")
    parser.add_argument("--only", action="append", choices=sorted(KINDS), metavar="KIND", help="this kind alone")
    flags = parser.parse_args(arguments)
    outcomes = []
    with tempfile.TemporaryDirectory() as name, DecodeWorker(SPEC) as worker:
        for kind in flags.only or KINDS:
            outcomes.append(outcome_of(kind, flags.files, Path(name), lambda path, _: worker.decode(path)))
            print(json.dumps(asdict(outcomes[-1])), flush=True)
    print(table(outcomes), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
