"""Does an exported method with reports bring a text tower and tokenizer that need nothing else of this machine?"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import torch
from safetensors.torch import save
from text_folders import saved
from trained_storage import Trained, small_study, train

from sweep.export.encoder_files import export_encoder, find_encoder
from sweep.store.snapshot import Origin, Snapshot
from sweep.studies.bad_input import BadInput
from trainables.evaluation.exported_text import load_text
from trainables.evaluation.image_text import load_image_text
from trainables.networks.text import WordTokenizer, text_from_folder
from trainables.training.checkpoint import weights_from_bytes
from trainables.views.backbone_input import BackboneInput
from trainables.views.evaluation_spec import EvalSpec

TEXTS = ["No acute process.", "Left pleural effusion.", ""]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Trained, Path]:
    """A study with a tiny tower and one of a folder, in a joint method, and the folder, which is gone by then."""
    folder = tmp_path_factory.mktemp("export")
    study = small_study(protocols=("LP",), rows=("imagenet", "clip", "clip+simclr"))
    bert = saved(folder / "bert", "bert")
    rows = tuple(
        replace(row, recipe=replace(row.recipe, text=text_from_folder(bert, max_length=16)))
        if row.name == "clip+simclr"
        else row
        for row in study.rows
    )
    made = train(replace(study, rows=rows, datasets=study.datasets[:1], seeds=(0,)), folder)
    shutil.move(bert, folder / "elsewhere")
    return made, bert


@pytest.fixture(scope="module")
def data(trained) -> Snapshot:
    made, _ = trained
    return Snapshot(made.study, made.plan, made.results(), {}, made.store, Origin("small", made.store.uri))


@pytest.mark.parametrize("row", ["clip", "clip+simclr"])
def test_an_export_gives_the_vectors_of_the_storage(row, trained, data, tmp_path):
    run = find_encoder(data, row)
    export_encoder(data, run, tmp_path / "out")
    expected = load_image_text(data.store.open(run), run.recipe, CPU)
    out = Path(shutil.move(tmp_path / "out", tmp_path / "another place"))
    tower = load_text(out)
    assert torch.allclose(tower.texts(TEXTS), expected.texts(TEXTS), atol=1e-6)
    assert tower.scale == expected.scale
    pixels = np.random.default_rng(0).integers(0, 256, (2, 48, 48)).astype(np.uint8)
    sees = BackboneInput(EvalSpec(size=run.recipe.backbone.image_size))
    features: list[torch.Tensor] = []
    expected.backbone.register_forward_hook(lambda layer, x, y: features.append(y))
    assert torch.allclose(expected.images(sees, pixels), tower.images(features[0]), atol=1e-6)

    card = (out / "README.md").read_text()
    assert 'load_text("DIR")' in card
    names: dict[str, Any] = {"features": features[0]}
    code = next(part for part in card.split("```python\n")[1:] if "load_text" in part).split("\n```")[0]
    exec(code.replace("DIR", str(out)), names)
    assert names["texts"].shape == (1, names["images"].shape[1])
    for file in out.iterdir():
        assert str(trained[1]).encode() not in file.read_bytes(), f"{file.name} names a folder of this machine"


def test_a_pretrained_tokenizer_is_exported_whole(data, tmp_path):
    export_encoder(data, find_encoder(data, "clip+simclr"), tmp_path / "out")
    text = (tmp_path / "out" / "tokenizer.json").read_text()
    alone = tokenizers.Tokenizer.from_str(text)
    assert alone.encode(TEXTS[1]).ids == load_text(tmp_path / "out").tokenizer(TEXTS)[0][1].tolist()
    assert alone.truncation["max_length"] == 16
    export_encoder(data, find_encoder(data, "clip"), tmp_path / "tiny")
    assert isinstance(load_text(tmp_path / "tiny").tokenizer, WordTokenizer)


def test_what_was_stored_before_is_exported_while_its_folder_is_there(trained, data, tmp_path, monkeypatch):
    """radsweep 0.1.0 stored the path of a tokenizer, and no configuration of the network."""
    _, bert = trained
    run = find_encoder(data, "clip+simclr")
    whole = data.store.open(run)

    class Before:
        folder, result = whole.folder, {"files": {n: v for n, v in whole.result["files"].items() if "tower" not in n}}

        def read(self, name: str) -> bytes:
            assert name != "text_tower.json"
            return json.dumps({"name_or_path": str(bert)}).encode() if name == "tokenizer.json" else whole.read(name)

    monkeypatch.setattr(type(data.store), "open", lambda store, item: Before())
    with pytest.raises(BadInput, match=r"the text tower of encoder .* cannot be exported: .*no such folder"):
        export_encoder(data, run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    shutil.copytree(bert.parent / "elsewhere", bert)
    try:
        found = load_image_text(Before(), run.recipe, CPU).texts(TEXTS)
    finally:
        shutil.rmtree(bert)
    assert torch.allclose(found, load_image_text(whole, run.recipe, CPU).texts(TEXTS), atol=1e-6)


def test_a_folder_that_is_no_export_with_reports_is_said(data, tmp_path):
    with pytest.raises(ValueError, match=r"lacks objective.safetensors, tokenizer.json, text_tower.json: give"):
        load_text(tmp_path)
    export_encoder(data, find_encoder(data, "clip"), tmp_path / "out")
    stored = weights_from_bytes((tmp_path / "out" / "objective.safetensors").read_bytes())
    assert any(name.startswith("text.bert.") for name in stored)
    description = json.loads((tmp_path / "out" / "text_tower.json").read_text())
    (tmp_path / "out" / "text_tower.json").write_text(json.dumps({**description, "prefix": "other."}))
    with pytest.raises(ValueError, match=r"objective.safetensors lacks \d+ weights of text: export it again"):
        load_text(tmp_path / "out")
    for text in ("{}", "[" * 100_000, "[]", json.dumps({**description, "scale": "x"})):
        (tmp_path / "out" / "text_tower.json").write_text(text)
        with pytest.raises(ValueError, match=r"text_tower.json is none that sweep.export writes \("):
            load_text(tmp_path / "out")
    (tmp_path / "out" / "text_tower.json").write_text(json.dumps(description))
    start = f"{description['prefix']}text_head."
    cut = {name: value[:1].clone() if name.startswith(start) else value for name, value in stored.items()}
    (tmp_path / "out" / "objective.safetensors").write_bytes(save(cut))
    with pytest.raises(ValueError, match=r"objective.safetensors has text_head of another network: export it again$"):
        load_text(tmp_path / "out")
    (tmp_path / "out" / "objective.safetensors").write_bytes(save(stored))
    for text in ("{}", "[]", "", "[" * 100_000, '{"words": 3}', '{"words": ["a"]}', '{"version": "1.0", "model": {}}'):
        (tmp_path / "out" / "tokenizer.json").write_text(text)
        with pytest.raises(
            ValueError, match=r"tokenizer.json is none that sweep.export writes \(.*\): export it again$"
        ):
            load_text(tmp_path / "out")
