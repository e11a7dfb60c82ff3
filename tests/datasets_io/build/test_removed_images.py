"""After a build the images of an archive may be removed, to make room: of every source the corpus is then used on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_mimic import write_mimic

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.build.__main__ import main
from datasets_io.schema import ArchiveError, NoImages
from datasets_io.sources.chexpert import COLUMNS
from datasets_io.sources.registry import SOURCES, get_source
from datasets_io.sources.siim_pneumothorax import SiimOptions
from datasets_io.storage.files import Files
from datasets_io.synthetic.archives import FOLDERS, write_chexpert, write_nih
from datasets_io.synthetic.plan import Counter, SyntheticSpec
from tests.datasets_io.sources.made_up import padchest_row, plus_row, write_open_i, write_padchest, write_plus
from tests.datasets_io.sources.made_up_boxed import MADE_UP, picture

pytestmark = pytest.mark.usefixtures("kept_decoders")
TABLES = ("ClinicalReadings", "masks", "ManualMask", "Annotations-2", "CheXlocalize")  # folders that are no images
PICTURES = (".png", ".jpg", ".dcm", ".dicom")
SMALL = SyntheticSpec(chexpert_train=6, chexpert_valid=2, nih_train_val=8, nih_test=2)
NO_IMAGES = {
    "open_i": "has no image such as CXR7_IM-0000-1001.png",
    "chexpert_plus": "has no image such as PNG/train/",
    "siim_pneumothorax": "has none of dicom-images-train/, ",
    "shenzhen": "has no folder CXR_png/, which the Shenzhen set has at its top: is the archive copied in full?",
    "montgomery": "has no folder CXR_png/, which the Montgomery set has at its top: is the archive copied in full?",
    "padchest": "has no folder of PNGs such as images/0: unpack 0.zip to 54.zip",
    "nih_cxr14": "has neither images/ nor images_001/images/ to ",
    "mimic_cxr": "8 of 8 listed images are not below|none of the 8 images",
}


@pytest.fixture
def write(write_dicom, make_csv_archive, tmp_path) -> Callable[[str], Path]:
    """A function that writes the made-up archive of a source, with pictures that can be read."""

    def image(path: Path, number: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".dcm", ".dicom"):
            write_dicom(path, picture(number).astype(np.uint16) * 16)
        else:
            Image.fromarray(picture(number)).save(path)

    plus = [
        f"{split}/patient{n:05d}/study1/view1_frontal"
        for split, first in (("train", 0), ("valid", 4))
        for n in range(first, first + 4)
    ]
    writers: dict[str, Callable[[Path], object]] = {
        "csv_images": lambda raw: make_csv_archive(8, name=raw.name),
        "mimic_cxr": lambda raw: write_mimic(raw, 8),
        "chexpert": lambda raw: write_chexpert(SMALL, raw, Counter(8, None)),
        "nih_cxr14": lambda raw: write_nih(SMALL, raw, Counter(10, None)),
        "padchest": lambda raw: write_padchest(raw, [padchest_row(number) for number in range(12)]),
        "open_i": lambda raw: write_open_i(raw, list(range(1, 7))),
        "chexpert_plus": lambda raw: write_plus(raw, [plus_row(name) for name in plus], {}),
        **{name: lambda raw, of=name: MADE_UP[of][1](raw, "whole", image) for name in MADE_UP if name in SOURCES},
    }

    def archive(name: str) -> Path:
        raw = tmp_path / FOLDERS.get(name, "raw")
        if name in ("padchest", "chexpert_plus"):
            raw.mkdir()
        writers[name](raw)
        return raw

    return archive


def remove_images(raw: Path, folders: bool) -> None:
    """All pictures but the masks, which are lists; and the folders that are then empty, where asked."""
    for path in list(raw.rglob("*")):
        if path.suffix in PICTURES and path.relative_to(raw).parts[0] not in TABLES:
            path.unlink()
    for path in sorted(raw.rglob("*"), reverse=True) if folders else ():
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


@pytest.mark.parametrize("folders", [False, True], ids=["files", "and folders"])
@pytest.mark.parametrize("name", SOURCES)
def test_the_corpus_of_removed_images_is_used_and_the_command_says_so(name, folders, write, tmp_path, capsys):
    raw = write(name)
    command = [name, "--raw", str(raw), "--storage", str(tmp_path / "s"), "--image-size", "16"]
    assert main(command) == 0
    before = capsys.readouterr()
    assert "has no images now" not in before.err
    remove_images(raw, folders)
    assert main(command) == 0, capsys.readouterr().err
    after = capsys.readouterr()
    folder = before.out.partition("/s/")[2].partition("\n")[0]
    assert after.out == before.out
    assert f"note: {raw} has no images now: {folder}, which was built of them, is used\n" in after.err


@pytest.mark.parametrize("folders", [False, True], ids=["files", "and folders"])
@pytest.mark.parametrize("name", SOURCES)
def test_without_images_and_without_a_corpus_it_is_still_an_error(name, folders, write, tmp_path):
    raw = write(name)
    remove_images(raw, folders)
    spec, files = BuildSpec(name, 16), Files(str(tmp_path / "s"))
    text = f"{NO_IMAGES.get(name, 'listed images are not below')}|listed images are not below"
    with pytest.raises(ArchiveError, match=text):
        build(spec, raw, files)
    assert files.list("", "manifest.json") == []


@pytest.mark.parametrize("name", sorted(NO_IMAGES.keys() - {"mimic_cxr"}))
def test_an_archive_without_images_has_no_key(name, write):
    raw = write(name)
    whole = data_folder(BuildSpec(name, 16), raw)
    remove_images(raw, folders=True)
    with pytest.raises(NoImages, match=NO_IMAGES[name]):
        data_folder(BuildSpec(name, 16), raw)
    assert whole.startswith(f"data/{name}-")


def test_readings_and_images_that_are_both_gone_are_named_by_the_images(write):
    raw = write("montgomery")
    shutil.rmtree(raw / "ClinicalReadings")
    source = get_source("montgomery")
    with pytest.raises(ArchiveError, match="has no folder ClinicalReadings/"):
        source.index_files(raw, source.options())
    shutil.rmtree(raw / "CXR_png")
    with pytest.raises(ArchiveError, match="has no folder CXR_png/"):
        source.index_files(raw, source.options())


def test_the_split_by_folders_does_not_need_the_folders_afterwards(write, tmp_path):
    raw, files = write("siim_pneumothorax"), Files(str(tmp_path / "s"))
    spec = BuildSpec("siim_pneumothorax", 16, options=SiimOptions("folders"))
    manifest = build(spec, raw, files)
    remove_images(raw, folders=False)
    assert build(spec, raw, files) == manifest


@pytest.mark.parametrize("name", ["padchest", "csv_images"])
def test_an_archive_that_always_lacked_an_image_is_used_where_there_is_one_corpus_of_it(name, write, tmp_path):
    raw, files, spec = write(name), Files(str(tmp_path / "s")), BuildSpec(name, 16)
    first, second = sorted(path for path in raw.rglob("*.png"))[:2]
    first.unlink()
    manifest = build(spec, raw, files, max_rejects=0.5)
    second.unlink()
    build(BuildSpec(name, 24), raw, files, max_rejects=0.5)  # of another size: no answer to the question
    kept = tmp_path / "kept"
    shutil.copytree(raw, kept)
    remove_images(raw, folders=True)
    assert build(spec, raw, files) == manifest
    other = build(spec, kept, files, max_rejects=0.5)
    assert other != manifest
    with pytest.raises(ArchiveError, match=r"has no folder of PNGs|listed images are not below"):
        build(spec, raw, files)


@pytest.mark.parametrize("form", ["absolute", "encoded"])
@pytest.mark.parametrize("folders", [False, True], ids=["files", "and folders"])
def test_paths_that_were_understood_by_the_files_that_were_there(form, folders, write, tmp_path):
    """Without the files nobody can tell what such a path means: the corpus is that of the csv all the same."""
    raw, files, spec = write("csv_images"), Files(str(tmp_path / "s")), BuildSpec("csv_images", 16)
    (raw / "images").rename(raw / "own images")
    meant = "/home/somebody/own images/" if form == "absolute" else "own%20images/"
    table = raw / "images.csv"
    table.write_text(table.read_text().replace("images/", meant))
    manifest = build(spec, raw, files)
    assert manifest.counts["images"] == 8
    remove_images(raw, folders)
    assert build(spec, raw, files) == manifest


def test_a_test_set_of_chexpert_that_lay_in_a_batch(write, tmp_path):
    """Where it lay enters the key, and is not to be seen any more."""
    raw, files, spec = write("chexpert"), Files(str(tmp_path / "s")), BuildSpec("chexpert", 16)
    batch = raw / "CheXpert-v1.0 batch 1 (validate & csv)"
    image = batch / "test/patient1/study1/view1_frontal.jpg"
    image.parent.mkdir(parents=True)
    Image.fromarray(picture(1)).save(image)
    for name in ("train.csv", "valid.csv", "valid"):
        (raw / name).rename(batch / name)
    (raw / "train").rename(batch / "train")
    header = ",".join(["Study", *COLUMNS])
    (batch / "groundtruth.csv").write_text(f"{header}\nCheXpert-v1.0/test/patient1/study1{',0' * 14}\n")
    manifest = build(spec, raw, files)
    assert manifest.counts["splits"]["test"]["images"] == 1
    remove_images(raw, folders=True)
    assert build(spec, raw, files) == manifest


def test_reports_that_arrived_since_are_not_passed_over(tmp_path):
    raw, files, spec = tmp_path / "raw", Files(str(tmp_path / "s")), BuildSpec("mimic_cxr", 16)
    write_mimic(raw, 8, reports=False)
    manifest = build(spec, raw, files)
    remove_images(raw, folders=False)
    assert build(spec, raw, files) == manifest
    for number, folder in enumerate(sorted(raw.glob("files/p10/p*/s*"))):
        folder.with_suffix(".txt").write_text(f"x\n IMPRESSION: normal {number}.\n")
    with pytest.raises(ArchiveError, match="none of the 8 images"):
        build(spec, raw, files)
