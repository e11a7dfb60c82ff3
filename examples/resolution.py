"""A resolution axis: does a network that sees more pixels do better? A row for each size, with its own pretraining.

    radsweep run --study examples/resolution.py --storage resolution

runs on synthetic archives. On real ones: paper() instead of demo(), SIZES = (224, 320, 448), and --raw for each.
"""

from dataclasses import replace

from sweep.studies import EncoderRow, Study, demo
from trainables.recipe import PretrainRecipe

SIZES = (32, 48)  # pixels of a side


def at_size(row: EncoderRow, size: int) -> EncoderRow:
    """The same row with a network that sees this size, under a name of its own."""
    recipe = replace(row.recipe, backbone=replace(row.recipe.backbone, image_size=size))
    if isinstance(recipe, PretrainRecipe):
        recipe = replace(recipe, initial=f"random-{size}")  # the row of that size that it starts from
    return replace(row, name=f"{row.name}-{size}", display=f"{row.display}, {size} px", recipe=recipe)


def study() -> Study:
    base = demo()
    stored = max(SIZES)  # what is stored is never enlarged
    chosen = [row for row in base.rows if row.name in ("random", "simclr")]
    return replace(
        base,
        name="resolution",
        title="SimCLR by resolution",
        corpus=replace(base.corpus, image_size=stored),
        datasets=tuple(replace(d, build=replace(d.build, image_size=stored)) for d in base.datasets),
        rows=tuple(at_size(row, size) for size in SIZES for row in chosen),
    )
