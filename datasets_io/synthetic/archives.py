"""How are three made-up archives written, in the layouts of MIMIC-CXR, CheXpert and NIH ChestX-ray14?

They let everything from the raw archive to the report run without any data. The same spec gives the same bytes.
"""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np

from datasets_io.fingerprint import fingerprint, plain
from datasets_io.schema import ArchiveError
from datasets_io.sources.chexpert import COLUMNS as CHEXPERT_COLUMNS
from datasets_io.sources.nih_cxr14 import CSV_NAMES as NIH_NAMES
from datasets_io.sources.reading.archive import snake_case
from datasets_io.synthetic.mimic_archive import write_mimic
from datasets_io.synthetic.patients import Sign, present_findings
from datasets_io.synthetic.plan import (
    Counter,
    Progress,
    SyntheticSpec,
    csv_text,
    draw_ids,
    draw_studies,
    picture,
    stream,
)
from datasets_io.untrusted import NotRegular, json_file, special_file

VERSION = 3  # raise it when the pictures or the words change
FOLDERS = {"mimic_cxr": "MIMIC-CXR", "chexpert": "CheXpert-v1.0-small", "nih_cxr14": "NIH-ChestX-ray14"}
MARKER, STARTED = "synthetic.json", "synthetic-unfinished.json"
JPEG_QUALITY = 95
# CheXpert's training labels come from reports: what is faint is often uncertain, what is absent often not mentioned.
FAINT, UNCERTAIN_IF_FAINT, UNCERTAIN_IF_ABSENT, DENIED_SHARE = 0.15, 0.5, 0.01, 0.35


def archive_paths(root: Path) -> dict[str, Path]:
    """source -> folder of its raw archive."""
    return {source: Path(root) / name for source, name in FOLDERS.items()}


def is_written(spec: SyntheticSpec, root: Path) -> dict[str, Path] | None:
    """source -> folder, where all three archives of this very spec are there; else None."""
    paths = archive_paths(root)
    try:
        marker = json_file(Path(root) / MARKER)
    except (FileNotFoundError, NotADirectoryError, NotRegular, ValueError):
        return None
    written = isinstance(marker, dict) and marker.get("fingerprint") == _fingerprint(spec)
    return paths if written and all(path.is_dir() for path in paths.values()) else None


def write_archives(spec: SyntheticSpec, root: Path, progress: Progress | None = None) -> dict[str, Path]:
    """Write the archives and return source -> folder; at once where they are there.

    Archives of another spec, or half-written ones, are replaced. progress(done, total, text) counts images.
    Raises ArchiveError where a folder of one of the names is there that was not made here: it may be real data; and
    where what would be the file that says so is none.
    """
    if paths := is_written(spec, root):
        return paths
    paths = archive_paths(root)
    _clear(Path(root), paths)
    counter = Counter(sum(sum(splits.values()) for splits in spec.image_counts().values()), progress)
    write_mimic(spec, paths["mimic_cxr"], counter)
    write_chexpert(spec, paths["chexpert"], counter)
    write_nih(spec, paths["nih_cxr14"], counter)
    marker = {"fingerprint": _fingerprint(spec), "spec": plain(spec), "version": VERSION}
    # Renamed into place last: a marker means that all three archives are whole.
    (Path(root) / STARTED).write_text(json.dumps(marker, indent=1, sort_keys=True) + "\n")
    (Path(root) / STARTED).rename(Path(root) / MARKER)
    return paths


def _fingerprint(spec: SyntheticSpec) -> str:
    return fingerprint([spec, VERSION])


def _clear(root: Path, paths: dict[str, Path]) -> None:
    """Leave an empty root with a note that it is being written; touch nothing that was not made here."""
    for note in (root / MARKER, root / STARTED):
        if (kind := special_file(note)) is not None:  # to write into a FIFO waits for ever
            raise ArchiveError(f"{note} is {kind} and no file of the made-up archives: move it away")
    made_here = (root / MARKER).exists() or (root / STARTED).exists()
    present = [path for path in paths.values() if path.exists()]
    if present and not made_here:
        raise ArchiveError(
            f"{present[0]} is there, and {root} has no {MARKER}: it may be real data, so it is left alone;"
            " name another folder for the made-up archives"
        )
    root.mkdir(parents=True, exist_ok=True)
    # The note of unfinished work is there before the marker goes: a kill in between leaves a root known as made here.
    (root / STARTED).write_text("{}\n")
    (root / MARKER).unlink(missing_ok=True)
    for path in present:
        shutil.rmtree(path)


def _write_grey(path: Path, image: np.ndarray, options: list[int]) -> None:
    done, data = cv2.imencode(path.suffix, np.round(image * 255).astype(np.uint8), options)
    if not done:
        raise OSError(f"{path} could not be encoded")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.tobytes())


def write_chexpert(spec: SyntheticSpec, folder: Path, counter: Counter) -> None:
    """train.csv, valid.csv and the JPGs. valid.csv has only 0 and 1, as radiologists gave them.

    Raises OSError where an image cannot be encoded or written.
    """
    parts = {"train": spec.chexpert_train, "valid": spec.chexpert_valid}
    studies = {part: draw_studies("chexpert", images, stream(spec, "chexpert", part)) for part, images in parts.items()}
    numbers = {part: studies[part][-1].patient + 1 for part in parts}  # patients, which are counted from 0
    ids = draw_ids(1, 65_000, sum(numbers.values()), stream(spec, "chexpert", "ids"))
    for part, first in (("train", 0), ("valid", numbers["train"])):
        rng = stream(spec, "chexpert", part, "images")
        people = [(str(rng.choice(("Female", "Male"))), int(rng.integers(18, 91))) for _ in range(numbers[part])]
        rows = []
        for study in studies[part]:
            name = f"{part}/patient{ids[first + study.patient]:05d}/study{study.number + 1}/view1_frontal.jpg"
            _write_grey(folder / name, picture(spec, "chexpert", study, rng), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            labels = _mined_labels(study.signs, rng) if part == "train" else _read_labels(study.signs)
            view = str(rng.choice(("AP", "PA"), p=(0.8, 0.2)))
            rows.append([f"{folder.name}/{name}", *people[study.patient], "Frontal", view, *labels])
            counter.add(f"writing {folder.name}")
        header = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *CHEXPERT_COLUMNS)
        (folder / f"{part}.csv").write_text(csv_text(header, sorted(rows)))


def _read_labels(signs: tuple[Sign, ...]) -> list[str]:
    """1 or 0, as radiologists who read the image itself give them."""
    present = present_findings(signs)
    return ["1.0" if snake_case(column) in present else "0.0" for column in CHEXPERT_COLUMNS]


def _mined_labels(signs: tuple[Sign, ...], rng: np.random.Generator) -> list[str]:
    """1, 0, -1 or blank, as if they had been read out of reports; No Finding is 1 or blank."""
    present = present_findings(signs)
    plain_ones = present_findings(tuple(sign for sign in signs if sign.strength >= FAINT))
    cells = []
    for column in CHEXPERT_COLUMNS:
        finding, draw = snake_case(column), rng.random()
        if finding in present:
            cells.append("-1.0" if finding not in plain_ones and draw < UNCERTAIN_IF_FAINT else "1.0")
        elif finding == "no_finding":
            cells.append("")
        elif draw < UNCERTAIN_IF_ABSENT:
            cells.append("-1.0")
        else:
            cells.append("0.0" if draw < UNCERTAIN_IF_ABSENT + DENIED_SHARE else "")
    return cells


def write_nih(spec: SyntheticSpec, folder: Path, counter: Counter) -> None:
    """Data_Entry_2017.csv, train_val_list.txt, test_list.txt and the PNGs.

    Raises OSError where an image cannot be encoded or written.
    """
    parts = {"train_val": spec.nih_train_val, "test": spec.nih_test}
    studies = {
        part: draw_studies("nih_cxr14", images, stream(spec, "nih_cxr14", part)) for part, images in parts.items()
    }
    numbers = {part: studies[part][-1].patient + 1 for part in parts}
    ids = draw_ids(1, 30_806, sum(numbers.values()), stream(spec, "nih_cxr14", "ids"))
    rows = []
    for part, first in (("train_val", 0), ("test", numbers["train_val"])):
        rng = stream(spec, "nih_cxr14", part, "images")
        people = [(int(rng.integers(18, 91)), str(rng.choice(("F", "M")))) for _ in range(numbers[part])]
        names = []
        for study in studies[part]:
            patient = ids[first + study.patient]
            name = f"{patient:08d}_{study.number:03d}.png"
            image = picture(spec, "nih_cxr14", study, rng)
            _write_grey(folder / "images" / name, image, [cv2.IMWRITE_PNG_COMPRESSION, 6])
            present = present_findings(study.signs)
            labels = "|".join(sorted(label for label in NIH_NAMES if snake_case(label) in present)) or "No Finding"
            age, sex = people[study.patient]
            view = str(rng.choice(("AP", "PA"), p=(0.4, 0.6)))
            size = spec.image_size
            # 0.143 mm is a pixel spacing that many of the real rows have.
            rows.append([name, labels, study.number, patient, age, sex, view, size, size, 0.143, 0.143, ""])
            names.append(name)
            counter.add(f"writing {folder.name}")
        (folder / f"{part}_list.txt").write_text("".join(f"{name}\n" for name in sorted(names)))
    # The official header has commas within its brackets, so it has two columns more than names.
    header = (
        "Image Index",
        "Finding Labels",
        "Follow-up #",
        "Patient ID",
        "Patient Age",
        "Patient Gender",
        "View Position",
        "OriginalImage[Width",
        "Height]",
        "OriginalImagePixelSpacing[x",
        "y]",
        "",
    )
    (folder / "Data_Entry_2017.csv").write_text(csv_text(header, sorted(rows)))
