"""The smallest study with every part of a sweep in it: a part of the small one, whose storage has it done."""

from dataclasses import replace

from sweep.studies import Study
from tests.sweep.small_study import study as small


def study() -> Study:
    base = small()
    rows = tuple(row for row in base.rows if row.name in ("imagenet", "simclr"))
    resources = replace(base.resources, checkpoint_every_steps=1)
    return replace(base, name="tiny", rows=rows, datasets=base.datasets[:1], resources=resources)
