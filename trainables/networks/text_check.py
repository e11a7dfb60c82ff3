"""Can a recipe's text encoder be trained? Built once from its real weights on the CPU, before any work.

It loads whole, knows the words of reports, fits its tokenizer, length and freezing, and gives finite vectors that are
the same each time, differ between two texts, and do not depend on padding.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainables.networks.text import HuggingFaceText, TextConfig, TextTower, Tokenizer, build_tokenizer
from trainables.recipe import PretrainRecipe

# Begin with different words, so that a first token that is no class token shows.
TEXTS = ("No acute cardiopulmonary process.", "There is a small left pleural effusion.", "Stable cardiomegaly.")
SAME = 1e-6  # of the vectors' size
PADDED = 1e-3  # the same for padding, which moves sums in float32 further


@dataclass(frozen=True)
class TextFacts:
    """What a text encoder was found to be. width: of its vectors; parameters: their count, trained those of them.

    content: the sha256 that a folder is known by, None for others.
    """

    width: int
    layers: int
    parameters: int
    trained: int
    content: str | None


def try_text_tower(config: TextConfig, frozen_layers: int = 0, freeze_embeddings: bool = False) -> TextFacts:
    """Build it and pass texts through it. Raises ValueError, in one sentence, with what does not fit and what does.

    No random number is drawn from the caller's generator. frozen_layers, freeze_embeddings: of the objective.
    """
    name = config.place if isinstance(config, HuggingFaceText) else type(config).__name__
    try:
        with torch.random.fork_rng(devices=[]):
            return _try(config, name, frozen_layers, freeze_embeddings)
    except ValueError:
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ValueError(
            f"the text encoder {name} fails on texts ({type(error).__name__}: {reason}): give another one"
        ) from error


def try_text_of(recipe: PretrainRecipe) -> TextFacts | None:
    """try_text_tower of a pretraining, with its objective's freezing; None for a method that reads no reports."""
    if recipe.text is None or not recipe.objective_needs_text:
        return None
    objective: Any = getattr(recipe.objective, "image_text", recipe.objective)  # of a joint method, its part
    return try_text_tower(recipe.text, objective.frozen_layers, objective.freeze_embeddings)


@torch.no_grad()
def _try(config: TextConfig, name: str, frozen_layers: int, freeze_embeddings: bool) -> TextFacts:
    tokenizer = build_tokenizer(config, TEXTS)
    ids, mask = tokenizer(TEXTS)
    _check_tokens(tokenizer, ids, mask, config, name)
    tower = TextTower(config, tokenizer.vocabulary_size)
    tower.freeze(frozen_layers, freeze_embeddings)
    tower.eval()
    _check_vectors(tower, tokenizer, ids, mask, name)
    long, long_mask = tokenizer([f"{' '.join(TEXTS)} " * config.max_length])
    if long.shape[1] > config.max_length or not bool(tower(long, long_mask).isfinite().all()):
        raise ValueError(f"{name} gives no vector for a text of max_length={config.max_length} tokens: take a smaller")
    parameters = list(tower.parameters())
    return TextFacts(
        tower.width,
        int(tower.bert.config.num_hidden_layers),
        sum(p.numel() for p in parameters),
        sum(p.numel() for p in parameters if p.requires_grad),
        config.content if isinstance(config, HuggingFaceText) else None,
    )


def _check_tokens(tokenizer: Tokenizer, ids: Tensor, mask: Tensor, config: TextConfig, name: str) -> None:
    rows = [row[: int(count)].tolist() for row, count in zip(ids, mask.sum(dim=1), strict=True)]
    if len(set(map(tuple, rows))) < len(rows):
        raise ValueError(
            f"the tokenizer of {name} makes the same tokens of different texts at max_length={config.max_length}: give "
            "the encoder's own tokenizer, or a larger max_length"
        )
    counts = ids[mask == 1]
    # Of what it puts around texts alone nothing is learnt; an empty text shows what that is.
    around = set(tokenizer([""])[0][0].tolist())
    words = [token for token in counts.tolist() if token not in around]
    if tokenizer.unknown is not None and all(token == tokenizer.unknown for token in words):
        raise ValueError(f"the tokenizer of {name} knows no word of {TEXTS[0]!r}: give one of the reports' language")
    if config.pooling == "cls" and len({row[0] for row in rows}) > 1:
        raise ValueError(
            f"pooling is 'cls', and the tokenizer of {name} puts no class token before a text, whose first word would "
            "be taken: allowed: 'last', 'mean', 'max'"
        )


def _check_vectors(tower: TextTower, tokenizer: Tokenizer, ids: Tensor, mask: Tensor, name: str) -> None:
    vectors = tower(ids, mask)
    if not bool(vectors.isfinite().all()):
        raise ValueError(f"{name} gives vectors that are not finite: take a whole copy of the weights")
    size = float(vectors.abs().max())
    if float((vectors - tower(ids, mask)).abs().max()) > SAME * size:
        raise ValueError(f"{name} gives another vector each time, without training: give an encoder that does not draw")
    for other in range(1, len(vectors)):
        if float((vectors[0] - vectors[other]).abs().max()) <= SAME * size:
            raise ValueError(
                f"{name} gives one vector for {TEXTS[0]!r} and {TEXTS[other]!r} with pooling {tower.pooling!r}: give "
                "another pooling ('cls', 'last', 'mean', 'max') or another encoder"
            )
    alone = torch.cat([tower(*tokenizer([text])) for text in TEXTS])
    together = tower.pooled(ids, mask)
    if float((alone - together).abs().max()) > PADDED * size:
        raise ValueError(
            f"the vectors that {name} gives depend on the padding beside a text: give an encoder that reads the "
            "attention mask"
        )
