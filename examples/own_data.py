"""Your own data: a folder with images.csv, one row an image, as corpus and as the set that encoders are evaluated on.

    radsweep run --study examples/own_data.py --storage own-data --raw csv_images=/data/mine

images.csv has the columns path, patient_id, one for each finding (1, 0, empty for unlabelled), and perhaps report: then
CLIP can be a row too. Splits are by patient. All columns: docs/data.md.
"""

from dataclasses import replace

from datasets_io.build import BuildSpec
from sweep.studies import Dataset, Study, demo

IMAGE_SIZE = 32  # 224 for a network of full size, as paper() has it


def study() -> Study:
    base = demo()
    rows = {row.name: row for row in base.rows}
    # Of the presets also SimCLR sees images with a report only, so that all methods see the same ones.
    simclr = replace(rows["simclr"], recipe=replace(rows["simclr"].recipe, require_impression=False))
    mine = BuildSpec("csv_images", image_size=IMAGE_SIZE)
    recipe = base.datasets[1].recipe  # NIH's, with the table's splits: train, val and test
    return replace(
        base,
        name="own_data",
        title="SimCLR on my own radiographs",
        corpus=mine,
        datasets=(Dataset("My radiographs", mine, recipe),),
        rows=(rows["random"], rows["imagenet"], simclr),
        synthetic=None,  # nothing is made up: --raw is needed
    )
