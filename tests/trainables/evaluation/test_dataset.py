"""A dataset's parts: carved validation is labelled as training is, and a second test split is reported, no more."""

import gc
import io
import shutil
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

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
from trainables.evaluation import cell_job, features
from trainables.evaluation.cell_job import DownstreamJob, SeedTarget, run_job
from trainables.evaluation.dataset import load_parts
from trainables.evaluation.metrics import auroc_per_finding
from trainables.evaluation.supervised import Supervised
from trainables.evaluation.tuning.device_images import TrainingImages
from trainables.evaluation.tuning.seeds import side_by_side, train_seeds
from trainables.evaluation.tuning.static_steps import StaticSteps
from trainables.events import Outcome
from trainables.pretraining.encoder_job import EncoderJob, run_initial
from trainables.protocols import fine_tune, linear_probe
from trainables.recipe import (
    BackboneSpec,
    DownstreamRecipe,
    LabelPolicy,
    OptimizerSpec,
    RandomInit,
    Resources,
    SplitRecipe,
)
from trainables.training.loop import LoopState
from trainables.training.precision import Compute
from trainables.training.recorded import RecordedSteps
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation_spec import EvalSpec

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


def tuned(built, name: str, seeds: int = 3) -> tuple[list[Outcome], list[SeedTarget]]:
    """The cells of a fine-tuning, one job, of which the last one starts from a cell that is not there."""
    files, folder = built
    encoder = EncoderJob("random", "key", "encoder", RandomInit(BackboneSpec("demo_cnn", 32)), 0)
    run_initial(encoder, files.uri, lambda progress: None)
    keys = [f"{name}{seed}" for seed in range(seeds)]
    targets = [SeedTarget(key, key, seed, f"cells/{key}", keep_weights=True) for seed, key in enumerate(keys)]
    targets.append(SeedTarget(f"{name}-open", f"{name}-open", 9, f"cells/{name}-open", "cells/nowhere"))
    spec, outcomes = encoder.recipe.backbone, []
    run_job(
        DownstreamJob(fine_tune.PROTOCOL, 100, RECIPE, spec, "encoder", folder, tuple(targets)),
        files.uri,
        CPU,
        outcomes.append,
    )
    return outcomes, targets


def captured_side_by_side(tasks: Sequence[Supervised], resources: Resources) -> list[LoopState | Exception]:
    rows = np.concatenate([task.rows for task in tasks])
    images = TrainingImages(tasks[0].train_part, rows, tasks[0].device, 1 << 30)
    return side_by_side([StaticSteps(task, images, RecordedSteps()) for task in tasks])


def test_seeds_that_are_trained_side_by_side_are_stored_as_those_of_one_after_another(built, monkeypatch):
    files, _ = built
    _, alone = tuned(built, "alone")
    monkeypatch.setattr(cell_job, "_seeds_at_once", lambda context, count: count)
    monkeypatch.setattr(cell_job, "train_seeds", captured_side_by_side)
    outcomes, together = tuned(built, "together")
    assert sorted((one.key, one.status) for one in outcomes) == [
        ("together-open", "waiting"), *((f"together{seed}", "done") for seed in range(3)),
    ]  # fmt: skip
    for one, other in zip(alone[:3], together[:3], strict=True):
        first, second = (open_artefacts(files, target.folder) for target in (one, other))
        for field in ("findings", "best_epoch", "history", "subset_sha256", "num_val_images"):
            assert first.result[field] == second.result[field]
        for name in ("predictions.parquet", "backbone.safetensors", "head.safetensors"):
            assert first.read(name) == second.read(name)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: http://u:hunter22@h")]
)
def test_seeds_that_fail_together_as_for_want_of_memory_are_trained_alone(built, monkeypatch, caplog, error):
    asked, name = [], f"small-{type(error).__name__}"

    def too_small(tasks: Sequence[Supervised], resources: Resources) -> list[LoopState | Exception]:
        asked.append(len(tasks))
        if len(tasks) > 1:
            raise error
        return train_seeds(tasks, resources)

    monkeypatch.setattr(cell_job, "_seeds_at_once", lambda context, count: count)
    monkeypatch.setattr(cell_job, "train_seeds", too_small)
    outcomes, _ = tuned(built, name, 2)
    assert asked == [2, 1, 1] and f"trained one after another: {type(error).__name__}: CUDA" in caplog.text
    assert "hunter22" not in caplog.text
    assert [one.status for one in outcomes if one.key != f"{name}-open"] == ["done", "done"]


def test_networks_of_seeds_that_failed_are_free_as_soon_as_that_is_recorded(built, monkeypatch):
    held = []

    def failing(tasks: Sequence[Supervised], resources: Resources) -> list[LoopState | Exception]:
        held.extend(weakref.ref(task) for task in tasks)
        return [RuntimeError("it diverged") for _ in tasks]

    monkeypatch.setattr(cell_job, "_seeds_at_once", lambda context, count: count)
    monkeypatch.setattr(cell_job, "train_seeds", failing)
    gc.disable()  # a GPU's memory would wait for it
    try:
        outcomes, _ = tuned(built, "failed")
        assert [one.status for one in outcomes] == ["waiting", *["failed"] * 3]
        assert [task() for task in held] == [None] * 3
    finally:
        gc.enable()


def test_no_more_seeds_are_trained_side_by_side_than_torch_has_streams_for():
    two, twenty = Resources(seeds_at_once=2), Resources(seeds_at_once=20)
    for resources, count, expected in [(Resources(), 5, 5), (Resources(), 40, 16), (twenty, 40, 16), (two, 5, 2)]:
        context = SimpleNamespace(resources=resources, compute=Compute(torch.device("cuda")))
        assert cell_job._seeds_at_once(context, count) == expected
