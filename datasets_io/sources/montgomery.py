"""Montgomery County chest radiographs: which have tuberculosis, and where the lungs are (Jaeger et al., 2014)?

The folder, MontgomerySet, holds CXR_png/MCUCXR_0001_0.png and others, ClinicalReadings/, and in ManualMask/ leftMask/
and rightMask/ with a picture of the same name for each lung.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets_io.schema import Record
from datasets_io.sources.parts.nlm_masks import Place, mask_corrections, misnamed_masks, regions_of
from datasets_io.sources.parts.nlm_tuberculosis import NlmSet, corrections_of, index_files_of, notes_of, read_records_of
from datasets_io.sources.reading.elsewhere import folders_with
from datasets_io.sources.regions import Region

VERSION = 1
FINDINGS = ("tuberculosis",)
MONTGOMERY = NlmSet("the Montgomery set", "MCUCXR", "montgomery 70-10-20")
LUNGS = {"ManualMask/leftMask": "left_lung", "ManualMask/rightMask": "right_lung"}
# Of its readme and of Jaeger et al. (2014): 80 normal images and 58 with tuberculosis.
PUBLISHED = {"images": 138}


@dataclass(frozen=True)
class MontgomeryOptions:
    """Nothing to choose."""


def index_files(raw: Path, options: MontgomeryOptions) -> list[Path]:
    """The folder of the readings, and those of masks that are there. Raises ArchiveError."""
    return index_files_of(MONTGOMERY, raw, tuple(LUNGS))


def read_records(raw: Path, options: MontgomeryOptions) -> Iterator[Record]:
    """One Record a reading, in the order of their names. Raises ArchiveError."""
    return read_records_of(MONTGOMERY, raw)


def read_regions(raw: Path, options: MontgomeryOptions) -> Iterator[Region]:
    """`left_lung` and `right_lung`. Raises ArchiveError."""
    for folder in LUNGS:
        yield from regions_of(raw, _masks(raw, folder))


def corrections(raw: Path, options: MontgomeryOptions) -> tuple[str, ...]:
    """Of readings and masks, where one is read otherwise than earlier versions did. Raises ArchiveError."""
    masks = [place for folder in LUNGS for place in _masks(raw, folder)]
    return (*corrections_of(MONTGOMERY, raw), *mask_corrections(raw, masks))


def _masks(raw: Path, folder: str) -> list[Place]:
    paths = sorted((raw / folder).glob(f"{MONTGOMERY.prefix}_*.png"))
    return [(path.stem, LUNGS[folder], path) for path in paths]


def notes(raw: Path, options: MontgomeryOptions) -> list[str]:
    """That there are no patients and no split, and which lungs are not there or not read."""
    found = notes_of(MONTGOMERY, raw)
    for folder, lung in LUNGS.items():
        if not _masks(raw, folder):
            lacks = f"has no mask such as {MONTGOMERY.prefix}_0001_0.png" if (raw / folder).is_dir() else "is not there"
            found.append(f"{folder}/ {lacks}: no masks of {lung}{_moved(raw, folder)}")
        found += misnamed_masks(raw / folder)
    return found


def _moved(raw: Path, folder: str) -> str:
    """`; leftMask/ lies in a/b/: move it to ManualMask/`, as of a zip unpacked too deep; "" where it is not there."""
    above, _, name = folder.partition("/")
    for place in folders_with(raw, (name,)):
        if raw in place.parents and place != raw / above:
            return f"; {name}/ lies in {place.relative_to(raw).as_posix()}/: move it to {above}/"
    return ""
