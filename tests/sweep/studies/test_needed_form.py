"""Is each encoder's dataset built so that its images need not be enlarged, and as declared wherever that serves?"""

from dataclasses import replace

import pytest

from datasets_io.build.spec import BuildSpec
from sweep.studies import demo, paper, released
from sweep.studies.needed_form import LADDER, needed_form, needed_side
from trainables.recipe import BackboneSpec
from trainables.views.evaluation_spec import EvalSpec
from trainables.views.preprocessing import Preprocessing

DECLARED = BuildSpec("chexpert", 256, intensity="voi")
CROPPED = EvalSpec(224, resize=256, flip_p=0.5)
TEN_CROPS = EvalSpec(224, ten_crop=True, test_resize=256)


def fed(size, geometry="shortest", resize=None):
    """A network that was trained so."""
    return BackboneSpec("resnet50", size, preprocessing=Preprocessing(size, geometry, resize))


@pytest.mark.parametrize("study", [demo(), paper(), released()], ids=lambda study: study.name)
def test_rows_of_presets_read_what_they_declare(study):
    for dataset in study.datasets:
        for row in study.rows:
            assert needed_form(row.recipe.backbone, dataset.recipe.eval_spec, dataset.build) is dataset.build


def test_a_network_without_preprocessing_reads_the_declared_build_unless_it_sees_more():
    assert needed_form(BackboneSpec("resnet50", 112), CROPPED, DECLARED) is DECLARED
    # 512 x 256 / 224 = 585: what a crop of 512 is cut from, in the data set's proportion.
    larger = needed_form(BackboneSpec("resnet50", 512), CROPPED, DECLARED)
    assert larger == replace(DECLARED, image_size=585)
    small = replace(DECLARED, image_size=224)
    assert needed_form(BackboneSpec("resnet50", 224), CROPPED, small) is small


def test_squashed_pictures_serve_squashing_encoders_of_at_most_their_size():
    assert needed_form(fed(224, "squash", 256), CROPPED, DECLARED) is DECLARED
    assert needed_form(fed(448, "squash"), CROPPED, DECLARED) == replace(DECLARED, shape="aspect", image_size=576)


@pytest.mark.parametrize("geometry", ["shortest", "longest"])
def test_other_geometries_need_the_ratio(geometry):
    for size, step in ((224, 256), (256, 256), (257, 384), (518, 576), (1024, 1024), (1025, 2048), (3000, 2048)):
        found = needed_form(fed(size, geometry), CROPPED, DECLARED)
        assert found == replace(DECLARED, shape="aspect", image_size=step), size
    kept = replace(DECLARED, shape="aspect", image_size=600)
    assert needed_form(fed(518, geometry), CROPPED, kept) is kept


def test_what_is_resized_before_the_crop_counts():
    assert needed_side(fed(224, "shortest", 256), EvalSpec(224)) == 256
    assert needed_side(fed(518), TEN_CROPS) == round(518 * 256 / 224)
    assert needed_form(fed(518), TEN_CROPS, DECLARED).image_size == 1024
    assert needed_form(fed(224, "squash"), replace(TEN_CROPS, test_resize=288), DECLARED).image_size == 384


def test_the_ladder_stays_as_it_is_since_keys_hang_on_it():
    assert LADDER == (256, 384, 576, 1024, 2048)
