"""A leaderboard by linear probing: which frozen encoder leads, and do its nearest neighbours say the same?

    radsweep run --study examples/linear_probe.py --storage linear-probe

runs on synthetic archives. On real ones: strict() instead of demo(), and --raw for each archive. Encoders made
elsewhere are rows too: from trainables.encoder_source import from_timm, from_folder, and for example
EncoderRow("dino", "DINO ViT-B/16", BASELINE, from_timm("vit_base_patch16_224.dino")).
"""

from dataclasses import replace

from sweep.studies import Study, demo

ROWS = ("random", "imagenet", "clip", "simclr", "vicreg")


def study() -> Study:
    base = demo()
    return replace(
        base,
        name="linear_probe",
        title="Frozen encoders, by linear probing",
        rows=tuple(row for row in base.rows if row.name in ROWS),
        protocols=("LP",),
        training_free=("knn",),
    )
