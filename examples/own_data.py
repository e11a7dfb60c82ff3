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
    mine = BuildSpec("csv_images", image_size=IMAGE_SIZE)
    return replace(
        base,
        name="own_data",
        title="SimCLR on my own radiographs",
        corpus=mine,
        datasets=(Dataset("My radiographs", mine, base.datasets[0].recipe),),
        rows=tuple(row for row in base.rows if row.name in ("random", "imagenet", "simclr")),
        synthetic=None,  # nothing is made up: --raw is needed
    )
