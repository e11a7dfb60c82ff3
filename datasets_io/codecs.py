"""Which codec decodes the compressed pixels of a DICOM file? The fastest exact one, then whatever else pydicom finds.

imagecodecs (BSD) comes first: libjpeg-turbo for JPEG, also lossless and with 12 bits, CharLS for JPEG-LS, OpenJPEG for
JPEG 2000 and HTJ2K, and RLE of its own. Where it fails, and for JPEG and JPEG-LS in colour, gdcm (BSD), Pillow and
pydicom's RLE are asked. No codec under the GPL is used.
"""

from typing import TYPE_CHECKING

import numpy as np
from pydicom import uid
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import DecodeRunner

if TYPE_CHECKING:
    from pydicom import Dataset

NAME = "imagecodecs"
# No other one is asked, also where it is installed: the bytes of a build must not depend on that.
CODECS = (NAME, "gdcm", "pillow", "pydicom")
_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
SYNTAXES = (*_JPEG, *_JPEG_LS, *_JPEG_2000, uid.RLELossless)
DECODER_DEPENDENCIES = {syntax: ("imagecodecs",) for syntax in SYNTAXES}  # a name that pydicom looks for


def is_available(syntax: str) -> bool:
    """Asked by pydicom."""
    return syntax in SYNTAXES


def lacks_end(syntax: str, pixel_data: bytes) -> bool:
    """Whether a JPEG stream is cut short: libjpeg would fill the rest with grey and say nothing."""
    return syntax in (*_JPEG, *_JPEG_LS) and b"\xff\xd9" not in pixel_data[-1024:]


def stored_values(dataset: "Dataset") -> np.ndarray:
    """The pixel array of a dataset. Raises whatever pydicom and the last codec raise."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax not in SYNTAXES:
        return dataset.pixel_array
    decoder = get_decoder(syntax)
    if NAME not in decoder.available_plugins:
        decoder.add_plugin(NAME, (__name__, "decode_frame"))
    failure: Exception = NotImplementedError(f"no codec for {syntax}")
    for name in CODECS:
        if name in decoder.available_plugins:
            try:
                return decoder.as_array(dataset, decoding_plugin=name)[0]
            except MemoryError:
                raise
            except Exception as error:  # every codec has error types of its own; the next may know this file better
                failure = error
    raise failure


def decode_frame(data: bytes, runner: DecodeRunner) -> bytes:
    """One frame, as pydicom wants it from a plugin: the samples' bytes in little endian order."""
    import imagecodecs  # here, because it takes a tenth of a second and many archives are not compressed

    syntax, samples = runner.transfer_syntax, runner.samples_per_pixel
    if samples > 1 and syntax in (*_JPEG, *_JPEG_LS):
        raise NotImplementedError("the colour transforms of JPEG are left to the other codecs")
    if syntax == uid.RLELossless:
        return _decode_rle(data, runner)
    # Of HTJ2K too OpenJPEG is asked: OpenJPH is 15% faster, but wraps values that a lossy stream puts beyond 8 bits.
    decode = (
        imagecodecs.jpeg8_decode if syntax in _JPEG
        else imagecodecs.jpegls_decode if syntax in _JPEG_LS
        else imagecodecs.jpeg2k_decode
    )
    values = decode(data)
    if values.shape != (runner.rows, runner.columns, samples)[: values.ndim] or values.ndim != 2 + (samples > 1):
        raise ValueError("the codestream has other rows, columns or samples than the header")
    runner.set_option("bits_allocated", 8 * values.itemsize)
    if samples > 1:
        runner.set_option("planar_configuration", 0)
        if runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):  # the decoder has undone this transform
            runner.set_option("photometric_interpretation", "RGB")
    return values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()


def _decode_rle(data: bytes, runner: DecodeRunner) -> bytes:
    import imagecodecs

    if runner.bits_allocated % 8:
        raise NotImplementedError("RLE of packed bits")
    size = runner.bits_allocated // 8
    values = imagecodecs.dicomrle_decode(data, f"<u{size}")
    if len(values) != runner.rows * runner.columns * runner.samples_per_pixel * size:
        raise ValueError("the RLE stream is shorter or longer than rows x columns")
    runner.set_option("planar_configuration", 1)
    return values
