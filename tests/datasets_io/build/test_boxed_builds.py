"""Made-up archives of the sources with boxes and masks, built: what goes in comes out or is a reject, and says so."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.build.regions import read_regions
from datasets_io.build.shards import LEAVES
from datasets_io.build.verify import verify
from datasets_io.sources.regions import BOX, mask_of
from datasets_io.storage.files import Files
from tests.datasets_io.sources.made_up_boxed import COLUMNS, MADE_UP, ROWS, picture

SIZE = 32
# Of the archives with defects: regions that are listed, kept, and left out because their image is not in the corpus.
REGIONS = {
    "vindr_cxr": (29 + 7, 29 + 7, 0),
    "rsna_pneumonia": (15, 15, 0),
    "siim_pneumothorax": (5, 5, 0),
    "shenzhen": (6, 5, 1),
    "montgomery": (8, 8, 0),
    "chexlocalize": (7, 5, 2),
}


@pytest.fixture
def write_image(write_dicom):
    """Writes an image of the kind that its name says: of PNGs some are grey, some RGB, some with a palette."""

    def write(path: Path, number: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".dicom", ".dcm"):
            write_dicom(path, picture(number).astype(np.uint16) * 16)
        elif path.suffix == ".jpg":
            Image.fromarray(picture(number)).save(path, quality=95)
        else:
            Image.fromarray(picture(number)).convert(("L", "RGB", "P")[number % 3]).save(path, "PNG")

    return write


def made(layout: str, raw: Path, state: str, write) -> tuple[BuildSpec, int]:
    source, make, images = MADE_UP[layout]
    make(raw, state, write)
    return BuildSpec(source, SIZE), images


@pytest.mark.parametrize("layout", REGIONS)
def test_an_archive_with_its_known_defects_is_built_whole(layout, tmp_path, write_image):
    raw, files = tmp_path / "raw", Files(str(tmp_path / "storage"))
    spec, images = made(layout, raw, "defects", write_image)
    manifest = build(spec, raw, files)
    counts, folder = manifest.counts, data_folder(spec, raw)
    assert (counts["records"], counts["images"], counts["rejects"]) == (images, images, 0)
    assert sum(split["images"] for split in counts["splits"].values()) == images
    assert verify(files, folder, manifest) == []
    listed, kept, left_out = REGIONS[layout]
    found = read_regions(files, folder)
    assert (counts["regions"]["listed"], counts["regions"]["kept"], len(found)) == (listed, kept, kept)
    assert sum(counts["regions"]["left_out"].values()) == left_out
    for region in found:
        if region.kind == BOX:
            assert 0 <= region.left < 1 and 0 < region.left + region.width <= 1 and not region.in_pixels
        else:
            assert mask_of(region).any()
    if layout == "vindr_cxr":  # boxes in pixels of the file, 64 x 48, of which the widest reaches over the border
        assert (found[0].left, found[0].top, found[0].height) == (4 / COLUMNS, 8 / ROWS, 32 / ROWS)
        assert max(region.left + region.width for region in found) == 1
    if layout == "siim_pneumothorax":  # its masks are of 1024 x 1024, whatever size a made-up file has
        assert counts["regions"]["resized_masks"] == kept
    else:
        assert counts["regions"]["resized_masks"] == 0


@pytest.mark.parametrize("layout", ["siim_pneumothorax", "montgomery"])
def test_a_half_copied_archive_is_the_rest_and_its_rejects(layout, tmp_path, write_image):
    raw, files = tmp_path / "raw", Files(str(tmp_path / "storage"))
    spec, images = made(layout, raw, "half", write_image)
    reasons = {"read: the file is absent": images // 2}
    if layout == "siim_pneumothorax":  # whose ids come from a csv
        with open(raw / "train-rle.csv", "a") as stream:
            stream.write("../../etc/passwd,-1\n")
        images, reasons = images + 1, {**reasons, f"index: {LEAVES}": 1}
    manifest = build(spec, raw, files, max_rejects=0.6)
    counts = manifest.counts
    assert counts["images"] + counts["rejects"] == counts["records"] == images
    assert manifest.reject_reasons == reasons
    regions = counts["regions"]
    assert regions["kept"] + sum(regions["left_out"].values()) == regions["listed"]
    if layout == "montgomery":  # every image has two masks, so half of them are left out
        assert regions["left_out"] == {"its image is not in the corpus": 8} and regions["kept"] == 8
    assert verify(files, data_folder(spec, raw), manifest) == []
