"""Which reports is a text tower tried with, and what can a small one not do?"""

from trainables.networks.text import TinyText

# A short report and one that is longer than any tower reads: tokens are cut, and every position is used.
REPORTS = (
    "No acute cardiopulmonary process.",
    " ".join(["Moderate right pleural effusion with adjacent atelectasis; mild interstitial edema is unchanged."] * 60),
)


def tiny_text_misfit(config: TinyText, frozen_layers: int) -> str | None:
    """What cannot be done with a TinyText, found without importing transformers: the demo's towers are of this kind."""
    if not 0 <= frozen_layers <= config.layers:
        return f"has frozen_layers {frozen_layers}; allowed: 0 to {config.layers}, the layers of its TinyText"
    return None
