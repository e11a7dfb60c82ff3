"""How are the NLM's two tuberculosis sets read, which have no csv: names and readings (Jaeger et al., 2014)?

Both hold CXR_png/<stem>.png and ClinicalReadings/<stem>.txt, and the stem ends with _0 for normal or _1 for
tuberculosis. The readings list the images, so that a copy that stopped half way does not pass for a smaller set.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datasets_io.schema import ArchiveError, NoImages, Record
from datasets_io.sources.parts.nlm_masks import check_file
from datasets_io.sources.reading.archive import require_folder
from datasets_io.sources.reading.elsewhere import folders_with, hint, moved_text
from datasets_io.sources.splits import hash_split

IMAGES, READINGS = "CXR_png", "ClinicalReadings"
SOURCES = {"CHNCXR": "shenzhen", "MCUCXR": "montgomery"}  # prefix of a set's files -> the source that reads it
LONGEST_READING = 1 << 16  # bytes; the real ones have some lines
# A correction, see registry.Source: the name enters the key of an archive with such a reading.
WIDE_READINGS = "sex and age of readings in UTF-16 are read"
WHOLE_UNITS = "sex and age of readings are told by whole words"
# "male 45yrs", "Female, 30 yrs", "female20yrs" and "male 11months" of one set; "Patient's Sex: F" and "Patient's Age:
# 027Y" of the other.
SEX = re.compile(r"(fe)?male|(?:sex|gender)\s*[:=]\s*([fm])(?![a-z])", re.IGNORECASE)
WORDS = re.compile(r"\b(?:(woman|girl|lady)|man|boy|gentleman)\b", re.IGNORECASE)  # where SEX finds nothing
AGE = re.compile(r"(?<![\d.])(\d{1,3})(?:\.\d+)?(?!\d)([ \t-]*)([a-z]*)", re.IGNORECASE)
LETTER_BEFORE = re.compile(r"(?<![\w'/])([fm])[ \t,;:.]*$", re.IGNORECASE)  # "M 45"
LETTER_AFTER = re.compile(r"[ \t,;.]*([fm])(?![\w'/])", re.IGNORECASE)  # "45 yrs, F"
SAYS_WHO = re.compile(rf"{SEX.pattern}|{WORDS.pattern}|\bage\b", re.IGNORECASE)
A_YEAR = {"m": 12, "w": 52, "d": 365}
UNITS = {
    **dict.fromkeys(("m", "mo", "mos", "mon", "mons", "mth", "mths", "month", "months"), "m"),
    **dict.fromkeys(("w", "wk", "wks", "week", "weeks"), "w"),
    **dict.fromkeys(("d", "day", "days"), "d"),
}
# As all versions before WHOLE_UNITS read them.
EARLIER_SEX = re.compile(r"(fe)?male|sex\s*:\s*([fm])", re.IGNORECASE)
EARLIER_AGE = re.compile(r"(?<!\d)(\d{1,3})(?:\.\d+)?\s*([ymwd]?)(?!\d)", re.IGNORECASE)


@dataclass(frozen=True)
class NlmSet:
    """name: in messages; prefix: of the stems; stream: of the hash that cuts patients."""

    name: str
    prefix: str
    stream: str


def index_files_of(kind: NlmSet, raw: Path, masks: tuple[str, ...] = ()) -> list[Path]:
    """The folder of the readings, then those of `masks` that are there: what is in them identifies the archive.

    Raises ArchiveError where the readings, or that of an image, are not there; the folder of images may be gone.
    """
    require_folder(raw, kind.name)
    there = (raw / IMAGES).is_dir()
    if not (raw / READINGS).is_dir():
        raise ArchiveError(_no_folder(kind, raw, READINGS if there else IMAGES))
    readings = set(_stems(kind.prefix, raw / READINGS, ".txt"))
    unread = [stem for stem in _stems(kind.prefix, raw / IMAGES, ".png") if stem not in readings] if there else []
    if not readings and not unread:
        what_to_do = _other_set(kind, raw) or f": finish copying {kind.name}"
        raise ArchiveError(f"{raw} has no reading such as {READINGS}/{kind.prefix}_0001_0.txt{what_to_do}")
    if unread:
        raise ArchiveError(
            f"{len(unread)} images of {raw / IMAGES} have no reading in {READINGS}/, which lists {len(readings)}"
            f" (e.g. {unread[0]}): finish copying {kind.name}"
        )
    return [raw / READINGS, *(raw / name for name in masks if (raw / name).is_dir())]


def _no_folder(kind: NlmSet, raw: Path, name: str) -> str:
    def starts(folder: Path) -> bool:
        return bool(_stems(kind.prefix, folder / READINGS, ".txt"))

    others = (_other_set(kind, folder) for folder in folders_with(raw, (READINGS,)))
    what_to_do = hint(raw, (READINGS,), "is the archive copied in full?", starts)
    if "--raw" not in what_to_do:
        what_to_do = next((other for other in others if other), what_to_do)
    return f"{raw} has no folder {name}/, which {kind.name} has at its top{what_to_do}"


def _other_set(kind: NlmSet, raw: Path) -> str:
    """That a folder has the files of the other set, as the end of a sentence; "" where it has not."""
    for prefix, source in SOURCES.items() if (raw / READINGS).is_dir() else ():
        found = _stems(prefix, raw / READINGS, ".txt") if prefix != kind.prefix else []
        if found:
            return f", but {raw / READINGS} has {found[0]}.txt: this is the archive of {source}; build {source} from it"
    return ""


def _stems(prefix: str, folder: Path, suffix: str) -> list[str]:
    """In order, of the files that are named as the set's: there are strays beside them, such as Thumbs.db."""
    form = re.compile(rf"{prefix}_\d{{4}}_[01]{re.escape(suffix)}")
    return sorted(path.stem for path in folder.iterdir() if form.fullmatch(path.name))


def read_records_of(kind: NlmSet, raw: Path) -> Iterator[Record]:
    """One Record a reading, in the order of their names; images are cut 70-10-20 by a hash.

    Raises ArchiveError, NoImages where their folder is not there.
    """
    folder, *_ = index_files_of(kind, raw)
    if not (raw / IMAGES).is_dir():
        moved = moved_text(raw, (IMAGES,))
        raise NoImages(f"{raw} has no folder {IMAGES}/: {moved}" if moved else _no_folder(kind, raw, IMAGES))
    for stem in _stems(kind.prefix, folder, ".txt"):
        sex, age = _sex_and_age(_reading(raw, folder / f"{stem}.txt"))
        split = hash_split(stem, kind.stream, (("train", 7), ("val", 1), ("test", 2)))
        label = int(stem[-1])
        yield Record(stem, stem, stem, split, f"{IMAGES}/{stem}.png", (label,), "FRONTAL", sex, age)


def _reading(raw: Path, path: Path) -> str:
    data = _reading_bytes(raw, path)
    return data.decode(_wide(data) or "utf-8", "replace")  # nothing of it is kept but sex and age


def _reading_bytes(raw: Path, path: Path) -> bytes:
    check_file(raw, path)
    with open(path, "rb") as stream:
        return stream.read(LONGEST_READING)


def _wide(data: bytes) -> str | None:
    """The UTF-16 that a reading is in, by its mark or by the zero of its first letter; None for any other text."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    return {(False, True): "utf-16-le", (True, False): "utf-16-be"}.get((data[:1] == b"\0", data[1:2] == b"\0"))


def corrections_of(kind: NlmSet, raw: Path) -> tuple[str, ...]:
    """WIDE_READINGS and WHOLE_UNITS where a reading was read otherwise by earlier versions. Raises ArchiveError."""
    found: set[str] = set()
    for stem in _stems(kind.prefix, raw / READINGS, ".txt"):
        data = _reading_bytes(raw, raw / READINGS / f"{stem}.txt")
        text = data.decode(_wide(data) or "utf-8", "replace")
        if _wide(data):
            found.add(WIDE_READINGS)
        if _sex_and_age(text) != _earlier_sex_and_age(text):
            found.add(WHOLE_UNITS)
    return tuple(name for name in (WIDE_READINGS, WHOLE_UNITS) if name in found)


def _head(text: str) -> list[str]:
    """The lines that may tell sex and age: the first two that are not blank. What follows is the reading."""
    return [line for line in text.splitlines() if line.strip()][:2]


def _earlier_sex_and_age(text: str) -> tuple[str | None, int | None]:
    head = "\n".join(_head(text))
    sex, age = EARLIER_SEX.search(head), EARLIER_AGE.search(head)
    letter = (sex[2] or ("f" if sex[1] else "m")).upper() if sex else None
    return letter, (0 if age[2].lower() in ("m", "w", "d") else int(age[1])) if age else None


def _sex_and_age(text: str) -> tuple[str | None, int | None]:
    """'M' or 'F', and whole years; None where the first two lines do not say, or not in one way only."""
    lines = _head(text)
    sex = _sex_of("\n".join(lines))
    found = next(((line, age) for line in lines for age in AGE.finditer(line) if _is_age(line, age)), None)
    if found is None:
        return sex, None
    line, age = found
    number, apart, word = int(age[1]), age[2], age[3].lower()
    unit = UNITS.get(word, "y")
    # "011M" is months, as DICOM writes an age, and so is "male 8m". "45 M" is a man; "Sex: F, 45 M" and "45M" may be.
    if word == "m" and len(age[1]) < 3 and (apart or sex is None):
        return ("M", number) if apart and sex is None else (sex, None)
    if sex is None:
        after = LETTER_AFTER.match(line, age.end() if _is_unit(word) else age.end(1))
        letter = LETTER_BEFORE.search(line[: age.start()]) or after
        sex = letter[1].upper() if letter else None
    return sex, number // A_YEAR.get(unit, 1)


def _sex_of(head: str) -> str | None:
    if sex := SEX.search(head):
        return (sex[2] or ("f" if sex[1] else "m")).upper()
    word = WORDS.search(head)
    return ("F" if word[1] else "M") if word else None


def _is_unit(word: str) -> bool:
    """Of years any word with y: yr, yrs, yo, years, and what is written wrongly in a real reading."""
    return word in UNITS or word.startswith("y")


def _is_age(line: str, age: re.Match[str]) -> bool:
    """A number with a unit is one; one without where the line says whose, or nothing else: not "2 lesions"."""
    if _is_unit(age[3].lower()):
        return True
    alone = not line[: age.start()].strip() and not line[age.end(1) :].strip(" \t.,;")
    before, after = LETTER_BEFORE.search(line[: age.start()]), LETTER_AFTER.match(line, age.end(1))
    return alone or bool(SAYS_WHO.search(line) or before or after)


def notes_of(kind: NlmSet, raw: Path) -> list[str]:
    """That there are no patients and no split; which readings tell no sex or age; and numbers that both labels have."""
    found = [f"{kind.name} names no patients and has no split: images were cut 70-10-20 into train, val and test"]
    stems = _stems(kind.prefix, raw / READINGS, ".txt") if (raw / READINGS).is_dir() else []
    told = {stem: _sex_and_age(_reading(raw, raw / READINGS / f"{stem}.txt")) for stem in stems}
    lacks = {"neither sex nor age": (True, True), "a sex and no age": (False, True), "an age and no sex": (True, False)}
    for what, (no_sex, no_age) in lacks.items():
        such = [stem for stem, (sex, age) in told.items() if ((sex is None), (age is None)) == (no_sex, no_age)]
        if such:
            found.append(f"{len(such)} of {len(stems)} readings tell {what} (e.g. {such[0]}.txt)")
    both = [number for number, count in Counter(stem[:-2] for stem in stems).items() if count > 1]
    if both:
        found.append(
            f"{len(both)} numbers have an image without and one with tuberculosis, each kept with its label: is one a"
            f" copy under another name? (e.g. {both[0]}_0 and {both[0]}_1)"
        )
    return found
