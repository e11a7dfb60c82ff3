"""Is an archive fit to be built: its files are there, and few enough are refused?"""

import errno
from collections import Counter
from pathlib import Path, PurePosixPath

from datasets_io.build.regions import regions_in
from datasets_io.build.shards import LEAVES, is_inside, leaves
from datasets_io.build.side_tables import REJECTS, Reject
from datasets_io.build.spec import BuildSpec, options_of
from datasets_io.schema import ArchiveError, Record
from datasets_io.sources.reading.elsewhere import other_depth, other_kind, other_spelling, packed_in, packed_text
from datasets_io.sources.registry import get_source
from datasets_io.sources.splits import check_splits
from datasets_io.storage.files import Files
from datasets_io.untrusted import printable

FEW = 8  # missing files that are looked for elsewhere
CHECKED_FILES = 4096  # of a larger archive, so many evenly spaced files are looked for before any work


class TooManyRejects(ArchiveError):
    """The shards and rejects.parquet are there, the manifest is not."""


def _check_arguments(limit: int | None, max_rejects: float) -> None:
    if not 0 <= max_rejects <= 1:
        raise ValueError(f"max_rejects is {max_rejects}; allowed: a share from 0 to 1")
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; allowed: 1 or more images")


def _check_rejects(files: Files, folder: str, reasons: dict[str, int], records: int, max_rejects: float) -> None:
    rejects = sum(reasons.values())
    if rejects > max_rejects * records:
        commonest = "; ".join(f"{count} x {reason}" for reason, count in list(reasons.items())[:3])
        raise TooManyRejects(
            f"{rejects} of {records} images gave no picture ({commonest}), and at most {max_rejects:.2%} may:"
            f" repair the files that {files.full(f'{folder}/{REJECTS}')} names, or raise --max-rejects; finished shards"
            " are kept"
        )


def check_archive(spec: BuildSpec, raw: Path, *, max_rejects: float = 0.01) -> list[Record]:
    """All that can be seen of an archive without reading an image. Raises ArchiveError; writes nothing."""
    raw = Path(raw).resolve()
    source, options = get_source(spec.source), options_of(spec)
    records = list(source.read_records(raw, options))
    check_splits(records)
    _check_present(_index_rejects(records)[0], raw, max_rejects, source.dicom_only)
    regions_in(source, raw, options)  # raises where a build would: boxes and masks are read before images
    return records


def _index_rejects(records: list[Record]) -> tuple[list[Record], list[Reject]]:
    """Records whose image_id is new and whose path stays in the raw folder; the others as rejects."""
    kept: list[Record] = []
    rejects: list[Reject] = []
    seen: set[str] = set()
    for record in records:
        if leaves(record.path):
            rejects.append(Reject(record.image_id, record.path, "index", LEAVES))
        elif any(printable(text) != text for text in (record.image_id, record.study_id, record.patient_id)):
            rejects.append(Reject(record.image_id, record.path, "index", "an id has control characters"))
        elif record.image_id in seen:
            rejects.append(Reject(record.image_id, record.path, "index", "the image is listed twice"))
        else:
            seen.add(record.image_id)
            kept.append(record)
    if rejects and not kept:
        commonest = Counter(reject.reason for reject in rejects).most_common(1)[0][0]
        raise ArchiveError(
            f"none of {len(rejects)} listed images can be looked for: {commonest} (e.g. {rejects[0].path!r}); paths are"
            " relative to the folder that --raw names, with slashes"
        )
    return kept, rejects


def _check_present(records: list[Record], raw: Path, max_rejects: float, dicom_only: bool) -> int:
    """About how many bytes the listed images have. Raises ArchiveError where too many of them are not there.

    dicom_only: as of a Source.
    """
    # All of up to 8,191 images, else one in `step`, evenly spaced: looking for 377,110 on a network disk takes long.
    step = max(1, len(records) // CHECKED_FILES)
    checked = records[::step]
    sizes = {record.path: _size(raw, record.path) for record in checked}
    missing = [path for path, size in sizes.items() if size is None]
    if not records:
        raise ArchiveError(f"{raw} lists no image: are its csv files complete?")
    if len(missing) > max_rejects * len(checked):
        # The folder, to a depth of two, that lacks most: a copy that stopped half way lacks whole folders.
        folders = Counter("/".join(PurePosixPath(path).parts[:-1][:2]) for path in missing)
        (folder, count), *_ = folders.most_common(1)
        looked = "listed images" if step == 1 else f"images looked for (1 in {step} of those listed)"
        if _is_file(raw / missing[0]):
            raise ArchiveError(
                f"a link leads from {missing[0]} out of {raw}, as for {len(missing)} of {len(checked)} {looked}:"
                " nothing outside of --raw is read; give the folder that has the files themselves, or mount them there"
            )
        raise ArchiveError(
            f"{len(missing)} of {len(checked)} {looked} are not below {raw}, {count} of them in {folder or '.'}"
            f" (e.g. {missing[0]}): {_what_to_do(raw, missing, dicom_only)}, or allow a share with --max-rejects"
        )
    return sum(size or 0 for size in sizes.values()) * len(records) // len(checked)


def _what_to_do(raw: Path, missing: list[str], dicom_only: bool) -> str:
    """Where images may be that were not found, as some of them tell: the first one may be lost, and others renamed."""
    some = missing[:: max(1, len(missing) // FEW)]
    for path in some:
        if other := other_spelling(raw, path):
            kind = other_kind(path, other)
            if not kind:
                return f"{other} is there: name files as the archive lists them, with the same capitals and endings"
            why = ", since boxes or masks are in pixels of the DICOM files" if dicom_only else ""
            return (
                f"{other} is there, {kind}, which is not read in the place of {path}{why}: get the archive's own files"
            )
    for path in some:
        if other := other_depth(raw, path):
            return f"{other} is there: move files to the folders that the archive lists them in"
    return packed_text(packed_in(raw, missing[0])) or "finish copying or unpacking the archive"


def _size(raw: Path, path: str) -> int | None:
    """Bytes of a file of the archive; None where it is absent or a link leads out of the archive."""
    place = raw / path
    return place.stat().st_size if _is_file(place) and is_inside(str(raw), path) else None


def _is_file(place: Path) -> bool:
    """As Path.is_file, and False for a name that is longer than any file's: its row is a reject like others."""
    try:
        return place.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise
