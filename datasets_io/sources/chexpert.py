"""CheXpert v1.0 and v1.0-small: which images are there, with which labels (Irvin et al., 2019)?

The folder holds train.csv, valid.csv and the JPG tree that their Path column names; or, as v1.0 is distributed in
four zip files, folders like "CheXpert-v1.0 batch 2 (train 1)" with the patients' folders, the first of them with the
csv files and valid/. train.csv gives the split train, valid.csv val, and the public test labels (test.csv,
test_labels.csv or groundtruth.csv) test.
Raw codes 1, 0, -1 and blank are kept, and all views: a recipe decides what they mean. Whether a view is frontal, the
column Frontal/Lateral says: 17 of its frontal rows have LL or RL in AP/PA, which elsewhere are lateral views.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from datasets_io.schema import ArchiveError, Record, known_view
from datasets_io.sources.reading.archive import (
    find_file,
    is_below,
    is_label,
    is_stray,
    label_code,
    read_header,
    read_table,
    require_files,
    sex_code,
    snake_case,
    unpacked_name,
    whole_number,
)
from datasets_io.sources.reading.table_text import open_unpacked

VERSION = 1
COLUMNS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
FINDINGS = tuple(snake_case(column) for column in COLUMNS)
# Rows of train.csv and valid.csv; the 668 images of 500 studies came later. With them 224,316 (Irvin et al., 2019).
PUBLISHED = {"images": 223_648, "train": 223_414, "val": 234, "test": 668}
BATCHES = "CheXpert-v1.0 batch *"
TEST_NAMES = ("test.csv", "test_labels.csv", "groundtruth.csv")
OTHER_NAMES = {"airspace_opacity": "Lung Opacity"}  # what tables of the test set call a finding
LATERAL_CODES = ("LATERAL", "LL", "RL")  # of AP/PA, which recipes take for lateral views

# Corrections, see registry.Source: names that enter the key of an archive which they touch.
FRONTAL_CODES = "frontal rows whose AP/PA is a lateral code are FRONTAL"
TEST_IN_BATCHES = "images of test studies are listed where a batch has them"
TEST_COLUMNS = "columns of the test labels under other names are read"
# Cells beside each other that only such rows have, in capitals, and more than those rows have: a lateral code anywhere.
CODED_CELLS = (b",LL,", b",RL,", b",FRONTAL,LATERAL,", b",LATERAL,FRONTAL,")
_TO_COMMAS = bytes.maketrans(b";|\t\r\n", b",,,,,")


@dataclass(frozen=True)
class ChexpertOptions:
    """Nothing to choose: views and the uncertain policy belong to the recipe."""


def index_files(raw: Path, options: ChexpertOptions) -> list[Path]:
    """train.csv, valid.csv and, where it is there, the csv of the test labels. Raises ArchiveError."""
    # At the top, or in one of the four unpacked folders; where in neither, require_file names the top.
    found = _at_top_or_in_a_batch(raw, ("train.csv",))
    place = next((batch for batch in _batches(raw) if found and batch in found.parents), raw)
    _check_one_batch(raw)
    train, valid = require_files(place, (("train.csv",), ("valid.csv",)), "CheXpert")
    test = _at_top_or_in_a_batch(raw, TEST_NAMES)
    if test:
        _test_columns(test)  # raises: a test set without labels must not be taken for one that is built already
    return [train, valid] + ([test] if test else [])


def _batches(raw: Path) -> list[Path]:
    """The folders of the four zip files of v1.0, where they were unpacked beside each other."""
    return sorted(path for path in raw.glob(BATCHES) if path.is_dir() and is_below(raw, path))


def _check_one_batch(raw: Path) -> None:
    """Raises ArchiveError where `raw` is one of the unpacked folders, without what lies in those beside it."""
    here = raw.resolve()
    if fnmatchcase(here.name, BATCHES) and not (here / "train").is_dir() and len(_batches(here.parent)) > 1:
        raise ArchiveError(f"{raw} is one of the folders of CheXpert v1.0; did you mean --raw {here.parent}?")


def _at_top_or_in_a_batch(raw: Path, names: tuple[str, ...]) -> Path | None:
    """The first of some tables, as find_file; packed ones after all others, wherever these are."""
    places = ("", *(f"{batch.name}/" for batch in _batches(raw)))
    return find_file(raw, (f"{place}{name}" for place in places for name in names))


def _test_columns(path: Path) -> dict[str, str]:
    """Finding as COLUMNS has it -> name of its column in the csv of the test labels, where it has one.

    Raises ArchiveError where it has none at all, and where one is missing while an unknown column holds labels.
    """
    header = read_header(path)
    known = {snake_case(column): column for column in COLUMNS} | OTHER_NAMES
    found: dict[str, str] = {}
    for name in header:
        column = known.get(snake_case(name))
        if column and found.setdefault(column, name) != name:
            raise ArchiveError(f"{path} has columns {found[column]!r} and {name!r}, both {column}: keep one of them")
    missing = [column for column in COLUMNS if column not in found]
    if not found:
        raise ArchiveError(f"{path} has no column of labels ({', '.join(COLUMNS)}); its header is {header}")
    if missing and (unknown := _label_like(path, [name for name in header if snake_case(name) not in known])):
        raise ArchiveError(
            f"{path} has no column {', '.join(missing)}, but a column {unknown!r}, whose cells are labels: name it as"
            " train.csv does, or take it away"
        )
    return found


def _label_like(path: Path, names: list[str]) -> str | None:
    """The first of some columns that has a label in some row, and nothing else in any."""
    cells: dict[str, set[str]] = {name: set() for name in names if name}
    for _, row in read_table(path, ()):
        for name in cells:
            cells[name].add(row[name].strip())
    return next((name for name, values in cells.items() if values - {""} and all(map(is_label, values))), None)


def notes(raw: Path, options: ChexpertOptions) -> list[str]:
    """That there is no test split, where its csv is missing; which of its columns are missing or named otherwise."""
    train, valid, *test = index_files(raw, options)
    said = []
    if any(_has_coded(path) for path in (train, valid)):
        said.append("Frontal/Lateral says which views are frontal, also of rows whose AP/PA is LL or RL")
    if not test:
        return [*said, f"none of {', '.join(TEST_NAMES)} is there: the test split is empty"]
    columns = _test_columns(test[0])
    if not any(True for _ in read_table(test[0], ())):
        said.append(f"{test[0].name} has no row: the test split is empty")
    beside = (find_file(test[0].parent, (name,)) for name in TEST_NAMES if name != unpacked_name(test[0]))
    if others := [path.name for path in beside if path]:
        said.append(f"the test labels are those of {test[0].name}; {', '.join(others)} beside it was not read")
    said += [
        f"{test[0].name} calls {column} {name!r}"
        for column, name in columns.items()
        if snake_case(name) != snake_case(column)
    ]
    if missing := [column for column in COLUMNS if column not in columns]:
        said.append(f"{test[0].name} has no column {', '.join(missing)}: blank in the test split")
    return said


def corrections(raw: Path, options: ChexpertOptions) -> tuple[str, ...]:
    """Which of the corrections above change a record of this archive."""
    train, valid, *test = index_files(raw, options)
    found = [FRONTAL_CODES] if any(_has_coded(path) for path in (train, valid, *test)) else []
    for path in test:
        if "Study" in read_header(path) and _in_a_batch(raw, path):
            found.append(TEST_IN_BATCHES)
        if any(name != column for column, name in _test_columns(path).items()):
            found.append(TEST_COLUMNS)
    return tuple(found)


def _in_a_batch(raw: Path, test: Path) -> bool:
    """Whether studies of the test set lie in a batch; one at the top of the archive was always listed."""
    first = next((_below_root(row["Study"]) for _, row in read_table(test, ("Study",))), "")
    patient = "/".join(first.split("/")[1:2])
    # The first stands for all: to look for 500 over a network takes a second each time that a key is asked for.
    return any((batch / "test").is_dir() or (batch / patient).is_dir() for batch in _batches(raw) if patient)


def _has_coded(path: Path) -> bool:
    """Whether a table may have a row of FRONTAL_CODES; asked of its bytes, since a key is often asked for."""
    with open_unpacked(path) as stream:
        cells = stream.read().translate(_TO_COMMAS, b' "\0').upper()  # of UTF-16 every second byte is zero
    return any(coded in cells for coded in CODED_CELLS)


def read_records(raw: Path, options: ChexpertOptions) -> Iterator[Record]:
    """One Record a row of train.csv, valid.csv and the test csv, in their order.

    Raises ArchiveError for a row without the columns or whose path is not of CheXpert's form.
    """
    train, valid, *test = index_files(raw, options)
    places = _patient_places(raw)
    same = {column: column for column in COLUMNS}
    for path, split in ((train, "train"), (valid, "val")):
        for line, row in read_table(path, ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *COLUMNS)):
            yield _record(row, row["Path"], split, (places, same), (path, line))
    for path in test:
        yield from _test_records(raw, places, path)


def _patient_places(raw: Path) -> dict[str, str]:
    """Folder of a patient in the csv ("train/patient00001") -> in the archive, where the batches were not merged."""
    places: dict[str, str] = {}
    for batch in _batches(raw):
        for kind in ("train", "valid", "test"):
            # Batches of training patients hold their folders without train/ between; valid/ is there.
            for folder in (batch / kind, batch):
                if folder.is_dir():
                    names = (path.name for path in folder.iterdir() if path.name.startswith("patient"))
                    places.update({f"{kind}/{name}": f"{folder.relative_to(raw).as_posix()}/{name}" for name in names})
    return places


def _test_records(raw: Path, places: dict[str, str], path: Path) -> Iterator[Record]:
    """Rows of images (column Path) or of studies (column Study, whose JPGs are then listed from the disk)."""
    read_by = (places, _test_columns(path))
    for line, row in read_table(path, ()):
        if row.get("Path"):
            yield _record(row, row["Path"], "test", read_by, (path, line))
        elif row.get("Study"):
            study = _below_root(row["Study"])
            if ".." in PurePosixPath(study).parts:
                raise ArchiveError(f"{path} line {line}: study {row['Study']!r} leaves the archive")
            folder = raw / _place(study, places)
            # A study that is not on the disk gives the name its image would have, which the build then finds absent.
            images = folder.glob("*.jpg") if is_below(raw, folder) else ()
            names = sorted(image.name for image in images if not is_stray(image.name))
            for name in names or ["view1_frontal.jpg"]:
                yield _record(row, f"{study}/{name}", "test", read_by, (path, line))
        else:
            raise ArchiveError(f"{path} line {line} has neither a Path nor a Study: is it the CheXpert test labels?")


def _place(relative: str, places: Mapping[str, str]) -> str:
    """`train/patient00001/...` as the csv has it -> as the archive has it, where the batches were not merged."""
    parts = relative.split("/")
    patient = "/".join(parts[:2])
    return "/".join((places.get(patient, patient), *parts[2:]))


def _below_root(path: str) -> str:
    """The csv names the archive's own folder first ('CheXpert-v1.0-small/train/...'); it may be renamed on disk."""
    first, _, rest = path.strip().strip("/").partition("/")
    return rest if first.startswith("CheXpert") else f"{first}/{rest}"


def _record(
    row: dict[str, str],
    path: str,
    split: str,
    read_by: tuple[Mapping[str, str], Mapping[str, str]],
    at: tuple[Path, int],
) -> Record:
    """read_by: places as _place takes them, and finding -> name of its column. at: table and line of the row."""
    places, columns = read_by
    table, line = at
    relative = _below_root(path)
    parts = PurePosixPath(relative).parts
    if len(parts) != 4 or not parts[1].startswith("patient"):
        advice = ", with slashes: write / for each \\ of the column Path" if "\\" in path else ""
        wanted = f"train/patient00001/study1/view1_frontal.jpg{advice}"
        raise ArchiveError(f"{table} line {line}: {path!r} is not like {wanted}")
    return Record(
        image_id=str(PurePosixPath(relative).with_suffix("")),
        study_id=f"{parts[1]}/{parts[2]}",  # studies are numbered anew for each patient
        patient_id=parts[1],
        split=split,
        path=_place("/".join(parts), places),
        labels=tuple(label_code(row.get(columns.get(column, "")) or "", table, line, column) for column in COLUMNS),
        view_position=_view(row, parts[3]),
        sex=sex_code(row.get("Sex") or ""),
        age=whole_number(row.get("Age") or ""),
    )


def _view(row: dict[str, str], name: str) -> str:
    """AP or PA where the csv says so, else FRONTAL; LATERAL. Without the columns, the file name tells."""
    lateral = (row.get("Frontal/Lateral") or name).lower()
    if "lateral" in lateral:
        return "LATERAL"
    code = known_view(row.get("AP/PA"))
    return "FRONTAL" if code is None or code in LATERAL_CODES else code
