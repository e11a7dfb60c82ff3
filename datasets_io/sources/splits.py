"""Which split a patient belongs to, and whether any patient is in two."""

import hashlib
from collections.abc import Iterable

from datasets_io.schema import SPLITS, ArchiveError, Record


def hash_share(patient_id: str, stream: str) -> float:
    """A number in [0, 1) that depends on the patient and the stream's name alone."""
    digest = hashlib.sha256(f"{stream}\n{patient_id}".encode()).digest()
    # 64 bits as a fraction. (Some 2^-54 of all digests round to 1.0; hash_split then takes the last part.)
    return int.from_bytes(digest[:8], "big") / 2**64


def hash_split(patient_id: str, stream: str, parts: tuple[tuple[str, int], ...]) -> str:
    """The split of a patient, in proportion to `parts`, e.g. (("train", 7), ("val", 1)).

    It does not change when other patients come or go. stream: a name for this cut; another name cuts differently.
    """
    # The parts are laid one after the other on [0, total); the split is that of the part the place falls into.
    total = sum(weight for _, weight in parts)
    place = hash_share(patient_id, stream) * total
    for split, weight in parts:
        place -= weight
        if place < 0:
            return split
    return parts[-1][0]


def check_splits(records: Iterable[Record]) -> None:
    """Raises ArchiveError where a patient is in two splits or a split's name is unknown."""
    split_of: dict[str, str] = {}
    # Only patients in more than one split: of 65,000 patients these sets would cost more than the dict.
    crossing: dict[str, set[str]] = {}
    for record in records:
        if record.split not in SPLITS:
            raise ArchiveError(f"image {record.image_id} has split {record.split!r}; allowed: {', '.join(SPLITS)}")
        first = split_of.setdefault(record.patient_id, record.split)
        if first != record.split:
            crossing.setdefault(record.patient_id, {first}).add(record.split)
    if crossing:
        patient = min(crossing)
        pair = " and ".join(split for split in SPLITS if split in crossing[patient])
        raise ArchiveError(
            f"{len(crossing)} of {len(split_of)} patients are in more than one split (e.g. patient {patient} in {pair})"
            ": give each patient one split, or results on val and test would be too good"
        )
