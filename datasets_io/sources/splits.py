"""Which split a patient belongs to, and whether any patient is in two."""

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping

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
    check_forms(split_of)


def check_forms(split_of: Mapping[str, str]) -> None:
    """Raises ArchiveError where two patients of different splits have one id, written in two ways.

    split_of: patient -> split. Ids are one where they differ in Unicode form, in blanks, or as whole numbers are
    written (7, 007, 7.0).
    """
    if pairs := _alike(split_of, one_form):
        first, second = pairs[0]
        raise ArchiveError(
            f"{len(pairs)} of {len(split_of)} patients have the id of another one, written in another way, and are in"
            f" another split (e.g. {first!a} in {split_of[first]} and {second!a} in {split_of[second]}): write each id"
            " in one way, or results on val and test would be too good"
        )


def case_notes(split_of: Mapping[str, str], named: bool = True) -> list[str]:
    """A sentence where ids of patients in different splits differ in capitals alone; with an example where `named`.

    Such ids may be two persons': some hospitals' ids mean something else in capitals.
    """
    pairs = _alike(split_of, lambda text: one_form(text).casefold())
    if not pairs:
        return []
    first, second = pairs[0]
    example = f" (e.g. {first!a} in {split_of[first]} and {second!a} in {split_of[second]})" if named else ""
    return [
        f"{len(pairs)} patients' ids differ from another one in capitals alone and are in another split{example}: if"
        " they are one person, write the id in one way, or results on val and test are too good"
    ]


def one_form(patient_id: str) -> str:
    """An id without what differs between programs that write it: Unicode form, blanks, zeros of whole numbers,
    characters that cannot be seen, such as soft hyphens, and the dashes that a word processor makes of a hyphen."""
    text = "".join(map(_as_seen, unicodedata.normalize("NFKC", patient_id)))
    text = " ".join(text.split())
    number = re.fullmatch(r"0*(\d+?)(?:\.0*)?", text)
    return number[1] if number else text


def _as_seen(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind == "Pd" or letter == "\u2212":
        return "-"
    # Marks of no width that Unicode does not count among the format characters.
    unseen = kind == "Cf" or "\ufe00" <= letter <= "\ufe0f" or letter in "\u034f\u115f\u1160\u3164\uffa0"
    return "" if unseen else letter


def _alike(split_of: Mapping[str, str], form: Callable[[str], str]) -> list[tuple[str, str]]:
    """Pairs of patients in different splits whose ids have one form, the first that has it before each other one."""
    first_of: dict[str, str] = {}
    pairs = []
    for patient, split in split_of.items():
        first = first_of.setdefault(form(patient), patient)
        if split_of[first] != split:
            pairs.append((first, patient))
    return pairs
