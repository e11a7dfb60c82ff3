"""Do the figures that need networks and images show what the stored cells predicted?"""

import io
import math
import re
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from trained_storage import small_study, train

from datasets_io.corpus.read import read_manifest
from datasets_io.pixels.grey import resize
from datasets_io.sources.parts.nih_boxes import Box
from sweep.export.encoder_files import export_encoder, find_encoder
from sweep.figures import feature_maps, grad_cam_panels, pointing_game
from sweep.figures.draw import draw_all
from sweep.figures.drawing import CannotDraw
from sweep.figures.models import cell_network, first_cell
from sweep.figures.own_svg import own_svg
from sweep.figures.view import make_view
from sweep.store.snapshot import Origin, Snapshot
from trainables.evaluation.cell_model import FROZEN, TUNED, CellModel
from trainables.evaluation.encoder_features import ImageSample, equally_many, image_features, sample_images
from trainables.networks.backbones import DemoCnn
from trainables.recipe import BackboneSpec
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation import prepare
from trainables.views.evaluation_spec import EvalSpec, paper_chexpert


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(small_study(), tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def view(trained):
    return make_view(trained.study, trained.plan, trained.results(), trained.store, trained.data_folders, trained.raw)


@pytest.fixture(scope="module")
def drawings(trained, view):
    return draw_all(view.study, view.plan, view.results, view.store, view.data_folders, view.raw)


def only_probes(view):
    """The same study as if only linear probes were in its plan."""
    plan = replace(view.plan, cells=tuple(cell for cell in view.plan.cells if cell.protocol == "LP"))
    return replace(view, snapshot=replace(view.snapshot, plan=plan))


def predictions(view, cell) -> dict[str, list]:
    return pq.read_table(io.BytesIO(view.store.open(cell).read("predictions.parquet"))).to_pydict()


@pytest.mark.parametrize("only_tuned", [True, False])
def test_shown_probabilities_are_the_stored_predictions(view, drawings, only_tuned):
    dataset = view.datasets[1]
    if not only_tuned:  # as if LPFT networks had not been kept: the probe's head on the encoder
        view = only_probes(view)
    drawing = grad_cam_panels.draw(view, dataset, ())
    protocol = "LPFT" if only_tuned else "LP"
    examples = drawing.numbers["examples"]
    assert len(examples) == 5 and [e["present"] for e in examples] == [True] * 4 + [False]
    for row in view.rows:
        stored = predictions(view, first_cell(view, row.name, dataset.source, protocol, 100))
        assert cell_network(view, row, dataset).kind == (TUNED if only_tuned else FROZEN)
        for example in examples:
            i = stored["image_id"].index(example["image_id"])
            assert stored[f"label_{example['finding']}"][i] == int(example["present"])
            expected = 1 / (1 + math.exp(-stored[f"logit_{example['finding']}"][i]))
            assert example["probability"][row.name] == pytest.approx(expected, abs=1e-5)


def test_all_pictures_are_drawn(drawings):
    for name in ("grad_cam_chexpert", "grad_cam_nih_cxr14", "feature_map_figure_2"):
        assert drawings[name].missing is None, drawings[name].missing
        assert drawings[name].png and "<image" in drawings[name].svg
    assert all(own_svg(d.svg.encode()) == d.svg for d in drawings.values() if d.missing is None)
    assert "none of the methods" in drawings["feature_map_figure_5"].missing
    assert "BBox_List_2017.csv" in drawings["pointing_game"].missing
    assert not [d.missing for d in drawings.values() if d.missing and "Drawing failed" in d.missing]


def test_the_feature_map_says_which_network_and_gives_numbers(view, drawings):
    numbers = drawings["feature_map_figure_2"].numbers
    assert set(numbers) == {f"{row} {d.source}" for row in ("simclr", "clip+simclr") for d in view.datasets}
    assert {one["network"] for one in numbers.values()} == {TUNED}
    for one in numbers.values():
        assert 0 <= one["classifier_auroc"] <= 1 and one["mixing"] >= 0 and one["images"] > 100
        assert sum(one["held_out"]) > 60
    caption = drawings["feature_map_figure_2"].caption
    assert re.search(
        r"held-out ones first \(\d+ of the corpus, \d+ of CheXpert; \d+ of the corpus, \d+ of NIH-ChestX-Ray14", caption
    )
    again = feature_maps.draw(view, *feature_maps.FIGURES[0])
    assert again == drawings["feature_map_figure_2"]


def test_without_tuned_networks_the_encoders_are_shown(trained, view):
    drawing = feature_maps.draw(only_probes(view), *feature_maps.FIGURES[0])
    assert {one["network"] for one in drawing.numbers.values()} == {FROZEN} and "as pretrained" in drawing.caption


def test_without_images_the_reason_is_said(view):
    drawings = draw_all(view.study, view.plan, view.results, view.store)
    for name in ("grad_cam_chexpert", "feature_map_figure_2"):
        assert "has no shards of" in drawings[name].missing


def test_samples_are_seeded_and_leave_training_images_out_where_they_can(trained):
    files, folder = trained.store.files, trained.data_folders["nih_cxr14"]
    whole = sample_images(files, folder, 10_000, seed=0)
    again = sample_images(files, folder, 10_000, seed=0)
    other = sample_images(files, folder, 10_000, seed=1)
    assert whole.image_ids.tolist() == again.image_ids.tolist() != other.image_ids.tolist()
    assert len(whole) == 120 == len(set(whole.image_ids.tolist()))
    held_out = sample_images(files, folder, 40, seed=0)
    names = (trained.raw["nih_cxr14"] / "test_list.txt").read_text().split()
    assert len(held_out) == 40 and set(held_out.image_ids[:3].tolist()) <= set(whole.image_ids.tolist())
    assert np.mean([name in names for name in held_out.image_ids.tolist()]) > 0.5
    # Where test and val hold fewer, all of them are taken and training images fill up what lacks.
    counts = {name: one["images"] for name, one in read_manifest(files, folder).counts["splits"].items()}
    outside = counts["test"] + counts["val"]
    filled = sample_images(files, folder, outside + 10, seed=0)
    assert (len(filled), int(filled.held_out.sum())) == (outside + 10, outside)
    assert len(sample_images(files, folder, outside, seed=0)) == outside
    backbone = cell_network_of(trained)
    features = image_features(backbone, BackboneInput(EvalSpec(48)), whole.pixels, torch.device("cpu"), batch_size=7)
    assert features.shape == (120, 128)
    assert np.allclose(
        features, image_features(backbone, BackboneInput(EvalSpec(48)), whole.pixels, torch.device("cpu")), atol=1e-5
    )


def test_both_sets_of_a_map_are_equally_many_and_equally_sharp():
    """A corpus stored at 224 beside a dataset at 256: enlarged by the recipe, one would be told by its blur."""

    # Amplitudes fall with the frequency, as those of photographs and radiographs do.
    frequency = np.hypot(np.fft.fftfreq(320)[:, None], np.fft.fftfreq(320)[None])
    spectrum = np.fft.fft2(np.random.default_rng(0).normal(size=(5, 320, 320))) / np.maximum(frequency, 1 / 320) ** 1.5
    scenes = np.real(np.fft.ifft2(spectrum))
    scenes = (128 + 40 * scenes / scenes.std()).clip(0, 255).astype(np.uint8)

    def sample(name, count, side):
        ids = np.array([f"{name}{i}" for i in range(count)])
        pixels = np.stack([resize(image, side) for image in scenes[:count]])
        return ImageSample(name, pixels, ids, ids, np.ones(count, bool))

    def detail(one):
        """Energy above half of the highest frequency of what a network sees."""
        seen = prepare(paper_chexpert(224), one.pixels, None, torch.device("cpu"))[:, 0].numpy()
        along = np.abs(np.fft.fftfreq(224))
        high = np.hypot(along[:, None], along[None]) > 0.25
        return float((np.abs(np.fft.fft2(seen)) ** 2)[:, high].sum())

    corpus, dataset = equally_many(sample("a", 5, 224), sample("b", 4, 256))
    assert len(corpus) == len(dataset) == 4 and corpus.side == dataset.side == 224
    assert corpus.image_ids.tolist() == ["a0", "a1", "a2", "a3"] and len(corpus.held_out) == 4
    assert dataset.at(224) is dataset
    assert detail(dataset) / detail(corpus) == pytest.approx(1, abs=0.08)  # bilinear twice: 0.82
    assert detail(sample("b", 4, 256)) / detail(corpus) > 1.5


def cell_network_of(trained):
    view = make_view(trained.study, trained.plan, (), trained.store)
    return cell_network(view, view.rows[0], view.datasets[0]).backbone


def test_a_probe_whose_batch_norm_adapted_is_not_explained_by_another_backbone(view):
    dataset = view.datasets[0]
    adapted = replace(dataset, recipe=replace(dataset.recipe, linear_probe_bn_eval=False))
    assert cell_network(only_probes(view), view.rows[0], dataset) is not None
    assert cell_network(only_probes(view), view.rows[0], adapted) is None


def test_the_pointing_game_counts_hits(view):
    dataset = view.datasets[1]
    test, _ = grad_cam_panels.test_part(view, dataset, view.rows[0].recipe.backbone)
    everywhere = tuple(Box(image_id, "mass", 0, 0, 1, 1) for image_id in test.image_ids[:5])
    drawing = pointing_game.draw(view, dataset, everywhere)
    for one in drawing.numbers["accuracy"].values():
        assert one["n"] == 5 and one["hits"] <= 5
    assert drawing.numbers["chance"] == 1.0 and own_svg(drawing.svg.encode()) == drawing.svg
    elsewhere = (Box("no_such.png", "mass", 0, 0, 1, 1),)
    with pytest.raises(Exception, match="None of the 1 boxes"):
        pointing_game.draw(view, dataset, elsewhere)


def test_a_point_lies_in_a_box_or_not():
    heat = np.zeros((4, 4))
    assert not pointing_game.is_hit(heat, (0, 0, 1, 1))
    heat[1, 2] = 1  # its middle is at x 0.625, y 0.375
    assert pointing_game.is_hit(heat, (0.5, 0.25, 0.25, 0.25))
    assert not pointing_game.is_hit(heat, (0, 0, 0.6, 1)) and not pointing_game.is_hit(heat, (0, 0.4, 1, 0.6))


def test_a_box_follows_the_resize_and_the_central_crop():
    box = grad_cam_panels.shares(Box("a", "mass", 0.5, 0.5, 0.25, 0.25))
    assert BackboneInput(EvalSpec(224)).box_in_view(box) == (0.5, 0.5, 0.25, 0.25)
    left, top, width, height = BackboneInput(EvalSpec(224, resize=256)).box_in_view(box)
    assert (left, top) == (0.5, 0.5) and width == height == pytest.approx(0.25 * 256 / 224)


def test_wilsons_interval_is_that_of_the_text_book():
    low, high = pointing_game.Pointing(8, 10, 0.1).interval
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


def test_the_tuned_network_of_one_seed_is_kept(trained):
    names = {cell: set(trained.store.open(cell).result["files"]) for cell in trained.plan.cells}
    for cell, files in names.items():
        assert ("backbone.safetensors" in files) == (cell.protocol == "LPFT" and cell.seed == 0)
        assert ("head.safetensors" in files) == (cell.protocol == "LP" or cell.seed == 0)


def test_a_pretrained_encoder_is_exported_with_its_text_tower_and_numbers(trained, tmp_path):
    data = Snapshot(
        trained.study, trained.plan, trained.results(), {}, trained.store, Origin("small", trained.store.uri)
    )
    made = export_encoder(data, find_encoder(data, "clip+simclr"), tmp_path / "out")
    text = {"objective.safetensors", "tokenizer.json", "text_tower.json"}
    assert set(made.files) == {"model.safetensors", *text, "README.md"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "images of `mimic_cxr`" in card and "| CheXpert | LPFT | 100% |" in card and "2 of 2" in card


def test_a_network_without_a_map_is_named_below_the_figure_and_hides_no_other():
    class Flat(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :128]

    torch.manual_seed(0)
    head, images, asked = torch.nn.Linear(128, 2), torch.randn(1, 3, 32, 32), torch.tensor([1])
    spec = BackboneSpec("demo_cnn", 32)
    flat, seen = CellModel(Flat(), head, "frozen", spec), CellModel(DemoCnn().eval(), head, "frozen", spec)
    shown = {"flat": images, "seen": images}
    explained, said = grad_cam_panels._explained({"flat": flat, "seen": seen}, shown, asked)
    assert list(explained) == ["seen"] and said.startswith(" Not shown: flat (Flat has no `layers`")
    with pytest.raises(CannotDraw, match="Not shown: flat"):
        grad_cam_panels._explained({"flat": flat}, shown, asked)
