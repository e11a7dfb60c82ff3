"""Of which kind are the images of MIMIC-CXR that are there, and what is to be done where none is?"""

from collections.abc import Sequence
from pathlib import Path

from datasets_io.sources.parts.mimic_reports import study_folder
from datasets_io.sources.reading.elsewhere import other_depth, other_spelling, packed_in, packed_text

Ids = tuple[str, str, str]  # of subject, study and image
SUFFIXES = ("dcm", "jpg")
LOOKED_AT = 200  # images, evenly spaced, of which the kind is asked for: over a network each takes a millisecond
FEW = 5
MENDED = (".dcm", ".dicom", ".jpg", ".jpeg")  # endings, in any capitals, of files that another name makes right


def image_path(ids: Ids, suffix: str) -> str:
    """`files/p10/p10000032/s50414267/<dicom_id>.dcm`."""
    subject, study, dicom = ids
    return f"{study_folder((subject, study))}/{dicom}.{suffix}"


def found_suffix(raw: Path, rows: Sequence[Ids]) -> str | None:
    """That of SUFFIXES of which more is there, and dcm where both are as many; None where no image is."""
    there = some_there(raw, rows)
    if any(there.values()):
        return max(SUFFIXES, key=lambda suffix: there[suffix])
    return next((suffix for ids in rows for suffix in SUFFIXES if (raw / image_path(ids, suffix)).is_file()), None)


def some_there(raw: Path, rows: Sequence[Ids]) -> dict[str, int]:
    """Of each of SUFFIXES, how many of some images are there: of all of up to 399."""
    some = rows[:: max(1, len(rows) // LOOKED_AT)]
    return {suffix: sum((raw / image_path(ids, suffix)).is_file() for ids in some) for suffix in SUFFIXES}


def what_to_do(raw: Path, rows: Sequence[Ids]) -> str:
    """What mends that no image is there: the end of a sentence."""
    for ids in rows[:: max(1, len(rows) // FEW)][:FEW]:
        for listed in (image_path(ids, suffix) for suffix in SUFFIXES):
            if other := other_spelling(raw, listed):
                return _respelled(other, listed)
            if other := other_depth(raw, listed):
                return f"{other} is there: move files to the folders that the archive has them in, as {listed}"
    return packed_text(packed_in(raw)) or "copy files/ there"


def _respelled(other: str, listed: str) -> str:
    """What to do about a file whose path is a listed one but for capitals and the ending."""
    ending = Path(other).suffix.lower()
    if ending not in MENDED:
        return f"{other} is there, and {ending or 'no ending'} is not read: copy the .dcm or .jpg files of the archive"
    suffix = "dcm" if ending in (".dcm", ".dicom") else "jpg"
    return f"{other} is there: rename such files as {Path(listed).with_suffix(f'.{suffix}').as_posix()}"
