"""Does a study say which test images lie in another archive that it trains on?"""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from made_up_report import data_of
from made_up_study import plan_of, small
from PIL import Image

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.sources.nih_cxr14 import NihOptions
from datasets_io.sources.registry import get_source
from datasets_io.storage.files import Files
from sweep.report.write import write_report
from sweep.store.report_folder import ReportFolder
from sweep.store.shared_images import SharedImages, shared_images
from sweep.store.store import Store
from sweep.studies import demo
from tests.datasets_io.sources.made_up_boxed import picture, rsna, write_dicom, write_table

BASE = demo()
RSNA, NIH = BuildSpec("rsna_pneumonia", 16), BuildSpec("nih_cxr14", 16)
WHOLE = replace(NIH, options=NihOptions(split="patient_70_10_20"))
DATASET = replace(BASE.datasets[1], display="RSNA", build=RSNA)


def write(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(number)).save(path)


def write_nih(raw: Path) -> None:
    """Patients 1 to 12, of whom the RSNA has the first ten, with three images each; those of 7 to 12 are test."""
    names = [f"{1 + number // 3:08d}_{number % 3:03d}.png" for number in range(36)]
    for number, name in enumerate(names):
        write(raw / "images" / name, number)
    rows = [[name, "No Finding", str(int(name[:8])), "040Y", "F", "PA"] for name in names]
    header = ["Image Index", "Finding Labels", "Patient ID", "Patient Age", "Patient Gender", "View Position"]
    write_table(raw / "Data_Entry_2017.csv", header, rows)
    (raw / "train_val_list.txt").write_text("\n".join(names[:18]))
    (raw / "test_list.txt").write_text("\n".join(names[18:]))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Storage, and (layout, state) -> folder and manifest."""
    root = tmp_path_factory.mktemp("shared")
    files = Files(str(root / "storage"))
    write_nih(root / "nih")
    found = {}
    rsna(root / "mapped", "whole", write_dicom)
    rsna(root / "bare", "defects", write_dicom)
    uses = (("nih", NIH, "nih"), ("cut", WHOLE, "nih"), ("mapped", RSNA, "mapped"), ("bare", RSNA, "bare"))
    for name, spec, folder in uses:
        found[name] = data_folder(spec, root / folder), build(spec, root / folder, files)
    return files, found


def shared(study, built, **labels: str) -> tuple[SharedImages, ...]:
    files, found = built
    folders = {label: found[name][0] for label, name in labels.items()}
    return shared_images(study, folders, {label: found[name][1] for label, name in labels.items()}, files)


def test_test_images_that_are_in_the_corpus_are_counted(built):
    study = replace(BASE, corpus=NIH, datasets=(DATASET,), rows=BASE.rows[:1])
    (one,) = shared(study, built, nih_cxr14="nih", rsna_pneumonia="mapped")
    source = get_source("rsna_pneumonia")
    raw = Path(built[0].root).parent
    test = [r for r in source.read_records(raw / "mapped", source.options()) if r.split == "test"]
    nih = get_source("nih_cxr14")
    train = {r.image_id for r in nih.read_records(raw / "nih", nih.options()) if r.split == "train"}
    expected = sum(record.image_id in train for record in test)
    assert one == SharedImages("rsna_pneumonia", "nih_cxr14", True, len(test), len(test) // 3, expected, expected // 3)
    assert f"{expected:,} are also in nih_cxr14, which encoders are pretrained on" in one.text
    assert shared(study, built, rsna_pneumonia="mapped") == (), "the corpus is not built yet"


def test_each_dataset_is_compared_with_the_train_split_of_the_others(built):
    nih = replace(BASE.datasets[1], build=NIH)
    study = replace(BASE, datasets=(nih, DATASET), rows=BASE.rows[:1])
    one, other = shared(study, built, nih_cxr14="nih", rsna_pneumonia="mapped")
    assert (one.dataset, one.other, one.pretraining) == ("nih_cxr14", "rsna_pneumonia", False)
    assert (one.test_images, one.test_patients) == (18, 6) and one.images == 3 * one.patients
    assert "the train split of rsna_pneumonia" in one.text
    assert (other.dataset, other.other) == ("rsna_pneumonia", "nih_cxr14")


def test_without_the_map_of_ids_it_says_that_they_do_not_tell(built):
    study = replace(BASE, corpus=NIH, datasets=(DATASET,), rows=BASE.rows[:1])
    (one,) = shared(study, built, nih_cxr14="nih", rsna_pneumonia="bare")
    assert one.images is None and "their ids do not tell which" in one.text


def test_two_uses_of_one_source_are_named_only_where_they_share_test_images(built):
    twice = (replace(DATASET, display="one"), replace(DATASET, display="two", name="two"))
    study = replace(BASE, datasets=twice, rows=BASE.rows[:1])
    assert shared(study, built, rsna_pneumonia="mapped", two="mapped") == ()
    nih = replace(BASE.datasets[1], build=NIH)
    study = replace(BASE, datasets=(nih, replace(nih, display="cut", name="cut", build=WHOLE)), rows=BASE.rows[:1])
    one, other = shared(study, built, nih_cxr14="nih", cut="cut")
    # By the lists patients 7 to 12 are test; the hash of the other cut trains on some of them, and the reverse.
    assert (one.dataset, one.other, one.test_images) == ("nih_cxr14", "cut", 18) and 0 < one.images <= 18
    assert one.images == 3 * one.patients and other.dataset == "cut"


def test_the_report_and_its_study_json_say_it(built, tmp_path):
    study = replace(small(), corpus=NIH, datasets=(DATASET,), rows=small().rows[:1])
    files, found = built
    labels = {"nih_cxr14": "nih", "rsna_pneumonia": "mapped"}
    data = replace(
        data_of(tmp_path, study, [], plan_of(study)),
        store=Store(files.uri),
        data_folders={label: found[name][0] for label, name in labels.items()},
        manifests={label: found[name][1] for label, name in labels.items()},
    )
    write_report(data, ReportFolder.elsewhere(str(tmp_path / "report")), quick=True)
    (one,) = shared(study, built, **labels)
    assert json.loads((tmp_path / "report" / "study.json").read_text())["shared_images"] == [asdict(one)]
    for name in ("report.md", "report.html"):
        assert one.text in (tmp_path / "report" / name).read_text()
    other = replace(data, manifests={"rsna_pneumonia": found["mapped"][1]})
    write_report(other, ReportFolder.elsewhere(str(tmp_path / "other")), quick=True)
    assert "shared_images" not in json.loads((tmp_path / "other" / "study.json").read_text())


def test_unrelated_sources_are_not_read(built):
    study = replace(BASE, datasets=(DATASET,), rows=BASE.rows[:1])
    assert shared(study, built, mimic_cxr="nih", rsna_pneumonia="mapped") == ()


def test_a_damaged_shard_is_left_to_who_reads_it(built, tmp_path):
    files, found = built
    folder, manifest = found["nih"]
    study = replace(BASE, corpus=NIH, datasets=(DATASET,), rows=BASE.rows[:1])
    manifests = {"nih_cxr14": manifest, "rsna_pneumonia": found["mapped"][1]}
    gone = {"nih_cxr14": f"{folder}-gone", "rsna_pneumonia": found["mapped"][0]}
    assert shared_images(study, gone, manifests, files) == ()


def test_pictures_without_common_ids_are_told_of_as_such(built):
    siim = replace(DATASET, display="SIIM", build=BuildSpec("siim_pneumothorax", 16))
    study = replace(BASE, corpus=NIH, datasets=(siim,), rows=BASE.rows[:1])
    (one,) = shared(study, built, nih_cxr14="nih", siim_pneumothorax="bare")
    assert (one.dataset, one.images) == ("siim_pneumothorax", None)
