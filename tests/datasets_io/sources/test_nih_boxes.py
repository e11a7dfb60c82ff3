"""Are NIH's boxes read as they are: shares of the image, names as the findings', bad rows refused?"""

import csv

import pytest

from datasets_io.schema import ArchiveError
from datasets_io.sources.parts.nih_boxes import read_boxes
from datasets_io.sources.regions import Region
from datasets_io.sources.registry import get_source

HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"


def test_boxes_are_shares_of_the_image(tmp_path):
    rows = "a.png,Infiltrate,256,512,128,64,,,\n\nb.png,Mass,900,0,500,1024,,,\n"
    (tmp_path / "BBox_List_2017.csv").write_text(HEADER + rows)
    first, second = read_boxes(tmp_path)
    assert (first.image_id, first.finding, first.left, first.top) == ("a.png", "infiltration", 0.25, 0.5)
    assert (first.width, first.height) == (0.125, 0.0625)
    assert second.left + second.width == 1 and second.height == 1


def test_an_archive_without_the_list_has_no_boxes(tmp_path):
    assert read_boxes(tmp_path) == ()


@pytest.mark.parametrize(
    "row", ["Mass,1,2,3", "Gallstone,1,2,3,4", "Mass,1,2,x,4", "Mass,1,2,0,4", "Mass,nan,2,3,4", "Mass,5000,2,3,4"]
)
def test_a_bad_row_is_named(tmp_path, row):
    (tmp_path / "BBox_List_2017.csv").write_text(f"{HEADER}a.png,{row}\n")
    with pytest.raises(ArchiveError, match="line 2"):
        read_boxes(tmp_path)


def test_the_real_list_is_read_whole(shared_data):
    for name in ("NIH-ChestX-ray14", "NIH-ChestX-ray14-thumb64"):
        folder = shared_data / "real_cxr" / name
        with open(folder / "BBox_List_2017.csv") as stream:
            rows = list(csv.reader(stream))[1:]
        boxes = read_boxes(folder)
        assert len(boxes) == len(rows) > 0
        assert all(0 < box.width <= 1 and 0 < box.height <= 1 for box in boxes)


def test_boxes_are_the_regions_of_the_source(tmp_path):
    (tmp_path / "BBox_List_2017.csv").write_text(f"{HEADER}a.png,Infiltrate,256,512,128,64,,,\n")
    source = get_source("nih_cxr14")
    (region,) = source.read_regions(tmp_path, source.options())
    assert region == Region("a.png", "infiltration", "box", "", 0.25, 0.5, 0.125, 0.0625)
