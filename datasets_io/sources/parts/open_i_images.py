"""Where does the image of an Open-I report lie: as PNG, as DICOM, or in the copy on Kaggle?"""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from datasets_io.schema import NoImages
from datasets_io.sources.reading.elsewhere import folder_of_files

PNG_FOLDERS = (".", "NLMCXR_png", "images")
DICOM_FOLDERS = (".", "NLMCXR_dcm", "ecgen-radiology-dcm")
KAGGLE_FOLDERS = ("images/images_normalized", "images_normalized")
FORMS = {"png": re.compile(r"(CXR)?\d+_.*IM-.*\.png"), "dcm": re.compile(r"\d+_.*IM-.*\.dcm")}
REPORTS_UNPACKED = "NLMCXR_reports"
PACKED = ("NLMCXR_png.tgz", "NLMCXR_dcm.tgz")


def image_places(raw: Path, kind: str) -> Callable[[str, str], str]:
    """(report, IM-0000-1001) -> path relative to `raw`. kind: "png", "dcm" or "auto".

    Raises NoImages where there is no image of that kind.
    """
    found: dict[str, dict[tuple[str, str], str]] = {"png": {}, "dcm": {}}
    for of_kind, key, path in _images(raw):
        found[of_kind].setdefault(key, path)
    # Where both trees are there, the one with more images, alone: one study's pictures should be of one making.
    taken = max(found, key=lambda name: len(found[name])) if kind == "auto" else kind
    places = found[taken]
    if not places:
        what = {"png": "PNG", "dcm": "DICOM file", "auto": "image"}[kind]
        todo = _what_to_do(raw, kind)
        raise NoImages(f"{raw} has no {what} such as CXR7_IM-0000-1001.png or 7/7_IM-0000-1001.dcm{todo}")
    first = PurePosixPath(next(iter(places.values())))

    def place_of(number: str, image: str) -> str:
        # One that is not there is named as it would be beside another, and the build then finds it absent.
        absent = first.parent / f"CXR{number}_{image}.png"
        if taken == "dcm":
            absent = first.parent.parent / number / f"{number}_{image}.dcm"
        return places.get((number, image), str(absent))

    return place_of


def _what_to_do(raw: Path, kind: str) -> str:
    """The end of a sentence: where images lie instead, or what is to be unpacked."""
    above = raw.resolve().parent
    if raw.resolve().name == REPORTS_UNPACKED and any(True for _ in _images(above)):
        return f"; did you mean --raw {shlex.quote(str(above))}?"
    for of_kind, target in (("png", "NLMCXR_png"), ("dcm", "NLMCXR_dcm")):
        deeper = folder_of_files(raw, FORMS[of_kind]) if kind in (of_kind, "auto") else None
        if deeper is not None:
            return f": images lie in {deeper}/, where they are not looked for: move what is in it to {target}/"
    packed = next((name for name in PACKED if (raw / name).is_file()), None)
    if packed is None:
        return ": unpack NLMCXR_png.tgz or NLMCXR_dcm.tgz there"
    folder = shlex.quote(f"{raw}/{packed.removesuffix('.tgz')}")
    return f": unpack it: mkdir {folder} && tar xzf {shlex.quote(f'{raw}/{packed}')} -C {folder}"


def _images(raw: Path) -> Iterator[tuple[str, tuple[str, str], str]]:
    """(kind, (report, part of its name), path) of each image."""
    for name in DICOM_FOLDERS:
        for folder in _numbered(raw / name):
            for path in folder.glob("*.dcm"):
                yield "dcm", (folder.name, _part(path.name[:-4], folder.name)), path.relative_to(raw).as_posix()
    for name in KAGGLE_FOLDERS:
        for path in (raw / name).glob("*_IM-*.png"):
            number, _, rest = path.name.partition("_")
            yield "png", (number, rest.removesuffix(".png").removesuffix(".dcm")), path.relative_to(raw).as_posix()
    for name in PNG_FOLDERS:
        for path in (raw / name).glob("CXR*_*.png"):
            number, _, rest = path.name[3:-4].partition("_")
            yield "png", (number, _part(rest, number)), path.relative_to(raw).as_posix()


def _numbered(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()] if folder.is_dir() else []


def _part(name: str, number: str) -> str:
    """Without the report's number, which some files have once more."""
    return name.removeprefix(f"{number}_")
