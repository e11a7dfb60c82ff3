"""Reports as tokens: by a pretrained tokenizer, or by the commonest words of the corpus; stored as one JSON text."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from datasets_io.untrusted import json_value
from trainables.networks.text_config import HuggingFaceText, TextConfig, has_tokenizer
from trainables.networks.text_network import load_with

PADDING, UNKNOWN, START = 0, 1, 2


class WordTokenizer:
    """Lower-case words and punctuation marks by a fixed vocabulary; padded to the longest text of a batch."""

    def __init__(self, words: Sequence[str], max_length: int):
        self.words, self.max_length = list(words), max_length
        self.ids = {word: i for i, word in enumerate(self.words, start=START + 1)}

    @property
    def vocabulary_size(self) -> int:
        """The words, and padding, unknown and start before them."""
        return len(self.words) + START + 1

    @property
    def unknown(self) -> int | None:
        """The token of what is not in the vocabulary; None where there is none."""
        return UNKNOWN

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
    """A pretrained tokenizer; reports repeat, so each text is cut into tokens once.

    It pads on the right, whatever the pretrained one does, with its padding token or, where it has none, its end token:
    the mask leaves them out. stored: what to_json wrote, in place of the configuration. Raises ValueError where there
    is no tokenizer, or one that cannot be stored as JSON.
    """

    def __init__(self, config: HuggingFaceText | None, stored: str | None = None):
        from tokenizers import Tokenizer as Backend

        if stored is None:
            assert config is not None, "either the configuration or what is stored"
            stored = _pretrained(config)
        self.stored = stored
        self.backend = Backend.from_str(stored)
        padding = self.backend.padding
        assert padding is not None, "to_json says what it pads with"
        self.padding: int = padding["pad_id"]
        self.backend.no_padding()  # each text is kept without
        self.known: dict[str, list[int]] = {}

    @property
    def vocabulary_size(self) -> int:
        """One more than its largest token, added ones included."""
        return 1 + max(self.backend.get_vocab(with_added_tokens=True).values())

    @property
    def unknown(self) -> int | None:
        """As of WordTokenizer."""
        name = getattr(self.backend.model, "unk_token", None)
        return None if name is None else self.backend.token_to_id(name)

    def __call__(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """input_ids and attention_mask, (B, T) int64, as of WordTokenizer."""
        new = [text for text in dict.fromkeys(texts) if text not in self.known]
        if new:
            # An empty text, where nothing is put around texts, is one padding or end token: a mean needs one.
            found = [encoding.ids or [self.padding] for encoding in self.backend.encode_batch(new)]
            self.known.update(zip(new, found, strict=True))
        rows = [self.known[text] for text in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [self.padding] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return ids, mask

    def to_json(self) -> str:
        """The whole tokenizer, with its length and padding, as the tokenizers library reads it."""
        return self.stored


Tokenizer = WordTokenizer | HuggingFaceTokenizer


def build_tokenizer(config: TextConfig, reports: Sequence[str]) -> Tokenizer:
    """The pretrained tokenizer, or one whose vocabulary is the reports' commonest words."""
    if isinstance(config, HuggingFaceText):
        return HuggingFaceTokenizer(config)
    # Words of equal count by the alphabet: the vocabulary must not depend on the order of the reports.
    counts = Counter(word for report in reports for word in _split(report))
    words = sorted(counts, key=lambda word: (-counts[word], word))[: config.max_vocabulary]
    return WordTokenizer(words, config.max_length)


def stored_tokenizer(text: str, config: TextConfig | None = None) -> Tokenizer:
    """The tokenizer whose to_json is `text`.

    config: for encoders of radsweep 0.1.0, which stored no more than a name or path of a pretrained tokenizer.
    """
    values = json_value(text)
    if "words" in values:
        return WordTokenizer.from_json(text)
    if "name_or_path" in values:
        if not isinstance(config, HuggingFaceText):
            raise ValueError(f"tokenizer.json is no tokenizer, only the name {values['name_or_path']!r} of one")
        return HuggingFaceTokenizer(config)
    return HuggingFaceTokenizer(None, text)


def _split(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower())


def _pretrained(config: HuggingFaceText) -> str:
    """The JSON text of a pretrained tokenizer that cuts at max_length and says what it pads with."""
    from tokenizers import Tokenizer as Backend
    from transformers import AutoTokenizer

    if config.path is not None and Path(config.path).is_dir() and not has_tokenizer(Path(config.path)):
        raise ValueError(
            f"{config.path} has no tokenizer (tokenizer.json or a vocabulary): save the encoder's own one there with "
            "tokenizer.save_pretrained"
        )
    tokenizer = load_with(AutoTokenizer, config, {})
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ValueError(
            f"the tokenizer of {config.place} ({type(tokenizer).__name__}) has no tokenizer.json, and an encoder is "
            "stored with its tokenizer: convert it to a fast one"
        )
    backend = Backend.from_str(tokenizer.backend_tokenizer.to_str())
    token = tokenizer.pad_token or tokenizer.eos_token
    if token is None:
        raise ValueError(
            f"the tokenizer of {config.place} has neither a padding nor an end token: name one of its tokens with "
            "tokenizer.pad_token = ... and save it again"
        )
    special = backend.num_special_tokens_to_add(False)
    if config.max_length <= special:
        raise ValueError(
            f"max_length is {config.max_length}, and the tokenizer of {config.place} puts {special} tokens around each "
            f"text: allowed: {special + 1} or more"
        )
    backend.enable_truncation(config.max_length, direction=tokenizer.truncation_side)
    backend.enable_padding(direction="right", pad_id=tokenizer.convert_tokens_to_ids(token), pad_token=str(token))
    return str(backend.to_str())
