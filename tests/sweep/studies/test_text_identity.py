"""A study's text encoder in a folder: other weights open its cells, another place does not."""

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from text_folders import saved
from transformers import AutoModel

from sweep.studies import HuggingFaceText, demo, text_from_folder
from sweep.studies.plan import make_plan


def keys(text: HuggingFaceText) -> set[str]:
    base = demo()
    rows = {row.name: row for row in base.rows}
    clip = replace(rows["clip"], recipe=replace(rows["clip"].recipe, text=text))
    study = replace(base, rows=(rows["random"], rows["imagenet"], clip))
    plan = make_plan(study, {build.label: "0" for build in study.data_builds()}, {})
    return {cell.key for cell in plan.cells if cell.encoder.row == "clip"}


def test_cells_follow_the_content_of_a_folder(tmp_path):
    folder = saved(tmp_path / "bert", "bert")
    first = keys(text_from_folder(folder))
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    assert keys(HuggingFaceText(str(moved))) == keys(HuggingFaceText(str(folder))) == first
    assert keys(text_from_folder(tmp_path / "gone", sha256=text_from_folder(folder).content)) == first
    torch.manual_seed(1)
    AutoModel.from_config(AutoModel.from_pretrained(folder).config).save_pretrained(folder)
    assert not keys(text_from_folder(folder)) & first
