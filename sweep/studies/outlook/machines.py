"""Which machines is a plan priced for: `8xA100`, two hosts as `2x8xH100`, or cores as `16xCPU`."""

import re
from dataclasses import dataclass

from datasets_io.nearest import did_you_mean
from sweep.studies.forecast import FLOPS_PER_SECOND

CPU = "CPU"
# Name in --machines -> device of FLOPS_PER_SECOND. No wheel of torch in the allowed range has code for a V100
# (docs/gpus.md): a plan for it would be a plan that does not run.
CARDS = {"A100": "A100", "H100": "H100", CPU: "CPU core"}
FORM = "COUNTxCARD or HOSTSxCOUNTxCARD, as 8xA100, 2x8xH100 or 16xCPU (cores)"
_PATTERN = re.compile(r"(?:(\d+)x)?(\d+)x([^\s]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Machines:
    """hosts machines of so many cards, or cores, each; card: of CARDS.

    rate: FLOP a second of one of them; None: the published one. note: where another rate is from.
    """

    hosts: int
    each: int
    card: str
    rate: float | None = None
    note: str = ""

    @property
    def name(self) -> str:
        """As it is written in --machines."""
        return f"{self.hosts}x{self.each}x{self.card}" if self.hosts > 1 else f"{self.each}x{self.card}"

    @property
    def count(self) -> int:
        """Cards, or cores, of all hosts."""
        return self.hosts * self.each

    @property
    def on_gpus(self) -> bool:
        """Whether they have cards."""
        return self.card != CPU

    @property
    def flops_per_second(self) -> float:
        """Sustained, of one card or core."""
        return FLOPS_PER_SECOND[CARDS[self.card]] if self.rate is None else self.rate


STANDARD = (Machines(1, 8, "A100"), Machines(1, 8, "H100"))


def parse_machines(text: str) -> Machines:
    """`2x8xH100` -> two hosts of eight H100. Raises ValueError with what is allowed."""
    found = _PATTERN.fullmatch(re.sub(r"\s", "", text))
    if found is None:
        raise ValueError(f"--machines {text!r} is not {FORM}")
    hosts, each, named = int(found[1] or 1), int(found[2]), found[3]
    card = next((known for known in CARDS if known.casefold() == named.casefold()), None)
    if named.upper() == "V100":
        raise ValueError(
            f"--machines {text!r}: a V100 is not supported, by no wheel of torch that may be installed "
            f"(docs/gpus.md); allowed: {', '.join(CARDS)}"
        )
    if card is None:
        raise ValueError(
            f"--machines {text!r}: no rate is known of {named!r}; allowed: {', '.join(CARDS)}"
            f"{did_you_mean(named, CARDS)}"
        )
    if hosts < 1 or each < 1:
        raise ValueError(f"--machines {text!r} is no machine: counts begin at 1")
    return Machines(hosts, each, card)
