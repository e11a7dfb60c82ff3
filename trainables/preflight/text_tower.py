"""Does a text tower give finite, repeatable and different vectors of two reports? The one place that asks it."""

import torch

from trainables.networks.text import TextTower, TinyText
from trainables.preflight.verdict import Misfit

# A short report and one that is longer than any tower reads: tokens are cut, and every position is used.
REPORTS = (
    "No acute cardiopulmonary process.",
    " ".join(["Moderate right pleural effusion with adjacent atelectasis; mild interstitial edema is unchanged."] * 60),
)


@torch.no_grad()
def check_text_tower(tower: TextTower, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> None:
    """input_ids, attention_mask: (2, T), the tokens of REPORTS. Raises Misfit."""
    was_training = tower.training
    tower.eval()
    vectors = tower(input_ids, attention_mask)
    again = tower(input_ids, attention_mask)
    tower.train(was_training)
    if vectors.shape != (2, tower.width):
        raise Misfit(f"has a text tower that gives {tuple(vectors.shape)} for 2 reports, and says it is {tower.width}")
    if not bool(torch.isfinite(vectors).all()):
        raise Misfit("has a text tower that gives NaN or infinite vectors: its weights cannot be used")
    largest = float(vectors.abs().max())
    if float((vectors - again).abs().max()) > 1e-4 * largest:
        raise Misfit("has a text tower that gives other vectors for the same report each time, in eval mode")
    if float((vectors[0] - vectors[1]).abs().max()) <= 1e-6 * largest:
        raise Misfit(
            f"has a text tower that gives one vector for all reports with pooling {tower.pooling!r}: the first token "
            "of a model that reads from left to right knows nothing of the others; take another pooling"
        )


def tiny_text_misfit(config: TinyText, frozen_layers: int) -> str | None:
    """What cannot be done with a TinyText, found without importing transformers: the demo's towers are of this kind."""
    if not 0 <= frozen_layers <= config.layers:
        return f"has frozen_layers {frozen_layers}; allowed: 0 to {config.layers}, the layers of its TinyText"
    return None
