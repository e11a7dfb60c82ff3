"""Two rows for one image or study: an error where they differ, and no other key for archives without any."""

import json
from pathlib import Path

import pytest

from datasets_io.build import BuildSpec, build, data_key
from datasets_io.build.inventory import take_inventory
from datasets_io.build.spec import _key
from datasets_io.schema import ArchiveError
from datasets_io.sources import chexpert_plus, mimic_cxr, open_i
from datasets_io.storage.files import Files
from tests.datasets_io.small_mimic import write_mimic
from tests.datasets_io.sources.made_up import plus_row, write_open_i, write_plus

SPEC = BuildSpec("mimic_cxr", 16)
IMAGE = "train/patient00001/study1/view1_frontal"


def mimic(raw: Path) -> Path:
    """With all four csv files."""
    write_mimic(raw, 8)
    rows = [line.split(",") for line in (raw / "mimic-cxr-2.0.0-split.csv").read_text().splitlines()[1:]]
    lists = "".join(f"{subject},{study},{dicom}\n" for dicom, study, subject, _ in rows)
    (raw / "cxr-record-list.csv").write_text(f"subject_id,study_id,dicom_id\n{lists}")
    views = "".join(f"{dicom},PA\n" for dicom, *_ in rows)
    (raw / "mimic-cxr-2.0.0-metadata.csv").write_text(f"dicom_id,ViewPosition\n{views}")
    labels = "".join(f"{study}{',1.0' * 14}\n" for _, study, *_ in rows)
    (raw / "mimic-cxr-2.0.0-chexpert.csv").write_text(f"study_id,{','.join(mimic_cxr.COLUMNS)}\n{labels}")
    return raw


@pytest.mark.parametrize(
    ("kind", "same", "other", "match"),
    [
        ("split", "d0,50414267,10000032,train", "d0,50414267,10000032,test", "first with 'train' and here with 'test'"),
        ("metadata", "d0,PA", "d0,LATERAL", "first with 'PA' and here with 'LATERAL'"),
        ("chexpert", f"50414267{',1' * 14}", f"50414267{',0.0' * 14}", "50414267 is there twice, with other labels"),
    ],
)
def test_mimic_rows_of_one_image_or_study_that_differ_are_refused_also_beside_a_corpus(
    kind, same, other, match, tmp_path, monkeypatch
):
    raw, files = mimic(tmp_path / "raw"), Files(str(tmp_path / "storage"))
    table = raw / f"mimic-cxr-2.0.0-{kind}.csv"
    inventory = take_inventory(SPEC, raw)
    assert data_key(SPEC, raw) == _key(SPEC, inventory.index, None, inventory.absent), "as it was"
    table.write_text(f"{table.read_text()}{same}\n")
    before = data_key(SPEC, raw)
    build(SPEC, raw, files)
    inventory = take_inventory(SPEC, raw)
    assert before == _key(SPEC, inventory.index, None, inventory.absent)
    table.write_text(f"{table.read_text()}{other}\n")
    inventory = take_inventory(SPEC, raw)
    assert data_key(SPEC, raw) != _key(SPEC, inventory.index, None, inventory.absent), "that of a corpus with the last"
    lines = len(table.read_text().splitlines())
    with pytest.raises(ArchiveError, match=rf"mimic-cxr-2.0.0-{kind}.csv line {lines}: .*{match}"):
        build(SPEC, raw, files)


def test_labels_of_chexpert_plus_that_differ_are_refused(tmp_path):
    write_plus(tmp_path, [plus_row(IMAGE)], {IMAGE: {"Edema": 1.0}})
    path = tmp_path / "chexbert_labels" / "impression_fixed.json"
    line = path.read_text()
    path.write_text(line * 2)
    assert len(list(chexpert_plus.read_records(tmp_path, chexpert_plus.ChexpertPlusOptions()))) == 1
    path.write_text(f"{line}{json.dumps({**json.loads(line), 'Edema': 0.0})}\n")
    for step in ("with images", "without"):
        with pytest.raises(ArchiveError, match=rf"impression_fixed.json line 2: {IMAGE} is there twice, with other"):
            list(chexpert_plus.read_records(tmp_path, chexpert_plus.ChexpertPlusOptions()))
        if step == "with images":
            (tmp_path / "PNG" / f"{IMAGE}.png").unlink()


def test_views_of_open_i_that_differ_are_refused(tmp_path):
    write_open_i(tmp_path, [1, 2])
    table = tmp_path / "indiana_projections.csv"
    row = "1,1_IM-0001-1001.dcm.png,"
    table.write_text(f"uid,filename,projection\n{row}Frontal\n{row}frontal\n{row}\n")
    assert next(open_i.read_records(tmp_path, open_i.OpenIOptions())).view_position == "FRONTAL"
    table.write_text(f"{table.read_text()}{row}Lateral\n")
    said = "line 5: 1/IM-0001-1001 is there twice, first with 'FRONTAL' and here with 'LATERAL'"
    with pytest.raises(ArchiveError, match=said):
        list(open_i.read_records(tmp_path, open_i.OpenIOptions()))
