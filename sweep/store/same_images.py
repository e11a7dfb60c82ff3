"""Do the builds of one use of a source, in the forms that different rows need, hold the same images in one order?"""

from collections.abc import Mapping

from datasets_io.corpus.manifest import Manifest
from datasets_io.corpus.read import read_table
from datasets_io.schema import SPLITS
from datasets_io.storage.files import ReadFiles
from sweep.studies.study import Study


def check_same_images(
    study: Study, folders: Mapping[str, str], manifests: Mapping[str, Manifest], files: ReadFiles
) -> None:
    """Raises ValueError where two builds of one use differ: rows would be compared on other images and labels.

    folders, manifests: label of a build -> where it lies, of those that are there.
    """
    first: dict[str, str] = {}  # name of a use -> label of its first build
    for build in study.data_builds():
        if build.label not in manifests:
            continue
        label = first.setdefault(build.instance, build.label)
        if folders[label] == folders[build.label]:
            continue
        if not _same(files, *((folders[name], manifests[name]) for name in (label, build.label))):
            raise ValueError(
                f"{label} ({folders[label]}) and {build.label} ({folders[build.label]}) hold other images, and rows "
                "that read them could not be compared: build both from one archive with the same options"
                f"; remove the one that is older than the archive, and name that with --raw {build.instance}=DIR"
            )


def _same(files: ReadFiles, first: tuple[str, Manifest], second: tuple[str, Manifest]) -> bool:
    (_, one), (_, other) = first, second
    alike = (one.source, one.source_version, one.index_files) == (other.source, other.source_version, other.index_files)
    if not alike or any(one.spec.get(name) != other.spec.get(name) for name in ("options", "order", "limit")):
        return False
    if one.counts["rejects"] == other.counts["rejects"] == 0:
        return True  # the same records of the same csv files, in the same order
    return all(_ids(files, *first, split) == _ids(files, *second, split) for split in SPLITS)


def _ids(files: ReadFiles, folder: str, manifest: Manifest, split: str) -> list[str]:
    ids: list[str] = read_table(files, folder, manifest, split, ["image_id"])["image_id"].to_pylist()
    return ids
