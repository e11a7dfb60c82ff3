"""A part of the smallest study: one pretraining and four cells."""

from dataclasses import replace

from sweep.studies import Study
from tests.chaos.tiny_study import study as tiny


def study() -> Study:
    base = tiny()
    return replace(
        base, name="image", rows=base.rows[1:], hidden_rows=base.rows[:1], seeds=(0,), protocols=("LP", "FT")
    )
