"""What does a reader call a finding, or a mean over findings, that files have under a name of theirs?"""

from collections.abc import Mapping

from sweep.statistics.summary import FEW_POSITIVES, MACRO_10_POSITIVES, MACRO_COMPETITION, MACRO_DEFINED

MEAN_NAMES: Mapping[str, str] = {
    MACRO_DEFINED: "Mean of defined findings",
    MACRO_10_POSITIVES: f"Mean of those with at least {FEW_POSITIVES} positives",
    MACRO_COMPETITION: "Mean of CheXpert's five findings",
}


def in_words(value: str) -> str:
    """`pleural_effusion` -> `Pleural effusion`; `macro_defined` -> `Mean of defined findings`."""
    return MEAN_NAMES[value] if value in MEAN_NAMES else value.replace("_", " ").capitalize()


def in_sentence(value: str) -> str:
    """`pleural_effusion` -> `pleural effusion`: as `in_words`, within a sentence."""
    return in_words(value)[:1].lower() + in_words(value)[1:]
