"""Reports as vectors: any Hugging Face encoder by name or folder, or a tiny one with its own vocabulary.

transformers takes a second to import: only where a tower of its is built.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PADDING, UNKNOWN, START = 0, 1, 2
# What a call of one layer costs beside its matrix products, forward and backward, as a number of multiplications: on a
# CPU core measured at widths of 64, 128 and 384; on a GPU stated: 45 launches of 5 us at 1e14 FLOP/s. Products of few
# tokens are slower for each: by as much as this many more.
CALL_PRODUCTS = {"cpu": 1.6e7, "cuda": 4e9}
FEW_TOKENS = 32


@dataclass(frozen=True)
class HuggingFaceText:
    """A pretrained text encoder. max_length in tokens; pooling: `cls` of the last layer, or `max` over tokens.

    frozen_dropout: whether layers that are fixed go on dropping units in training, as the released code has it.
    """

    name_or_path: str
    max_length: int = 128
    pooling: str = "cls"
    frozen_dropout: bool = True


@dataclass(frozen=True)
class TinyText:
    """A small BERT with random weights and a word-level vocabulary of the corpus: for demos and tests."""

    layers: int = 2
    width: int = 64
    heads: int = 2
    max_length: int = 48
    max_vocabulary: int = 2000
    dropout: float = 0.1
    pooling: str = "cls"
    frozen_dropout: bool = True


TextConfig = HuggingFaceText | TinyText


class WordTokenizer:
    """Lower-case words and punctuation marks by a fixed vocabulary; padded to the longest text of a batch."""

    def __init__(self, words: Sequence[str], max_length: int):
        self.words, self.max_length = list(words), max_length
        self.ids = {word: i for i, word in enumerate(self.words, start=START + 1)}

    @property
    def vocabulary_size(self) -> int:
        """The words, and padding, unknown and start before them."""
        return len(self.words) + START + 1

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """input_ids and attention_mask, (B, T) int64, T <= max_length: the tokens of the batch's longest text."""
        rows = [[START, *(self.ids.get(w, UNKNOWN) for w in _split(text))][: self.max_length] for text in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [PADDING] * (longest - len(row)) for row in rows])
        return ids, (ids != PADDING).long()

    def to_json(self) -> str:
        """What from_json makes an equal tokenizer of; it is stored beside the encoder."""
        return json.dumps({"words": self.words, "max_length": self.max_length})

    @staticmethod
    def from_json(text: str) -> "WordTokenizer":
        """The tokenizer that to_json wrote."""
        return WordTokenizer(**json.loads(text))


class HuggingFaceTokenizer:
    """A pretrained tokenizer; reports repeat, so each text is cut into tokens once."""

    def __init__(self, config: HuggingFaceText):
        from transformers import AutoTokenizer

        self.config = config
        self.tokenizer = _load(AutoTokenizer, config.name_or_path, {})
        self.known: dict[str, list[int]] = {}

    @property
    def vocabulary_size(self) -> int:
        """Added tokens included."""
        return len(self.tokenizer)

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """input_ids and attention_mask, (B, T) int64, as of WordTokenizer."""
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            found = self.tokenizer(new, truncation=True, max_length=self.config.max_length)["input_ids"]
            self.known.update(zip(new, found, strict=True))
        rows = [self.known[text] for text in texts]
        longest = max(map(len, rows))
        padding = self.tokenizer.pad_token_id
        ids = torch.tensor([row + [padding] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return ids, mask

    def to_json(self) -> str:
        """Which tokenizer it was, for the record: HuggingFaceTokenizer is made from its configuration again."""
        return json.dumps({"name_or_path": self.config.name_or_path, "max_length": self.config.max_length})


Tokenizer = WordTokenizer | HuggingFaceTokenizer


def _split(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())


def build_tokenizer(config: TextConfig, reports: Sequence[str]) -> Tokenizer:
    """The pretrained tokenizer, or one whose vocabulary is the reports' commonest words."""
    if isinstance(config, HuggingFaceText):
        return HuggingFaceTokenizer(config)
    # Words of equal count by the alphabet: the vocabulary must not depend on the order of the reports.
    counts = Counter(word for report in reports for word in _split(report))
    words = sorted(counts, key=lambda word: (-counts[word], word))[: config.max_vocabulary]
    return WordTokenizer(words, config.max_length)


class TextTower(nn.Module):
    """A text encoder and its pooling: (B, T) tokens -> (B, width). Raises ValueError for an unknown pooling.

    vocabulary_size: the tokenizer's, for TinyText, whose embeddings are made for it.
    """

    def __init__(self, config: TextConfig, vocabulary_size: int | None):
        super().__init__()
        self.pooling, self.frozen_dropout = config.pooling, config.frozen_dropout
        self.fixed: tuple[nn.Module, ...] = ()
        if self.pooling not in ("cls", "max"):
            raise ValueError(f"pooling is {self.pooling!r}; allowed: 'cls', 'max'")
        self.bert = _tiny_bert(config, vocabulary_size) if isinstance(config, TinyText) else _pretrained(config)

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
        blocks = layers_of(self.bert)
        if not 0 <= layers <= len(blocks):
            raise ValueError(f"frozen_layers is {layers}; allowed: 0 to {len(blocks)}, the layers of the text encoder")
        tower: Any = self.bert  # every encoder of transformers has `embeddings`, which its base class does not declare
        self.fixed = (*list(blocks)[:layers], *([tower.embeddings] if embeddings else []))
        for module in self.fixed:
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> "TextTower":
        """As of any module; without frozen_dropout what is fixed stays in eval mode, and drops no unit."""
        super().train(mode)
        if not self.frozen_dropout:
            for module in self.fixed:
                module.eval()
        return self

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, T) int64 both -> (B, width), in the order of the texts.

        Texts of about one length pass together: most reports are much shorter than the longest of a batch.
        """
        lengths = attention_mask.sum(dim=1)
        order = torch.argsort(lengths, stable=True)
        parts, start = [], 0
        for count, longest in length_buckets(lengths[order].tolist(), self.call_tokens[input_ids.device.type]):
            rows = order[start : start + count]
            parts.append(self.pooled(input_ids[rows, :longest], attention_mask[rows, :longest]))
            start += count
        # argsort of a permutation is its inverse: row i of the answer is text i's.
        return torch.cat(parts)[torch.argsort(order)]

    def pooled(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """One vector for each text: its first token's last hidden state, or the maximum over its tokens' ones.

        input_ids, attention_mask: (b, L) -> (b, width).
        """
        states: Tensor = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        if self.pooling == "cls":
            return states[:, 0]
        return states.masked_fill(attention_mask[:, :, None] == 0, float("-inf")).amax(dim=1)


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


def layers_of(model: nn.Module) -> nn.ModuleList:
    """The stack of layers, the nearest to the input first, wherever this kind of model keeps it.

    Raises ValueError for a model without a list of its layers.
    """
    config: Any = model.config
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == config.num_hidden_layers:
            return module
    raise ValueError(f"{type(model).__name__} has no list of its {config.num_hidden_layers} layers to freeze")


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


def _pretrained(config: HuggingFaceText) -> "PreTrainedModel":
    from transformers import AutoModel

    # Weights are kept in float32 whatever the file holds. A pooler would be a layer that no loss reaches.
    model: PreTrainedModel = _load(AutoModel, config.name_or_path, {"dtype": torch.float32})
    if hasattr(model, "pooler"):
        model.pooler = None  # type: ignore[assignment]  # torch takes None for a part, its types do not say so
    return model


def _load(kind: Any, name: str, options: dict[str, Any]) -> Any:
    """What `kind`, one of transformers' Auto classes, makes of a name or folder; no code of the folder is run."""
    try:
        return kind.from_pretrained(name, trust_remote_code=False, **options)
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ValueError(
            f"cannot load the text encoder {name!r} ({type(error).__name__}: {reason}); give the "
            "folder of a downloaded model as HuggingFaceText.name_or_path where the machine is offline"
        ) from error
