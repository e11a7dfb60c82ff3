"""Which codec decodes the compressed pixels of a DICOM file, exactly and fast?

imagecodecs (BSD): libjpeg-turbo for JPEG, also lossless and with 12 bits, CharLS for JPEG-LS, OpenJPEG for JPEG 2000
and HTJ2K, and RLE of its own; the RLE that it calls corrupt pydicom's slow one may still read. No codec under the GPL
is used, and not gdcm (its tests' oracle): it is slower on all of them, and aborts where a codestream's size is wrong.
"""

import struct
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from pydicom import uid
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import DecodeRunner

from datasets_io.pixels.codestream import check_codestream
from datasets_io.pixels.grey import PixelError
from datasets_io.pixels.jpeg import check_scans
from datasets_io.pixels.jpeg_markers import read_markers
from datasets_io.pixels.uncopied import check_segments

if TYPE_CHECKING:
    from pydicom import Dataset

NAME = "imagecodecs"  # no other codec that happens to be installed is asked: bytes must not depend on that
_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
SYNTAXES = (*_JPEG, *_JPEG_LS, *_JPEG_2000, uid.RLELossless)
DECODER_DEPENDENCIES = {syntax: ("imagecodecs",) for syntax in SYNTAXES}  # a name that pydicom looks for


def is_available(syntax: str) -> bool:
    """Whether imagecodecs decodes this transfer syntax: pydicom asks it by this name before it uses the plugin."""
    return syntax in SYNTAXES


def check_stream(syntax: str, data: bytes, samples: int) -> None:
    """Raise PixelError where a frame has no end, or a part that was never copied: codecs fill up and say nothing.

    samples: of the picture that have one byte each in a segment of RLE.
    """
    if syntax in (*_JPEG, *_JPEG_LS):
        check_scans(read_markers(data), data)
    elif syntax in _JPEG_2000:
        check_codestream(data, syntax not in (uid.JPEG2000Lossless, uid.JPEG2000))
    elif syntax == uid.RLELossless:
        check_segments(data, _rle_starts(data), samples)


def stored_values(dataset: "Dataset") -> np.ndarray:
    """The pixel array of a dataset, (rows, columns) or (rows, columns, 3) of its stored type.

    Raises PixelError for a stream that is not all there, and whatever pydicom and the codecs raise, which the caller
    turns into PixelError.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in SYNTAXES:
        return dataset.pixel_array
    decoder = get_decoder(syntax)
    if NAME not in decoder.available_plugins:
        decoder.add_plugin(NAME, (__name__, "decode_frame"))
    try:
        return decoder.as_array(dataset, decoding_plugin=NAME)[0]
    except Exception:
        # pydicom makes one text of all that a plugin raises. So what is wrong with the fragments or the stream is asked
        # again, here alone: a frame of 9 MB is not taken out of its fragments twice for each sound file.
        check_stream(syntax, _first_frame(dataset), dataset.Rows * dataset.Columns)
        if syntax != uid.RLELossless:
            raise
    # Outside of the handler, so that an error of pydicom's is not told as "during handling of another".
    return decoder.as_array(dataset, decoding_plugin="pydicom")[0]


def _first_frame(dataset: "Dataset") -> bytes:
    """It may be in several fragments, and what lies behind it is not used."""
    return get_frame(dataset.PixelData, 0, number_of_frames=int(dataset.get("NumberOfFrames") or 1))


def decode_frame(data: bytes, runner: DecodeRunner) -> bytes | bytearray:
    """One frame, as pydicom wants it from a plugin: the samples' bytes in little endian order.

    What the codestream says of depth, planes and colours is set on the runner. Raises PixelError for a stream that is
    not all there, ValueError where it has another size than the header, and what the codec raises for a damaged one.
    """
    import imagecodecs  # here, because it takes a tenth of a second and many archives are not compressed

    syntax, samples = runner.transfer_syntax, runner.samples_per_pixel
    check_stream(syntax, data, runner.rows * runner.columns)  # first: some codecs read on behind a stream's end
    if syntax == uid.RLELossless:
        return _decode_rle(data, runner)
    if syntax in _JPEG:
        colours = "RGB" if samples > 1 else None  # as if they were: pydicom turns YBR into RGB, by the header
        values = imagecodecs.jpeg8_decode(data, colorspace=colours, outcolorspace=colours)
    elif syntax in _JPEG_LS:
        values = imagecodecs.jpegls_decode(data)
    else:  # OpenJPH is 15% faster for HTJ2K, but wraps what a lossy stream puts beyond 8 bits
        values = imagecodecs.jpeg2k_decode(data)
    # One sample: (rows, columns); several: (rows, columns, samples).
    if values.shape != (runner.rows, runner.columns, samples)[: values.ndim] or values.ndim != 2 + (samples > 1):
        raise ValueError("the codestream has other rows, columns or samples than the header")
    runner.set_option("bits_allocated", 8 * values.itemsize)
    if samples > 1:
        runner.set_option("planar_configuration", 0)
        if runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):  # OpenJPEG has undone it
            runner.set_option("photometric_interpretation", "RGB")
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def _decode_rle(data: bytes, runner: DecodeRunner) -> bytes | bytearray:
    """DICOM PS3.5 Annex G: a header of 16 numbers of 4 bytes, how many segments there are and where each begins.

    A segment holds one byte of each sample, so there are samples x bytes of them, at most 15.
    """
    import imagecodecs

    if runner.bits_allocated % 8:
        raise NotImplementedError("RLE of packed bits")
    size = runner.bits_allocated // 8
    values = imagecodecs.dicomrle_decode(data, f"<u{size}")
    if len(values) != runner.rows * runner.columns * runner.samples_per_pixel * size:
        raise ValueError("the RLE stream is shorter or longer than rows x columns")
    runner.set_option("planar_configuration", 1)  # segments are planes: all of one colour, then the next
    return values


def _rle_starts(data: bytes) -> list[int]:
    """Where each segment begins, and the end. Raises PixelError where they do not follow each other.

    imagecodecs reads outside of the stream where an offset points there, which ends the process.
    """
    if len(data) < 64:
        raise PixelError("decode", "the RLE stream is shorter than its header: the file is cut short")
    number, *offsets = struct.unpack_from("<16L", data)
    starts = [*offsets[:number], len(data)]  # the first segment follows the header, and each is followed by the next
    if not 1 <= number <= 15 or starts[0] != 64 or any(start >= stop for start, stop in pairwise(starts)):
        raise PixelError("decode", "the offsets of the RLE segments do not follow each other")
    return starts
