"""Text encoders as people bring them: used right, or refused in one sentence before any work."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from text_folders import SPECIALS, VISION, WORDS, network, save_tokenizer, saved

from datasets_io.fingerprint import fingerprint
from trainables.networks import text_check
from trainables.networks.text import HuggingFaceText, HuggingFaceTokenizer, TextTower, TinyText, text_from_folder
from trainables.networks.text_check import TEXTS, try_text_tower
from trainables.networks.text_network import embeddings_of, layers_of, positions_of


def renamed(folder: Path, rename) -> Path:
    """The weights under other names; None leaves one out."""
    file = folder / "model.safetensors"
    tensors = {rename(name): value.clone() for name, value in load_file(file).items()}
    save_file({name: v for name, v in tensors.items() if name}, file, metadata={"format": "pt"})
    return folder


# -- kinds of networks -------------------------------------------------------------------------------------------

# Kind, pooling, whether its layers can be fixed.
KINDS = [
    ("bert", "cls", True), ("roberta", "mean", True), ("distilbert", "max", True), ("electra", "cls", True),
    ("deberta-v2", "cls", True), ("modernbert", "mean", True), ("mpnet", "cls", True), ("albert", "cls", False),
    ("gpt2", "last", True), ("llama", "mean", True), ("opt", "last", True), ("t5", "mean", True),
    ("clip", "last", True), ("clip_text_model", "last", True), ("siglip", "mean", True),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "pooling", "freezes"), KINDS)
def test_a_kind_of_encoder_is_whole_freezes_and_learns(kind, pooling, freezes, tmp_path):
    config = text_from_folder(saved(tmp_path, kind), max_length=16, pooling=pooling)
    found = try_text_tower(config, 1 if freezes else 0, freeze_embeddings=True)
    assert (found.width, found.layers, found.content) == (16, 2, config.content)
    assert config.size == ((2, 16) if kind != "siglip" else config.size)
    assert 0 < found.trained < found.parameters

    tokenizer = HuggingFaceTokenizer(config)
    tower = TextTower(config, tokenizer.vocabulary_size).train()
    tower.freeze(1 if freezes else 0, True)
    tower(*tokenizer(TEXTS)).pow(2).sum().backward()
    fixed = [*(list(layers_of(tower.bert))[:1] if freezes else []), *embeddings_of(tower.bert)]
    still = {id(p) for part in fixed for p in part.parameters()}
    assert len(embeddings_of(tower.bert)) >= 1 and still
    for name, p in tower.named_parameters():
        assert p.requires_grad != (id(p) in still), name
        assert (p.grad is not None) == p.requires_grad, f"no loss reaches {name}"

    # Equal to what transformers gives for the text alone, and as stored it is the same network.
    again = TextTower(config, None, tower.to_json()).eval()
    again.load_state_dict(tower.state_dict())
    assert torch.allclose(again(*tokenizer(TEXTS)), tower.eval()(*tokenizer(TEXTS)), atol=1e-6)


def test_clips_last_token_is_its_own_pooled_output(tmp_path):
    config = text_from_folder(saved(tmp_path, "clip"), max_length=16, pooling="last")
    tokenizer = HuggingFaceTokenizer(config)
    ids, mask = tokenizer(TEXTS)
    own = transformers.CLIPTextModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        found = TextTower(config, None).eval()(ids, mask)
        assert torch.allclose(found, own(input_ids=ids, attention_mask=mask).pooler_output, atol=1e-6)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "clip_text_model"])
def test_the_first_token_of_a_causal_network_is_refused(kind, tmp_path):
    folder = saved(tmp_path, kind)
    with pytest.raises(ValueError, match=r"pooling is 'cls'.*would have one vector: allowed: 'last' .*'mean', 'max'"):
        TextTower(HuggingFaceText(str(folder), 16), None)


def test_a_decoder_without_an_encoder_alone_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match="is a bart of encoder and decoder, of which transformers has no encoder alone"
    ):
        TextTower(HuggingFaceText(str(saved(tmp_path, "bart")), 16), None)


def test_an_image_network_is_no_text_encoder(tmp_path):
    transformers.ViTModel(transformers.ViTConfig(**VISION)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=str(tmp_path)):
        TextTower(HuggingFaceText(str(tmp_path), 16), None)


# -- weights -----------------------------------------------------------------------------------------------------


def test_weights_that_do_not_fit_are_refused_with_their_names(tmp_path):
    bad = {
        "text_encoder.": lambda name: f"text_encoder.{name}",
        "module.": lambda name: f"module.{name}",
        "a layer": lambda name: None if "layer.1." in name else name,
    }
    for i, rename in enumerate(bad.values()):
        folder = renamed(saved(tmp_path / str(i), "bert"), rename)
        with pytest.raises(ValueError, match=r"do not fit its config.json: \d+ of 37 tensors missing \(first: e"):
            TextTower(HuggingFaceText(str(folder), 16), None)
    folder = saved(tmp_path / "wide", "bert")
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**values, "vocab_size": 60}))
    with pytest.raises(ValueError, match=r"json: 1 of 37 tensors of another shape \(first: embeddings.word"):
        TextTower(HuggingFaceText(str(folder), 16), None)


def test_heads_and_poolers_that_are_not_used_do_not_matter(tmp_path):
    torch.manual_seed(0)
    full = transformers.BertForMaskedLM(network("bert").config)
    full.save_pretrained(tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert not any("pooler" in name for name in names) and any(name.startswith("cls.") for name in names)
    tower = TextTower(HuggingFaceText(str(tmp_path), 16), None)
    assert all(torch.equal(v, full.bert.state_dict()[name]) for name, v in tower.bert.state_dict().items())


def test_weights_that_are_not_finite_are_named(tmp_path):
    file = saved(tmp_path, "bert") / "model.safetensors"
    tensors = load_file(file)
    tensors["encoder.layer.1.output.dense.bias"][0] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 of 37 tensors of .* NaN or infinity .*encoder.layer.1.output.dense.bias"):
        TextTower(HuggingFaceText(str(tmp_path), 16), None)


# -- identity ----------------------------------------------------------------------------------------------------


def test_a_folder_is_known_by_its_content(tmp_path):
    here = saved(tmp_path / "here", "bert")
    config = text_from_folder(here, 16)
    assert HuggingFaceText(str(here), 16) == config and config.path == str(here)
    moved = text_from_folder(shutil.copytree(here, tmp_path / "moved"), 16)
    assert fingerprint(moved) == fingerprint(config) and moved.path != config.path
    assert fingerprint(replace(config, max_length=12)) != fingerprint(config)
    for name, change in {
        "model.safetensors": lambda file: renamed(file.parent, "x{}".format),
        "config.json": lambda file: file.write_text(file.read_text().replace('"gelu"', '"relu"')),
        "tokenizer.json": lambda file: file.write_text(file.read_text() + " "),
    }.items():
        other = Path(shutil.copytree(here, tmp_path / name.split(".")[0]))
        change(other / name)
        assert fingerprint(text_from_folder(other, 16)) != fingerprint(config), name
    # Who saved it is no part of it.
    again = Path(shutil.copytree(here, tmp_path / "again"))
    values = json.loads((again / "config.json").read_text())
    (again / "config.json").write_text(json.dumps({**values, "transformers_version": "9", "_name_or_path": "x"}))
    assert fingerprint(text_from_folder(again, 16)) == fingerprint(config)


def test_weights_in_several_files_are_all_part_of_the_content(tmp_path):
    network("bert").save_pretrained(tmp_path, max_shard_size="8KB")
    save_tokenizer(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1 and not (tmp_path / "model.safetensors").exists()
    config = text_from_folder(tmp_path, 16)
    try_text_tower(config)
    tensors = load_file(shards[-1])
    save_file({name: value + 1 for name, value in tensors.items()}, shards[-1], metadata={"format": "pt"})
    assert text_from_folder(tmp_path, 16).content != config.content
    shards[-1].unlink()
    with pytest.raises(ValueError, match=rf"lacks '{shards[-1].name}', one of the {len(shards)} files"):
        text_from_folder(tmp_path, 16)


def test_a_name_keeps_the_key_that_it_had():
    hub = HuggingFaceText("microsoft/BiomedVLP-CXR-BERT-general")
    assert (hub.content, hub.path) == (None, None)
    assert fingerprint(hub) == fingerprint_before({"name_or_path": hub.name_or_path, "max_length": 128})


def fingerprint_before(values: dict[str, Any]) -> str:
    return fingerprint({"type": "HuggingFaceText", "pooling": "cls", "frozen_dropout": True, **values})


def test_a_folder_that_changed_after_the_study_was_read_is_refused(tmp_path):
    config = text_from_folder(saved(tmp_path / "a", "bert"), 16)
    renamed(tmp_path / "a", lambda name: name)  # another header: other bytes
    tokenizer = tmp_path / "a" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text() + "\n")
    for load in (HuggingFaceTokenizer, lambda config: TextTower(config, None)):
        with pytest.raises(ValueError, match="it has changed since the study was read"):
            load(config)
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(ValueError, match="there is no such folder on this machine"):
        TextTower(config, None)


def test_a_folder_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    config = text_from_folder(saved(tmp_path, "bert"), 16)
    load = transformers.AutoModel.from_pretrained

    def replacing(*args: Any, **options: Any) -> Any:
        renamed(tmp_path, lambda name: name)
        return load(*args, **options)

    monkeypatch.setattr(transformers.AutoModel, "from_pretrained", replacing)
    with pytest.raises(ValueError, match=r"model\.safetensors was changed while it was read"):
        TextTower(config, None)


def test_a_folder_of_an_adapter_is_refused(tmp_path):
    config = text_from_folder(saved(tmp_path, "bert"), 16)
    (tmp_path / "adapter_config.json").write_text("{}")
    for use in (lambda: text_from_folder(tmp_path, 16), lambda: TextTower(config, None)):
        with pytest.raises(ValueError, match="holds an adapter"):
            use()


def test_a_path_is_a_folder_as_its_text_is(tmp_path):
    folder = saved(tmp_path / "a", "bert")
    assert HuggingFaceText(Path(folder), 16) == HuggingFaceText(str(folder), 16)
    with pytest.raises(ValueError, match=r"cannot load the text encoder '.*/none': there is no such folder"):
        HuggingFaceText(Path("none"))


def test_a_folder_that_is_no_models_is_said_at_once(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"there is no such folder; give the folder of a downloaded model"):
        text_from_folder(tmp_path / "none")
    with pytest.raises(ValueError, match=r"has no config.json"):
        HuggingFaceText(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has no weights: none of model.safetensors"):
        HuggingFaceText(str(tmp_path))
    pinned = text_from_folder(tmp_path / "elsewhere", 16, sha256="ab")
    assert pinned.content == "ab", "results are read where the folder is not"
    with pytest.raises(ValueError, match="a name of the hub has neither content nor path"):
        replace(pinned, name_or_path="bert-base")
    bert = saved(tmp_path / "bert", "bert")
    with pytest.raises(ValueError, match=r"has the content .*, the study names ab"):
        text_from_folder(bert, sha256="ab")
    hub = HuggingFaceText("bert")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="'bert' is a folder here, and the recipe names a model of the hub"):
        TextTower(hub, None)


# -- tokenizers, lengths, freezing -------------------------------------------------------------------------------


def test_without_a_padding_token_the_end_token_pads_under_the_mask(tmp_path):
    network("gpt2").save_pretrained(tmp_path)
    save_tokenizer(tmp_path, around=False, eos_token="[EOS]")
    config = text_from_folder(tmp_path, 16, "last")
    ids, mask = HuggingFaceTokenizer(config)(["pleural effusion .", "no", ""])
    assert ids[1:].tolist() == [[WORDS.index("no"), 3, 3], [3, 3, 3]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0], [1, 0, 0]]
    try_text_tower(config)
    save_tokenizer(tmp_path, around=False, unk_token="[UNK]")
    with pytest.raises(ValueError, match="neither a padding nor an end token: name one"):
        try_text_tower(text_from_folder(tmp_path, 16, "last"))


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    network("bert").save_pretrained(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"has no tokenizer .*tokenizer.save_pretrained"):
        try_text_tower(text_from_folder(tmp_path, 16))


@pytest.mark.parametrize(("around", "words", "pooling", "sentence"), [
    (True, [*WORDS, "more"], "cls", "has 19 tokens, and the encoder embeddings for 18: give the encoder its own"),
    (False, WORDS, "cls", "puts no class token before a text, whose first word would be taken: allowed: 'last'"),
    (True, SPECIALS, "mean", "knows no word of 'No acute cardiopulmonary process.'"),
])  # fmt: skip
def test_a_tokenizer_that_does_not_serve_is_refused(around, words, pooling, sentence, tmp_path):
    assert len(WORDS) == 18
    network("bert").save_pretrained(tmp_path)
    save_tokenizer(tmp_path, words, around)
    with pytest.raises(ValueError, match=sentence):
        try_text_tower(text_from_folder(tmp_path, 16, pooling))


@pytest.mark.parametrize(("kind", "values", "positions"), [
    ("bert", {}, 24), ("gpt2", {}, 24), ("llama", {}, 24), ("t5", {}, None), ("xlnet", {}, None),
    ("roberta", {"pad_token_id": 1}, 22), ("mpnet", {"pad_token_id": 1}, 22),
    ("opt", {}, 24),
])  # fmt: skip
def test_the_positions_of_a_kind_are_known(kind, values, positions):
    model = network(kind, **values).eval()
    assert positions_of(model) == positions
    if positions is not None and kind != "llama":  # rotary positions end nowhere
        ids = torch.full((1, positions), 5)
        model(input_ids=ids)
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, positions + 1), 5))


def test_more_tokens_than_positions_and_too_few_are_refused(tmp_path):
    folder = saved(tmp_path, "bert")
    with pytest.raises(ValueError, match=r"max_length is 25; .* has positions for 24 tokens: allowed: 2 to 24"):
        try_text_tower(text_from_folder(folder, 25))
    try_text_tower(text_from_folder(folder, 24))
    with pytest.raises(ValueError, match=r"max_length is 2, and the tokenizer of .* puts 2 tokens around .* 3 or more"):
        try_text_tower(text_from_folder(folder, 2))
    for kind in (lambda length: text_from_folder(folder, length), lambda length: TinyText(max_length=length)):
        with pytest.raises(ValueError, match="max_length is 1; a text needs at least 2 tokens"):
            kind(1)


def test_freezing_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(ValueError, match="frozen_layers is 3; allowed: 0 to 2"):
        try_text_tower(text_from_folder(saved(tmp_path / "bert", "bert"), 16), 3)
    with pytest.raises(ValueError, match=r"AlbertModel has 2 layers that share their weights.*frozen_layers=0"):
        try_text_tower(text_from_folder(saved(tmp_path / "albert", "albert"), 16), 1)


def test_a_tiny_encoder_is_tried_too_and_draws_nothing_of_the_callers():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    assert try_text_tower(TinyText(layers=2, width=16, heads=2), 1, True).width == 16
    assert torch.equal(before, torch.get_rng_state())
    with pytest.raises(ValueError, match="width is 16, with 3 heads; it must be a multiple"):
        TinyText(width=16, heads=3)


class Drawn(TextTower):
    def pooled(self, input_ids, attention_mask):
        return super().pooled(input_ids, attention_mask) + torch.rand(1)


class Constant(TextTower):
    def pooled(self, input_ids, attention_mask):
        return torch.ones(len(input_ids), self.width)


class Unmasked(TextTower):
    def pooled(self, input_ids, attention_mask):
        return super().pooled(input_ids, torch.ones_like(attention_mask))


@pytest.mark.parametrize(("kind", "sentence"), [
    (Drawn, "gives another vector each time"), (Constant, "gives one vector for 'No acute"),
    (Unmasked, "depend on the padding"),
])  # fmt: skip
def test_vectors_that_no_training_can_use_are_refused(kind, sentence, monkeypatch):
    monkeypatch.setattr(text_check, "TextTower", kind)
    with pytest.raises(ValueError, match=f"TinyText.*{sentence}|{sentence}.*TinyText|the vectors.*{sentence}"):
        try_text_tower(TinyText(layers=1, width=16, heads=2, pooling="max", dropout=0.0))


def test_an_index_that_names_files_elsewhere_is_refused(tmp_path):
    folder = saved(tmp_path, "bert")
    (folder / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    for parts, sentence in (('{"a": "../elsewhere.safetensors"}', "files beside it"), ("[]", "no index of weights")):
        (folder / "model.safetensors.index.json").write_text(f'{{"weight_map": {parts}}}')
        with pytest.raises(ValueError, match=sentence):
            text_from_folder(folder, 16)
