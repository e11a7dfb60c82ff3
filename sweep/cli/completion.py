"""What may a shell propose for a value, when Tab is pressed? In the time of a key press: no registry that needs torch.

Each function takes what was typed of the value so far, and returns the proposals that begin with it. Names stand here
as words; a test holds them to be those of the registries.
"""

from collections.abc import Iterable
from itertools import product

STUDIES = ("demo", "paper", "released", "strict")
PROTOCOLS = ("LPFT", "LP", "FT")
IMAGE_TEXT = ("clip", "convirt")
IMAGE_IMAGE = ("mocov2", "simclr", "vicreg", "barlow_twins")
METHODS = (*IMAGE_TEXT, *IMAGE_IMAGE, *(f"{text}+{image}" for image, text in product(IMAGE_IMAGE, IMAGE_TEXT)))
BASELINES = ("random", "imagenet")  # rows of every preset that are not pretrained here
KINDS = ("knn", "zero_shot", "retrieval")
LISTS = ("methods", "datasets", "studies", "protocols")
# Field of --only -> the values that are the same in all studies.
ONLY: dict[str, tuple[str, ...]] = {
    "method": (*METHODS, *BASELINES),
    "dataset": (),
    "protocol": PROTOCOLS,
    "label_percent": ("1", "10", "100"),
    "seed": (),
    "pretrain_seed": (),
}


def starting_with(known: Iterable[str], typed: str) -> list[str]:
    """Those of the known words that go on with what was typed."""
    return [word for word in known if word.startswith(typed)]


def studies(incomplete: str) -> list[str]:
    """Of --study. Where none fits, a shell proposes files: a study may be one."""
    return starting_with(STUDIES, incomplete)


def methods(incomplete: str) -> list[str]:
    """Of --method: what can be pretrained."""
    return starting_with(METHODS, incomplete)


def encoders(incomplete: str) -> list[str]:
    """The rows of the presets."""
    return starting_with((*METHODS, *BASELINES), incomplete)


def kinds(incomplete: str) -> list[str]:
    """Of columns without training."""
    return starting_with(KINDS, incomplete)


def lists(incomplete: str) -> list[str]:
    """What can be listed."""
    return starting_with(LISTS, incomplete)


def raw_sources(incomplete: str) -> list[str]:
    """`chexpert=` and the others; behind `=` a folder follows, which is the shell's."""
    from datasets_io.sources.registry import SOURCES

    return starting_with((f"{name}=" for name in SOURCES), incomplete)


def only(incomplete: str) -> list[str]:
    """`method=`, then `method=clip`, then `method=clip,simclr`."""
    field, equals, values = incomplete.partition("=")
    if not equals:
        return starting_with((f"{name}=" for name in ONLY), field)
    given, comma, last = values.rpartition(",")
    return [f"{field}={given}{comma}{value}" for value in starting_with(ONLY.get(field, ()), last)]
