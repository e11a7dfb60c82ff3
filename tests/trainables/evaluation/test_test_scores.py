"""Scores of test images and of studies: logits that do not tie, crops, the maximum and the mean over a study."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from trainables.evaluation.cell_job import DownstreamJob, JobContext
from trainables.evaluation.dataset import Part, Parts
from trainables.evaluation.features import evaluation_batch, mean_of_crops
from trainables.evaluation.features import test_logits as logits_of_test
from trainables.evaluation.metrics import auroc, auroc_per_finding
from trainables.evaluation.study_scores import study_aurocs
from trainables.networks.backbones import build_backbone, feature_dim
from trainables.protocols import fine_tune
from trainables.recipe import BackboneSpec, DownstreamRecipe
from trainables.training.precision import Compute
from trainables.views.evaluation_spec import EvalSpec

CPU = Compute(torch.device("cpu"))
SPEC = BackboneSpec("demo_cnn", 32)


def part(n: int, seed: int = 0) -> Part:
    rng = np.random.default_rng(seed)
    ids = np.array([f"i{k}" for k in range(n)])
    patients = np.array([f"p{k // 4}" for k in range(n)])
    labels = (rng.random((n, 2)) < 0.3).astype(np.float32)
    pixels = rng.integers(0, 256, (n, 32, 32), dtype=np.uint8)
    return Part(pixels, labels, np.ones((n, 2), bool), ids, patients, ids)


# -- logits ----------------------------------------------------------------------------------------


def test_large_logits_do_not_tie_as_their_probabilities_do():
    """A head whose logits lie around 25: as float32 every probability is 1, and each AUROC of them 0.5."""
    test, backbone = part(200), build_backbone(SPEC, seed=0)
    head = torch.nn.Linear(feature_dim(backbone), 2)
    torch.nn.init.constant_(head.bias, 25.0)
    (logits,) = logits_of_test(backbone, [head], DownstreamRecipe(1, 16, "val_loss", EvalSpec(32)), test, CPU)
    assert logits.dtype == np.float32 and (torch.from_numpy(logits).sigmoid() == 1).all()
    with torch.no_grad():
        images = torch.from_numpy(test.pixels).float()[:, None].expand(-1, 3, -1, -1) / 255
        mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        features = backbone.eval()((images - mean[:, None, None]) / std[:, None, None])
        expected = (features.double() @ head.weight.double().T + head.bias.double()).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-5)
    for f in range(2):
        assert auroc(logits[:, f], test.targets[:, f]) == pytest.approx(
            auroc(expected[:, f], test.targets[:, f]), abs=2e-3
        )
        assert auroc(logits[:, f], test.targets[:, f]) != 0.5


@pytest.mark.parametrize("spec", [EvalSpec(32), EvalSpec(24, ten_crop=True, test_resize=32)], ids=["plain", "crops"])
def test_heads_that_are_tested_together_say_what_each_says_alone_and_images_pass_once(spec):
    passed = []
    backbone = build_backbone(SPEC, seed=0)
    backbone.register_forward_hook(lambda module, given, output: passed.append(len(given[0])))
    heads = [torch.nn.Linear(feature_dim(backbone), 2) for _ in range(3)]
    recipe, test = DownstreamRecipe(1, 16, "val_loss", spec), part(300)
    together = logits_of_test(backbone, heads, recipe, test, CPU)
    assert sum(passed) == 300 * (10 if spec.ten_crop else 1)
    for head, logits in zip(heads, together, strict=True):
        assert np.array_equal(logits, logits_of_test(backbone, [head], recipe, test, CPU)[0])


def test_batches_without_gradients_are_as_large_as_each_device_likes_them():
    gpu = torch.device("cuda")
    sizes = {224: (20, 256, 25), 64: (256, 3136, 313), 16: (256, 4096, 4096), 2048: (8, 8, 8)}
    for side, expected in sizes.items():
        one = replace(part(1), pixels=np.zeros((1, side, side), np.uint8))
        found = evaluation_batch(one, CPU.device), evaluation_batch(one, gpu), evaluation_batch(one, gpu, 10)
        assert found == expected and evaluation_batch(one, CPU.device, 10) == expected[0]


@pytest.mark.parametrize(("mean", "sd"), [(-3, 3), (8, 5), (14, 6), (30, 4)])
def test_the_logit_of_the_mean_over_crops_is_that_of_float64_where_float32_saturates(mean, sd):
    logits = mean + sd * torch.randn(50, 10, 3, generator=torch.Generator().manual_seed(1))
    wide = logits.numpy().astype(np.longdouble)
    present, absent = (1 / (1 + np.exp(-side)) for side in (wide, -wide))
    expected = np.log(present.mean(axis=1)) - np.log(absent.mean(axis=1))
    np.testing.assert_allclose(mean_of_crops(logits).numpy(), expected.astype(float), rtol=1e-4, atol=1e-5)
    assert torch.equal(mean_of_crops(logits[:, :1]), logits[:, 0])


# -- studies ---------------------------------------------------------------------------------------


def test_studies_are_scored_by_the_maximum_and_by_the_mean_of_probabilities():
    """Written out study by study: CheXpert's rule, and the mean, with labels that are partly unknown."""
    rng = np.random.default_rng(3)
    logits = rng.normal(2, 3, (300, 4)).astype(np.float32)
    labels, known = rng.random((300, 4)) < 0.3, rng.random((300, 4)) < 0.8
    studies = [f"patient{i}/study{i % 7}" for i in rng.integers(0, 120, 300)]
    names = sorted(set(studies))
    found = study_aurocs(logits, labels, known, studies, ("a", "b", "c", "d"))
    for how, combine in (("max", np.max), ("mean", np.mean)):
        scores, truth, sure = (np.zeros((len(names), 4)) for _ in range(3))
        for row, name in enumerate(names):
            own = [i for i, study in enumerate(studies) if study == name]
            for f in range(4):
                scores[row, f] = combine(1 / (1 + np.exp(-logits[own, f].astype(np.float64))))
                truth[row, f] = any(labels[i, f] and known[i, f] for i in own)
                sure[row, f] = any(known[i, f] for i in own)
        expected = auroc_per_finding(scores, truth, sure.astype(bool), ("a", "b", "c", "d"))
        assert [(f.finding, f.n_pos, f.n_neg) for f in found[how]] == [(f.finding, f.n_pos, f.n_neg) for f in expected]
        assert [f.auroc for f in found[how]] == pytest.approx([f.auroc for f in expected], abs=1e-12)
    assert [f.auroc for f in found["max"]] != [f.auroc for f in found["mean"]]


def test_where_each_study_has_one_image_there_is_nothing_to_add():
    assert study_aurocs(np.zeros((3, 1)), np.zeros((3, 1)), np.ones((3, 1), bool), ["a", "b", "c"], ("f",)) == {}


def test_studies_of_two_patients_with_one_number_are_two():
    ids = np.array(["study1", "study1"])
    both = replace(part(2), patient_ids=np.array(["p", "q"]), study_ids=ids)
    assert len(set(both.studies)) == 2


# -- a label budget for validation -----------------------------------------------------------------


def context(percent: int, sampler: str = "image", budget: bool = True) -> JobContext:
    recipe = DownstreamRecipe(1, 16, "val_loss", EvalSpec(32), subset=sampler, budget_validation=budget)
    job = DownstreamJob(fine_tune.PROTOCOL, percent, recipe, SPEC, "encoder", "data", ())
    parts = Parts(part(400), part(200, 1), part(20, 2), ("a", "b"))
    return JobContext(job, None, parts, {}, CPU, lambda outcome: None)


@pytest.mark.parametrize("sampler", ["image", "patient", "stratified"])
def test_validation_has_as_small_a_share_as_training_where_the_recipe_says_so(sampler):
    sizes = {percent: len(context(percent, sampler).val_subset(0)) for percent in (1, 10, 100)}
    assert sizes == {1: 2, 10: 20, 100: 200}
    one, ten = (context(percent, sampler).val_subset(4) for percent in (1, 10))
    assert np.isin(one, ten).all() and not np.array_equal(ten, context(10, sampler).val_subset(5))
    if sampler == "patient":
        assert len(set(part(200, 1).patient_ids[ten])) == 5


def test_validation_is_whole_by_default():
    assert len(context(1, budget=False).val_subset(0)) == 200
    plain = DownstreamRecipe(1, 16, "val_loss", EvalSpec(32))
    assert plain.key != replace(plain, budget_validation=True).key
