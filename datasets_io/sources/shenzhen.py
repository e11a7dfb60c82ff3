"""Shenzhen Hospital chest radiographs: which have tuberculosis, and where (Jaeger et al., 2014)?

The folder, ChinaSet_AllFiles or Shenzhen-Hospital-CXR-Set, holds CXR_png/CHNCXR_0001_0.png to CHNCXR_0662_1.png and
ClinicalReadings/. Optional are lung masks of a third party in mask/ or masks/, <stem>_mask.png for 566 images, and the
lesions of Annotations-2/masks/, <stem>_<Finding>_<number>.png.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets_io.schema import Record
from datasets_io.sources.parts.nlm_masks import Place, mask_corrections, misnamed_masks, regions_of, stray_masks
from datasets_io.sources.parts.nlm_tuberculosis import NlmSet, corrections_of, index_files_of, notes_of, read_records_of
from datasets_io.sources.reading.archive import snake_case
from datasets_io.sources.regions import MASK, Region

VERSION = 1
FINDINGS = ("tuberculosis",)
SHENZHEN = NlmSet("the Shenzhen set", "CHNCXR", "shenzhen 70-10-20")
LUNGS = ("mask", "masks")
LESIONS = "Annotations-2/masks"
LUNG_MASK = re.compile(r"(CHNCXR_\d{4}_[01])_mask\.png")
LESION_MASK = re.compile(r"(CHNCXR_\d{4}_[01])_(.+)_\d+\.png")
# A correction, see registry.Source: the name enters the key of an archive with both folders.
ONE_MASK = "of a lung mask in mask/ and in masks/ one is read"
TWO_MASKS = "mask/ and masks/ have different masks of it"
# Columns of Statistics_ShenzhenDataset_US.csv. Of any other name nothing is kept: it might tell more than a finding.
LESION_NAMES = (
    "clustered_nodule_2mm_5mm_apart",
    "linear_density",
    "small_infiltrate_non_linear",
    "single_nodule_non_calcified",
    "calcified_nodule",
    "pleural_thickening_non_apical",
    "cavity",
    "moderate_infiltrate_non_linear",
    "apical_thickening",
    "pleural_effusion",
    "adenopathy",
    "miliary",
    "retraction",
    "severe_infiltrate_consolidation",
    "other",
    "unknown",
    "thickening_of_interlobar_fissure",
    "calcified_lymph_node",
    "calcification_other_than_nodule_lymphnod",
)
# Of its readme and of Jaeger et al. (2014): 326 normal images and 336 with tuberculosis.
PUBLISHED = {"images": 662}


@dataclass(frozen=True)
class ShenzhenOptions:
    """Nothing to choose."""


def index_files(raw: Path, options: ShenzhenOptions) -> list[Path]:
    """The folder of the readings, and those of masks that are there. Raises ArchiveError."""
    return index_files_of(SHENZHEN, raw, (*LUNGS, LESIONS))


def read_records(raw: Path, options: ShenzhenOptions) -> Iterator[Record]:
    """One Record a reading, in the order of their names. Raises ArchiveError."""
    return read_records_of(SHENZHEN, raw)


def read_regions(raw: Path, options: ShenzhenOptions) -> Iterator[Region]:
    """`lungs`, and lesions by their name, such as `pleural_effusion`, else `lesion`. Raises ArchiveError."""
    twice = _in_both(raw)
    yield from regions_of(raw, (place for place in _lungs(raw) if place[0] not in twice))
    for image in sorted(twice):
        yield from _one_of(list(regions_of(raw, (place for place in _lungs(raw) if place[0] == image))))
    yield from regions_of(raw, _lesions(raw))


def _one_of(masks: list[Region]) -> Iterator[Region]:
    """Of an image's two masks one where they are equal, none where they differ; those with a problem as they are."""
    whole = [mask for mask in masks if not mask.problem]
    yield from (mask for mask in masks if mask.problem)
    if len(set(whole)) > 1:
        yield from (Region(mask.image_id, mask.finding, MASK, problem=TWO_MASKS) for mask in whole)
    else:
        yield from whole[:1]


def corrections(raw: Path, options: ShenzhenOptions) -> tuple[str, ...]:
    """Of readings and masks, where one is read otherwise than earlier versions did. Raises ArchiveError."""
    twice = (ONE_MASK,) if _in_both(raw) else ()
    return (*corrections_of(SHENZHEN, raw), *mask_corrections(raw, [*_lungs(raw), *_lesions(raw)]), *twice)


def _lungs(raw: Path) -> Iterator[Place]:
    for name in LUNGS:
        for path in sorted((raw / name).glob("*.png")):
            if match := LUNG_MASK.fullmatch(path.name):
                yield match[1], "lungs", path


def _in_both(raw: Path) -> set[str]:
    """The images with a lung mask in both of LUNGS: the set is unzipped to either name, and copies are merged."""
    counts = Counter(image for image, _, _ in _lungs(raw))
    return {image for image, count in counts.items() if count > 1}


def _lesions(raw: Path) -> Iterator[Place]:
    for path in sorted((raw / LESIONS).glob("*.png")):
        if match := LESION_MASK.fullmatch(path.name):
            name = snake_case(match[2])
            yield match[1], name if name in LESION_NAMES else "lesion", path


def notes(raw: Path, options: ShenzhenOptions) -> list[str]:
    """That there are no patients and no split, and which masks are not there or not read."""
    found = notes_of(SHENZHEN, raw)
    for name in (*LUNGS, LESIONS):
        found += misnamed_masks(raw / name)
    if twice := _in_both(raw):
        same = "one is kept where both are equal, and none where they differ"
        found.append(f"{len(twice)} lung masks are in {LUNGS[0]}/ and in {LUNGS[1]}/: {same}")
    if not any(True for _ in _lungs(raw)):
        folders = LUNGS if any(True for _ in _lesions(raw)) else (*LUNGS, LESIONS)
        found.append(f"there are no masks in {', '.join(f'{name}/' for name in folders)}")
    found += stray_masks(raw, LUNG_MASK, LUNGS, "lungs")
    return found + stray_masks(raw, LESION_MASK, (LESIONS,), "lesions")
