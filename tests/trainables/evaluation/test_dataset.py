"""A dataset's parts: carved validation is labelled as training is, and a second test split is reported, no more."""

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.corpus.read import BLANK, open_split, read_manifest
from datasets_io.schema import POSITIVE, UNCERTAIN
from datasets_io.storage.artefacts import FAILED, is_done, open_artefacts
from datasets_io.storage.files import Files
from datasets_io.synthetic.archives import write_archives
from datasets_io.synthetic.plan import SyntheticSpec
from trainables.evaluation import features
from trainables.evaluation.cell_job import DownstreamJob, SeedTarget, run_job
from trainables.evaluation.dataset import load_parts
from trainables.evaluation.metrics import auroc_per_finding
from trainables.pretraining.encoder_job import EncoderJob, run_initial
from trainables.protocols import linear_probe
from trainables.recipe import BackboneSpec, DownstreamRecipe, LabelPolicy, OptimizerSpec, RandomInit, SplitRecipe
from trainables.training.precision import Compute
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation import EvalSpec

CPU = Compute(torch.device("cpu"))
FAST = OptimizerSpec("adam", 1e-2, (0.9, 0.999))
CARVED = SplitRecipe(val="carved", test="test", carve_percent=30)
RECIPE = DownstreamRecipe(2, 16, "val_auroc", EvalSpec(32), FAST, splits=CARVED)
WITH_SECOND = replace(RECIPE, splits=replace(CARVED, also_test="val"))
ARCHIVES = SyntheticSpec(
    image_size=32, corpus_train=4, corpus_val=4, chexpert_train=150, chexpert_valid=24, nih_train_val=12, nih_test=4
)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Files, str]:
    """A CheXpert archive with test labels: copies of the patients of valid.csv, under other names."""
    raw = Path(write_archives(ARCHIVES, tmp_path_factory.mktemp("raw"))["chexpert"])
    shutil.copytree(raw / "valid", raw / "test")
    for folder in sorted((raw / "test").iterdir()):
        folder.rename(folder.with_name(folder.name.replace("patient", "patient9")))
    table = (raw / "valid.csv").read_text().replace("valid/patient", "test/patient9")
    (raw / "test_labels.csv").write_text(table)
    files = Files(str(tmp_path_factory.mktemp("storage")))
    build(BuildSpec("chexpert", 32), raw, files)
    return files, data_folder(BuildSpec("chexpert", 32), raw)


def parts_of(built, recipe):
    files, folder = built
    return load_parts(files, folder, read_manifest(files, folder), recipe, BackboneInput(recipe.eval_spec))


def raw_labels(built, split, image_ids):
    files, folder = built
    images = open_split(files, folder, read_manifest(files, folder), split)
    place = {name: i for i, name in enumerate(images.image_ids)}
    return images.labels[[place[name] for name in image_ids]]


def test_carved_validation_reads_blank_and_uncertain_labels_as_training_does(built):
    """A labeller that mines reports writes no 0 for No Finding: left out, blanks would leave it no negative at all."""
    parts = parts_of(built, RECIPE)
    raw = raw_labels(built, "train", parts.val.image_ids)
    assert (raw == BLANK).any() and (raw == UNCERTAIN).any()
    assert parts.val.known.all()
    assert np.array_equal(parts.val.targets, np.isin(raw, (POSITIVE, UNCERTAIN)).astype(np.float32))
    no_finding = parts.val.targets[:, parts.findings.index("no_finding")]
    assert not np.isin(raw[:, parts.findings.index("no_finding")], (0,)).any() and set(no_finding) == {0.0, 1.0}


def test_carved_validation_leaves_out_what_training_leaves_out(built):
    parts = parts_of(built, replace(RECIPE, label_policy=LabelPolicy("zeros", "ignore")))
    raw = raw_labels(built, "train", parts.val.image_ids)
    assert np.array_equal(parts.val.known, raw != BLANK)
    assert np.array_equal(parts.val.targets, (raw == POSITIVE).astype(np.float32))


def test_a_second_test_split_is_a_part_of_its_own_without_a_policy(built):
    parts = parts_of(built, WITH_SECOND)
    assert parts_of(built, RECIPE).also_test is None
    assert all(name.startswith("valid/") for name in parts.also_test.image_ids)
    assert all(name.startswith("test/") for name in parts.test.image_ids)
    assert not set(parts.also_test.patient_ids) & {*parts.train.patient_ids, *parts.val.patient_ids}
    raw = raw_labels(built, "val", parts.also_test.image_ids)
    assert np.array_equal(parts.also_test.known, ~np.isin(raw, (BLANK, UNCERTAIN)))


@pytest.mark.parametrize("values", [("carved", "val", "val"), ("val", "test", "val"), ("carved", "test", "train")])
def test_a_second_test_split_that_chooses_or_is_the_first_is_refused(values):
    val, test, also = values
    with pytest.raises(ValueError, match=f"also_test is '{also}'"):
        SplitRecipe(val=val, test=test, also_test=also)


def test_a_second_test_split_is_predicted_and_changes_nothing_else(built):
    files, folder = built
    encoder = EncoderJob("random", "key", "encoder", RandomInit(BackboneSpec("demo_cnn", 32)), 0)
    run_initial(encoder, files.uri, lambda progress: None)
    outcomes = []
    for name, recipe in (("plain", RECIPE), ("second", WITH_SECOND)):
        target = SeedTarget(name, name, 0, f"cells/{name}")
        job = DownstreamJob(linear_probe.PROTOCOL, 100, recipe, encoder.recipe.backbone, "encoder", folder, (target,))
        run_job(job, files.uri, CPU, outcomes.append)
    assert [outcome.status for outcome in outcomes] == ["done", "done"], outcomes
    plain, second = (open_artefacts(files, f"cells/{name}") for name in ("plain", "second"))
    for field in ("macro_auroc", "findings", "best_epoch", "history"):
        assert plain.result[field] == second.result[field]
    assert plain.read("predictions.parquet") == second.read("predictions.parquet")
    assert "also_test" not in plain.result and "predictions_val.parquet" not in plain.result["files"]
    also = parts_of(built, WITH_SECOND).also_test
    table = pq.read_table(io.BytesIO(second.read("predictions_val.parquet"))).to_pydict()
    assert table["image_id"] == also.image_ids.tolist()
    findings = read_manifest(files, folder).findings
    logits = np.stack([table[f"logit_{finding}"] for finding in findings], axis=1)
    expected = auroc_per_finding(logits, also.targets, also.known, findings)
    stored = {one["finding"]: one["auroc"] for one in second.result["also_test"]["val"]}
    assert stored == {one.finding: pytest.approx(one.auroc, abs=1e-12) if one.auroc else None for one in expected}


def test_a_seed_whose_logits_are_no_numbers_costs_the_others_nothing(built, monkeypatch):
    files, folder = built
    encoder = EncoderJob("random", "key", "encoder", RandomInit(BackboneSpec("demo_cnn", 32)), 0)
    run_initial(encoder, files.uri, lambda progress: None)

    def spoilt(backbone, heads, *more):
        found = features.test_logits(backbone, heads, *more)
        found[1][3, 0] = float("nan")
        return found

    monkeypatch.setattr("trainables.evaluation.cell_job.test_logits", spoilt)
    targets = tuple(SeedTarget(f"s{seed}", f"s{seed}", seed, f"cells/s{seed}") for seed in range(3))
    job = DownstreamJob(linear_probe.PROTOCOL, 100, RECIPE, encoder.recipe.backbone, "encoder", folder, targets)
    outcomes = []
    run_job(job, files.uri, CPU, outcomes.append)
    assert [(one.key, one.status) for one in outcomes] == [("s0", "done"), ("s1", "failed"), ("s2", "done")]
    assert "a test logit is not finite" in str(outcomes[1].error)
    assert [is_done(files, one.folder) for one in targets] == [True, False, True]
    assert [files.exists(f"{one.folder}/{FAILED}") for one in targets] == [False, True, False]
