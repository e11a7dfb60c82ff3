"""For whom does a method work: AUROC within groups of test images by sex, age and view position, and the gaps.

The question is that of Seyyed-Kalantari et al. (2021), whose age bands these are; they compare rates of missed findings
at a threshold, here it is AUROC, which needs none.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from datasets_io.untrusted import printable
from sweep.statistics.placements import Classes, Placed, classes_of, place

METADATA = ("image_id", "sex", "age", "view_position")
UNKNOWN = "unknown"
OLDEST = 120  # years; archives hold ages such as 414, which are typing errors
AGE_BANDS = ((0, 19), (20, 39), (40, 59), (60, 79), (80, OLDEST))  # as Seyyed-Kalantari et al. (2021)
FEWEST_IMAGES = 20  # of a group that is compared


@dataclass(frozen=True)
class Attribute:
    """One way to group the test images of a dataset.

    groups: names; codes: (N,) the place of each image's group in them. compared: names of the groups with a
    value; the others (unknown, fewer than 20 images, one class only in half of the findings) are counted only.
    findings: (F,) bool, those with both classes in every compared group: all groups are measured on the same ones.
    num_images, num_patients: of each group. fewest_positives: smallest count of positives of a used finding in a
    compared group. classes: of the images of each compared group, for these findings.
    """

    name: str
    groups: tuple[str, ...]
    codes: np.ndarray
    compared: tuple[str, ...]
    findings: np.ndarray
    num_images: tuple[int, ...]
    num_patients: tuple[int, ...]
    fewest_positives: int | None
    classes: tuple[Classes, ...]


def age_band(age: int | None) -> str:
    """`40-59`; the last one is `80+`. age: in years. Ages above 120 and negative ones are unknown."""
    for low, high in AGE_BANDS:
        if age is not None and low <= age <= high:
            return f"{low}+" if high == OLDEST else f"{low}-{high}"
    return UNKNOWN


def group_names(metadata: pa.Table, image_ids: np.ndarray) -> dict[str, list[str]]:
    """Attribute -> the group of each test image, in the order of image_ids; unknown where the archive says nothing.

    metadata: a table with the columns METADATA, in any order of rows; image_ids: (N,) of str.
    """
    rows = {image: i for i, image in enumerate(metadata["image_id"].to_pylist())}
    columns = {
        "sex": [printable(value or UNKNOWN) for value in metadata["sex"].to_pylist()],
        "age_band": [age_band(value) for value in metadata["age"].to_pylist()],
        "view_position": [printable(value or UNKNOWN) for value in metadata["view_position"].to_pylist()],
    }
    return {
        name: [values[rows[image]] if image in rows else UNKNOWN for image in image_ids]
        for name, values in columns.items()
    }


def attributes_of(
    names: Mapping[str, list[str]], patient_ids: np.ndarray, labels: np.ndarray, known: np.ndarray
) -> tuple[Attribute, ...]:
    """Attributes of a dataset's test images. names: as `group_names` gives.

    patient_ids: (N,) of str; labels: (N, F) of 1 and 0; known: (N, F) bool.
    """
    return tuple(_attribute(name, values, patient_ids, labels, known) for name, values in names.items())


def _attribute(
    name: str, values: list[str], patient_ids: np.ndarray, labels: np.ndarray, known: np.ndarray
) -> Attribute:
    groups = sorted(set(values), key=lambda group: (group == UNKNOWN, group))  # by name, unknown last
    codes = np.array([groups.index(value) for value in values])
    positives, negatives = (labels == 1) & known, (labels == 0) & known
    usable = positives.any(axis=0) & negatives.any(axis=0)  # findings with an AUROC over all images
    compared, shared, fewest = [], usable.copy(), []
    for code, group in enumerate(groups):
        inside = codes == code
        both = positives[inside].any(axis=0) & negatives[inside].any(axis=0)
        # A group that lacks a class in many findings would leave few findings that all groups can be measured on.
        if group != UNKNOWN and inside.sum() >= FEWEST_IMAGES and both.sum() * 2 >= usable.sum() > 0:
            compared.append(group)
            shared &= both
            fewest.append(positives[inside].sum(axis=0))
    compared = compared if shared.any() else []
    inside = [codes == groups.index(group) for group in compared]
    return Attribute(
        name,
        tuple(groups),
        codes,
        tuple(compared),
        shared,
        tuple(int((codes == code).sum()) for code in range(len(groups))),
        tuple(len(set(patient_ids[codes == code])) for code in range(len(groups))),
        int(min(counts[shared].min() for counts in fewest)) if compared else None,
        # Images of other groups are left out as unknown labels are.
        tuple(classes_of(labels[:, shared], known[:, shared] & member[:, None], patient_ids) for member in inside),
    )


def place_groups(attribute: Attribute, scores: np.ndarray, orders: np.ndarray) -> tuple[Placed, ...]:
    """AUROC of each of the attribute's findings within each compared group, and what each patient moves it by.

    scores: (N, F) of a cell; orders: (F, N), of `presort` on them.
    """
    used = attribute.findings
    return tuple(place(scores[:, used], classes, orders[used]) for classes in attribute.classes)


def widest_gap(values: np.ndarray) -> tuple[int, int]:
    """Places of the highest and of the lowest of two or more groups' values, (G,), the first of equal ones."""
    return int(np.argmax(values)), int(np.argmin(values))
