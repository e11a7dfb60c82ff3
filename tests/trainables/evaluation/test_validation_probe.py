"""The probe that searches are judged by: it opens no val or test split, and training does not notice it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_pretraining import corpus, published, recipe_of

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.corpus.read import read_manifest
from datasets_io.storage.files import Files
from datasets_io.synthetic.archives import write_archives
from datasets_io.synthetic.plan import SyntheticSpec
from trainables.evaluation.dataset import Part
from trainables.evaluation.validation_probe import MAX_TRAIN_IMAGES, _at_most, held_out, validation_auroc
from trainables.networks.backbones import build_backbone
from trainables.pretraining.encoder_job import EncoderJob, run_pretraining
from trainables.recipe import BackboneSpec, DownstreamRecipe, OptimizerSpec, Resources, SplitRecipe
from trainables.training.precision import Compute
from trainables.views.evaluation_spec import EvalSpec

CPU = Compute(torch.device("cpu"))
RECIPE = DownstreamRecipe(
    6,
    16,
    "val_auroc",
    EvalSpec(32),
    OptimizerSpec("adam", 1e-2, (0.9, 0.999)),
    splits=SplitRecipe(val="val", test="val"),
)


def part(count: int, seed: int, signal: bool) -> Part:
    """Images whose first finding darkens the upper half, or means nothing."""
    generator = np.random.default_rng(seed)
    targets = (generator.random((count, 2)) < 0.5).astype(np.float32)
    pixels = generator.integers(100, 256, (count, 32, 32), dtype=np.uint8)
    if signal:
        pixels[targets[:, 0] == 1, :16] //= 3
        pixels[targets[:, 1] == 1, 16:] //= 3
    ids = np.array([f"i{k}" for k in range(count)])
    return Part(pixels, targets, np.ones((count, 2), bool), ids, ids, ids)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Files, str]:
    spec = SyntheticSpec(
        image_size=32, corpus_train=4, corpus_val=4, chexpert_train=120, chexpert_valid=12, nih_train_val=12, nih_test=4
    )
    raw = write_archives(spec, tmp_path_factory.mktemp("raw"))["chexpert"]
    files = Files(str(tmp_path_factory.mktemp("storage")))
    build(BuildSpec("chexpert", 32), raw, files)
    return files, data_folder(BuildSpec("chexpert", 32), raw)


def test_validation_is_of_training_patients_and_other_splits_are_never_opened(built):
    files, folder = built
    manifest = read_manifest(files, folder)
    others = [shard for shard in manifest.shards if shard.split != "train"]
    assert others
    for shard in others:  # opening one would now fail
        Path(files.full(f"{folder}/{shard.path}")).unlink()
    train, val = held_out(files, folder, RECIPE, BackboneSpec("demo_cnn", RECIPE.eval_spec.size))
    assert len(train) > len(val) > 0
    assert not set(train.patient_ids) & set(val.patient_ids)
    assert len(train) + len(val) <= manifest.counts["splits"]["train"]["images"]


def test_large_sets_are_cut_to_the_same_images_each_time():
    whole = part(MAX_TRAIN_IMAGES + 500, 0, signal=False)
    first, second = (_at_most(whole, MAX_TRAIN_IMAGES) for _ in range(2))
    assert len(first) == MAX_TRAIN_IMAGES and len(set(first.image_ids)) == MAX_TRAIN_IMAGES
    assert (first.image_ids == second.image_ids).all()
    places = [int(name[1:]) for name in first.image_ids]
    assert (first.pixels == whole.pixels[places]).all() and (first.targets == whole.targets[places]).all()
    small = part(10, 0, signal=False)
    assert _at_most(small, MAX_TRAIN_IMAGES) is small


def test_a_signal_is_seen_and_noise_is_chance():
    backbone = build_backbone(BackboneSpec("demo_cnn", 32), seed=0)
    seen = validation_auroc(backbone, RECIPE, part(200, 0, True), part(100, 1, True), CPU)
    noise = validation_auroc(backbone, RECIPE, part(200, 0, False), part(100, 1, False), CPU)
    assert seen > 0.9 and 0.35 < noise < 0.65
    one_class = part(100, 1, True)
    one_class.targets[:] = 0
    assert validation_auroc(backbone, RECIPE, part(200, 0, True), one_class, CPU) is None


@pytest.mark.parametrize("method", ["clip+mocov2"])
def test_probing_after_each_epoch_changes_nothing_of_the_encoder(tmp_path, method):
    torch.set_num_threads(1)
    seen = []

    def after_epoch(task, state):
        train, val = part(40, 0, True), part(20, 1, True)
        seen.append((state.step, validation_auroc(task.model.backbone, RECIPE, train, val, CPU)))

    hashes = []
    for name, hook in (("plain", None), ("probed", after_epoch)):
        job = EncoderJob(method, "key", "encoder", recipe_of(method), 0)
        run_pretraining(
            job, str(tmp_path / name), corpus(), Resources(), torch.device("cpu"), lambda _: None, after_epoch=hook
        )
        hashes.append(published(tmp_path / name).content_sha256)
    assert hashes[0] == hashes[1]
    assert [step for step, _ in seen] == [5, 10] and all(0 <= value <= 1 for _, value in seen)
