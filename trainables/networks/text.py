"""Reports as vectors: any Hugging Face encoder by name or folder, or a tiny one with its own vocabulary.

transformers takes a second to import: only where a tower of its is built.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from trainables.networks.text_config import HuggingFaceText, TextConfig, TinyText, text_from_folder
from trainables.networks.text_network import (
    build_text_network,
    check_use,
    embeddings_of,
    layers_of,
    load_text_network,
    network_json,
)
from trainables.networks.text_tokenizers import (
    PADDING,
    START,
    UNKNOWN,
    HuggingFaceTokenizer,
    Tokenizer,
    WordTokenizer,
    build_tokenizer,
    stored_tokenizer,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# What users and other modules know by this module.
__all__ = [
    "PADDING",
    "START",
    "TEXT_TOWER",
    "UNKNOWN",
    "HuggingFaceText",
    "HuggingFaceTokenizer",
    "TextConfig",
    "TextTower",
    "TinyText",
    "Tokenizer",
    "WordTokenizer",
    "build_tokenizer",
    "layers_of",
    "length_buckets",
    "stored_tokenizer",
    "text_from_folder",
]
# What a call of one layer costs beside its matrix products, forward and backward, as a number of multiplications: on a
# CPU core measured at widths of 64, 128 and 384; on a GPU stated: 45 launches of 5 us at 1e14 FLOP/s. Products of few
# tokens are slower for each: by as much as this many more.
CALL_PRODUCTS = {"cpu": 1.6e7, "cuda": 4e9}
FEW_TOKENS = 32
TEXT_TOWER = "text_tower.json"  # beside an encoder's weights: TextTower.to_json


class TextTower(nn.Module):
    """A text encoder and its pooling: (B, T) tokens -> (B, width).

    vocabulary_size: the tokenizer's; TinyText has its embeddings made for it, a pretrained encoder must have as many.
    network: what to_json wrote, for weights that are put in afterwards: no pretrained ones are loaded. Raises
    ValueError for an encoder that does not load whole (load_text_network) or cannot be used so (check_use).
    """

    def __init__(self, config: TextConfig, vocabulary_size: int | None, network: str | None = None):
        super().__init__()
        self.pooling, self.frozen_dropout = config.pooling, config.frozen_dropout
        self.fixed: tuple[nn.Module, ...] = ()
        self.takes_wide_masks = False
        if network is not None:
            self.bert = build_text_network(json.dumps(json.loads(network)["network"]))
        elif isinstance(config, TinyText):
            self.bert = _tiny_bert(config, vocabulary_size)
        else:
            self.bert = load_text_network(config)
            check_use(self.bert, config, vocabulary_size)

    def to_json(self) -> str:
        """The network's configuration and the pooling; it is stored beside the weights."""
        return json.dumps({"network": json.loads(network_json(self.bert)), "pooling": self.pooling}, sort_keys=True)

    @torch.no_grad()
    def widen_masks(self) -> None:
        """From now on, where the network takes (b, 1, L, L) masks as they are, give it those. To be called on the CPU.

        Of a (b, L) mask transformers asks the device, in each call, whether it leaves out any token at all, and waits
        for the answer.
        """
        ids, mask = torch.ones(2, 4, dtype=torch.long), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
        training = self.training
        self.eval()
        try:
            narrow, wide = (self.bert(input_ids=ids, attention_mask=m)[0][mask != 0] for m in (mask, wide_mask(mask)))
            self.takes_wide_masks = torch.allclose(narrow, wide, rtol=1e-4, atol=1e-5)
        except Exception:  # whatever a kind of network raises for a mask that it does not know: it gets none
            self.takes_wide_masks = False
        self.train(training)

    @property
    def width(self) -> int:
        """Of the pooled vector: the hidden size of the encoder."""
        return int(self.bert.config.hidden_size)

    @cached_property
    def call_tokens(self) -> dict[str, float]:
        """Kind of device -> what a call costs, as a number of tokens."""
        inner = sum(p.numel() for name, p in self.bert.named_parameters() if "embedding" not in name)
        layer = inner / self.bert.config.num_hidden_layers
        return {device: FEW_TOKENS + products / layer for device, products in CALL_PRODUCTS.items()}

    def freeze(self, layers: int, embeddings: bool) -> None:
        """Fix the `layers` layers nearest the input, and the embeddings where asked.

        Fixed parameters take no gradient, so the optimiser, which is built afterwards, does not decay them either.
        Raises ValueError for more layers than the encoder has.
        """
        fixed: list[nn.Module] = []
        if layers:
            blocks = layers_of(self.bert)
            if not 0 <= layers <= len(blocks):
                raise ValueError(
                    f"frozen_layers is {layers}; allowed: 0 to {len(blocks)}, the layers of the text encoder"
                )
            fixed += list(blocks)[:layers]
        self.fixed = (*fixed, *(embeddings_of(self.bert) if embeddings else []))
        for module in self.fixed:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> "TextTower":
        """As of any module; without frozen_dropout what is fixed stays in eval mode, and drops no unit."""
        super().train(mode)
        if not self.frozen_dropout:
            for module in self.fixed:
                module.eval()
        return self

    def forward(self, input_ids: Tensor, attention_mask: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T) int64 both -> (B, width), in the order of the texts.

        Texts of about one length pass together: most reports are much shorter than the longest of a batch. lengths:
        text_lengths of the mask, on the CPU; without them the device is asked, and waited for.
        """
        on_device = text_lengths(attention_mask)
        order = torch.argsort(on_device, stable=True)
        ascending = (on_device[order] if lengths is None else lengths.sort().values).tolist()
        parts, start = [], 0
        for count, longest in length_buckets(ascending, self.call_tokens[input_ids.device.type]):
            rows = order[start : start + count]
            parts.append(self.pooled(input_ids[rows, :longest], attention_mask[rows, :longest]))
            start += count
        # argsort of a permutation is its inverse: row i of the answer is text i's.
        return torch.cat(parts)[torch.argsort(order)]

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector for each text: a token's last hidden state, or the maximum or mean over its tokens' ones.

        input_ids, attention_mask: (b, L) -> (b, width). No padding enters, on whichever side it is.
        """
        mask = wide_mask(attention_mask) if self.takes_wide_masks else attention_mask
        states: Tensor = self.bert(input_ids=input_ids, attention_mask=mask).last_hidden_state
        if self.pooling == "cls":
            return states[torch.arange(len(states), device=states.device), attention_mask.argmax(dim=1)]
        if self.pooling == "last":
            places = torch.arange(attention_mask.shape[1], device=attention_mask.device)
            last = (attention_mask * places).argmax(dim=1)
            return states[torch.arange(len(states), device=states.device), last]
        real = attention_mask[:, :, None] != 0
        if self.pooling == "mean":
            return states.masked_fill(~real, 0).sum(dim=1) / real.sum(dim=1).to(states.dtype)
        return states.masked_fill(~real, float("-inf")).amax(dim=1)


def text_lengths(attention_mask: Tensor) -> Tensor:
    """(B, T) -> (B,) int64: up to the last token that is no padding, whichever side that is on."""
    places = torch.arange(1, attention_mask.shape[1] + 1, device=attention_mask.device)
    return (attention_mask * places).amax(dim=1)


def wide_mask(attention_mask: Tensor) -> Tensor:
    """(b, L) -> (b, 1, L, L) bool: which token each token may look at."""
    return (attention_mask != 0)[:, None, None, :].expand(-1, 1, attention_mask.shape[1], -1)


def length_buckets(lengths: Sequence[int], call_tokens: float) -> list[tuple[int, int]]:
    """(texts, tokens of the longest) of each bucket, so that all together cost least. lengths: ascending.

    A bucket costs its texts times its longest, and `call_tokens` for the call. Exact, by dynamic programming over the
    D distinct lengths in O(D^2): least[e] = min over b < e of least[b] + call_tokens + (texts in b..e) * longest[e].
    """
    longest, counts = np.unique(np.asarray(lengths), return_counts=True)
    before = np.concatenate([[0], np.cumsum(counts)])
    least, opens = np.zeros(len(before)), np.zeros(len(before), dtype=int)
    for end in range(1, len(before)):
        costs = least[:end] + call_tokens + (before[end] - before[:end]) * longest[end - 1]
        opens[end] = costs.argmin()
        least[end] = costs[opens[end]]
    # Back from the end: opens[end] is where the last bucket of the best cut of the first `end` lengths begins.
    buckets, end = [], len(longest)
    while end:
        buckets.append((int(before[end] - before[opens[end]]), int(longest[end - 1])))
        end = opens[end]
    return buckets[::-1]


def _tiny_bert(config: TinyText, vocabulary_size: int | None) -> "PreTrainedModel":
    from transformers import BertConfig, BertModel

    if vocabulary_size is None:
        raise ValueError("TinyText has the vocabulary of its tokenizer: give the vocabulary_size of one")
    settings = BertConfig(
        vocab_size=vocabulary_size,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=4 * config.width,
        pad_token_id=PADDING,
        max_position_embeddings=config.max_length,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
    )
    return BertModel(settings, add_pooling_layer=False)
