"""Is a row made elsewhere evaluated as every other: same weights, same numbers; known by content in a study file?"""

import io
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
from safetensors.torch import save_file
from trained_storage import small_study, train

from datasets_io.fingerprint import derive_seed
from sweep.studies import BASELINE, EncoderRow, demo, load_study
from sweep.studies.plan import make_plan
from trainables.encoder_source import from_file
from trainables.networks.backbones import build_backbone
from trainables.recipe import RandomInit

STUDY = """
from dataclasses import replace
from sweep.studies import BASELINE, EncoderRow, demo
from trainables.encoder_source import from_file


def study():
    base = demo()
    row = EncoderRow("mine", "Mine", BASELINE, from_file({path!r}, base.rows[0].recipe.backbone))
    return replace(base, rows=(*base.rows, row))
"""


def weights(path):
    """The tensors that the network of seed 0 has in the random row of pretraining seed 0."""
    seed = derive_seed(derive_seed(0, "network", 0), "random_init")
    save_file(build_backbone(demo().rows[0].recipe.backbone, seed).state_dict(), path)
    return path


def test_equal_weights_give_equal_predictions(tmp_path):
    backbone = demo().rows[0].recipe.backbone
    rows = (
        EncoderRow("random", "Random", BASELINE, RandomInit(backbone)),
        EncoderRow("mine", "Mine", BASELINE, from_file(weights(tmp_path / "mine.safetensors"), backbone)),
    )
    study = replace(small_study(protocols=("LP",)), rows=rows, seeds=(0,), datasets=small_study().datasets[1:])
    made = train(study, tmp_path)
    first, second = (
        pq.read_table(io.BytesIO(made.store.open(cell).read("predictions.parquet"))).to_pydict()
        for cell in made.plan.cells
    )
    assert [cell.encoder.row for cell in made.plan.cells] == ["random", "mine"]
    assert first == second and not np.isnan(first["logit_mass"]).any()


def test_a_study_file_may_bring_one_and_move_it(tmp_path):
    keys = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        path = weights(tmp_path / "here" / "w.safetensors")
        if place == "there":
            path = shutil.copy(path, tmp_path / place / "w.safetensors")
        study_file = tmp_path / place / "study.py"
        study_file.write_text(STUDY.format(path=str(path)))
        study = load_study(str(study_file))
        plan = make_plan(study, {build.label: "x" for build in study.data_builds()}, {"method": ("mine",)})
        assert {cell.encoder.row for cell in plan.cells} == {"mine"}
        keys.append({cell.key for cell in plan.cells})
    assert keys[0] == keys[1]
