"""What is a check: a name, what was found, and the command that mends it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from datasets_io.storage.secrets import without_secrets

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Check:
    """status: `ok`; `warn`: it works, worse than it could; `fail`: a study would fail here.

    mend: the command, or the one sentence, that mends it; "" where nothing is wrong.
    """

    name: str
    status: str
    found: str
    mend: str = ""

    def __post_init__(self) -> None:
        assert self.status in (OK, WARN, FAIL) and bool(self.mend) == (self.status != OK), self
        for name in ("found", "mend"):  # whatever it quotes is shown and printed as JSON
            object.__setattr__(self, name, without_secrets(getattr(self, name)))


def guarded(name: str, examine: Callable[[], Iterable[Check]]) -> list[Check]:
    """The checks that `examine` gives; where it raises, one failed check that says so, and the others still run."""
    try:
        return list(examine())
    except Exception as error:
        return [Check(name, FAIL, f"could not be checked: {type(error).__name__}: {error}", "see the message")]


def gigabytes(count: float) -> str:
    """A number of bytes with a decimal unit: 1.5 GB, 320 MB."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"
