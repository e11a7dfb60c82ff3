"""What one image is: the Record that a source yields, and the row of a Parquet shard."""

from dataclasses import dataclass

import pyarrow as pa

from datasets_io.untrusted import sentence

VIEW_POSITIONS = frozenset(
    (
        "AP",
        "PA",
        "LATERAL",
        "FRONTAL",
        "LL",
        "RL",
        "LLD",
        "RLD",
        "LLO",
        "RLO",
        "LAO",
        "RAO",
        "LPO",
        "RPO",
        "SWIMMERS",
        "AP AXIAL",
        "PA AXIAL",
        "AP LLD",
        "AP RLD",
        "PA LLD",
        "PA RLD",
        "XTABLE LATERAL",
    )
)


SHAPES = ("square", "aspect")  # of stored pictures
MAX_RATIO = 4  # of an aspect picture's sides: the longest films of a chest have 2, a broken header may say anything
SPLITS = ("train", "val", "test")
# How odd files are read. A correction that few files need raises this number and moves no key: most corpora have the
# same bytes under either. A new corpus notes the rules that it was built by, and a complete one of earlier rules is
# used on, with a note. Results hang on the fingerprint of a corpus's bytes, so none is used for other pictures.
# 3: files that lack a part are refused, 16-bit colours are kept, EXIF orientation is applied, padding is left out.
# 4: DICOM files whose HighBit is not BitsStored - 1 are read where their bits lie.
PIXEL_RULES = 4

# Shards keep what the archive says; a recipe decides what uncertain and blank mean.
POSITIVE, NEGATIVE, UNCERTAIN = 1, 0, -1


class ArchiveError(ValueError):
    """A raw archive that cannot be read as the layout it should have; the message is for the user.

    It may name paths and quote cells of the archive, so it is made printable here, whoever raises it.
    """

    def __init__(self, message: object):
        super().__init__(sentence(str(message)))


class NoImages(ArchiveError):
    """A raw archive whose tables are there, and none of its images: a complete corpus of it may still be used."""


@dataclass(frozen=True, slots=True)
class Record:
    """One image of a raw archive, before its pixels are read.

    `path` is relative to the archive's root, with forward slashes. `split` is one of SPLITS. `labels` follow the
    source's findings: 1, 0, -1 (uncertain) or None (blank). `age` is in years, `sex` "M" or "F".
    """

    image_id: str
    study_id: str
    patient_id: str
    split: str
    path: str
    labels: tuple[int | None, ...]
    view_position: str | None = None
    sex: str | None = None
    age: int | None = None
    report_findings: str | None = None
    report_impression: str | None = None


def label_column(finding: str) -> str:
    """Name of the shard's column that holds the raw code of a finding."""
    return f"label_{finding}"


def shard_schema(findings: tuple[str, ...]) -> pa.Schema:
    """Columns of a shard. `pixels` are the bytes of a grey image, row by row, of `stored_shape`.

    `original_rows` and `original_columns` are those of the archive's file, in pixels. A shard has rows of one split.
    """
    # The order is part of the shard's bytes: a new or moved column changes every sha256 (shards.FORMAT).
    text = [
        pa.field(name, pa.string(), nullable=name not in ("image_id", "study_id", "patient_id"))
        for name in (
            "image_id",
            "study_id",
            "patient_id",
            "view_position",
            "sex",
            "report_findings",
            "report_impression",
        )
    ]
    numbers = [
        pa.field("age", pa.int16()),
        pa.field("original_rows", pa.int32(), nullable=False),
        pa.field("original_columns", pa.int32(), nullable=False),
    ]
    labels = [pa.field(label_column(finding), pa.int8()) for finding in findings]
    return pa.schema([*text, *numbers, *labels, pa.field("pixels", pa.binary(), nullable=False)])


def stored_shape(rows: int, columns: int, image_size: int, shape: str) -> tuple[int, int]:
    """Rows and columns at which a file of this many is stored: a square, or with shape `aspect` in its own ratio.

    Then the shorter side is image_size, or the file's where that is smaller: what is enlarged says nothing new. Of a
    file longer than MAX_RATIO times its width the longer side is squeezed to that.
    """
    if shape == "square":
        return image_size, image_size
    short, long = sorted((rows, columns))
    side = min(image_size, short)
    # In integers, halves upwards: the shape must not depend on a machine's rounding.
    longer = MAX_RATIO * side if long > MAX_RATIO * short else (2 * side * long + short) // (2 * short)
    return (side, longer) if rows <= columns else (longer, side)


def known_view(text: str | None) -> str | None:
    """A view position that this field uses; None for any other text, so that nothing private can pass."""
    value = (text or "").strip().upper()
    return value if value in VIEW_POSITIONS else None
