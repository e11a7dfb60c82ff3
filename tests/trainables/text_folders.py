"""Folders of text encoders as people bring them: tiny networks of random weights, with a word-level tokenizer."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from tokenizers import models, normalizers, pre_tokenizers, processors

from trainables.networks.text_check import TEXTS

SPECIALS = ["[PAD]", "[BOS]", "[UNK]", "[EOS]"]
WORDS = [*SPECIALS, *sorted(set(re.findall(r"\w+|\.", " ".join(TEXTS).lower())))]
COMMON = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
    "max_position_embeddings": 24,
}  # fmt: skip
# Values that each kind of configuration has in place of the common ones, or beside them.
OWN: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 24},
    "t5": {"d_model": 16, "num_layers": 2, "num_heads": 2, "d_ff": 32, "d_kv": 8},
    "albert": {**COMMON, "embedding_size": 8},
    "electra": {**COMMON, "embedding_size": 8},
    "llama": {**COMMON, "num_key_value_heads": 2},
    "clip_text_model": {**COMMON, "eos_token_id": 3},
    "bart": {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16},
    "xlnet": {"n_layer": 1, "d_model": 16, "n_head": 2, "d_inner": 16},
    "opt": {**COMMON, "ffn_dim": 32, "word_embed_proj_dim": 16},
}  # fmt: skip
VISION = {**{k: v for k, v in COMMON.items() if k[:3] != "max"}, "image_size": 16, "patch_size": 8}


def save_tokenizer(folder: Path, words: list[str] = WORDS, around: bool = True, **names: str) -> None:
    """A word-level one. around: puts [BOS] and [EOS] around a text."""
    made = tokenizers.Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.BertPreTokenizer()
    if around:
        special = [("[BOS]", 1), ("[EOS]", 3)]
        made.post_processor = processors.TemplateProcessing(single="[BOS] $A [EOS]", special_tokens=special)
    names = names or {"pad_token": "[PAD]", "eos_token": "[EOS]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **names).save_pretrained(folder)


@cache
def network(kind: str, **values: Any) -> Any:
    torch.manual_seed(0)
    both = {"text_config": {**COMMON, "vocab_size": len(WORDS), "eos_token_id": 3}, "vision_config": VISION}
    sizes = both if kind in ("clip", "siglip") else {**OWN.get(kind, COMMON), "vocab_size": len(WORDS)}
    made = transformers.AutoConfig.for_model(kind, **{**sizes, "pad_token_id": 0, **values})
    return transformers.AutoModel.from_config(made)


def saved(folder: Path, kind: str, around: bool = True, **values: Any) -> Path:
    network(kind, **values).save_pretrained(folder)
    save_tokenizer(folder, around=around)
    return folder
