"""Does an archive whose boxes, masks or classes are not there say so, or which are left out and why?"""

from pathlib import Path

import pytest

from datasets_io.build.regions import NO_AREA, OUTSIDE, write_regions
from datasets_io.schema import ArchiveError
from datasets_io.sources.regions import BOX, Region
from datasets_io.sources.registry import get_source
from datasets_io.storage.files import Files
from tests.datasets_io.sources.made_up_boxed import MADE_UP


def notes(name: str, raw: Path) -> str:
    source = get_source(name)
    return "\n".join(source.notes(raw, source.options()))


def made_up(layout: str, raw: Path) -> Path:
    MADE_UP[layout][1](raw, "whole")
    return raw


def test_tables_of_vindr_without_a_box_are_named(tmp_path):
    raw = made_up("vindr_cxr", tmp_path)
    assert "no box" not in notes("vindr_cxr", raw)
    for part in ("train", "test"):
        table = raw / "annotations" / f"annotations_{part}.csv"
        table.write_text(table.read_text().splitlines()[0] + "\n")
        assert f"annotations_{part}.csv lists no box" in notes("vindr_cxr", raw)


@pytest.mark.parametrize("empty", ["{}", '{"patient64741_study1_view1_frontal": {}}'])
def test_a_file_of_chexlocalize_without_a_mask_is_named(empty, tmp_path):
    raw = made_up("chexlocalize", tmp_path)
    assert "no mask" not in notes("chexlocalize", raw)
    (raw / "CheXlocalize" / "gt_segmentations_test.json").write_text(empty)
    said = "gt_segmentations_test.json has no mask, or only empty ones: no masks of test images"
    assert said in notes("chexlocalize", raw) and "of val images" not in notes("chexlocalize", raw)


def test_classes_of_rsna_without_a_row_are_refused_and_a_mapping_without_one_is_there(tmp_path):
    raw = made_up("rsna_pneumonia", tmp_path)
    (raw / "pneumonia-challenge-dataset-mappings_2018.json").write_text("[]")
    assert "30 of 30 images count as a patient each" in notes("rsna_pneumonia", raw)
    assert "mappings_2018.json does not name them" in notes("rsna_pneumonia", raw)
    classes = raw / "stage_2_detailed_class_info.csv"
    classes.write_text("patientId,class\n")
    with pytest.raises(ArchiveError, match=f"{classes} has no row: copy it again, or take it away"):
        list(get_source("rsna_pneumonia").read_records(raw, get_source("rsna_pneumonia").options()))
    classes.unlink()
    assert "stage_2_detailed_class_info.csv is not there: no_finding is blank" in notes("rsna_pneumonia", raw)


def test_a_box_without_an_area_is_not_called_one_outside_of_its_image(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets_io.build.regions._sizes", lambda *_: {"a": (64, 48)})
    sides = [(0.5, 0.5, -0.25, 0.25), (0.5, 0.5, 0.25, 0.0), (1.5, 0.5, 0.25, 0.25), (0.5, 0.5, 0.25, 0.25)]
    found = [Region("a", "mass", BOX, "", *four) for four in sides]
    counts = write_regions(Files(str(tmp_path)), "data", found, [], ("mass",))["regions"]
    assert counts["left_out"] == {NO_AREA: 2, OUTSIDE: 1} and counts["kept"] == 1
