"""Where boxes or masks are in pixels of DICOM files: are PNG copies named as such, and refused when renamed?"""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from datasets_io.build import BuildSpec, build, data_key
from datasets_io.build.checks import TooManyRejects, check_archive
from datasets_io.build.inventory import take_inventory
from datasets_io.build.regions import read_regions
from datasets_io.build.spec import _key
from datasets_io.pixels.decode import decode_file
from datasets_io.pixels.grey import PixelError, PixelSpec
from datasets_io.schema import ArchiveError
from datasets_io.sources.reading.elsewhere import other_kind
from datasets_io.sources.reading.renamed_pictures import REFUSED
from datasets_io.sources.registry import SOURCES, get_source
from datasets_io.storage.files import Files
from tests.datasets_io.sources.made_up_boxed import MADE_UP, picture, write_dicom

LAYOUTS = ("vindr_cxr", "vinbigdata", "rsna_pneumonia", "siim_pneumothorax")
REASON = "policy: it is a PNG or JPEG, no DICOM file, in whose pixels the archive has boxes or masks"
SIZE = 16


def write_copy(path: Path, number: int) -> None:
    """A PNG of half the sides, as public copies are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(number)).resize((24, 32)).save(path, "PNG")


def made(layout: str, raw: Path, write) -> BuildSpec:
    source, make, _ = MADE_UP[layout]
    make(raw, "whole", write)
    return BuildSpec(source, SIZE)


def key_before(spec: BuildSpec, raw: Path) -> str:
    """What the key was when pictures were read under any name."""
    taken = take_inventory(spec, raw)
    return _key(spec, taken.index, None, taken.absent)


def test_of_the_sources_with_boxes_or_masks_of_dicom_files_no_other_file_is_read():
    assert {name for name, source in SOURCES.items() if source.dicom_only} == {MADE_UP[name][0] for name in LAYOUTS}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ending", [".png", ".JPG"])
def test_copies_are_named_as_what_they_are_and_not_to_be_renamed(layout, ending, tmp_path):
    raw = tmp_path / "raw"
    spec = made(layout, raw, lambda path, number: write_copy(path.with_suffix(ending), number))
    kind = "PNG" if ending == ".png" else "JPEG"
    said = (
        rf"\{ending} is there, a {kind}, which is not read in the place of \S+, since boxes or masks are in pixels of"
    )
    with pytest.raises(ArchiveError, match=said) as error:
        check_archive(spec, raw)
    assert "name files" not in str(error.value)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_copies_under_the_names_of_dicom_files_are_rejects(layout, tmp_path):
    raw = tmp_path / "raw"
    spec = made(layout, raw, write_copy)
    with pytest.raises(TooManyRejects, match=f"{MADE_UP[layout][2]} x {REASON}"):
        build(spec, raw, Files(str(tmp_path / "storage")))
    # A corpus that was built of them once is not taken for one of today.
    assert data_key(spec, raw) != key_before(spec, raw)


def test_one_copy_among_dicom_files_costs_that_image_and_its_boxes(tmp_path):
    raw, files = tmp_path / "raw", Files(str(tmp_path / "storage"))
    spec = made("vindr_cxr", raw, write_dicom)
    # Image 3 of the test set has boxes.
    path = sorted((raw / "test").glob("*.dicom"))[3]
    write_copy(path, 3)
    manifest = build(spec, raw, files, max_rejects=0.1)
    assert manifest.reject_reasons == {REASON: 1} and manifest.counts["images"] == 29
    assert path.stem not in {region.image_id for region in read_regions(files, f"data/vindr_cxr-{manifest.key}")}
    assert manifest.counts["regions"]["left_out"] == {"its image is not in the corpus": 1}
    # Its corpus stays in use when the images are removed to make room, and nothing tells any more what they were.
    for part in ("train", "test"):
        shutil.rmtree(raw / part)
    assert get_source("vindr_cxr").corrections(raw, get_source("vindr_cxr").options()) == ()
    assert build(spec, raw, files).key == manifest.key


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_archive_of_dicom_files_keeps_its_key(layout, tmp_path):
    raw = tmp_path / "raw"
    spec = made(layout, raw, write_dicom)
    for folder in {path.parent for path in raw.rglob("*.d*cm")}:
        write_copy(folder / "preview.png", 0)
    assert get_source(spec.source).corrections(raw, get_source(spec.source).options()) == ()
    assert data_key(spec, raw) == key_before(spec, raw)


def test_a_copy_outside_of_the_archive_is_not_opened(tmp_path):
    raw = tmp_path / "raw"
    spec = made("rsna_pneumonia", raw, write_dicom)
    write_copy(tmp_path / "outside.png", 0)
    image = sorted((raw / "stage_2_train_images").iterdir())[0]
    image.unlink()
    image.symlink_to(tmp_path / "outside.png")
    assert get_source(spec.source).corrections(raw, get_source(spec.source).options()) == ()
    write_copy(raw / "inside.png", 0)
    image.unlink()
    image.symlink_to(raw / "inside.png")
    assert get_source(spec.source).corrections(raw, get_source(spec.source).options()) == (REFUSED,)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP", "PPM"])
@pytest.mark.parametrize("ending", [".dcm", ".dicom"])
def test_no_picture_is_decoded_where_dicom_files_are_needed(form, ending, tmp_path):
    path = tmp_path / f"a{ending}"
    Image.fromarray(picture(0)).save(path, form)
    with pytest.raises(PixelError):
        decode_file(path, PixelSpec(SIZE, dicom_only=True))


def test_files_of_one_kind_have_several_endings():
    assert other_kind("a/b.dcm", "a/b.PNG") == "a PNG" and other_kind("b.png", "b.jpg") == "a JPEG"
    for found in ("b.DCM", "b.dicom", "b", "b.txt"):
        assert other_kind("b.dcm", found) == ""
