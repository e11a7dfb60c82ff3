"""The made-up archives: the same bytes every time, in the official layouts, and no label but in the picture."""

import csv
import gzip
import hashlib
import os
import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from datasets_io.build import BuildSpec, build
from datasets_io.schema import ArchiveError
from datasets_io.sources import chexpert, mimic_cxr, nih_cxr14
from datasets_io.sources.reading.reports import sections_of
from datasets_io.storage.files import Files
from datasets_io.synthetic.archives import MARKER, STARTED, is_written, write_archives
from datasets_io.synthetic.hospitals import HOSPITALS
from datasets_io.synthetic.patients import BOTH, FINDINGS, LEFT, draw_signs, present_findings
from datasets_io.synthetic.plan import SyntheticSpec, draw_studies, stream
from datasets_io.synthetic.signs import render
from datasets_io.synthetic.textures import NAMES, textures_and_shapes
from datasets_io.synthetic.thorax import Camera, draw_anatomy
from datasets_io.synthetic.wording import DENIALS, write_report

SMALL = SyntheticSpec(
    image_size=48, corpus_train=90, corpus_val=12, chexpert_train=40, chexpert_valid=30, nih_train_val=40, nih_test=30
)
READERS = {
    "mimic_cxr": (mimic_cxr, mimic_cxr.MimicOptions()),
    "chexpert": (chexpert, chexpert.ChexpertOptions()),
    "nih_cxr14": (nih_cxr14, nih_cxr14.NihOptions()),
}
# A word of which one stands in every report that affirms the finding.
WORDS = {
    "cardiomegaly": r"cardiomegaly|cardiac silhouette|enlarged heart",
    "enlarged_cardiomediastinum": r"mediastin",
    "edema": r"edema",
    "consolidation": r"consolidation",
    "pneumonia": r"pneumonia",
    "infiltration": r"infiltrat",
    "atelectasis": r"atelectasis",
    "pneumothorax": r"pneumothorax",
    "effusion": r"effusion|pleural fluid",
    "nodule": r"nodule",
    "mass": r"\bmass",
    "emphysema": r"emphysem",
    "fibrosis": r"fibro",
    "hernia": r"hernia",
    "pleural_thickening": r"thickening",
    "fracture": r"fracture",
    "support_devices": r"catheter|PICC|tube|pacemaker",
}


@pytest.fixture(scope="module")
def archives(tmp_path_factory) -> dict[str, Path]:
    return write_archives(SMALL, tmp_path_factory.mktemp("synthetic"))


def digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def records_of(archives: dict[str, Path], source: str) -> list:
    reader, options = READERS[source]
    return list(reader.read_records(archives[source], options))


def first_line(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()[0]


def test_two_runs_write_the_same_bytes_and_another_seed_does_not(archives, tmp_path):
    first = digests(archives["chexpert"].parent)
    write_archives(SMALL, tmp_path / "again")
    assert digests(tmp_path / "again") == first
    write_archives(replace(SMALL, seed=1), tmp_path / "other")
    assert set(digests(tmp_path / "other").values()).isdisjoint(
        digest for path, digest in first.items() if path.endswith((".dcm", ".jpg", ".png"))
    )


def test_all_three_build_without_a_reject(archives, tmp_path):
    files = Files(str(tmp_path))
    for source, counts in SMALL.image_counts().items():
        manifest = build(BuildSpec(source, image_size=32), archives[source], files, max_rejects=0)
        assert manifest.counts["records"] == sum(counts.values()) and manifest.counts["rejects"] == 0


def test_splits_have_the_promised_sizes_and_share_no_patient(archives):
    for source, counts in SMALL.image_counts().items():
        split_of, images = {}, defaultdict(int)
        for record in records_of(archives, source):
            assert (archives[source] / record.path).is_file()
            assert split_of.setdefault(record.patient_id, record.split) == record.split
            images[record.split] += 1
        if source == "nih_cxr14":  # its reader cuts train and val by a hash
            assert images["train"] + images["val"] == SMALL.nih_train_val and images["test"] == SMALL.nih_test
        else:
            assert {split: images[split] for split in counts} == counts
        assert len(split_of) < sum(images.values())  # some patients have several images


@pytest.mark.parametrize(
    ("source", "folder"),
    [("mimic_cxr", "MIMIC-CXR"), ("chexpert", "CheXpert-v1.0-small"), ("nih_cxr14", "NIH-ChestX-ray14")],
)
def test_tables_have_the_columns_of_the_real_ones(archives, shared_data, source, folder):
    for real in sorted((shared_data / "real_cxr" / folder).glob("*.csv*")):
        if not real.name.startswith("BBox"):
            assert first_line(archives[source] / real.name).strip() == first_line(real).strip(), real.name


def test_chexpert_codes_are_the_official_ones(archives):
    cells = {}
    for part in ("train", "valid"):
        with open(archives["chexpert"] / f"{part}.csv") as table:
            rows = list(csv.DictReader(table))
        cells[part] = {row[column] for row in rows for column in chexpert.COLUMNS}
        assert all(row["Path"].startswith(f"CheXpert-v1.0-small/{part}/patient") for row in rows)
    assert cells == {"train": {"1.0", "0.0", "-1.0", ""}, "valid": {"1.0", "0.0"}}


def test_dicoms_are_of_several_kinds(archives):
    kinds, syntaxes = set(), set()
    for path in sorted(archives["mimic_cxr"].rglob("*.dcm")):
        header = pydicom.dcmread(path)
        kinds.add((header.PhotometricInterpretation, header.BitsStored))
        syntaxes.add(header.file_meta.TransferSyntaxUID.name)
        assert header.Modality in ("DX", "CR") and header.ViewPosition in ("AP", "PA")
        assert header.StudyID == path.parent.name[1:] and header.PatientID == path.parent.parent.name[1:]
    assert kinds == {("MONOCHROME1", 12), ("MONOCHROME2", 8)}
    assert syntaxes == {"Explicit VR Little Endian", "RLE Lossless"}


@pytest.fixture(scope="module")
def many_images(tmp_path_factory) -> dict[str, Path]:
    """Enough test images for a correlation to be seen: its sd without any relation is 1 / sqrt(300) = 0.06."""
    spec = SyntheticSpec(
        image_size=32,
        corpus_train=300,
        corpus_val=2,
        chexpert_train=2,
        chexpert_valid=300,
        nih_train_val=2,
        nih_test=300,
    )
    return write_archives(spec, tmp_path_factory.mktemp("many"))


@pytest.mark.parametrize("source", READERS)
def test_nothing_but_the_picture_tells_the_labels(many_images, source):
    records = records_of(many_images, source)
    if source == "mimic_cxr":
        headers = [pydicom.dcmread(many_images[source] / record.path) for record in records]
        sizes = {(header.Columns, header.Rows) for header in headers}
        clues = {
            "polarity": [header.PhotometricInterpretation == "MONOCHROME1" for header in headers],
            "modality": [header.Modality == "DX" for header in headers],
            "compressed": [header.file_meta.TransferSyntaxUID.is_compressed for header in headers],
            "date": [int(header.StudyDate) for header in headers],
        }
    else:
        sizes = {Image.open(many_images[source] / record.path).size for record in records}
        clues = {"age": [record.age for record in records], "sex": [record.sex == "M" for record in records]}
    assert sizes == {(32, 32)}
    clues["row"] = range(len(records))
    clues["patient"] = [int(re.sub(r"\D", "", record.patient_id)) for record in records]
    clues["view"] = [record.view_position == "AP" for record in records]
    labels = np.array([[label == 1 for label in record.labels] for record in records], dtype=float)
    varied = labels[:, labels.std(axis=0) > 0]
    assert varied.shape[1] >= 13
    for name, clue in clues.items():
        values = np.array(clue, dtype=float)
        assert values.std() > 0, name
        found = [abs(np.corrcoef(values, column)[0, 1]) for column in varied.T]
        assert max(found) < 0.3, name


@pytest.mark.parametrize(
    ("source", "part", "images", "findings"),
    [
        ("chexpert", "valid", SyntheticSpec().chexpert_valid, chexpert.FINDINGS),
        ("nih_cxr14", "test", SyntheticSpec().nih_test, nih_cxr14.FINDINGS),
    ],
)
def test_every_finding_of_the_default_test_sets_has_both_classes(source, part, images, findings):
    studies = draw_studies(source, images, stream(SyntheticSpec(), source, part))
    assert sum(study.images for study in studies) == images
    for finding in findings:
        positives = sum(study.images for study in studies if finding in present_findings(study.signs))
        assert 10 <= positives <= images - 10, finding


def test_impressions_name_what_the_picture_shows():
    named = total = without = 0
    for number, study in enumerate(draw_studies("mimic_cxr", 600, np.random.default_rng(3))):
        report = write_report(study.signs, "AP", np.random.default_rng(number))
        findings, impression = sections_of(report.text)
        assert findings or impression
        assert all(len(line) <= 78 for line in report.text.splitlines())
        if impression is None:
            without += 1
            continue
        for sign in study.signs:
            hit = bool(re.search(WORDS[sign.finding], impression, re.IGNORECASE))
            named, total = named + hit, total + 1
        if not study.signs:
            assert re.search(r"no (radiographic|evidence|acute)|normal|unremarkable", impression, re.IGNORECASE)
    assert named > 0.95 * total > 0 and 0 < without < 60


def test_reports_affirm_only_what_is_there_and_on_the_right_side():
    rng = np.random.default_rng(5)
    left_open = set()
    for number in range(300):
        signs = draw_signs(HOSPITALS["mimic_cxr"].population, rng)
        report = write_report(signs, "PA", np.random.default_rng(number))
        text = " ".join(part for part in sections_of(report.text) if part).lower()
        present = present_findings(signs)
        assert all(finding in present for finding, code in report.mentions.items() if code == 1)
        assert all(finding not in present for finding, code in report.mentions.items() if code == 0)
        for finding in (finding for finding, code in report.mentions.items() if code != 0):
            assert not any(denial.lower() in text for denial in DENIALS.get(finding, ())), (finding, text)
        left_open |= {finding in present for finding, code in report.mentions.items() if code == -1}
        sides = {"bilateral" if s.side == BOTH else "left" if s.side == LEFT else "right" for s in signs}
        said = set(re.findall(r"\b(left|right|bilateral)\b", text))
        assert said <= sides
        for finding in ("hernia", "fibrosis", "nodule", "mass", "emphysema"):
            if finding not in present:
                assert not re.search(WORDS[finding], text)
    assert left_open == {True, False}  # a doubt tells nothing for certain


def test_reports_compare_only_with_a_study_that_is_there_and_keep_words_whole():
    rng = np.random.default_rng(6)
    compared = 0
    for number in range(300):
        signs = draw_signs(HOSPITALS["mimic_cxr"].population, rng)
        text = write_report(signs, "PA", np.random.default_rng(number)).text
        assert not re.search(r"[a-z]-$", text, re.MULTILINE) and not re.search(r"[{}]|\ba [aeiou]", text)
        if re.search(r"similar to before|again seen", text, re.IGNORECASE):
            compared += 1
            assert re.search(r"COMPARISON:  (Chest radiograph|Prior study)", text)
    assert compared > 20


def test_every_finding_changes_the_picture_and_no_finding_leaves_it():
    rng = np.random.default_rng(0)
    seen = set()
    while len(seen) < len(FINDINGS):
        anatomy = draw_anatomy(rng)
        for sign in draw_signs(HOSPITALS["mimic_cxr"].population, rng):
            bare, shown = (render(anatomy, signs, 64, Camera(), np.random.default_rng(1)) for signs in ((), (sign,)))
            assert np.abs(shown - bare).max() > 0.04, sign
            assert shown.shape == (64, 64) and shown.dtype == np.float32 and np.isfinite(shown).all()
            faint = render(anatomy, (sign,), 64, Camera(), np.random.default_rng(1), contrast=0.0)
            np.testing.assert_array_equal(faint, bare)
            seen.add(sign.finding)


def test_a_finished_root_is_left_alone_and_a_half_written_one_is_replaced(tmp_path):
    paths = write_archives(SMALL, tmp_path)
    before = digests(tmp_path)
    (paths["chexpert"] / "train.csv").write_text("touched")
    calls = []
    assert write_archives(SMALL, tmp_path, lambda *call: calls.append(call)) == paths == is_written(SMALL, tmp_path)
    assert calls == [] and (paths["chexpert"] / "train.csv").read_text() == "touched"
    assert is_written(replace(SMALL, seed=1), tmp_path) is None
    (tmp_path / MARKER).rename(tmp_path / STARTED)  # as if it had been killed
    assert is_written(SMALL, tmp_path) is None
    write_archives(SMALL, tmp_path, lambda *call: calls.append(call))
    assert digests(tmp_path) == before
    total = sum(sum(splits.values()) for splits in SMALL.image_counts().values())
    assert calls[-1][:2] == (total, total) and [call[0] for call in calls] == sorted({call[0] for call in calls})


def test_data_that_was_not_made_here_is_not_touched(tmp_path):
    real = tmp_path / "MIMIC-CXR"
    real.mkdir()
    (real / "precious.txt").write_text("keep")
    with pytest.raises(ArchiveError, match="may be real data"):
        write_archives(SMALL, tmp_path)
    assert (real / "precious.txt").read_text() == "keep"


@pytest.mark.parametrize("marker", [b"\xff{}", b"[" * 100_000, b"[]", b"{"])
def test_a_marker_with_other_content_says_that_nothing_is_written(tmp_path, marker):
    (tmp_path / MARKER).write_bytes(marker)
    assert is_written(SMALL, tmp_path) is None


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_marker_that_is_no_file_is_not_waited_for_and_nothing_is_removed_by_it(tmp_path, make):
    (tmp_path / "MIMIC-CXR").mkdir()
    for name in (MARKER, STARTED):
        make(tmp_path / name)
        assert is_written(SMALL, tmp_path) is None
        with pytest.raises(ArchiveError, match=rf"{name} is a (FIFO|folder) and no file of the made-up archives"):
            write_archives(SMALL, tmp_path)
        (tmp_path / name).rename(tmp_path / "away")
        (tmp_path / "away").rmdir() if make is os.mkdir else (tmp_path / "away").unlink()
    assert (tmp_path / "MIMIC-CXR").is_dir()


@pytest.mark.parametrize("wrong", [{"image_size": 8}, {"nih_test": 0}, {"contrast": -1.0}])
def test_a_spec_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="allowed"):
        SyntheticSpec(**wrong)


def test_textures_are_even_in_number_and_the_same_every_time():
    pixels, labels = textures_and_shapes(45, 32, seed=7)
    again = textures_and_shapes(45, 32, seed=7)
    assert pixels.shape == (45, 32, 32) and pixels.dtype == np.uint8 and labels.dtype == np.int64
    np.testing.assert_array_equal(pixels, again[0])
    np.testing.assert_array_equal(labels, again[1])
    assert (np.bincount(labels, minlength=len(NAMES)) == 3).all()
    assert pixels.std(axis=(1, 2)).min() > 3
