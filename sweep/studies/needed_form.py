"""In which form must a dataset be built so that an encoder can be fed as it was trained?"""

from dataclasses import replace

from datasets_io.build.spec import BuildSpec
from datasets_io.pixels.grey import MAX_SIZE
from trainables.recipe import BackboneSpec
from trainables.views.evaluation_spec import EvalSpec

# Shorter sides of stored pictures that keep their ratio. Fixed steps, so that an encoder's form depends on nothing but
# itself: another row moves no key, and rows of 384 and 518 share the one of 576.
LADDER = (256, 384, 576, 1024, MAX_SIZE)


def needed_side(backbone: BackboneSpec, eval_spec: EvalSpec) -> int:
    """The side in pixels, of a square or the shorter one, from which no image is enlarged for this network."""
    own = backbone.preprocessing
    if own is None:
        return eval_spec.at_size(backbone.image_size).stored_size
    return max(own.resize or own.size, eval_spec.test_side(own.size) or 0)


def needed_form(backbone: BackboneSpec, eval_spec: EvalSpec, declared: BuildSpec) -> BuildSpec:
    """The build that a row reads: the declared one where it serves, else a larger one, or one that keeps the ratio.

    backbone: the row's network; eval_spec, declared: of the dataset. A pure function of these three.
    """
    own, side = backbone.preprocessing, needed_side(backbone, eval_spec)
    fits = side <= declared.image_size
    if own is None:
        # A declared size that is smaller than what EvalSpec crops from is the study's choice, and the report says so.
        if fits or backbone.image_size <= eval_spec.size:
            return declared
        return replace(declared, image_size=min(side, MAX_SIZE))
    if fits and (own.geometry == "squash" or declared.shape == "aspect"):
        return declared
    return replace(declared, shape="aspect", image_size=next((step for step in LADDER if step >= side), MAX_SIZE))
