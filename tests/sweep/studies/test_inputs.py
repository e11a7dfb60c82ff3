"""Is a network given what the row it starts from was given, and does the plan say so of every row?"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch
from made_up_study import plan_of
from small_pretraining import corpus, recipe_of

from datasets_io.corpus.read import CorpusBatch
from datasets_io.fingerprint import fingerprint
from sweep.studies import BASELINE, EncoderRow, demo, paper
from sweep.studies.cell import seen_at
from sweep.studies.inherited import inherited
from sweep.studies.inputs import input_line, input_lines
from trainables.pretraining.task import Pretraining
from trainables.protocols.registry import identity_of
from trainables.recipe import BackboneSpec, PretrainRecipe, RandomInit, Resources
from trainables.views.preprocessing import Preprocessing

OWN = Preprocessing(48, "shortest", 54, "bicubic", mean=(0.53,) * 3, std=(0.26,) * 3)


def study_with(own=OWN, **changes):
    """The demo with a foreign row that a pretraining starts from, and a third that starts from that."""
    study = demo()
    clip = next(row for row in study.rows if isinstance(row.recipe, PretrainRecipe))
    first = replace(clip, name="first", recipe=replace(clip.recipe, initial="foreign", **changes))
    second = replace(clip, name="second", recipe=replace(clip.recipe, initial="first"))
    foreign = EncoderRow("foreign", "Foreign", BASELINE, RandomInit(BackboneSpec("demo_cnn", preprocessing=own)))
    return replace(study, rows=(*study.rows, second, first), hidden_rows=(*study.hidden_rows, foreign))


def test_a_pretraining_goes_on_as_its_start_was_fed():
    rows = {row.name: row for row in study_with().rows}
    size = rows["clip"].recipe.backbone.image_size
    for name in ("first", "second"):
        assert rows[name].recipe.backbone.preprocessing == OWN.at_size(size)
    assert rows["clip"].recipe.backbone.preprocessing is None
    named = replace(OWN.at_size(size), mean=(0.1,) * 3)
    backbone = replace(rows["clip"].recipe.backbone, preprocessing=named)
    stated = {row.name: row.recipe.backbone.preprocessing for row in study_with(backbone=backbone).rows}
    assert stated["first"] == stated["second"] == named


def test_what_is_no_row_is_left_to_the_check():
    rows = study_with().rows
    odd = (SimpleNamespace(name="odd", recipe=None), SimpleNamespace(name=1, recipe=rows[0].recipe), "odd", None)
    assert inherited((*odd, rows[0])) == (*odd, rows[0])
    assert inherited(list(rows)) == list(rows) and inherited(rows, None) is rows


def test_keys_move_with_a_preprocessing_and_only_of_the_rows_that_have_it():
    def keys(study):
        return {run.row: run.key for run in plan_of(study).encoders}

    one, other = keys(study_with()), keys(study_with(replace(OWN, fill=1)))
    assert {name for name in one if one[name] != other[name]} == {"foreign", "first", "second"}


def test_a_circle_of_rows_is_left_to_the_check():
    study = study_with()
    rows = tuple(replace(r, recipe=replace(r.recipe, initial="second")) if r.name == "first" else r for r in study.rows)
    clip = next(row for row in demo().rows if row.name == "clip")
    circle = [replace(row, recipe=replace(clip.recipe, initial=row.recipe.initial)) for row in rows[-2:]]
    assert len(replace(study, rows=(*rows[:-2], *circle)).rows) == len(rows)


def test_every_row_has_a_readable_line():
    study = study_with()
    assert input_line(study.hidden_rows[-1].recipe.backbone, study) == (
        "48 px: shorter side to 54, centre 48 cut out, bicubic (Pillow); 3 channels, 0 to 1, mean 0.53, std 0.26"
    )
    names = [name for names, _ in input_lines(study) for name in names.split(", ")]
    assert sorted(names) == sorted(row.name for row in study.rows)
    ((part, _),) = input_lines(demo(), {"clip", "random", "no row"})
    assert part == "random, clip"
    ((names, line),) = input_lines(demo())
    assert names.startswith("random, imagenet, ") and line.startswith(
        "as the data set says: CheXpert, NIH-ChestX-Ray14 32 px: squashed to 32 x 32, bilinear"
    )
    ((_, line),) = input_lines(paper())
    assert line == (
        "as the data set says: CheXpert 224 px: squashed to 256 x 256, centre 224 cut out, bilinear (torch, floats); "
        "3 channels, 0 to 1, mean 0.485 0.456 0.406, std 0.229 0.224 0.225; NIH-ChestX-Ray14 224 px: squashed to "
        "224 x 224, bilinear (torch, floats); 3 channels, 0 to 1, mean 0.485 0.456 0.406, std 0.229 0.224 0.225"
    )


def test_views_are_normalised_by_the_backbones_own_values():
    recipe = recipe_of("simclr")
    own = Preprocessing(recipe.backbone.image_size, mean=(0.5,) * 3, std=(0.25,) * 3)
    tasks = [
        Pretraining(
            replace(recipe, backbone=replace(recipe.backbone, preprocessing=values)),
            0,
            corpus(),
            Resources(precision="float32"),
            None,
            torch.device("cpu"),
        )
        for values in (None, own)
    ]
    size = recipe.global_batch_size
    pixels = np.random.default_rng(0).integers(0, 256, (size, 32, 32), dtype=np.uint8)
    by_imagenet, by_own = (task.make_batch(CorpusBatch(pixels, [""] * size), "views", 0, size) for task in tasks)
    for name, views in by_own.views.items():
        grey = by_imagenet.views[name][:, 0] * 0.229 + 0.485
        torch.testing.assert_close(views[:, 1], (grey - 0.5) / 0.25, atol=1e-4, rtol=0)


def test_cells_at_another_size_than_the_data_sets_are_computed_anew():
    """They were computed at EvalSpec's size: none of these results may be taken for what is computed now."""
    study = demo()
    cell = plan_of(study).cells[0]
    run = cell.encoder
    larger = replace(run, recipe=replace(run.recipe, backbone=replace(run.recipe.backbone, image_size=96)))
    assert seen_at(run, cell.recipe) is None and seen_at(larger, cell.recipe) == 96
    parts = [
        run.key,
        cell.dataset,
        cell.data_fingerprint,
        identity_of(cell.protocol),
        cell.label_percent,
        cell.seed,
        cell.recipe.key,
    ]
    assert cell.key == fingerprint(["cell", *parts])
    assert replace(cell, encoder=larger).key == fingerprint(["cell", larger.key, *parts[1:], 96])
    own = replace(larger, recipe=replace(larger.recipe, backbone=BackboneSpec("demo_cnn", preprocessing=OWN)))
    assert seen_at(own, cell.recipe) is None  # the encoder's own key says it
