"""Two methods on one set: which pretraining is the better start on CheXpert, CLIP or SimCLR?

    radsweep run --study examples/two_methods.py --storage two-methods

runs on synthetic archives. On real ones: paper() instead of demo(), and --raw mimic_cxr=DIR --raw chexpert=DIR.
"""

from dataclasses import replace

from sweep.studies import Study, demo

ROWS = ("random", "imagenet", "clip", "simclr")  # the other names: radsweep list methods


def study() -> Study:
    base = demo()
    return replace(
        base,
        name="two_methods",
        title="CLIP against SimCLR on CheXpert",
        rows=tuple(row for row in base.rows if row.name in ROWS),
        datasets=tuple(dataset for dataset in base.datasets if dataset.source == "chexpert"),
    )
